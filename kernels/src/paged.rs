//! The paged cache `[pages, heads, page, width]` as kernels see it: where a position of a slot lies.
use super::simd::Simd;

/// What a cache holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Element {
    F16,
    F32,
}

/// The shape of a cache but for how many pages it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cache {
    pub element: Element,
    pub heads: usize,
    /// Positions in a page.
    pub page: usize,
    /// Length of a head's vector.
    pub width: usize,
}

impl Cache {
    pub(crate) fn element_bytes(&self) -> usize {
        match self.element {
            Element::F16 => 2,
            Element::F32 => 4,
        }
    }

    /// Bytes from the start of a cache to the vector of `head` at `position` of the slot whose pages are `pages`.
    #[inline(always)]
    pub(crate) unsafe fn at(&self, pages: *const i32, head: usize, position: usize) -> usize {
        let page = unsafe { pages.add(position / self.page).read() } as usize;
        ((page * self.heads + head) * self.page + position % self.page) * self.width * self.element_bytes()
    }

    /// 16 values, or the `left` that are left of a vector and zeros, from `p` in the cache.
    #[inline(always)]
    pub(crate) unsafe fn load<S: Simd>(&self, p: *const u8, left: usize) -> S::F {
        let mut end = [0u8; 64];
        unsafe {
            let p = if left < 16 {
                end.as_mut_ptr().copy_from_nonoverlapping(p, left * self.element_bytes());
                end.as_ptr()
            } else {
                p
            };
            match self.element {
                Element::F16 => S::load_f16(p),
                Element::F32 => S::load(p.cast()),
            }
        }
    }

    /// Puts 16 values, or the first `left`, to `p` in the cache.
    #[inline(always)]
    pub(crate) unsafe fn store<S: Simd>(&self, p: *mut u8, values: S::F, left: usize) {
        let mut end = [0u8; 64];
        unsafe {
            let to = if left < 16 { end.as_mut_ptr() } else { p };
            match self.element {
                Element::F16 => S::store_f16(to, values),
                Element::F32 => S::store(to.cast(), values),
            }
            if left < 16 {
                p.copy_from_nonoverlapping(end.as_ptr(), left * self.element_bytes());
            }
        }
    }
}
