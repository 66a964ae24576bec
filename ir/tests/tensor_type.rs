//! Types out from types in, with symbols among the extents, and what is refused in which words.
use ir::ops::{Concat, Linear, Reshape, Rope, Slice};
use ir::{Dim, Op, TensorType};

fn infer(op: impl Into<Op>, inputs: &[&str]) -> Result<String, String> {
    let types: Vec<TensorType> = inputs.iter().map(|t| TensorType::parse(t).unwrap()).collect();
    op.into().infer(&types).map(|ty| ty.to_string()).map_err(|e| e.to_string())
}

fn reshape(from: &str, to: &str) -> Result<String, String> {
    let shape = TensorType::parse(&format!("f32{to}")).unwrap().shape;
    let op = Op::from(Reshape { shape });
    let ty = TensorType::parse(&format!("f32{from}")).unwrap();
    infer(op.clone(), &[&ty.to_string()])?;
    Ok(op.body(&[ty]).expect("a reshape has a body").to_string())
}

#[test]
fn a_reshape_divides_only_where_axes_are_split() {
    assert_eq!(reshape("[n, 8]", "[n, 2, 4]").unwrap(), "x0[i0, ((i1 * 4) + i2)]");
    assert_eq!(reshape("[n, 2, 4]", "[n, 8]").unwrap(), "x0[i0, (i1 / 4), (i1 % 4)]");
    assert_eq!(reshape("[n, 3]", "[n, 1, 3]").unwrap(), "x0[i0, i2]");
    assert_eq!(reshape("[1, 3, n]", "[3, n]").unwrap(), "x0[0, i0, i1]");
    assert_eq!(reshape("[n, 8]", "[2*n, 4]").unwrap(), "let t0 = ((i0 * 4) + i1); x0[(t0 / 8), (t0 % 8)]");
}

#[test]
fn a_reshape_keeps_the_elements() {
    for (from, to) in [
        ("[n, 8]", "[n, 9]"),
        ("[n, 8]", "[m, 8]"),
        ("[4, n]", "[n, 4]"),
        ("[9223372036854775807, 2]", "[9223372036854775807, 3]"),
        ("[n, m]", "[m, n]"),
        ("[2, 3]", "[-2, -3]"),
    ] {
        assert!(reshape(from, to).is_err(), "{from} became {to}");
    }
}

#[test]
fn symbols_pass_through() {
    let widths = infer(Linear {}, &["q8_a[n, 64]", "q4_1[96, 64]", "q8_0[32, 64]"]);
    assert_eq!(widths.unwrap(), "f32[n, 128]");
    assert_eq!(infer(Concat { axis: 0 }, &["f32[n, 2]", "f32[2*n, 2]"]).unwrap(), "f32[3*n, 2]");
}

#[test]
fn a_refusal_says_what_was_found_and_what_was_expected() {
    let linear = infer(Linear {}, &["f32[n, 64]", "f16[96, 32]"]);
    assert_eq!(linear.unwrap_err(), "input 1 has type f16[96, 32], expected f16[96, 64]");
    let linear = infer(Linear {}, &["f16[n, 64]", "f16[96, 64]"]);
    assert_eq!(linear.unwrap_err(), "input 0 has type f16[n, 64], expected f32 or q8_a");
    let slice = infer(Slice { axis: 1, start: 6, len: 3 }, &["f32[2, 8]"]);
    assert_eq!(slice.unwrap_err(), "3 from 6 do not lie in axis 1 of f32[2, 8]");
    let rope = Rope { pairing: ir::ops::Pairing::Halves };
    let rope = infer(rope, &["f32[n, 4, 6]", "f32[9, 4]", "f32[9, 4]", "i32[n]"]);
    assert_eq!(rope.unwrap_err(), "4 pairs do not fit in a head of 6");
    let broadcast = ir::ops::Broadcast { shape: vec![Dim::from(3), Dim::symbol("n")] };
    assert_eq!(infer(broadcast, &["f32[4]"]).unwrap_err(), "f32[4] does not broadcast to f32[3, n]");
}
