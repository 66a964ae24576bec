//! Who sees to it that weights are in a near cache when they are used.
use super::codes::Width;
use super::layout::{LINE, Layout, Shape};
use super::simd::prefetch;
use std::sync::OnceLock;

/// Who asks for weights ahead of their use; the products are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefetch {
    /// The kernel does, line by line, and takes tile after tile.
    Software,
    /// The processor does, which follows each of several tiles that are read together.
    Hardware,
}

impl Prefetch {
    /// The faster way for weights of `layout` on this processor, where a step reads `weights_bytes` in all.
    ///
    /// It is measured (docs/performance.md). Processors of AMD follow tiles by themselves, and requests of the kernel
    /// take room from loads. But codes below a byte need so many operations a line that few loads are under way at
    /// once: with them the kernel asks, unless all weights come from memory, which then is the slower of both.
    pub fn of(layout: Layout, weights_bytes: u64) -> Prefetch {
        let is_whole_bytes = match layout.shape() {
            Shape::Coded(shape) => shape.width == Width::Bytes,
            Shape::Dense(_) => true,
        };
        // Where a machine is virtual, each asking of its processor takes microseconds.
        static CACHE: OnceLock<Option<u64>> = OnceLock::new();
        match CACHE.get_or_init(last_cache_of_amd) {
            Some(cache) if is_whole_bytes || weights_bytes > 4 * cache => Prefetch::Hardware,
            _ => Prefetch::Software,
        }
    }
}

/// Bytes of the last cache, where AMD made the processor.
#[cfg(target_arch = "x86_64")]
fn last_cache_of_amd() -> Option<u64> {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const CACHES: u32 = 0x8000_001d;
    let vendor = __cpuid(0);
    if [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes) != [*b"Auth", *b"enti", *b"cAMD"] {
        return None;
    }
    if __cpuid(0x8000_0000).eax < CACHES {
        return None;
    }
    // AMD64 Architecture Programmer's Manual, volume 3, E.4.16: one leaf a cache, of type 0 behind the last.
    let caches = (0..8).map(|index| __cpuid_count(CACHES, index)).take_while(|leaf| leaf.eax & 31 != 0);
    let bytes = caches.map(|leaf| {
        let [line, partitions, ways] = [leaf.ebx & 0xfff, leaf.ebx >> 12 & 0x3ff, leaf.ebx >> 22];
        [line, partitions, ways, leaf.ecx].into_iter().map(|one_less| u64::from(one_less) + 1).product()
    });
    bytes.last()
}

#[cfg(not(target_arch = "x86_64"))]
fn last_cache_of_amd() -> Option<u64> {
    None
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
