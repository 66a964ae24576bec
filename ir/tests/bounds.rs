//! Loads of a body that may fall outside their inputs are found; those of every operator do not.
use ir::expr::Body;
use ir::expr::bounds::{Domain, Known, stray_load};
use ir::ops::samples;
use ir::{Dim, Symbols, TensorType};

/// What is wrong with the loads of a body over `output`, whose integer inputs hold what `elements` says.
fn fault(body: &str, output: &str, inputs: &[&str], elements: &[Option<[&str; 2]>]) -> Option<String> {
    let body = Body::parse(body).unwrap_or_else(|e| panic!("{body}: {e}"));
    let ty = |text: &&str| TensorType::parse(text).unwrap();
    let (output, inputs): (_, Vec<_>) = (ty(&output), inputs.iter().map(ty).collect());
    let dims = |ends: [&str; 2]| ends.map(|d| Dim::parse(d).unwrap());
    let elements = |input: usize| elements.get(input).copied().flatten().map(dims);
    let symbols = Symbols::new().with("n", 512).with("m", 4);
    let known = Some(Known { elements: &elements, symbols: Some(&symbols) });
    stray_load(&body, &Domain { output: &output.shape, inputs: &inputs, known })
}

#[track_caller]
fn stays(body: &str, output: &str, inputs: &[&str]) {
    assert_eq!(fault(body, output, inputs, &[]), None, "{body}");
}

#[track_caller]
fn strays(body: &str, output: &str, inputs: &[&str], message: &str) {
    let found = fault(body, output, inputs, &[]).unwrap_or_else(|| panic!("{body} was taken"));
    assert!(found.contains(message), "{body}: {found}");
}

#[test]
fn the_bodies_of_every_operator_stay_inside_their_inputs() {
    for (op, inputs) in samples() {
        let (output, Some(body)) = (op.infer(&inputs).unwrap(), op.body(&inputs)) else { continue };
        let domain = Domain { output: &output.shape, inputs: &inputs, known: None };
        assert_eq!(stray_load(&body, &domain), None, "{}: {body}", op.name());
    }
}

#[test]
fn one_past_the_end_and_one_before_the_start_are_outside() {
    stays("x0[(i0 + 2)]", "f32[6]", &["f32[8]"]);
    strays("x0[(i0 + 3)]", "f32[6]", &["f32[8]"], "x0 at 3 to 8 along axis 0, f32[8] has 8 there");
    strays("x0[(i0 - 1)]", "f32[6]", &["f32[8]"], "at -1 to 4");
    stays("sum(k < 8: x0[i0, k])", "f32[n]", &["f32[n, 8]"]);
    strays("sum(k < 9: x0[i0, k])", "f32[n]", &["f32[n, 8]"], "at 0 to 8");
    stays("x0[i0, ((i1 * 4) + i2)]", "f32[n, 2, 4]", &["f32[n, 8]"]);
    strays("x0[i0, ((i1 * 5) + i2)]", "f32[n, 2, 4]", &["f32[n, 8]"], "at 0 to 8");
    stays("(x0[i0] - x0[i0])", "f32[n]", &["f32[n]"]);
    strays("(x0[(i0 * 0)] * (x0[9] - x0[9]))", "f32[n]", &["f32[8]"], "at 9 to 9");
}

#[test]
fn symbols_are_compared_for_every_value_they_can_have() {
    stays("x0[i0]", "f32[n]", &["f32[n+1]"]);
    strays("x0[i0]", "f32[n]", &["f32[m]"], "at 0 to n-1 along axis 0, f32[m] has m there");
    strays("x0[(i0 + 1)]", "f32[n]", &["f32[n]"], "at 1 to n");
    stays("x0[((2 * i0) + 1)]", "f32[n]", &["f32[2*n]"]);
    stays("x0[(i0 / 4), (i0 % 4)]", "f32[4*n]", &["f32[n, 4]"]);
    strays("x0[0]", "f32[m]", &["f32[n-1]"], "at 0 to 0");
    stays("sum(k < |n|: x0[k, i0])", "f32[8]", &["f32[n, 8]"]);
}

#[test]
fn a_condition_narrows_the_arm_that_it_leads_to() {
    let halves = ["f32[n, 3]", "f32[n, 5]"];
    stays("select((i1 < 3), x0[i0, i1], x1[i0, (i1 - 3)])", "f32[n, 8]", &halves);
    strays("select((i1 < 4), x0[i0, i1], x1[i0, (i1 - 4)])", "f32[n, 8]", &halves, "x0 at 0 to 3");
    strays("select((i1 <= 3), x0[i0, i1], x1[i0, (i1 - 3)])", "f32[n, 8]", &halves, "x0 at 0 to 3");
    strays("select((i1 < 3), x1[i0, (i1 - 3)], x0[i0, i1])", "f32[n, 8]", &halves, "x1 at -3 to -1");
    stays("select(not((i1 < 3)), x1[i0, (i1 - 3)], x0[i0, i1])", "f32[n, 8]", &halves);
    stays("select((i0 < |n|), x0[i0], x1[(i0 - |n|)])", "f32[2*n]", &["f32[n]", "f32[n]"]);
    let flat = "let j = ((i0 * 4) + i1); select((j < 5), x0[j], x1[((j - 5) / 2), (j % 2)])";
    stays(flat, "f32[3, 4]", &["f32[5]", "f32[4, 2]"]);
    strays(flat, "f32[3, 4]", &["f32[5]", "f32[3, 2]"], "x1 at 0 to 3");
}

#[test]
fn even_coordinates_have_a_partner() {
    let turned = "select(((i1 % 2) == 0), x0[i0, (i1 + 1)], x0[i0, (i1 - 1)])";
    stays(turned, "f32[n, 8]", &["f32[n, 8]"]);
    strays(turned, "f32[n, 9]", &["f32[n, 9]"], "at 1 to 9");
    strays(&turned.replace("== 0", "== 1"), "f32[n, 8]", &["f32[n, 8]"], "at 2 to 8");
}

#[test]
fn what_wraps_around_or_is_no_integer_shows_nothing() {
    let far = "x0[((i0 * 4611686018427387904) * 4)]";
    strays(far, "f32[8]", &["f32[8]"], "at ? to ?");
    // Of f32 neither side of a comparison need hold.
    let nan = "let t = x0[i0]; select((t <= t), t, x0[99])";
    strays(nan, "f32[8]", &["f32[8]"], "at 99 to 99");
    let wrapped = "let t = x1[i0]; select(((t * 4) < 8), select((0 <= (t * 4)), x0[t], 0.0f), 0.0f)";
    strays(wrapped, "f32[8]", &["f32[8]", "i64[8]"], "at ? to ?");
    stays(wrapped, "f32[8]", &["f32[8]", "i32[8]"]);
}

#[test]
fn what_is_read_is_as_good_as_what_bounds_it() {
    let (body, inputs) = ("x0[x1[i0], i1]", ["f32[n, 8]", "i32[m]"]);
    let with = |ends| fault(body, "f32[m, 8]", &inputs, &[None, ends]);
    assert_eq!(with(Some(["0", "n-1"])), None);
    assert!(with(Some(["0", "n"])).unwrap().contains("at 0 to n along axis 0"));
    assert!(with(Some(["-1", "n-1"])).unwrap().contains("at -1 to n-1"));
    assert!(with(None).unwrap().contains("at -2147483648 to 2147483647"));
    stays("x0[((x1[i0] max 0) min 7)]", "f32[m]", &["f32[8]", "i32[m]"]);
    strays("x0[((x1[i0] max 0) min 8)]", "f32[m]", &["f32[8]", "i32[m]"], "at 0 to 8");
}

#[test]
fn bodies_that_would_never_end_are_refused_at_once() {
    let folds = format!("{}1.0f{}", "sum(k < 999: ".repeat(5), ")".repeat(5));
    assert_eq!(fault(&folds, "f32[n]", &[], &[]), None, "each is computed once");
    let both = "sum(k < 9999999: sum(j < 999999: f32((k + j))))";
    strays(both, "f32[n]", &[], "folds 9999989000001 values");
    strays("sum(k < 4398046511105: f32(k))", "f32[n]", &[], "folds values without end");
    strays("sum(k < x0[i0]: f32(k))", "f32[n]", &["i64[n]"], "folds values without end");
    let cut =
        |i: u32| format!("let a{} = select(((i{} % 5) == {}), a{i}, neg(a{i})); ", i + 1, i % 12, i / 12);
    let nested: String = (0..30).map(cut).collect();
    let wide = format!("f32[{}]", ["8"; 12].join(", "));
    strays(&format!("let a0 = x0[i0]; {nested} a30"), &wide, &["f32[8]"], "too intricate");
    let deep: String =
        (0..200).map(|i| format!("let a{} = select((i0 < {i}), x0[i0], a{i}); ", i + 1)).collect();
    strays(&format!("let a0 = x0[i0]; {deep} a200"), "f32[500]", &["f32[500]"], "nest");
}
