//! `q8_a`: activations for integer products, blocks of 32 codes of 8 bits with one scale and one sum.
//!
//! 40 bytes: f32 scale; f32 sum, which is the scale times the sum of the codes, so that a product with weights
//! that have a min needs no second pass over the codes; 32 i8 codes.
//!
//! Kernels make these blocks too, so quantising is exact to the bit: with `a` the largest magnitude, the scale is
//! `a / 127` with the last two of its 24 bits cleared, and a code is `x * (127 / a)`, rounded with ties to even; a
//! block of zeros has scale zero. A scale of 22 bits times [`MAGIC`] is exact, which is what products need to scale
//! an integer without converting it first. Beyond a scale of 2¹⁰⁴ that product is infinite and sums are NaN.
use super::{Layout, Parts, fit};

pub(super) struct Q8A;

/// 1.5 × 2²³: an i32 below 2²² in magnitude added to its bits gives the f32 that is so much greater.
pub const MAGIC: f32 = 12_582_912.0;

/// The scale of a block whose largest magnitude is `most`.
pub fn scale(most: f32) -> f32 {
    f32::from_bits((most / 127.0).to_bits() & !3)
}

impl Layout for Q8A {
    const LEN: usize = 32;
    const BYTES: usize = 40;
    const GROUP: usize = 32;

    fn unpack(block: &[u8], parts: &mut Parts) {
        parts.scales[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
        for (code, &byte) in parts.codes.iter_mut().zip(&block[8..Self::BYTES]) {
            *code = byte as i8;
        }
    }

    fn quantise(values: &[f32], block: &mut [u8]) {
        let most = fit::extreme(values).abs();
        let (scale, inverse) = (scale(most), if most == 0.0 { 0.0 } else { 127.0 / most });
        let mut sum = 0;
        for (byte, v) in block[8..].iter_mut().zip(values) {
            let code = (v * inverse).round_ties_even() as i8;
            sum += i32::from(code);
            *byte = code as u8;
        }
        block[..4].copy_from_slice(&scale.to_le_bytes());
        block[4..8].copy_from_slice(&(scale * sum as f32).to_le_bytes());
    }
}
