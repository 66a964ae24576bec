//! Kernels written by hand, where code made from an operator's body would be slow.
//!
//! Matrix products over packed weights, those of chosen experts and the choice, the rows of an embedding, attention
//! over a paged cache and its writing, gated activations, rotary embedding, blocks of activations, the greatest logits.
//! Each is one source for all instruction sets ([`simd`]), chosen at run time, with the same bits on each.
// Rows and vectors are counted through several arrays at once.
#![allow(clippy::needless_range_loop)]

pub mod attention;
pub mod calibrate;
mod codes;
pub mod embed_rows;
pub mod experts;
pub mod gated;
pub mod kv_append;
pub mod layout;
pub mod linear;
pub mod pack;
pub mod paged;
pub mod prefetch;
mod product;
pub mod quantise;
#[cfg(test)]
mod random;
pub mod rope;
pub mod route;
pub mod simd;
pub mod top_k;
mod unpack;

use runtime::device::Extent;
use std::ops::Range;

/// What `extent` is for these symbol values, as the length that it stands for.
fn length(extent: &Extent, syms: &[i64]) -> usize {
    extent.eval(syms).max(0) as usize
}

/// What happens to a finished tile of a matrix product instead of its being stored.
pub trait Epilogue: Send + Sync {
    /// Takes the values of y at `rows` and `cols`, which are at `tile`, a row `stride` f32 from the next.
    ///
    /// # Safety
    /// `tile` holds them, and `args` are the product's.
    unsafe fn apply(
        &self,
        tile: *const f32,
        stride: usize,
        rows: Range<usize>,
        cols: Range<usize>,
        args: &[*mut u8],
        syms: &[i64],
    );
}
