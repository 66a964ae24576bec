//! `iq4_nl`: blocks of 32 codes of 4 bits that pick from sixteen unevenly spaced levels, with one scale.
//!
//! 18 bytes: f16 scale; 16 bytes of indices into the levels, the first 16 in the low nibbles, the others in the
//! high.
use super::planes::Planes;
use super::{Layout, Parts, fit, read_f16, write_f16};

const LEVELS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
const INDICES: Planes = Planes { at: 2, bits: 4, run: 16 };

pub(super) struct Iq4Nl;

impl Layout for Iq4Nl {
    const LEN: usize = 32;
    const BYTES: usize = 18;
    const GROUP: usize = 32;

    fn unpack(block: &[u8], parts: &mut Parts) {
        parts.scales[0] = read_f16(block, 0);
        for i in 0..Self::LEN {
            parts.codes[i] = LEVELS[usize::from(INDICES.get(block, i))];
        }
    }

    fn quantise(values: &[f32], block: &mut [u8]) {
        // The value of largest magnitude gets the level furthest from zero.
        let d = fit::cover(fit::extreme(values) / f32::from(LEVELS[0]));
        write_f16(block, 0, d);
        for (i, v) in values.iter().enumerate() {
            INDICES.set(block, i, nearest(v / d.to_f32()));
        }
    }
}

fn nearest(x: f32) -> u8 {
    LEVELS.windows(2).filter(|pair| x > (f32::from(pair[0]) + f32::from(pair[1])) / 2.0).count() as u8
}
