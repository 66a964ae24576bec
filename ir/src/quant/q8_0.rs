//! `q8_0`: blocks of 32 codes of 8 bits with one scale.
//!
//! 34 bytes: f16 scale; 32 i8 codes.
use super::{Layout, Parts, fit, read_f16, write_f16};

pub(super) struct Q8_0;

impl Layout for Q8_0 {
    const LEN: usize = 32;
    const BYTES: usize = 34;
    const GROUP: usize = 32;

    fn unpack(block: &[u8], parts: &mut Parts) {
        parts.scales[0] = read_f16(block, 0);
        for (code, &byte) in parts.codes.iter_mut().zip(&block[2..Self::BYTES]) {
            *code = byte as i8;
        }
    }

    fn quantise(values: &[f32], block: &mut [u8]) {
        let d = fit::cover(fit::extreme(values).abs() / 127.0);
        write_f16(block, 0, d);
        for (byte, v) in block[2..].iter_mut().zip(values) {
            *byte = fit::code(v / d.to_f32(), -127, 127) as u8;
        }
    }
}
