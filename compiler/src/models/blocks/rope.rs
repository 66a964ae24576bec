//! Rotary embedding (Su et al., 2021): tables of cosines and sines by position.
use crate::import::Rope;
use ir::Tensor;

/// Cosines and sines, each f32[positions, pairs].
pub(crate) fn tables(rope: &Rope, positions: u64) -> (Tensor, Tensor) {
    let frequencies = rope.frequencies();
    let shape = [positions, frequencies.len() as u64];
    let angle = |at: &[u64]| at[0] as f64 * f64::from(frequencies[at[1] as usize]);
    let cos = Tensor::build(&shape, |at| angle(at).cos() as f32);
    let sin = Tensor::build(&shape, |at| angle(at).sin() as f32);
    (cos, sin)
}
