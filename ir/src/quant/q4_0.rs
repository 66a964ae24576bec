//! `q4_0`: blocks of 32 codes of 4 bits, from -8 to 7, with one scale.
//!
//! 18 bytes: f16 scale; 16 bytes of codes plus 8, the first 16 in the low nibbles, the others in the high.
use super::planes::Planes;
use super::{Layout, Parts, fit, read_f16, write_f16};

const CODES: Planes = Planes { at: 2, bits: 4, run: 16 };

pub(super) struct Q4_0;

impl Layout for Q4_0 {
    const LEN: usize = 32;
    const BYTES: usize = 18;
    const GROUP: usize = 32;

    fn unpack(block: &[u8], parts: &mut Parts) {
        parts.scales[0] = read_f16(block, 0);
        for i in 0..Self::LEN {
            parts.codes[i] = CODES.get(block, i) as i8 - 8;
        }
    }

    fn quantise(values: &[f32], block: &mut [u8]) {
        // The value of largest magnitude gets the code -8, which has no positive partner.
        let d = fit::cover(fit::extreme(values) / -8.0);
        write_f16(block, 0, d);
        for (i, v) in values.iter().enumerate() {
            CODES.set(block, i, (fit::code(v / d.to_f32(), -8, 7) + 8) as u8);
        }
    }
}
