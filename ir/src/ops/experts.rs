//! What the operators over experts share: which experts a device holds, who is chosen, what a step must do.
//!
//! Who is chosen is given by routing weights, f32 `[n, e]`: a row names the experts whose weight is not 0, in order
//! of their numbers, as many as there is room for. A device may hold a part of the experts, neighbours by number; what
//! the others would add, other devices do.
use super::{OpError, check};
use crate::quant::Format;
use crate::work::{Operations, StepSize, Work};
use crate::{DType, Dim, TensorType};
use std::ops::Range;

/// The numbers of the experts whose weights are at hand, once the types are known to fit.
///
/// `routing` is input 1 and f32 `[n, e]`; `weights`, from input 2 on, are real `[held, o, k]`, as many each.
pub(super) fn held(
    first: u64,
    x: &TensorType,
    routing: &TensorType,
    weights: &[TensorType],
) -> Result<Range<u64>, OpError> {
    let fits = matches!(x.dtype, DType::F32 | DType::Quant(Format::Q8A));
    check::elements(0, x, "f32 or q8_a", fits)?;
    let (width, rows) = check::last_axis(0, x)?;
    let [_, experts] = check::axes(1, routing)?;
    let n = rows.first().ok_or_else(|| OpError::Invalid(format!("{x} has no axis of tokens")))?;
    check::exactly(1, routing, TensorType::new(DType::F32, [n.clone(), experts.clone()]))?;
    let all = check::constant("the number of experts", experts)? as u64;
    let mut count = None;
    for (index, w) in (2..).zip(weights) {
        check::elements(index, w, "a real dtype", w.dtype.is_real())?;
        let [held, o, _] = check::axes(index, w)?;
        let held = check::constant("the number of experts held", held)?;
        let held = *count.get_or_insert(held);
        check::exactly(index, w, TensorType::new(w.dtype, [held.into(), o.clone(), width.clone()]))?;
    }
    let count = count.ok_or(OpError::Arity { expected: 3, found: 2 })? as u64;
    match first.checked_add(count) {
        Some(end) if end <= all => Ok(first..end),
        _ => Err(OpError::Invalid(format!("{count} experts from {first} on are not among {all}"))),
    }
}

/// The experts that a row of routing weights names, with their weights; at most `room`.
pub(super) fn chosen(row: &[f32], room: u64) -> impl Iterator<Item = (u64, f32)> {
    let named = row.iter().copied().enumerate().filter(|(_, weight)| *weight != 0.0);
    named.map(|(expert, weight)| (expert as u64, weight)).take(usize::try_from(room).unwrap_or(usize::MAX))
}

/// What products take whose tokens choose `room` experts each, as if every expert were chosen as often as any other:
/// of the weights what the tokens are expected to need, of the products the share of the experts held.
pub(super) fn work(inputs: &[TensorType], output: &TensorType, room: &Dim, step: &StepSize) -> Option<Work> {
    let mut work = Work::moving(inputs, output, step)?;
    let [n, experts] = step.symbols.extents(&inputs[1])?[..] else { return None };
    let room = step.symbols.eval(room)? as f64;
    let [held, ..] = step.symbols.extents(&inputs[2])?[..] else { return None };
    let spared = (1.0 - (room / experts as f64).min(1.0)).powf(n as f64);
    let mut products = 0.0;
    for (read, weight) in work.reads[2..].iter_mut().zip(&inputs[2..]) {
        *read = (*read as f64 * (1.0 - spared)) as u64;
        let [_, o, k] = step.symbols.extents(weight)?[..] else { return None };
        products += 2.0 * n as f64 * room * (held as f64 / experts as f64) * o as f64 * k as f64;
    }
    work.operations = match inputs[0].dtype {
        DType::Quant(Format::Q8A) => Operations { int8: products as u64, ..Operations::default() },
        _ => Operations { f32: products as u64, ..Operations::default() },
    };
    Some(work)
}

#[cfg(test)]
mod tests {
    use crate::ops::{ExpertCombine, ExpertLinear};
    use crate::work::StepSize;
    use crate::{Dim, Op, Symbols, Tensor, TensorType};

    const ALL: u64 = 4;

    /// Small whole numbers, so that sums are exact.
    fn numbers(shape: &[u64]) -> Tensor {
        let mut next = 0;
        Tensor::build(shape, |_| {
            next = (next * 5 + 3) % 17;
            next as f32 - 8.0
        })
    }

    /// Those of the experts `first..end`.
    fn part(weight: &Tensor, first: u64, end: u64) -> Tensor {
        let [_, o, k] = weight.shape()[..] else { panic!("a weight has three axes") };
        let values: Vec<f32> = (first..end).flat_map(|expert| weight.row(expert as usize)).collect();
        Tensor::f32(&[end - first, o, k], &values)
    }

    #[test]
    fn parts_of_the_experts_add_up_to_the_whole() {
        let (x, up, down) = (numbers(&[3, 5]), numbers(&[ALL, 6, 5]), numbers(&[ALL, 2, 6]));
        // The last names one more than there is room for.
        let routing = Tensor::f32(&[3, ALL], &[0.0, 0.5, 0.0, 0.25, 0.0, 0.0, 0.0, 1.0, 2.0, 0.0, 4.0, 8.0]);
        let layer = |first, end| {
            let eval = |op: Op, inputs: &[&Tensor]| op.eval(inputs, &Symbols::new()).expect("it has a value");
            let h = eval(ExpertLinear { first, k: 2 }.into(), &[&x, &routing, &part(&up, first, end)]);
            let sum = eval(ExpertCombine { first }.into(), &[&h, &routing, &part(&down, first, end)]);
            [h.to_f32(), sum.to_f32()]
        };
        let whole = layer(0, ALL);
        for cut in 1..ALL {
            let (low, high) = (layer(0, cut), layer(cut, ALL));
            for i in 0..2 {
                let sum: Vec<f32> = low[i].iter().zip(&high[i]).map(|(a, b)| a + b).collect();
                assert_eq!(sum, whole[i], "cut at {cut}");
            }
        }
        // The one row of the second token, and room left.
        let own = &whole[0][2 * 6..4 * 6];
        assert!(own[..6].iter().any(|v| *v != 0.0) && own[6..].iter().all(|v| *v == 0.0));
    }

    #[test]
    fn a_token_reads_its_experts_and_many_read_all() {
        let rows = |shape: &[i64]| {
            let shape = shape.iter().map(|&d| Dim::from(d));
            TensorType::new(crate::DType::F32, [Dim::symbol("n")].into_iter().chain(shape))
        };
        let weight = TensorType::f32(&[16, 64, 32]);
        let work = |first, held: i64, n| {
            let inputs = [rows(&[32]), rows(&[128]), TensorType::f32(&[held, 64, 32])];
            let step = StepSize { symbols: Symbols::new().with("n", n), sequences: vec![] };
            let work = Op::from(ExpertLinear { first, k: 8 }).work(&inputs, &step).expect("n has a value");
            (work.reads[2], work.operations.f32, work.writes)
        };
        let one = weight.bytes(|_| None).expect("it is known") / 16;
        assert_eq!(work(0, 128, 1), (8 * one, 8 * 2 * 64 * 32, 8 * 64 * 4));
        assert_eq!(work(32, 16, 1), (one, 2 * 64 * 32, 8 * 64 * 4));
        let (read, products, _) = work(0, 128, 1000);
        assert!((127 * one..=128 * one).contains(&read));
        assert_eq!(products, 1000 * 8 * 2 * 64 * 32);
    }
}
