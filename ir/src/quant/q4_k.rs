//! `q4_k`: blocks of 256 codes of 4 bits, from 0 to 15, in 8 groups with a 6-bit scale and a 6-bit min each.
//!
//! 144 bytes: f16 unit of the scales; f16 unit of the mins; 12 bytes of scales and mins; 128 bytes of codes, two
//! planes in every 32 bytes.
//!
//! The 12 bytes are three fours. The first holds scales 0 to 3 in its low six bits, the second mins 0 to 3. The
//! third holds the low nibbles of scales 4 to 7 in its low nibbles and those of mins 4 to 7 in its high ones;
//! their top two bits are the top two bits of the first four and of the second.
use super::planes::Planes;
use super::{Layout, Parts, fit, read_f16, write_f16};

pub(super) const GROUPS: usize = 8;
const CODES: Planes = Planes { at: 16, bits: 4, run: 32 };

pub(super) struct Q4K;

impl Layout for Q4K {
    const LEN: usize = 256;
    const BYTES: usize = 144;
    const GROUP: usize = Self::LEN / GROUPS;

    fn unpack(block: &[u8], parts: &mut Parts) {
        read_groups(block, parts);
        for i in 0..Self::LEN {
            parts.codes[i] = CODES.get(block, i) as i8;
        }
    }

    fn quantise(values: &[f32], block: &mut [u8]) {
        let fit = fit::affine::<GROUPS>(values, 15, 63);
        write_groups(block, &fit);
        for (i, &v) in values.iter().enumerate() {
            CODES.set(block, i, fit.code(i / Self::GROUP, v, 15));
        }
    }
}

/// Reads the scales and mins at the head of the block, which `q5_k` has too.
pub(super) fn read_groups(block: &[u8], parts: &mut Parts) {
    let (d, dmin) = (read_f16(block, 0), read_f16(block, 2));
    let packed = &block[4..16];
    for g in 0..4 {
        let (scale, min, low) = (packed[g], packed[4 + g], packed[8 + g]);
        parts.scales[g] = d * f32::from(scale & 63);
        parts.mins[g] = dmin * f32::from(min & 63);
        parts.scales[4 + g] = d * f32::from(low & 15 | scale >> 6 << 4);
        parts.mins[4 + g] = dmin * f32::from(low >> 4 | min >> 6 << 4);
    }
}

/// Writes what [`read_groups`] reads.
pub(super) fn write_groups(block: &mut [u8], fit: &fit::Affine<GROUPS>) {
    write_f16(block, 0, fit.d);
    write_f16(block, 2, fit.dmin);
    let packed = &mut block[4..16];
    for g in 0..4 {
        let (scale, min) = (fit.scales[4 + g], fit.mins[4 + g]);
        packed[g] = fit.scales[g] | scale >> 4 << 6;
        packed[4 + g] = fit.mins[g] | min >> 4 << 6;
        packed[8 + g] = scale & 15 | min << 4;
    }
}
