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
