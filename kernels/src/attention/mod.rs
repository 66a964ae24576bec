//! `paged_attention`: causal attention over paged caches, with a softmax that runs along (Dao et al., 2022).
//!
//! The context is taken in parts of 256 positions, counted from the sequence's first. Each part has a softmax of its
//! own; parts are merged in order. So the bits of a query depend neither on the tokens that are worked on with it nor
//! on the split: within a score sums run along the width, within a part along positions.
mod block;
mod rows;
mod shares;
mod state;
#[cfg(test)]
mod tests;

use super::length;
use super::paged::Cache;
use super::simd::Isa;
use block::Attend;
use runtime::device::{Executable, Extent, SHARED_ZEROS};
use shares::{Call, Item, SHARES};
use std::ops::Range;

/// Arguments: queries f32 `[n, heads, width]`, the caches of keys, transposed, and of values, i32 positions and slots
/// `[n]`, the page table, the output f32 `[n, heads × width]`, and what workers share.
pub struct PagedAttention {
    pub isa: Isa,
    pub n: Extent,
    /// Query heads.
    pub heads: usize,
    /// How many of them share a head of the cache, and how many of those that share the first are not here.
    pub shared: (usize, usize),
    /// That of values; keys differ in being transposed.
    pub cache: Cache,
    /// Columns of the page table.
    pub pages_per_slot: Extent,
    pub scale: f32,
    /// How many positions a token sees, its own the last; at least 1.
    pub window: Option<usize>,
    pub softcap: Option<f32>,
}

/// Positions that are scored together. Where pages are whole chunks, and heads whole vectors, caches are read as they
/// lie: to widen f16 at each use costs no more than to write and read what was widened.
const CHUNK: usize = 32;
/// Positions with a softmax of their own.
const PART: usize = 256;
/// Most rows, queries of a token and a head, worked on together unless a token alone has more.
const ROWS: usize = 48;
/// Most tokens in a call whose parts of one sequence are split over workers: with more there is other work to split.
const FEW: usize = 4;
/// f32 of a state before its weighted sum: its greatest score, the sum of its weights.
const STATE: usize = 16;
/// f32 from a row's scores to the next row's: not a power of two, so that rows do not lie on the same cache sets.
const SCORES: usize = PART + 16;

impl Executable for PagedAttention {
    fn units(&self, syms: &[i64]) -> usize {
        if length(&self.n, syms) == 0 { 0 } else { SHARES }
    }

    fn scratch_bytes(&self) -> usize {
        self.scratch_lens().iter().sum::<usize>() * 4
    }

    fn shared_bytes(&self) -> usize {
        let counters = FEW * self.cache.heads * 4;
        match self.parts_most() {
            parts if parts > 1 && counters <= SHARED_ZEROS => {
                SHARED_ZEROS + parts * FEW * self.heads * self.state_len() * 4
            }
            _ => 0,
        }
    }

    unsafe fn run(&self, args: &[*mut u8], syms: &[i64], units: Range<usize>, scratch: *mut u8) {
        unsafe {
            let call = Call::new(self, args, syms);
            let run = |item, next| self.isa.run(Attend::new(&call, item, next, scratch.cast()));
            let mut found: Option<Item> = None;
            call.items(units, |next| {
                if let Some(item) = found.replace(next) {
                    run(item, Some(next));
                }
            });
            if let Some(item) = found {
                run(item, None);
            }
        }
    }
}

impl PagedAttention {
    /// Most query heads that share a key head.
    fn sharing(&self) -> usize {
        self.shared.0
    }

    /// The query heads that share a key head.
    #[inline(always)]
    fn sharing_of(&self, key_head: usize) -> Range<usize> {
        let (by, skip) = self.shared;
        (key_head * by).saturating_sub(skip)..((key_head + 1) * by - skip).min(self.heads)
    }

    /// Most neighbouring tokens worked on together.
    fn tokens_most(&self) -> usize {
        (ROWS / self.sharing()).max(1)
    }

    /// The width in whole vectors.
    fn padded(&self) -> usize {
        self.cache.width.next_multiple_of(16)
    }

    fn state_len(&self) -> usize {
        STATE + self.padded()
    }

    /// Parts of the longest context; 0 where that is not known beforehand.
    fn parts_most(&self) -> usize {
        match &self.pages_per_slot {
            Extent { constant, terms } if terms.is_empty() => {
                ((*constant).max(0) as usize * self.cache.page).div_ceil(PART)
            }
            _ => 0,
        }
    }

    /// f32 of each thing in a worker's scratch: queries, a chunk's keys and a part's values where they are gathered,
    /// scores, states of rows, and their states in one part.
    fn scratch_lens(&self) -> [usize; 6] {
        let (rows, width) = (self.tokens_most() * self.sharing(), self.cache.width);
        let states = rows * self.state_len();
        let queries = (rows * width).next_multiple_of(16);
        let (keys, values) = match self.cache.is_whole(CHUNK) {
            true => (0, 0),
            false => (CHUNK * width, PART * self.padded()),
        };
        [queries, keys, values, rows * SCORES, states, states]
    }

    /// The positions that a token at `position` sees.
    #[inline(always)]
    fn seen(&self, position: i32) -> Range<usize> {
        let end = position as usize + 1;
        end.saturating_sub(self.window.unwrap_or(end))..end
    }
}
