//! `kv_append`: writes new tokens' keys or values into a paged cache.
use super::length;
use super::paged::Cache;
use super::simd::{Isa, Simd, Work};
use runtime::device::{Executable, Extent};
use std::ops::Range;

/// Arguments: the cache, f32 rows `[n, heads × width]`, i32 positions and slots `[n]`, the page table, and the
/// cache once more: it is written in place.
pub struct KvAppend {
    pub isa: Isa,
    pub n: Extent,
    pub cache: Cache,
    /// Columns of the page table.
    pub pages_per_slot: Extent,
}

impl Executable for KvAppend {
    fn units(&self, syms: &[i64]) -> usize {
        length(&self.n, syms)
    }

    fn scratch_bytes(&self) -> usize {
        0
    }

    unsafe fn run(&self, args: &[*mut u8], syms: &[i64], units: Range<usize>, _: *mut u8) {
        let pages_per_slot = length(&self.pages_per_slot, syms);
        for token in units {
            unsafe {
                let position = args[2].cast::<i32>().add(token).read() as usize;
                let slot = args[3].cast::<i32>().add(token).read() as usize;
                let pages = args[4].cast::<i32>().add(slot * pages_per_slot);
                for head in 0..self.cache.heads {
                    let from =
                        args[1].cast::<f32>().add((token * self.cache.heads + head) * self.cache.width);
                    let to = args[5].add(self.cache.at(pages, head, position));
                    self.isa.run(Write { cache: self.cache, from, to });
                }
            }
        }
    }
}

struct Write {
    cache: Cache,
    from: *const f32,
    to: *mut u8,
}

impl Work for Write {
    const ROWS: usize = 1;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let width = self.cache.width;
        for start in (0..width).step_by(16) {
            unsafe {
                let values = if start + 16 <= width {
                    S::load(self.from.add(start))
                } else {
                    let mut end = [0.0; 16];
                    end.as_mut_ptr().copy_from_nonoverlapping(self.from.add(start), width - start);
                    S::load(end.as_ptr())
                };
                self.cache.store::<S>(self.to.add(start * self.cache.element_bytes()), values, width - start);
            }
        }
    }
}
