//! Epilogues: bodies with a hole, over the tiles of a product.
use crate::harness::{Numbers, difference};
use compiler::codegen::cpu::{Jit, compile_epilogue};
use ir::expr::{Body, Expr, axis, f32, hole, int, load, sum};
use ir::ops::evaluate_body;
use ir::{Symbols, Tensor, TensorType};
use kernels::Epilogue;
use loops::{BodyError, BodyKernel};

const N: i64 = 11;
const D: i64 = 83;

fn kernel(output: &str, body: &Expr) -> BodyKernel {
    let inputs = ["f32[n, 83]", "f32[83]", "f32[n, 166]"].map(|t| TensorType::parse(t).expect("a type"));
    BodyKernel {
        inputs: inputs.to_vec(),
        output: TensorType::parse(output).expect("a type"),
        body: Body::new(body),
        symbols: vec!["n".into()],
    }
}

/// Applies the epilogue to tiles of that size, each a copy with a stride of its own.
fn check(body: &Expr, (height, width): (usize, usize)) {
    let kernel = kernel("f32[n, 83]", body);
    let symbols = Symbols::new().with("n", N);
    let mut numbers = Numbers(3);
    let inputs: Vec<Tensor> = kernel.inputs.iter().map(|ty| numbers.tensor(ty, &symbols, 1)).collect();
    let product = numbers.tensor(&kernel.output, &symbols, 1);
    let refs: Vec<&Tensor> = inputs.iter().collect();
    let expected =
        evaluate_body(&kernel.body, &kernel.output, &refs, Some(&product), &symbols).expect("it evaluates");
    let epilogue = compile_epilogue(&kernel, &mut Jit::new().unwrap())
        .unwrap_or_else(|e| panic!("{e}: {}", kernel.body));
    let mut found = vec![f32::NAN; (N * D) as usize];
    let mut args: Vec<*mut u8> = inputs.iter().map(|t| t.bytes().as_ptr().cast_mut()).collect();
    args.push(found.as_mut_ptr().cast());
    let values = product.to_f32();
    for row in (0..N as usize).step_by(height) {
        for column in (0..D as usize).step_by(width) {
            let (rows, columns) =
                (row..(row + height).min(N as usize), column..(column + width).min(D as usize));
            let stride = width + 5;
            let mut tile = vec![f32::NAN; height * stride];
            for (i, j) in rows.clone().flat_map(|i| columns.clone().map(move |j| (i, j))) {
                tile[(i - row) * stride + j - column] = values[i * D as usize + j];
            }
            unsafe { epilogue.apply(tile.as_ptr(), stride, rows, columns, &args, &[N]) };
        }
    }
    let apart = difference(&Tensor::f32(&[N as u64, D as u64], &found), &expected);
    assert!(apart < 1e-5, "{apart} apart in tiles of {height} x {width}: {}", kernel.body);
}

#[test]
fn a_tile_goes_through_the_body_wherever_it_lies() {
    let residual = hole(0) + load(0, [axis(0), axis(1)]);
    let bias = hole(0) * f32(0.5) + load(1, [axis(1)]);
    let gated = load(2, [axis(0), axis(1)]);
    let gated = gated.clone() * gated.sigmoid() * hole(0);
    let activated = hole(0) * hole(0).sigmoid();
    let cut = axis(1).lt(int(29)).select(hole(0) + load(1, [axis(1)]), hole(0) * f32(2.0));
    for body in [residual, bias, gated, activated, cut] {
        for tile in [(1, 16), (4, 32), (11, 83), (3, 7)] {
            check(&body, tile);
        }
    }
}

#[test]
fn what_no_tile_can_give_is_refused() {
    let total = sum(int(D), |k| load(0, [axis(0), k])) + hole(1);
    let refused =
        |output: &str, body: &Expr| compile_epilogue(&kernel(output, body), &mut Jit::new().unwrap()).err();
    assert!(matches!(refused("f32[n, 83]", &total), Some(BodyError::Unsupported(_))));
    assert!(matches!(refused("f32[n, 83, 2]", &hole(0)), Some(BodyError::Unsupported(_))));
    assert!(matches!(refused("q8_a[n, 64]", &hole(0)), Some(BodyError::Unsupported(_))));
    assert!(matches!(refused("i32[n, 83]", &hole(0)), Some(BodyError::Type { .. })));
}
