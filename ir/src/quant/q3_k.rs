//! `q3_k`: blocks of 256 codes of 3 bits, from -4 to 3, in 16 groups with a signed 6-bit scale each.
//!
//! 110 bytes: 32 bytes with the top bits of the codes plus 4, eight planes; 64 bytes with their low two bits, four
//! planes in every 32 bytes; 12 bytes with the scales plus 32, the low nibbles in the first 8 (two planes), the
//! top two bits in the last 4 (four planes); f16 unit of the scales.
use super::planes::Planes;
use super::{Layout, Parts, fit, read_f16, write_f16};

const GROUPS: usize = 16;
const HIGH: Planes = Planes { at: 0, bits: 1, run: 32 };
const LOW: Planes = Planes { at: 32, bits: 2, run: 32 };
const SCALE_LOW: Planes = Planes { at: 96, bits: 4, run: 8 };
const SCALE_HIGH: Planes = Planes { at: 104, bits: 2, run: 4 };
const D: usize = 108;

pub(super) struct Q3K;

impl Layout for Q3K {
    const LEN: usize = 256;
    const BYTES: usize = 110;
    const GROUP: usize = Self::LEN / GROUPS;

    fn unpack(block: &[u8], parts: &mut Parts) {
        let d = read_f16(block, D);
        for g in 0..GROUPS {
            let scale = (SCALE_LOW.get(block, g) | SCALE_HIGH.get(block, g) << 4) as i8 - 32;
            parts.scales[g] = d * f32::from(scale);
        }
        for i in 0..Self::LEN {
            parts.codes[i] = (LOW.get(block, i) | HIGH.get(block, i) << 2) as i8 - 4;
        }
    }

    fn quantise(values: &[f32], block: &mut [u8]) {
        let (d, steps) = fit::symmetric::<GROUPS>(values, -4, 31);
        write_f16(block, D, d);
        for (g, step) in steps.into_iter().enumerate() {
            let scale = (step + 32) as u8;
            SCALE_LOW.set(block, g, scale);
            SCALE_HIGH.set(block, g, scale >> 4);
        }
        for (i, v) in values.iter().enumerate() {
            let step = d.to_f32() * f32::from(steps[i / Self::GROUP]);
            let code = (fit::code(v / step, -4, 3) + 4) as u8;
            LOW.set(block, i, code);
            HIGH.set(block, i, code >> 2);
        }
    }
}
