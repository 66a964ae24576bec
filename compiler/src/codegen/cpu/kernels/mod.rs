//! Kernels written by hand, where code made from an operator's body would be slow.
//!
//! Matrix products over packed weights, the rows of an embedding, attention over a paged cache and its writing.
//! Each is one source for all instruction sets ([`simd`]), chosen at run time, with the same bits on each.
mod codes;
pub mod layout;
pub mod linear;
pub mod pack;
mod product;
#[cfg(test)]
mod random;
pub mod simd;

use std::ops::Range;

/// What a device runs: a kernel over independent units of work.
pub trait Executable: Send + Sync {
    /// How many units there are; a team splits them into contiguous ranges.
    fn units(&self, syms: &[i64]) -> usize;
    /// Bytes of scratch that each worker needs.
    fn scratch_bytes(&self) -> usize;
    /// Computes some units.
    ///
    /// # Safety
    /// `args` are the inputs in order, then the outputs, as the kernel says; `scratch` is this worker's own.
    unsafe fn run(&self, args: &[*mut u8], syms: &[i64], units: Range<usize>, scratch: *mut u8);
}

/// How many there are of something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Count {
    Fixed(usize),
    /// The value of the symbol of this index.
    Symbol(usize),
}

impl Count {
    fn of(self, syms: &[i64]) -> usize {
        match self {
            Count::Fixed(count) => count,
            Count::Symbol(index) => syms[index].max(0) as usize,
        }
    }
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
