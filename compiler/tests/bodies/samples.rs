//! Every operator's samples, at several sizes.
use crate::harness::{Numbers, Parts, difference, run};
use ir::ops::{self, Op};
use ir::{DType, Dim, Symbols, Tensor, TensorType};
use loops::BodyKernel;

/// The kernel of an operator, if it has a body.
fn kernel(op: &Op, types: &[TensorType]) -> Option<BodyKernel> {
    let output = op.infer(types).ok()?;
    let body = op.body(types)?;
    Some(BodyKernel { inputs: types.to_vec(), output, body, symbols: vec!["n".into()] })
}

/// Inputs that the operator takes, and what it makes of them.
fn case(op: &Op, types: &[TensorType], symbols: &Symbols) -> Option<(Vec<Tensor>, Tensor)> {
    [8, 4, 2, 1].into_iter().find_map(|ints| {
        let mut numbers = Numbers(7);
        let inputs: Vec<Tensor> = types.iter().map(|ty| numbers.tensor(ty, symbols, ints)).collect();
        let expected = op.eval(&inputs.iter().collect::<Vec<_>>(), symbols).ok()?;
        Some((inputs, expected))
    })
}

fn check(op: &Op, types: &[TensorType], n: i64) -> bool {
    let symbols = Symbols::new().with("n", n);
    let Some(kernel) = kernel(op, types) else { return false };
    let Some((inputs, expected)) = case(op, types, &symbols) else { return false };
    let reads_blocks = |ty: &TensorType| matches!(ty.dtype, DType::Quant(f) if f != ir::quant::Format::Q8A);
    if types.iter().any(reads_blocks)
        || matches!(kernel.output.dtype, DType::Quant(f) if f != ir::quant::Format::Q8A)
    {
        return false;
    }
    let about = format!("{op:?} of {types:?} at n = {n}:\n{}", kernel.body);
    let found = run(&kernel, &inputs, &symbols, Parts::Whole).unwrap_or_else(|e| panic!("{e}: {about}"));
    let apart = difference(&found, &expected);
    let tolerance = if matches!(kernel.output.dtype, DType::F32 | DType::F16) { 2e-5 } else { 2e-2 };
    assert!(apart <= tolerance, "{apart} apart: {about}\n{:?}\n{:?}", found.to_f32(), expected.to_f32());
    let parts = run(&kernel, &inputs, &symbols, Parts::OneByOne).expect("it was compiled before");
    assert!(parts == found, "parts differ from the whole: {about}");
    true
}

#[test]
fn every_operator_with_a_body_computes_what_it_means() {
    let mut done = 0;
    for (op, types) in ops::samples() {
        done += usize::from(check(&op, &types, 1));
        // The same with the first axis of any length, where the operator takes that.
        let Some(&first) = types.first().and_then(|t| t.shape.first()?.known()).as_ref() else { continue };
        let symbolic: Vec<TensorType> = types
            .iter()
            .map(|ty| {
                let dim = |d: &Dim| if d.known() == Some(first) { Dim::symbol("n") } else { d.clone() };
                TensorType::new(ty.dtype, ty.shape.iter().map(dim))
            })
            .collect();
        for n in [1, 2, 3, 5, 8, 17, 67] {
            done += usize::from(check(&op, &symbolic, n));
        }
    }
    assert!(done > 10, "only {done} samples were compared");
}
