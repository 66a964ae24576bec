//! The bodies that models are made of, written out: what fusion makes, at sizes with and without a rest.
use crate::harness::{Numbers, Parts, difference, run};
use ir::expr::{Body, Cast, Expr, axis, f32, int, load, max_over, size, sum};
use ir::ops::evaluate_body;
use ir::{DType, Dim, Symbols, Tensor, TensorType};
use loops::BodyKernel;

fn types(texts: &[&str]) -> Vec<TensorType> {
    texts.iter().map(|t| TensorType::parse(t).expect("a type")).collect()
}

fn kernel(inputs: &[&str], output: &str, body: &Expr) -> BodyKernel {
    BodyKernel {
        inputs: types(inputs),
        output: TensorType::parse(output).expect("a type"),
        body: Body::new(body),
        symbols: vec!["n".into(), "m".into()],
    }
}

fn inputs(kernel: &BodyKernel, symbols: &Symbols, ints: i64) -> Vec<Tensor> {
    let mut numbers = Numbers(11);
    kernel.inputs.iter().map(|ty| numbers.tensor(ty, symbols, ints)).collect()
}

/// Compares with the interpreter at several sizes; ints of inputs are below `ints`.
fn check(kernel: &BodyKernel, ints: i64, tolerance: f64) {
    for (n, m) in [(1, 1), (1, 4), (2, 7), (5, 33), (3, 64)] {
        let symbols = Symbols::new().with("n", n).with("m", m);
        let inputs = inputs(kernel, &symbols, ints);
        let refs: Vec<&Tensor> = inputs.iter().collect();
        let expected =
            evaluate_body(&kernel.body, &kernel.output, &refs, None, &symbols).expect("it evaluates");
        let found =
            run(kernel, &inputs, &symbols, Parts::Whole).unwrap_or_else(|e| panic!("{e}: {}", kernel.body));
        let apart = difference(&found, &expected);
        assert!(apart <= tolerance, "{apart} apart at n = {n}, m = {m}: {}", kernel.body);
        assert!(
            run(kernel, &inputs, &symbols, Parts::OneByOne).unwrap() == found,
            "parts differ: {}",
            kernel.body
        );
    }
}

fn row(input: usize) -> impl Fn(Expr) -> Expr {
    move |k| load(input, [axis(0), k])
}

fn rms_norm(x: impl Fn(Expr) -> Expr, weight: usize, width: Expr) -> impl Fn(Expr) -> Expr {
    let mean = sum(width.clone(), |k| x(k.clone()) * x(k)) / width.cast(Cast::ToF32);
    let scale = (mean + f32(1e-5)).rsqrt();
    move |j| x(j.clone()) * scale.clone() * load(weight, [j])
}

fn softmax(x: impl Fn(Expr) -> Expr, width: Expr) -> Expr {
    let max = max_over(width.clone(), &x);
    let total = sum(width, |k| (x(k) - max.clone()).exp());
    (x(axis(1)) - max).exp() / total
}

#[test]
fn norms_of_any_width() {
    for d in [1, 3, 31, 32, 67, 576] {
        let body = rms_norm(row(0), 1, int(d))(axis(1));
        let (x, w) = (format!("f32[n, {d}]"), format!("f32[{d}]"));
        check(&kernel(&[&x, &w], &x, &body), 2, 1e-5);
    }
    let body = rms_norm(row(0), 1, size(&Dim::symbol("m")))(axis(1));
    check(&kernel(&["f32[n, m]", "f32[m]"], "f32[n, m]", &body), 2, 1e-5);
}

#[test]
fn a_norm_quantised_is_the_norm_and_then_quantised() {
    for d in [32, 64, 576] {
        let body = rms_norm(row(0), 1, int(d))(axis(1));
        let (x, w) = (format!("f32[n, {d}]"), format!("f32[{d}]"));
        let (plain, quantised) =
            (kernel(&[&x, &w], &x, &body), kernel(&[&x, &w], &format!("q8_a[n, {d}]"), &body));
        for n in [1, 5] {
            let symbols = Symbols::new().with("n", n).with("m", 1);
            let inputs = inputs(&plain, &symbols, 2);
            let values = run(&plain, &inputs, &symbols, Parts::Whole).unwrap();
            let expected = Tensor::from_f32(quantised.output.dtype, values.shape(), &values.to_f32());
            for parts in [Parts::Whole, Parts::OneByOne] {
                assert!(run(&quantised, &inputs, &symbols, parts).unwrap() == expected, "d = {d}, n = {n}");
            }
        }
    }
}

#[test]
fn softmax_of_known_and_unknown_width_with_and_without_mask() {
    check(&kernel(&["f32[n, 67]"], "f32[n, 67]", &softmax(row(0), int(67))), 2, 1e-5);
    let m = size(&Dim::symbol("m"));
    check(&kernel(&["f32[n, m]"], "f32[n, m]", &softmax(row(0), m)), 2, 1e-5);
    let masked =
        |k: Expr| k.clone().le(load(1, [axis(0)])).select(row(0)(k) * f32(0.125), f32(f32::NEG_INFINITY));
    check(&kernel(&["f32[n, 40]", "i32[n]"], "f32[n, 40]", &softmax(masked, int(40))), 40, 1e-5);
}

#[test]
fn gated_activations() {
    let gate = || row(0)(axis(1));
    let silu = gate() * gate().sigmoid() * row(1)(axis(1));
    let inner = f32(0.797_884_6) * (gate() + f32(0.044_715) * gate() * gate() * gate());
    let gelu = f32(0.5) * gate() * (f32(1.0) + inner.tanh()) * row(1)(axis(1));
    for d in [5, 64, 1536] {
        let x = format!("f32[n, {d}]");
        check(&kernel(&[&x, &x], &x, &silu), 2, 1e-5);
        check(&kernel(&[&x, &x], &x, &gelu), 2, 1e-5);
    }
}

/// A product of two weights side by side, gated, as operators and as their fusion write it.
#[test]
fn gates_beside_what_they_gate() {
    use ir::expr::inline;
    use ir::{Op, ops};
    let part = |at: i64| Body::new(&load(0, [axis(0), axis(1) + int(at)]));
    let ty = TensorType::parse("f32[n, 96]").expect("a type");
    let product = Op::from(ops::Mul {}).body(&[ty.clone(), ty.clone()]).expect("a body");
    for activation in [Op::from(ops::Silu {}), Op::from(ops::Gelu {})] {
        let activation = activation.body(std::slice::from_ref(&ty)).expect("a body");
        let activated = inline(&activation, 2, 0, &part(0), &[0], &[0]);
        let gated =
            inline(&inline(&product, 2, 0, &activated, &[0, 1], &[0]), 2, 1, &part(96), &[0, 1], &[0]);
        let flipped =
            inline(&inline(&product, 2, 1, &activated, &[1, 0], &[0]), 2, 1, &part(96), &[0, 1], &[0]);
        for body in [gated, flipped] {
            for output in ["f32[n, 96]", "q8_a[n, 96]"] {
                let inputs = types(&["f32[n, 192]"]);
                let output = TensorType::parse(output).expect("a type");
                let tolerance = if output.dtype == DType::F32 { 1e-5 } else { 0.05 };
                let symbols = vec!["n".into(), "m".into()];
                check(&BodyKernel { inputs, output, body: body.clone(), symbols }, 2, tolerance);
            }
        }
    }
}

/// NeoX style: the first half of a head turns with the second.
fn rope(heads: i64, width: i64) -> BodyKernel {
    let half = width / 2;
    let (i, h, k) = (axis(0), axis(1), axis(2));
    let table = |t: usize| load(t, [load(3, [i.clone()]), k.clone() % int(half)]);
    let other = load(0, [i.clone(), h.clone(), (k.clone() + int(half)) % int(width)]);
    let sign = k.clone().lt(int(half)).select(f32(-1.0), f32(1.0));
    let body = load(0, [i.clone(), h, k.clone()]) * table(1) + other * (table(2) * sign);
    let (x, t) = (format!("f32[n, {heads}, {width}]"), format!("f32[50, {half}]"));
    kernel(&[&x, &t, &t, "i32[n]"], &x, &body)
}

#[test]
fn rotary_embeddings() {
    check(&rope(9, 64), 50, 1e-5);
    check(&rope(3, 6), 50, 1e-5);
}

#[test]
fn movement_of_all_kinds() {
    let (i, j) = (axis(0), axis(1));
    let reshaped = load(0, [i.clone(), j.clone() / int(24), j.clone() % int(24)]);
    check(&kernel(&["f32[n, 24, 24]"], "f32[n, 576]", &reshaped), 2, 0.0);
    let transposed = load(0, [j.clone(), i.clone()]);
    check(&kernel(&["f32[m, n]"], "f32[n, m]", &transposed), 2, 0.0);
    let gathered = load(0, [load(1, [i.clone()]), j.clone()]);
    check(&kernel(&["f16[40, 67]", "i32[n]"], "f32[n, 67]", &gathered), 40, 0.0);
    let lanes = load(0, [i.clone(), load(1, [j.clone()])]);
    check(&kernel(&["f32[n, 40]", "i64[67]"], "f32[n, 67]", &lanes), 40, 0.0);
    let joined = j
        .clone()
        .lt(int(10))
        .select(load(0, [i.clone(), j.clone()]), load(1, [i.clone(), j.clone() - int(10)]));
    check(&kernel(&["f32[n, 10]", "f32[n, 23]"], "f32[n, 33]", &joined), 2, 0.0);
    let n = size(&Dim::symbol("n"));
    let stacked =
        i.clone().lt(n.clone()).select(load(0, [i.clone(), j.clone()]), load(1, [i.clone() - n, j.clone()]));
    check(&kernel(&["f32[n, 9]", "f32[m, 9]"], "f32[m+n, 9]", &stacked), 2, 0.0);
    let m = size(&Dim::symbol("m"));
    let beside = j.clone().lt(m.clone()).select(load(0, [i.clone(), j.clone()]), load(1, [i, j - m]));
    check(&kernel(&["f32[n, m]", "f32[n, 5]"], "f32[n, m+5]", &beside), 2, 0.0);
}

#[test]
fn products_of_both_orientations() {
    let (i, j) = (axis(0), axis(1));
    let rows = sum(int(67), |k| load(0, [i.clone(), k.clone()]) * load(1, [j.clone(), k]));
    check(&kernel(&["f32[n, 67]", "f32[13, 67]"], "f32[n, 13]", &rows), 2, 1e-4);
    let columns = sum(int(33), |k| load(0, [i.clone(), k.clone()]) * load(1, [k, j.clone()]));
    check(&kernel(&["f32[n, 33]", "f32[33, 18]"], "f32[n, 18]", &columns), 2, 1e-4);
    let normed = rms_norm(row(0), 2, int(33));
    let both = sum(int(33), |k| normed(k.clone()) * load(1, [k, j.clone()]));
    check(&kernel(&["f32[n, 33]", "f32[33, 18]", "f32[33]"], "f32[n, 18]", &both), 2, 1e-4);
    let quantised = sum(int(64), |k| load(0, [i.clone(), k.clone()]) * load(1, [j.clone(), k]));
    check(&kernel(&["q8_a[n, 64]", "bf16[5, 64]"], "f32[n, 5]", &quantised), 2, 1e-4);
}

#[test]
fn reductions_to_rows_columns_and_everything() {
    let (n, d) = (size(&Dim::symbol("n")), int(19));
    check(&kernel(&["f32[n, 19]"], "f32[n]", &sum(d.clone(), row(0))), 2, 1e-5);
    check(&kernel(&["f32[n, 19]"], "f32[19]", &max_over(n.clone(), |k| load(0, [k, axis(0)]))), 2, 0.0);
    let all = sum(n.clone(), |i| sum(d.clone(), |j| load(0, [i.clone(), j])));
    check(&kernel(&["f32[n, 19]"], "f32[]", &all), 2, 1e-5);
    let centred =
        load(0, [axis(0), axis(1)]) - sum(n.clone(), |k| load(0, [k, axis(1)])) / n.cast(Cast::ToF32);
    check(&kernel(&["f32[n, 19]"], "f32[n, 19]", &centred), 2, 1e-5);
    let first = sum(load(1, [axis(0)]), row(0));
    check(&kernel(&["f32[n, 19]", "i32[n]"], "f32[n]", &first), 20, 1e-5);
}

#[test]
fn calls_compute_their_own_columns_wherever_the_range_is_cut() {
    for cut in [7, 1003, 30007, 39999] {
        let body = axis(1).lt(int(cut)).select(load(0, [axis(0), axis(1)]), load(1, [axis(0), axis(1)]));
        check(&kernel(&["f32[1, 40000]", "f32[1, 40000]"], "f32[1, 40000]", &body), 2, 0.0);
    }
    let last = axis(0).lt(int(5)).select(load(0, [axis(0)]), f32(0.5));
    let dear =
        sum(int(40), |k| sum(int(40), |l| load(1, [k.clone(), l])) * load(0, [axis(0)]) + last.clone());
    check(&kernel(&["f32[6]", "f32[40, 40]"], "f32[6]", &dear), 2, 1e-3);
}

#[test]
fn a_reduction_of_less_than_nothing_is_empty() {
    let less = size(&Dim::symbol("n")) - int(3);
    check(&kernel(&["f32[n]"], "f32[2]", &sum(less.clone(), |k| load(0, [k]))), 2, 1e-5);
    check(&kernel(&["f32[n]"], "f32[2]", &max_over(less, |k| load(0, [k]))), 2, 0.0);
}

#[test]
fn what_a_select_skips_is_not_read() {
    let n = size(&Dim::symbol("n"));
    let is_taken = (axis(1) / int(3)).equals(axis(1) % int(5));
    // Loads whose place is known only from other loads, and lies outside where the arm is not taken.
    let place = |k: Expr| load(1, [k]) + axis(1).lt(int(9)).select(int(0), int(1 << 40));
    let total = sum(n, |k| load(0, [k.clone(), place(k)]));
    let within = axis(1).lt(int(9)).select(is_taken.select(total, f32(-1.5)), f32(0.25));
    check(&kernel(&["f32[n, 40]", "i32[n]"], "f32[n, 11]", &within), 40, 1e-5);
}

#[test]
fn every_plain_dtype_is_read_and_written() {
    for dtype in ["f32", "f16", "bf16"] {
        let (x, y) = (format!("{dtype}[n, 37]"), format!("{dtype}[n, 37]"));
        check(&kernel(&[&x], &y, &(row(0)(axis(1)) * f32(1.37))), 2, 0.0);
    }
    for dtype in ["i64", "i32", "u8", "i8"] {
        let (x, y) = (format!("{dtype}[n, 37]"), format!("{dtype}[n, 37]"));
        let body = row(0)(axis(1)) * int(3) - axis(1) + row(0)(axis(1)) % int(5);
        check(&kernel(&[&x], &y, &body), 30, 0.0);
        let real = row(0)(axis(1)).cast(Cast::ToF32) * f32(0.5);
        check(&kernel(&[&x], "f32[n, 37]", &real), 30, 0.0);
    }
    let is_less = row(0)(axis(1)).lt(f32(0.5));
    check(&kernel(&["f32[n, 37]"], "bool[n, 37]", &is_less), 2, 0.0);
    let chosen = row(0)(axis(1)).select(f32(2.5), f32(-1.0));
    check(&kernel(&["bool[n, 37]"], "f32[n, 37]", &chosen), 2, 0.0);
}

#[test]
fn every_row_has_the_same_bits_whatever_else_is_computed() {
    let kernels = [
        kernel(&["f32[n, 67]", "f32[67]"], "f32[n, 67]", &rms_norm(row(0), 1, int(67))(axis(1))),
        kernel(&["f32[n, 67]"], "f32[n, 67]", &softmax(row(0), int(67))),
        kernel(&["f32[n, 67]"], "f32[n, 67]", &(row(0)(axis(1)) * row(0)(axis(1)).sigmoid())),
    ];
    for kernel in kernels {
        let many = Symbols::new().with("n", 9).with("m", 1);
        let mut inputs = inputs(&kernel, &many, 2);
        let all = run(&kernel, &inputs, &many, Parts::Whole).unwrap().to_f32();
        let rows = inputs[0].to_f32();
        for (i, expected) in all.chunks(67).enumerate() {
            inputs[0] = Tensor::from_f32(DType::F32, &[1, 67], &rows[i * 67..(i + 1) * 67]);
            let one = Symbols::new().with("n", 1).with("m", 1);
            assert_eq!(run(&kernel, &inputs, &one, Parts::Whole).unwrap().to_f32(), expected);
        }
    }
}
