//! `q5_0`: blocks of 32 codes of 5 bits, from -16 to 15, with one scale.
//!
//! 22 bytes: f16 scale; 4 bytes with the top bits of the codes plus 16, in order; 16 bytes with their low four
//! bits, the first 16 in the low nibbles, the others in the high.
use super::planes::Planes;
use super::{Layout, Parts, fit, read_f16, write_f16};

const HIGH: Planes = Planes { at: 2, bits: 1, run: 1 };
const LOW: Planes = Planes { at: 6, bits: 4, run: 16 };

pub(super) struct Q5_0;

impl Layout for Q5_0 {
    const LEN: usize = 32;
    const BYTES: usize = 22;
    const GROUP: usize = 32;

    fn unpack(block: &[u8], parts: &mut Parts) {
        parts.scales[0] = read_f16(block, 0);
        for i in 0..Self::LEN {
            parts.codes[i] = (LOW.get(block, i) | HIGH.get(block, i) << 4) as i8 - 16;
        }
    }

    fn quantise(values: &[f32], block: &mut [u8]) {
        // The value of largest magnitude gets the code -16, which has no positive partner.
        let d = fit::cover(fit::extreme(values) / -16.0);
        write_f16(block, 0, d);
        for (i, v) in values.iter().enumerate() {
            let code = (fit::code(v / d.to_f32(), -16, 15) + 16) as u8;
            LOW.set(block, i, code);
            HIGH.set(block, i, code >> 4);
        }
    }
}
