//! How a block of codes, 32 of each of a tile's 16 rows, lies in memory.
//!
//! Codes stand by fours of k: a vector of 64 holds, row by row, 4 neighbours in k of each of the 16 rows, which
//! is what the integer dot products of all instruction sets take. A block is 8 such vectors.
use super::simd::Simd;

/// Rows of a tile.
pub const TILE: usize = 16;
/// Values in k that a block of codes spans.
pub const BLOCK: usize = 32;

/// How the codes of a block lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// 4 bits, two vectors in 64 bytes: the first in the low halves of the bytes; before them so many planes of one bit
    /// more, 64 bits a vector, the lowest first.
    Nibbles {
        /// How many.
        planes: usize,
    },
    /// A byte each.
    Bytes,
    /// 4 bits that stand for [`LEVELS`].
    Levels,
}

/// A width of codes. They are unsigned; `ZERO` is what stands for zero where a layout has no min.
pub(crate) trait Codes {
    /// Bytes of a block.
    const BYTES: usize;
    const ZERO: u8;
    /// Whether codes reach beyond 127.
    const FULL: bool;
    const WIDTH: Width;

    /// Vectors 2 × `j` and 2 × `j` + 1 of the block at `p`.
    unsafe fn pair<S: Simd>(p: *const u8, j: usize) -> (S::C, S::C);
    /// The code of `row` at `k`.
    fn get(block: &[u8], row: usize, k: usize) -> u8;
    /// Sets what [`Codes::get`] gives, in a block where it was never set.
    fn put(block: &mut [u8], row: usize, k: usize, code: u8);
}

/// Where a code lies among the vectors: which vector, and which of its 64.
fn place(row: usize, k: usize) -> (usize, usize) {
    (k / 4, row * 4 + k % 4)
}

/// Codes of 4 + `PLANES` bits: first the planes, 64 bits a vector, lowest plane first; then the low 4 bits, two
/// vectors in 64 bytes.
pub(crate) struct Bits<const PLANES: usize>;

impl<const PLANES: usize> Codes for Bits<PLANES> {
    const BYTES: usize = 64 * PLANES + 256;
    const ZERO: u8 = 8 << PLANES;
    const FULL: bool = false;
    const WIDTH: Width = Width::Nibbles { planes: PLANES };

    #[inline(always)]
    unsafe fn pair<S: Simd>(p: *const u8, j: usize) -> (S::C, S::C) {
        unsafe {
            let (mut even, mut odd) = S::nibbles(p.add(64 * (PLANES + j)));
            for plane in 0..PLANES {
                let mask = p.add(64 * plane + 16 * j);
                even = S::with_bit(even, mask, 16 << plane);
                odd = S::with_bit(odd, mask.add(8), 16 << plane);
            }
            (even, odd)
        }
    }

    fn get(block: &[u8], row: usize, k: usize) -> u8 {
        let (vector, at) = place(row, k);
        let byte = block[64 * (PLANES + vector / 2) + at];
        let low = byte >> (4 * (vector % 2)) & 15;
        (0..PLANES).fold(low, |code, plane| {
            let bit = block[64 * plane + 8 * vector + at / 8] >> (at % 8) & 1;
            code | bit << (4 + plane)
        })
    }

    fn put(block: &mut [u8], row: usize, k: usize, code: u8) {
        let (vector, at) = place(row, k);
        block[64 * (PLANES + vector / 2) + at] |= (code & 15) << (4 * (vector % 2));
        for plane in 0..PLANES {
            block[64 * plane + 8 * vector + at / 8] |= (code >> (4 + plane) & 1) << (at % 8);
        }
    }
}

/// Codes of a byte.
pub(crate) struct Bytes<const FULL: bool>;

impl<const FULL: bool> Codes for Bytes<FULL> {
    const BYTES: usize = 512;
    const ZERO: u8 = 128;
    const FULL: bool = FULL;
    const WIDTH: Width = Width::Bytes;

    #[inline(always)]
    unsafe fn pair<S: Simd>(p: *const u8, j: usize) -> (S::C, S::C) {
        unsafe { (S::bytes(p.add(128 * j)), S::bytes(p.add(128 * j + 64))) }
    }

    fn get(block: &[u8], row: usize, k: usize) -> u8 {
        let (vector, at) = place(row, k);
        block[64 * vector + at]
    }

    fn put(block: &mut [u8], row: usize, k: usize, code: u8) {
        let (vector, at) = place(row, k);
        block[64 * vector + at] = code;
    }
}

/// Codes of 4 bits that stand for the unevenly spaced levels of `iq4_nl`.
pub(crate) struct Levels;

/// The levels of `iq4_nl` and 128.
pub const LEVELS: [u8; 16] = {
    let signed: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
    let mut levels = [0; 16];
    let mut i = 0;
    while i < 16 {
        levels[i] = signed[i] as u8 ^ 128;
        i += 1;
    }
    levels
};

impl Codes for Levels {
    const BYTES: usize = 256;
    const ZERO: u8 = 128;
    const FULL: bool = true;
    const WIDTH: Width = Width::Levels;

    #[inline(always)]
    unsafe fn pair<S: Simd>(p: *const u8, j: usize) -> (S::C, S::C) {
        unsafe {
            let (even, odd) = S::nibbles(p.add(64 * j));
            (S::lookup(even, &LEVELS), S::lookup(odd, &LEVELS))
        }
    }

    fn get(block: &[u8], row: usize, k: usize) -> u8 {
        LEVELS[usize::from(Bits::<0>::get(block, row, k))]
    }

    fn put(block: &mut [u8], row: usize, k: usize, code: u8) {
        let level = LEVELS.iter().position(|&level| level == code).expect("a level of iq4_nl");
        Bits::<0>::put(block, row, k, level as u8);
    }
}
