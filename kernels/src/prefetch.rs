//! Who sees to it that weights are in a near cache when they are used.
use super::codes::BLOCK;
use super::layout::{LINE, Layout, Shape};
use super::simd::prefetch;
use std::sync::OnceLock;

/// Who asks for weights ahead of their use; the products are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefetch {
    /// The kernel does, line by line.
    Software,
    /// The processor does, which follows what is read in order.
    Hardware,
}

impl Prefetch {
    /// The faster way for weights of `layout` on this processor.
    ///
    /// It is measured (docs/performance.md). Processors of AMD read as fast by themselves as memory gives, and what the
    /// kernel asks for takes room from loads; but they do not follow layouts with a scale for each 16 values.
    pub fn of(layout: Layout) -> Prefetch {
        // Where a machine is virtual, each asking of its processor takes microseconds.
        static IS_AMD: OnceLock<bool> = OnceLock::new();
        let is_followed = match layout.shape() {
            Shape::Coded(shape) => shape.share == BLOCK,
            Shape::Dense(_) => true,
        };
        match is_followed && *IS_AMD.get_or_init(is_amd) {
            true => Prefetch::Hardware,
            false => Prefetch::Software,
        }
    }
}

/// Whether AMD made the processor.
#[cfg(target_arch = "x86_64")]
fn is_amd() -> bool {
    let vendor = std::arch::x86_64::__cpuid(0);
    [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes) == [*b"Auth", *b"enti", *b"cAMD"]
}

#[cfg(not(target_arch = "x86_64"))]
fn is_amd() -> bool {
    false
}

/// How far ahead of its use a weight is asked for, where tiles are read one by one: across the ends of tiles and
/// weights, for the steps of a plan read them in the order in which they lie.
pub(crate) const AHEAD_BYTES: usize = 16384;

/// How far ahead weights are asked for while `tiles` are read together: as many, so that all are asked for in order.
#[inline(always)]
pub(crate) fn ahead_bytes(tiles: usize, tile_bytes: usize) -> usize {
    if tiles == 1 { AHEAD_BYTES } else { tiles * tile_bytes }
}

/// Asks for weights ahead of their use: line after line in the order in which they lie, whatever order they are used
/// in. It was the fastest way that we measured (docs/performance.md).
pub(crate) struct Reading {
    next: *const u8,
    /// Bytes from a line to the next, as a number that the compiler does not know: a loop by it stays a loop. With an
    /// unrolled one, weights come 15% slower.
    line: usize,
}

impl Reading {
    /// Begins `ahead` bytes behind `from`.
    #[inline(always)]
    pub(crate) fn new(from: *const u8, ahead: usize) -> Reading {
        Reading { next: from.wrapping_add(ahead), line: std::hint::black_box(LINE) }
    }

    /// Asks for the next `bytes`, in whole lines.
    #[inline(always)]
    pub(crate) fn ask_for(&mut self, bytes: usize) {
        let end = self.next.wrapping_add(bytes);
        while self.next < end {
            prefetch(self.next);
            self.next = self.next.wrapping_add(self.line);
        }
    }
}
