//! `q2_k`: blocks of 256 codes of 2 bits, from 0 to 3, in 16 groups with a 4-bit scale and a 4-bit min each.
//!
//! 84 bytes: 16 bytes, one a group, with the scale in the low nibble and the min in the high; 64 bytes of codes,
//! four planes in every 32 bytes; f16 unit of the scales; f16 unit of the mins.
use super::planes::Planes;
use super::{Layout, Parts, fit, read_f16, write_f16};

const GROUPS: usize = 16;
const SCALES: usize = 0;
const CODES: Planes = Planes { at: 16, bits: 2, run: 32 };
const D: usize = 80;
const DMIN: usize = 82;

pub(super) struct Q2K;

impl Layout for Q2K {
    const LEN: usize = 256;
    const BYTES: usize = 84;
    const GROUP: usize = Self::LEN / GROUPS;

    fn unpack(block: &[u8], parts: &mut Parts) {
        let (d, dmin) = (read_f16(block, D), read_f16(block, DMIN));
        for g in 0..GROUPS {
            parts.scales[g] = d * f32::from(block[SCALES + g] & 15);
            parts.mins[g] = dmin * f32::from(block[SCALES + g] >> 4);
        }
        for i in 0..Self::LEN {
            parts.codes[i] = CODES.get(block, i) as i8;
        }
    }

    fn quantise(values: &[f32], block: &mut [u8]) {
        let fit = fit::affine::<GROUPS>(values, 3, 15);
        for g in 0..GROUPS {
            block[SCALES + g] = fit.scales[g] | fit.mins[g] << 4;
        }
        write_f16(block, D, fit.d);
        write_f16(block, DMIN, fit.dmin);
        for (i, &v) in values.iter().enumerate() {
            CODES.set(block, i, fit.code(i / Self::GROUP, v, 3));
        }
    }
}
