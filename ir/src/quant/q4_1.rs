//! `q4_1`: blocks of 32 codes of 4 bits, from 0 to 15, with one scale and one offset.
//!
//! 20 bytes: f16 scale; f16 offset, which is added; 16 bytes of codes, the first 16 in the low nibbles,
//! the others in the high.
use super::planes::Planes;
use super::{Layout, Parts, fit, read_f16, write_f16};

const CODES: Planes = Planes { at: 4, bits: 4, run: 16 };

pub(super) struct Q4_1;

impl Layout for Q4_1 {
    const LEN: usize = 32;
    const BYTES: usize = 20;
    const GROUP: usize = 32;

    fn unpack(block: &[u8], parts: &mut Parts) {
        parts.scales[0] = read_f16(block, 0);
        parts.mins[0] = -read_f16(block, 2);
        for i in 0..Self::LEN {
            parts.codes[i] = CODES.get(block, i) as i8;
        }
    }

    fn quantise(values: &[f32], block: &mut [u8]) {
        let (d, offset) = fit::offset(values, 15);
        write_f16(block, 0, d);
        write_f16(block, 2, offset);
        for (i, v) in values.iter().enumerate() {
            CODES.set(block, i, fit::code((v - offset.to_f32()) / d.to_f32(), 0, 15) as u8);
        }
    }
}
