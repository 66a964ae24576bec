//! The paged cache that attention reads and `kv_append` writes, pages of positions: `[p, h, page, d]`, or
//! transposed, `[p, h, d, page]`.
//!
//! A sequence lives in a slot. Row `slot` of the page table, i32 `[b, q]`, names its pages in order:
//! position `i` lies at `[pages[slot, i / page], head, i % page, ..]`, transposed at `[.., head, .., i % page]`.
use super::{OpError, check};
use crate::{DType, Dim, Tensor, TensorType};

/// Checks a cache, input `index`: f16 or f32 in constant heads, positions a page, and width. Hands these back.
pub(super) fn cache(index: usize, ty: &TensorType, transposed: bool) -> Result<[i64; 3], OpError> {
    check::elements(index, ty, "f16 or f32", matches!(ty.dtype, DType::F16 | DType::F32))?;
    let [_, heads, a, b] = check::axes(index, ty)?;
    let (page, width) = if transposed { (b, a) } else { (a, b) };
    let what = ["the number of heads", "the length of a page", "the width of a head"];
    Ok([check::constant(what[0], heads)?, check::constant(what[1], page)?, check::constant(what[2], width)?])
}

/// Checks positions and slots, i32 `[n]`, and the page table, i32 `[b, q]`, inputs from `index` on.
pub(super) fn table(index: usize, types: &[TensorType], n: &Dim) -> Result<(), OpError> {
    for (index, ty) in (index..).zip(&types[..2]) {
        check::exactly(index, ty, TensorType::new(DType::I32, [n.clone()]))?;
    }
    check::dtype(index + 2, &types[2], DType::I32)?;
    check::axes::<2>(index + 2, &types[2]).map(|_| ())
}

/// Where positions of sequences lie.
pub(super) struct Pages {
    entries: Vec<i64>,
    slots: i64,
    per_slot: i64,
    page: i64,
    pages: i64,
    /// Elements of a page's head.
    square: usize,
    /// From one position to the next, and from one element of a position to the next.
    strides: [usize; 2],
    heads: usize,
}

impl Pages {
    pub(super) fn new(table: &Tensor, cache: &Tensor, transposed: bool) -> Pages {
        let [pages, heads, a, b] = [0, 1, 2, 3].map(|axis| cache.shape()[axis] as usize);
        let (page, strides) = if transposed { (b, [1, b]) } else { (a, [b, 1]) };
        Pages {
            entries: table.to_ints(),
            slots: table.shape()[0] as i64,
            per_slot: table.shape()[1] as i64,
            page: page as i64,
            pages: pages as i64,
            square: a * b,
            strides,
            heads,
        }
    }

    /// Where the cache holds element `i` of a head at the position that `find` found.
    pub(super) fn element(&self, (page, row): (usize, usize), head: usize, i: usize) -> usize {
        (page * self.heads + head) * self.square + row * self.strides[0] + i * self.strides[1]
    }

    /// The page of a slot's position and the row in it.
    pub(super) fn find(&self, slot: i64, position: i64) -> Result<(usize, usize), OpError> {
        if !(0..self.slots).contains(&slot) {
            return Err(OpError::Invalid(format!("slot {slot}, the page table has {}", self.slots)));
        }
        let (nth, row) = (position.div_euclid(self.page), position.rem_euclid(self.page));
        if !(0..self.per_slot).contains(&nth) {
            let most = self.per_slot * self.page;
            return Err(OpError::Invalid(format!("position {position}, a slot has {most}")));
        }
        let page = self.entries[(slot * self.per_slot + nth) as usize];
        if !(0..self.pages).contains(&page) {
            return Err(OpError::Invalid(format!(
                "page {page} of slot {slot}, the cache has {}",
                self.pages
            )));
        }
        Ok((page as usize, row as usize))
    }
}
