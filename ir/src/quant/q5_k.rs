//! `q5_k`: blocks of 256 codes of 5 bits, from 0 to 31, in 8 groups with a 6-bit scale and a 6-bit min each.
//!
//! 176 bytes: 16 bytes of units, scales and mins as in `q4_k`; 32 bytes with the top bits of the codes, eight
//! planes; 128 bytes with their low four bits, two planes in every 32 bytes.
use super::planes::Planes;
use super::q4_k::{GROUPS, read_groups, write_groups};
use super::{Layout, Parts, fit};

const HIGH: Planes = Planes { at: 16, bits: 1, run: 32 };
const LOW: Planes = Planes { at: 48, bits: 4, run: 32 };

pub(super) struct Q5K;

impl Layout for Q5K {
    const LEN: usize = 256;
    const BYTES: usize = 176;
    const GROUP: usize = Self::LEN / GROUPS;

    fn unpack(block: &[u8], parts: &mut Parts) {
        read_groups(block, parts);
        for i in 0..Self::LEN {
            parts.codes[i] = (LOW.get(block, i) | HIGH.get(block, i) << 4) as i8;
        }
    }

    fn quantise(values: &[f32], block: &mut [u8]) {
        let fit = fit::affine::<GROUPS>(values, 31, 63);
        write_groups(block, &fit);
        for (i, &v) in values.iter().enumerate() {
            let code = fit.code(i / Self::GROUP, v, 31);
            LOW.set(block, i, code);
            HIGH.set(block, i, code >> 4);
        }
    }
}
