//! `q5_1`: blocks of 32 codes of 5 bits, from 0 to 31, with one scale and one offset.
//!
//! 24 bytes: f16 scale; f16 offset, which is added; 4 bytes with the top bits of the codes, in order; 16 bytes
//! with their low four bits, the first 16 in the low nibbles, the others in the high.
use super::planes::Planes;
use super::{Layout, Parts, fit, read_f16, write_f16};

const HIGH: Planes = Planes { at: 4, bits: 1, run: 1 };
const LOW: Planes = Planes { at: 8, bits: 4, run: 16 };

pub(super) struct Q5_1;

impl Layout for Q5_1 {
    const LEN: usize = 32;
    const BYTES: usize = 24;
    const GROUP: usize = 32;

    fn unpack(block: &[u8], parts: &mut Parts) {
        parts.scales[0] = read_f16(block, 0);
        parts.mins[0] = -read_f16(block, 2);
        for i in 0..Self::LEN {
            parts.codes[i] = (LOW.get(block, i) | HIGH.get(block, i) << 4) as i8;
        }
    }

    fn quantise(values: &[f32], block: &mut [u8]) {
        let (d, offset) = fit::offset(values, 31);
        write_f16(block, 0, d);
        write_f16(block, 2, offset);
        for (i, v) in values.iter().enumerate() {
            let code = fit::code((v - offset.to_f32()) / d.to_f32(), 0, 31) as u8;
            LOW.set(block, i, code);
            HIGH.set(block, i, code >> 4);
        }
    }
}
