//! `kv_append`: writes new tokens' keys or values into a paged cache.
use super::length;
use super::paged::{Cache, Element, Half, Single, Stored};
use super::simd::{Isa, Simd, Work};
use runtime::device::{Executable, Extent};
use std::ops::Range;

/// Arguments: the cache, f32 rows `[n, heads × width]`, i32 positions and slots `[n]`, the page table, and the
/// cache once more: it is written in place.
pub struct KvAppend {
    pub isa: Isa,
    pub n: Extent,
    pub cache: Cache,
    /// Whether neighbouring positions are contiguous, and not a head's elements.
    pub transposed: bool,
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
        let (cache, pages_per_slot) = (self.cache, length(&self.pages_per_slot, syms));
        for token in units {
            unsafe {
                let position = args[2].cast::<i32>().add(token).read() as usize;
                let slot = args[3].cast::<i32>().add(token).read() as usize;
                let pages = args[4].cast::<i32>().add(slot * pages_per_slot);
                for head in 0..cache.heads {
                    let from = args[1].cast::<f32>().add((token * cache.heads + head) * cache.width);
                    let (to, stride) = match self.transposed {
                        true => (cache.at_transposed(pages, head, position), cache.page),
                        false => (cache.at(pages, head, position), 1),
                    };
                    let to = args[5].add(to);
                    match cache.element {
                        Element::F16 => self.isa.run(Write::<Half>::new(from, to, cache.width, stride)),
                        Element::F32 => self.isa.run(Write::<Single>::new(from, to, cache.width, stride)),
                    }
                }
            }
        }
    }
}

/// Writes `width` values, each `stride` elements from the next.
struct Write<E> {
    from: *const f32,
    to: *mut u8,
    width: usize,
    stride: usize,
    element: std::marker::PhantomData<E>,
}

impl<E> Write<E> {
    fn new(from: *const f32, to: *mut u8, width: usize, stride: usize) -> Write<E> {
        Write { from, to, width, stride, element: std::marker::PhantomData }
    }
}

impl<E: Stored> Work for Write<E> {
    const ROWS: usize = 1;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for start in (0..self.width).step_by(16) {
            let left = self.width - start;
            unsafe {
                let values = Single::load_end::<S>(self.from.add(start).cast(), left);
                let to = self.to.add(start * self.stride * E::BYTES);
                if self.stride == 1 && left >= 16 {
                    E::store::<S>(to, values);
                    continue;
                }
                let mut one_by_one = [0u8; 64];
                E::store::<S>(one_by_one.as_mut_ptr(), values);
                for i in 0..left.min(16) {
                    let element = one_by_one.as_ptr().add(i * E::BYTES);
                    to.add(i * self.stride * E::BYTES).copy_from_nonoverlapping(element, E::BYTES);
                }
            }
        }
    }
}
