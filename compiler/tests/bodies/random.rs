//! Random bodies against the interpreter.
use crate::harness::{Numbers, Parts, difference, run};
use ir::expr::{Body, Cast, Expr, axis, f32, int, load, max_over, size, sum};
use ir::ops::evaluate_body;
use ir::{Dim, Symbols, Tensor, TensorType};
use loops::BodyKernel;
use proptest::prelude::*;

/// Axes in scope: expressions, and the dimension each runs over.
type Axes = Vec<(Expr, usize)>;

/// The lengths of dimensions 0 to 2: the first is the symbol n.
const EXTENTS: [i64; 3] = [0, 6, 11];

fn extent(dim: usize) -> Expr {
    if dim == 0 { size(&Dim::symbol("n")) } else { int(EXTENTS[dim]) }
}

/// A coordinate inside dimension `dim`.
fn coordinate(numbers: &mut Numbers, axes: &Axes, dim: usize) -> Expr {
    let same: Vec<&Expr> = axes.iter().filter(|a| a.1 == dim).map(|a| &a.0).collect();
    match numbers.below(5) {
        0 if dim > 0 => (integer(numbers, axes) + int(3)) % int(EXTENTS[dim]),
        1 if dim > 0 => load(2, [coordinate(numbers, axes, 0)]).min(int(EXTENTS[dim] - 1)),
        _ if !same.is_empty() => same[numbers.below(same.len())].clone(),
        _ => int(0),
    }
}

fn integer(numbers: &mut Numbers, axes: &Axes) -> Expr {
    match numbers.below(5) {
        0 => axes[numbers.below(axes.len())].0.clone() + int(numbers.below(7) as i64),
        1 => axes[numbers.below(axes.len())].0.clone() * int(numbers.below(4) as i64) / int(3),
        2 => load(2, [coordinate(numbers, axes, 0)]).max(int(2)).and(int(13)),
        3 => integer(numbers, axes).shl(1) - axes[numbers.below(axes.len())].0.clone(),
        _ => axes[numbers.below(axes.len())].0.clone(),
    }
}

fn condition(numbers: &mut Numbers, axes: &Axes, depth: usize) -> Expr {
    match numbers.below(4) {
        0 => real(numbers, axes, depth).lt(f32(numbers.real())),
        1 => integer(numbers, axes).le(int(numbers.below(8) as i64)),
        2 => integer(numbers, axes).equals(integer(numbers, axes)),
        _ => axes[numbers.below(axes.len())].0.clone().lt(int(numbers.below(9) as i64)),
    }
}

fn real(numbers: &mut Numbers, axes: &Axes, depth: usize) -> Expr {
    if depth == 0 {
        return match numbers.below(4) {
            0 => f32(numbers.real()),
            1 => load(1, [coordinate(numbers, axes, 2)]),
            _ => load(
                0,
                [coordinate(numbers, axes, 0), coordinate(numbers, axes, 1), coordinate(numbers, axes, 2)],
            ),
        };
    }
    let inner = |numbers: &mut Numbers| real(numbers, axes, depth - 1);
    match numbers.below(12) {
        0 => inner(numbers) + inner(numbers),
        1 => inner(numbers) - inner(numbers),
        2 => inner(numbers) * inner(numbers),
        3 => inner(numbers) / (f32(1.5) + inner(numbers).abs()),
        4 => inner(numbers).min(inner(numbers)),
        5 => inner(numbers).max(inner(numbers)),
        6 => (inner(numbers).min(f32(2.0))).exp(),
        7 => (inner(numbers).abs() + f32(0.5)).log(),
        8 => integer(numbers, axes).cast(Cast::ToF32) * f32(0.25),
        9 => condition(numbers, axes, depth - 1).select(inner(numbers), inner(numbers)),
        _ if axes.len() < 6 => {
            let dim = numbers.below(3);
            let is_sum = numbers.below(2) == 0;
            let body = |k: Expr| {
                let mut axes = axes.clone();
                axes.push((k, dim));
                real(numbers, &axes, depth - 1)
            };
            if is_sum { sum(extent(dim), body) * f32(0.1) } else { max_over(extent(dim), body) }
        }
        _ => inner(numbers),
    }
}

fn kernel(seed: u64) -> BodyKernel {
    let mut numbers = Numbers(seed);
    let rank = 1 + numbers.below(3);
    let dims: Vec<usize> = (0..rank).map(|_| numbers.below(3)).collect();
    let axes = dims.iter().enumerate().map(|(i, &d)| (axis(i), d)).collect();
    let body = Body::new(&real(&mut numbers, &axes, 4));
    let shape = dims.iter().map(|&d| if d == 0 { Dim::symbol("n") } else { Dim::from(EXTENTS[d]) });
    let inputs = ["f32[n, 6, 11]", "f16[11]", "i32[n]"].map(|t| TensorType::parse(t).expect("a type"));
    let output = TensorType::new(ir::DType::F32, shape);
    BodyKernel { inputs: inputs.to_vec(), output, body, symbols: vec!["n".into()] }
}

fn check(seed: u64, n: i64) {
    let kernel = kernel(seed);
    let symbols = Symbols::new().with("n", n);
    let mut numbers = Numbers(seed ^ 0x5555);
    let inputs: Vec<Tensor> = kernel.inputs.iter().map(|ty| numbers.tensor(ty, &symbols, 6)).collect();
    let refs: Vec<&Tensor> = inputs.iter().collect();
    let expected = evaluate_body(&kernel.body, &kernel.output, &refs, None, &symbols).expect("it evaluates");
    let found =
        run(&kernel, &inputs, &symbols, Parts::Whole).unwrap_or_else(|e| panic!("{e}: {}", kernel.body));
    let apart = difference(&found, &expected);
    assert!(apart < 1e-3, "{apart} apart, {}: {}", kernel.output, kernel.body);
    assert!(
        run(&kernel, &inputs, &symbols, Parts::OneByOne).unwrap() == found,
        "parts differ: {}",
        kernel.body
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_random_body_computes_what_the_interpreter_says(seed in any::<u64>(), n in 1i64..9) {
        check(seed, n);
    }
}

/// Rows end where a part of the axis' range does, and no vector does.
#[test]
fn a_random_body_whose_range_is_cut_stays_inside_its_output() {
    check(10081564188892002631, 1);
}
