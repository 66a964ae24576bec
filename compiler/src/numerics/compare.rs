//! How far a value is from what it stands for, and how far it may be.
use super::align::Stretch;
use ir::plan::{Activations, Options};
use ir::{DType, Op, Tensor};
use std::collections::{HashMap, HashSet};

/// A row whose greatest magnitude is less than this part of the whole value's is held to this part of it: what
/// nearly cancels has no digits.
const FLOOR: f32 = 1e-3;
/// An error this many times those of the inputs is looked into.
const GROWTH: f64 = 8.0;

/// How far a value may be from the reference's.
#[derive(Clone, Copy)]
pub(super) struct Tolerance {
    pub(super) jump: f64,
    pub(super) drift: f64,
    /// Whether a row's error is that of its mean square, not of its worst element: rounding to int8 is noise, of
    /// which an element in thousands has several times as much as the others.
    pub(super) is_mean: bool,
}

impl Tolerance {
    /// Exact activations leave rounding alone, and that of the caches; int8 has 127 steps to a block's greatest.
    pub(super) fn of(options: &Options) -> Tolerance {
        match (options.activations, options.kv) {
            (Activations::F32, DType::F32) => Tolerance { jump: 2e-4, drift: 1e-2, is_mean: false },
            (Activations::F32, _) => Tolerance { jump: 2e-3, drift: 3e-2, is_mean: false },
            (Activations::Int8, _) => Tolerance { jump: 0.1, drift: 0.6, is_mean: true },
        }
    }

    /// Whether an error looks beyond tolerance, where the greatest of the inputs' is `inputs`.
    pub(super) fn is_beyond(&self, error: f64, inputs: f64) -> bool {
        error > self.drift || error > self.jump && error > GROWTH * inputs
    }
}

/// Where a value is farthest from what it should be.
pub(super) struct Deviation {
    /// Relative to the greatest magnitude of the row, or its mean square to that of the row.
    pub(super) error: f64,
    pub(super) at: Vec<u64>,
    pub(super) found: f32,
    pub(super) expected: f32,
}

/// How many of the last axes of a node's value are a row: of a cache a head's page, whichever way it lies.
pub(super) fn row_axes(op: &Op) -> usize {
    if matches!(op, Op::KvAppend(_)) { 2 } else { 1 }
}

/// What a value should be.
#[derive(Debug, PartialEq)]
pub(super) struct Expected {
    shape: Vec<u64>,
    values: Vec<f32>,
    /// How wide the pieces are that stand side by side in a row; each is held to its own greatest magnitude, for what
    /// reads one of them is, too.
    pieces: Vec<u64>,
}

/// The values that a stretch of the reference has.
pub(super) fn values_of(stretch: &Stretch, values: &HashMap<u32, Tensor>) -> Option<Expected> {
    let pieces: Vec<_> = stretch
        .pieces
        .iter()
        .map(|piece| Some((values.get(&piece.reference)?, piece)))
        .collect::<Option<_>>()?;
    let mut shape = pieces.first()?.0.shape().to_vec();
    if pieces.len() == 1 && pieces[0].1.range.is_none() {
        return Some(Expected::whole(pieces[0].0));
    }
    let axis = stretch.axis;
    let outer: u64 = shape.get(..axis)?.iter().product();
    let inner: u64 = shape.get(axis + 1..)?.iter().product();
    let mut parts = vec![];
    for (tensor, piece) in pieces {
        let whole = *tensor.shape().get(axis)?;
        let range = piece.range.clone().unwrap_or(0..whole);
        if range.end > whole || tensor.len() as u64 != outer * whole * inner {
            return None;
        }
        parts.push((tensor.to_f32(), whole, range));
    }
    let widths: Vec<u64> = parts.iter().map(|(_, _, range)| range.end - range.start).collect();
    shape[axis] = widths.iter().sum();
    let mut all = vec![];
    for row in 0..outer {
        for (values, whole, range) in &parts {
            let at = |index: u64| ((row * whole + index) * inner) as usize;
            all.extend_from_slice(&values[at(range.start)..at(range.end)]);
        }
    }
    let pieces = if axis + 1 == shape.len() { widths } else { vec![] };
    Some(Expected { shape, values: all, pieces })
}

/// The value of a `top_k` with logits in the place of places, for these are no quantities: those that the reference has
/// there, NaN where a place comes a second time. Which of two that are nearly equal comes first is so no error.
pub(super) fn looked_up(found: &Tensor, logits: &Tensor) -> Option<Tensor> {
    let values = with_logits(found.to_f32(), found.shape(), logits)?;
    Some(Tensor::f32(found.shape(), &values))
}

fn with_logits(mut values: Vec<f32>, shape: &[u64], logits: &Tensor) -> Option<Vec<f32>> {
    let (k, width) = (*shape.last()? as usize, *logits.shape().last()? as usize);
    let logits = logits.to_f32();
    if values.len() / (2 * k).max(1) * width != logits.len() {
        return None;
    }
    for (row, logits) in values.chunks_exact_mut((2 * k).max(1)).zip(logits.chunks_exact(width.max(1))) {
        let mut taken = HashSet::new();
        for at in &mut row[k..] {
            let is_new = taken.insert(at.to_bits());
            *at = logits.get(*at as usize).copied().filter(|_| is_new).unwrap_or(f32::NAN);
        }
    }
    Some(values)
}

impl Expected {
    /// All of a tensor.
    pub(super) fn whole(tensor: &Tensor) -> Expected {
        Expected { shape: tensor.shape().to_vec(), values: tensor.to_f32(), pieces: vec![] }
    }

    pub(super) fn to_tensor(&self) -> Tensor {
        Tensor::f32(&self.shape, &self.values)
    }

    /// See [`looked_up`].
    pub(super) fn looked_up(self, logits: &Tensor) -> Option<Expected> {
        Some(Expected { values: with_logits(self.values, &self.shape, logits)?, ..self })
    }
}

/// How far `found` is from `expected`; none where they are not of one shape. A row is so many of the last axes.
pub(super) fn deviation(
    found: &Tensor,
    Expected { shape, values: expected, pieces }: &Expected,
    row_axes: usize,
    tolerance: &Tolerance,
) -> Option<Deviation> {
    if found.shape() != shape {
        return None;
    }
    let found = found.to_f32();
    let width = (shape.iter().rev().take(row_axes).product::<u64>() as usize).max(1);
    let most = |values: &[f32]| {
        values.iter().fold(0.0f32, |most, v| if v.is_finite() { most.max(v.abs()) } else { most })
    };
    let floor = FLOOR * most(expected);
    let mut worst = (0.0, 0);
    let widths = if row_axes == 1 && !pieces.is_empty() { pieces.as_slice() } else { &[width as u64] };
    let mut widths = widths.iter().cycle().map(|width| *width as usize);
    let mut begin = 0;
    while begin < found.len() {
        let Some(own) = widths.by_ref().find(|width| *width > 0) else { break };
        let row = begin..(begin + own).min(found.len());
        let (found, expected) = (&found[row.clone()], &expected[row.clone()]);
        begin = row.end;
        let scale = f64::from(most(expected).max(floor));
        let (mut farthest, mut squares, mut of) = ((0.0, 0), 0.0, 0.0);
        for (column, (a, b)) in found.iter().zip(expected).enumerate() {
            let is_same = a == b || a.is_nan() && b.is_nan();
            let error = if is_same { 0.0 } else { (f64::from(*a) - f64::from(*b)).abs() / scale };
            let error = if error.is_nan() { f64::INFINITY } else { error };
            if error > farthest.0 {
                farthest = (error, row.start + column);
            }
            squares += error * error;
            of += if b.is_finite() { (f64::from(*b) / scale).powi(2) } else { 0.0 };
        }
        let mean = if squares > 0.0 { (squares / of).sqrt() } else { 0.0 };
        let error = if tolerance.is_mean { mean } else { farthest.0 };
        if error > worst.0 {
            worst = (error, farthest.1);
        }
    }
    let (error, at) = worst;
    Some(Deviation {
        error,
        at: index_of(at as u64, shape),
        found: found.get(at).copied().unwrap_or(0.0),
        expected: expected.get(at).copied().unwrap_or(0.0),
    })
}

/// The index of an element in row-major order.
fn index_of(mut at: u64, shape: &[u64]) -> Vec<u64> {
    let mut index = vec![0; shape.len()];
    for (index, extent) in index.iter_mut().zip(shape).rev() {
        (*index, at) = (at % extent.max(&1), at / extent.max(&1));
    }
    index
}

#[cfg(test)]
mod tests {
    use super::super::align::Piece;
    use super::*;

    const WORST: Tolerance = Tolerance { jump: 0.01, drift: 0.5, is_mean: false };

    #[test]
    fn an_error_is_relative_to_its_row() {
        let found = Tensor::f32(&[2, 2], &[100.0, 1.0, 2.0, 1.5]);
        let of = |shape: &[u64], values: &[f32], pieces: &[u64]| Expected {
            shape: shape.to_vec(),
            values: values.to_vec(),
            pieces: pieces.to_vec(),
        };
        let all = of(&[2, 2], &[100.0, 2.0, 2.0, 1.0], &[]);
        let worst = deviation(&found, &all, 1, &WORST).unwrap();
        assert_eq!((worst.error, worst.at, worst.found, worst.expected), (0.25, vec![1, 1], 1.5, 1.0));
        assert!(deviation(&found, &of(&[4], &[0.0; 4], &[]), 1, &WORST).is_none());
        // What stands beside great values is not lost in them.
        let pieces = deviation(&found, &of(&[2, 2], &[100.0, 2.0, 2.0, 1.0], &[1, 1]), 1, &WORST).unwrap();
        assert_eq!((pieces.error, pieces.at), (0.5, vec![0, 1]));
        let whole = deviation(&found, &all, 2, &WORST).unwrap();
        assert_eq!((whole.error, whole.at), (0.01, vec![0, 1]));
        let mean = deviation(
            &Tensor::f32(&[2], &[3.0, 3.0]),
            &of(&[2], &[3.0, 4.0], &[]),
            1,
            &Tolerance { is_mean: true, ..WORST },
        );
        assert_eq!(mean.map(|mean| (mean.error, mean.at)), Some((0.2, vec![1])));
        let broken = Tensor::f32(&[1], &[f32::NAN]);
        assert_eq!(deviation(&broken, &of(&[1], &[1.0], &[]), 1, &WORST).unwrap().error, f64::INFINITY);
        assert_eq!(deviation(&broken, &of(&[1], &[f32::NAN], &[]), 1, &WORST).unwrap().error, 0.0);
    }

    #[test]
    fn pieces_stand_side_by_side() {
        let values = HashMap::from([
            (3, Tensor::f32(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])),
            (5, Tensor::f32(&[2, 1], &[8.0, 9.0])),
        ]);
        let piece = |reference, range| Piece { reference, range };
        let stretch = Stretch { axis: 1, pieces: vec![piece(3, Some(1..3)), piece(5, None)] };
        let expected =
            Expected { shape: vec![2, 3], values: vec![1.0, 2.0, 8.0, 4.0, 5.0, 9.0], pieces: vec![2, 1] };
        assert_eq!(values_of(&stretch, &values), Some(expected));
        let beyond = Stretch { axis: 1, pieces: vec![piece(3, Some(2..4))] };
        assert_eq!(values_of(&beyond, &values), None);
    }

    #[test]
    fn places_are_held_to_their_logits_and_come_once() {
        let logits = Tensor::f32(&[1, 3], &[5.0, 7.0, 6.0]);
        let places = |a, b| looked_up(&Tensor::f32(&[1, 2, 2], &[7.0, 6.0, a, b]), &logits).unwrap().to_f32();
        assert_eq!(places(1.0, 2.0), [7.0, 6.0, 7.0, 6.0]);
        for [a, b] in [[1.0, 1.0], [1.0, 3.0]] {
            assert!(places(a, b)[3].is_nan());
        }
    }

    #[test]
    fn what_comes_of_the_inputs_is_excused_up_to_a_limit() {
        let tolerance = WORST;
        assert!(tolerance.is_beyond(0.02, 0.0) && !tolerance.is_beyond(0.005, 0.0));
        assert!(!tolerance.is_beyond(0.02, 0.01) && tolerance.is_beyond(0.6, 0.4));
        assert!(tolerance.is_beyond(0.1, 0.01) && !tolerance.is_beyond(0.07, 0.01));
    }
}
