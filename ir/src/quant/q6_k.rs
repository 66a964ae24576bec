//! `q6_k`: blocks of 256 codes of 6 bits, from -32 to 31, in 16 groups with an 8-bit scale each.
//!
//! 210 bytes: 128 bytes with the low four bits of the codes plus 32, two planes in every 64 bytes; 64 bytes with
//! their top two bits, four planes in every 32 bytes; 16 i8 scales; f16 unit of the scales.
use super::planes::Planes;
use super::{Layout, Parts, fit, read_f16, write_f16};

const GROUPS: usize = 16;
const LOW: Planes = Planes { at: 0, bits: 4, run: 64 };
const HIGH: Planes = Planes { at: 128, bits: 2, run: 32 };
const SCALES: usize = 192;
const D: usize = 208;

pub(super) struct Q6K;

impl Layout for Q6K {
    const LEN: usize = 256;
    const BYTES: usize = 210;
    const GROUP: usize = Self::LEN / GROUPS;

    fn unpack(block: &[u8], parts: &mut Parts) {
        let d = read_f16(block, D);
        for g in 0..GROUPS {
            parts.scales[g] = d * f32::from(block[SCALES + g] as i8);
        }
        for i in 0..Self::LEN {
            parts.codes[i] = (LOW.get(block, i) | HIGH.get(block, i) << 4) as i8 - 32;
        }
    }

    fn quantise(values: &[f32], block: &mut [u8]) {
        let (d, steps) = fit::symmetric::<GROUPS>(values, -32, 127);
        write_f16(block, D, d);
        for (g, step) in steps.into_iter().enumerate() {
            block[SCALES + g] = step as u8;
        }
        for (i, v) in values.iter().enumerate() {
            let step = d.to_f32() * f32::from(steps[i / Self::GROUP]);
            let code = (fit::code(v / step, -32, 31) + 32) as u8;
            LOW.set(block, i, code);
            HIGH.set(block, i, code >> 4);
        }
    }
}
