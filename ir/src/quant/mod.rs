//! Block-quantised formats: tensors whose values share scales, block by block.
//!
//! A format is one file: how many values a block holds, where its fields lie, how it is taken apart and made.
//! All formats mean the same by their parts: `value = scale * code - min`, evaluated in f32 in this order.
//! So whoever repacks weights needs no code per format, only [`Format::unpack`].
//!
//! Quantising rounds scales away from zero, so that the whole range of a block stays within reach of its codes.
//! It is simple rather than clever: it looks for no better scale than the one that just covers the values.
//! What is too large for a format's f16 scale saturates, and a NaN becomes some value within reach.

mod fit;
mod planes;

mod iq4_nl;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
pub mod q8_a;

use half::f16;

/// Most values that one block holds, in any format.
pub const BLOCK_LEN_MAX: usize = 256;
/// Most groups that one block holds, in any format.
pub const GROUPS_MAX: usize = 16;

macro_rules! formats {
    ($($module:ident :: $format:ident,)*) => {
        /// A block-quantised format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Format {
            $(#[doc = concat!("The format `", stringify!($module), "`.")] $format,)*
        }

        impl Format {
            /// Every format.
            pub const ALL: &'static [Format] = &[$(Format::$format,)*];

            /// The name in text form, which is also the stem of the format's file.
            pub const fn name(self) -> &'static str {
                match self { $(Format::$format => stringify!($module),)* }
            }

            /// How many values a block holds.
            pub const fn block_len(self) -> usize {
                match self { $(Format::$format => $module::$format::LEN,)* }
            }

            /// How many bytes a block takes.
            pub const fn block_bytes(self) -> usize {
                match self { $(Format::$format => $module::$format::BYTES,)* }
            }

            /// How many consecutive values share one scale and one min. Divides the block's length.
            pub const fn group_len(self) -> usize {
                match self { $(Format::$format => $module::$format::GROUP,)* }
            }

            /// Takes one block apart.
            ///
            /// # Panics
            /// If `block` is shorter than [`Format::block_bytes`].
            pub fn unpack(self, block: &[u8], parts: &mut Parts) {
                parts.mins = [0.0; GROUPS_MAX];
                match self { $(Format::$format => $module::$format::unpack(block, parts),)* }
            }

            /// The values that whole blocks stand for.
            ///
            /// # Panics
            /// If `blocks` is not a whole number of blocks, or `out` is not of their length:
            /// whoever takes lengths from outside checks them first.
            pub fn dequantise(self, blocks: &[u8], out: &mut [f32]) {
                match self { $(Format::$format => dequantise::<$module::$format>(blocks, out),)* }
            }

            /// Rounds values to blocks of this format.
            ///
            /// # Panics
            /// If `values` is not a whole number of blocks, or `blocks` has not their size.
            pub fn quantise(self, values: &[f32], blocks: &mut [u8]) {
                match self { $(Format::$format => quantise::<$module::$format>(values, blocks),)* }
            }
        }
    };
}

formats! {
    q4_0::Q4_0,
    q4_1::Q4_1,
    q5_0::Q5_0,
    q5_1::Q5_1,
    q8_0::Q8_0,
    q2_k::Q2K,
    q3_k::Q3K,
    q4_k::Q4K,
    q5_k::Q5K,
    q6_k::Q6K,
    iq4_nl::Iq4Nl,
    q8_a::Q8A,
}

impl Format {
    /// The format of this name, if there is one.
    pub fn parse(name: &str) -> Option<Format> {
        Format::ALL.iter().copied().find(|format| format.name() == name)
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One block taken apart: `value[i] = scales[g] * codes[i] - mins[g]`, where `g = i / group_len`.
///
/// Only the first `block_len` codes and the first `block_len / group_len` scales and mins mean anything.
/// A format without mins has `+0.0` for them, which leaves every value as it is, the sign of zero included.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    /// One code a value.
    pub codes: [i8; BLOCK_LEN_MAX],
    /// One scale a group.
    pub scales: [f32; GROUPS_MAX],
    /// One min a group.
    pub mins: [f32; GROUPS_MAX],
}

impl Default for Parts {
    fn default() -> Parts {
        Parts { codes: [0; BLOCK_LEN_MAX], scales: [0.0; GROUPS_MAX], mins: [0.0; GROUPS_MAX] }
    }
}

/// What the file of a format must say.
trait Layout {
    /// Values in a block.
    const LEN: usize;
    /// Bytes of a block.
    const BYTES: usize;
    /// Values that share a scale and a min.
    const GROUP: usize;
    /// Takes one block apart; `mins` come in as zeros.
    fn unpack(block: &[u8], parts: &mut Parts);
    /// Writes every byte of one block.
    fn quantise(values: &[f32], block: &mut [u8]);
}

fn dequantise<L: Layout>(blocks: &[u8], out: &mut [f32]) {
    assert_whole::<L>(blocks.len(), out.len());
    let mut parts = Parts::default();
    for (block, out) in blocks.chunks_exact(L::BYTES).zip(out.chunks_exact_mut(L::LEN)) {
        L::unpack(block, &mut parts);
        for (i, out) in out.iter_mut().enumerate() {
            let g = i / L::GROUP;
            *out = parts.scales[g] * f32::from(parts.codes[i]) - parts.mins[g];
        }
    }
}

fn quantise<L: Layout>(values: &[f32], blocks: &mut [u8]) {
    assert_whole::<L>(blocks.len(), values.len());
    for (values, block) in values.chunks_exact(L::LEN).zip(blocks.chunks_exact_mut(L::BYTES)) {
        L::quantise(values, block);
    }
}

fn assert_whole<L: Layout>(bytes: usize, len: usize) {
    assert!(len.is_multiple_of(L::LEN), "{len} values are no whole number of blocks of {}", L::LEN);
    assert_eq!(bytes, len / L::LEN * L::BYTES, "bytes for {len} values");
}

fn read_f16(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn write_f16(block: &mut [u8], at: usize, value: f16) {
    block[at..at + 2].copy_from_slice(&value.to_le_bytes());
}
