//! The paged caches as kernels see them, values `[pages, heads, page, width]` and keys `[pages, heads, width, page]`:
//! where a position of a slot lies.
use super::simd::Simd;

/// What a cache holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Element {
    F16,
    F32,
}

/// The shape of a cache but for how many pages it has, and for which of its last two axes is which.
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
            Element::F16 => Half::BYTES,
            Element::F32 => Single::BYTES,
        }
    }

    /// Whether chunks of positions lie contiguously in pages, and vectors of lanes in heads.
    pub(crate) fn is_whole(&self, chunk: usize) -> bool {
        self.page.is_multiple_of(chunk) && self.width.is_multiple_of(16)
    }

    /// Bytes from the start of a cache to the vector of `head` at `position` of the slot whose pages are `pages`.
    #[inline(always)]
    pub(crate) unsafe fn at(&self, pages: *const i32, head: usize, position: usize) -> usize {
        unsafe { self.head(pages, head, position) + position % self.page * self.width * self.element_bytes() }
    }

    /// The same where the cache is transposed: to the first element, a page's length of elements from the next.
    #[inline(always)]
    pub(crate) unsafe fn at_transposed(&self, pages: *const i32, head: usize, position: usize) -> usize {
        unsafe { self.head(pages, head, position) + position % self.page * self.element_bytes() }
    }

    /// To the page's part that belongs to `head`.
    #[inline(always)]
    unsafe fn head(&self, pages: *const i32, head: usize, position: usize) -> usize {
        let page = unsafe { pages.add(position / self.page).read() } as usize;
        (page * self.heads + head) * self.page * self.width * self.element_bytes()
    }
}

/// How elements of a cache, or what was widened from it, are read and written.
pub(crate) trait Stored: 'static {
    const BYTES: usize;

    unsafe fn load<S: Simd>(p: *const u8) -> S::F;
    unsafe fn store<S: Simd>(p: *mut u8, values: S::F);

    /// The `left` values that are left of a vector, at most 16, and zeros.
    #[inline(always)]
    unsafe fn load_end<S: Simd>(p: *const u8, left: usize) -> S::F {
        unsafe {
            if left >= 16 {
                return Self::load::<S>(p);
            }
            let mut end = [0u8; 64];
            end.as_mut_ptr().copy_from_nonoverlapping(p, left * Self::BYTES);
            Self::load::<S>(end.as_ptr())
        }
    }
}

/// f16.
pub(crate) struct Half;
/// f32.
pub(crate) struct Single;

impl Stored for Half {
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u8) -> S::F {
        unsafe { S::load_f16(p) }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(p: *mut u8, values: S::F) {
        unsafe { S::store_f16(p, values) }
    }
}

impl Stored for Single {
    const BYTES: usize = 4;

    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u8) -> S::F {
        unsafe { S::load(p.cast()) }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(p: *mut u8, values: S::F) {
        unsafe { S::store(p.cast(), values) }
    }
}
