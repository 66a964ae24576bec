//! Gives out the pages of the paged KV cache: which page holds which tokens of which sequence.
//!
//! The cache is a fixed number of pages of a fixed number of tokens. A sequence slot has a row in the page
//! table, which kernels read: entry `i` is the page of tokens `i·page .. (i+1)·page`, or [`NO_PAGE`].
//!
//! - A page is in one row once, or free. Every row is filled from the left without gaps.
//! - A request that cannot be met changes nothing.
//! - The same requests give the same pages.

/// The entry of a page table where there is no page.
pub const NO_PAGE: i32 = -1;

/// Why a slot got no pages.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PagesError {
    /// The other sequences hold too many pages.
    #[error("the KV cache is full: slot {slot} needs {needed} more pages, found {free} free of {total}")]
    OutOfPages {
        /// Who asked.
        slot: usize,
        /// Pages it lacks.
        needed: usize,
        /// Pages that are free.
        free: usize,
        /// Pages in all.
        total: usize,
    },
    /// The sequence is longer than the plan's context.
    #[error("slot {slot} needs room for {found} tokens, expected at most {expected}")]
    PastContext {
        /// Who asked.
        slot: usize,
        /// Tokens asked for.
        found: usize,
        /// Tokens that one row of the table can name.
        expected: usize,
    },
    /// There is no such slot.
    #[error("found slot {found}, expected one of {expected}")]
    NoSlot {
        /// The slot asked for.
        found: usize,
        /// How many there are.
        expected: usize,
    },
}

/// The page table and the free pages.
#[derive(Clone, Debug)]
pub struct Pages {
    page_tokens: usize,
    total: usize,
    /// Pages a row can name.
    row_pages: usize,
    /// `[slots, row_pages]`
    table: Vec<i32>,
    /// Pages held by each slot.
    held: Vec<usize>,
    /// The next page to give is the last.
    free: Vec<i32>,
}

impl Pages {
    /// `total` free pages of `page_tokens` tokens, for `slots` sequences of at most `row_pages` pages each.
    /// A page of 0 tokens is taken as 1.
    pub fn new(total: u32, page_tokens: usize, slots: usize, row_pages: usize) -> Pages {
        let total = total.min(i32::MAX as u32) as i32;
        Pages {
            page_tokens: page_tokens.max(1),
            total: total as usize,
            row_pages,
            table: vec![NO_PAGE; slots * row_pages],
            held: vec![0; slots],
            free: (0..total).rev().collect(),
        }
    }

    /// The page table, `[slots, row_pages]`, as kernels read it.
    pub fn table(&self) -> &[i32] {
        &self.table
    }

    /// How many pages are free.
    pub fn free_pages(&self) -> usize {
        self.free.len()
    }

    /// How many tokens `slot` has room for; 0 if there is no such slot.
    pub fn room(&self, slot: usize) -> usize {
        self.held.get(slot).map_or(0, |held| held * self.page_tokens)
    }

    /// Sees to it that `slot` has room for `tokens` in all. Allocates nothing.
    pub fn reserve(&mut self, slot: usize, tokens: usize) -> Result<(), PagesError> {
        let held =
            *self.held.get(slot).ok_or(PagesError::NoSlot { found: slot, expected: self.held.len() })?;
        let wanted = tokens.div_ceil(self.page_tokens);
        if wanted > self.row_pages {
            let expected = self.row_pages * self.page_tokens;
            return Err(PagesError::PastContext { slot, found: tokens, expected });
        }
        let (needed, free) = (wanted.saturating_sub(held), self.free.len());
        if needed > free {
            return Err(PagesError::OutOfPages { slot, needed, free, total: self.total });
        }
        let row = slot * self.row_pages;
        let fresh = self.free.drain(free - needed..).rev();
        for (entry, page) in self.table[row + held..row + held + needed].iter_mut().zip(fresh) {
            *entry = page;
        }
        self.held[slot] = held.max(wanted);
        Ok(())
    }

    /// Keeps what holds the first `tokens` of `slot` and frees the rest. A slot that is not there holds nothing.
    pub fn truncate(&mut self, slot: usize, tokens: usize) {
        let Some(held) = self.held.get_mut(slot) else { return };
        let kept = tokens.div_ceil(self.page_tokens).min(*held);
        let row = slot * self.row_pages;
        // Last page first, so that growing again gives the same pages.
        for entry in self.table[row + kept..row + *held].iter_mut().rev() {
            self.free.push(std::mem::replace(entry, NO_PAGE));
        }
        *held = kept;
    }

    /// Frees all pages of `slot`.
    pub fn release(&mut self, slot: usize) {
        self.truncate(slot, 0);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};
    use std::collections::BTreeSet;

    const TOTAL: u32 = 6;
    const PAGE: usize = 4;
    const SLOTS: usize = 3;
    const ROW: usize = 4;

    #[test]
    fn a_full_cache_says_what_is_missing() {
        let mut pages = Pages::new(TOTAL, PAGE, SLOTS, ROW);
        pages.reserve(0, 16).unwrap();
        let error = pages.reserve(1, 9).unwrap_err();
        assert_eq!(error, PagesError::OutOfPages { slot: 1, needed: 3, free: 2, total: 6 });
        let error = pages.reserve(0, 17).unwrap_err();
        assert_eq!(error, PagesError::PastContext { slot: 0, found: 17, expected: 16 });
        assert_eq!(pages.reserve(3, 1), Err(PagesError::NoSlot { found: 3, expected: 3 }));
        assert_eq!(&pages.table()[..8], [0, 1, 2, 3, -1, -1, -1, -1]);
    }

    #[test]
    fn growing_again_gives_the_same_pages() {
        let mut pages = Pages::new(TOTAL, PAGE, SLOTS, ROW);
        pages.reserve(1, 12).unwrap();
        let table = pages.table().to_vec();
        pages.truncate(1, 4);
        assert_eq!(pages.room(1), 4);
        pages.reserve(1, 12).unwrap();
        assert_eq!(pages.table(), table);
    }

    #[derive(Clone, Debug)]
    enum Request {
        Reserve(usize, usize),
        Truncate(usize, usize),
        Release(usize),
    }

    fn request() -> impl Strategy<Value = Request> {
        // One slot and some tokens beyond what there is.
        (0..=SLOTS, 0..=PAGE * ROW + 2).prop_flat_map(|(slot, tokens)| {
            prop_oneof![
                3 => Just(Request::Reserve(slot, tokens)),
                1 => Just(Request::Truncate(slot, tokens)),
                1 => Just(Request::Release(slot)),
            ]
        })
    }

    proptest! {
        /// The model: each slot is a number of pages, and nothing else.
        #[test]
        fn pages_are_never_shared_lost_or_moved(requests in proptest::collection::vec(request(), 0..60)) {
            let mut pages = Pages::new(TOTAL, PAGE, SLOTS, ROW);
            let mut model = [0usize; SLOTS];
            for request in requests {
                let before = pages.clone();
                match request {
                    Request::Reserve(slot, tokens) => {
                        let wanted = tokens.div_ceil(PAGE);
                        let others: usize = model.iter().sum::<usize>() - model.get(slot).unwrap_or(&0);
                        let fits = slot < SLOTS && wanted <= ROW && others + wanted <= TOTAL as usize;
                        prop_assert_eq!(pages.reserve(slot, tokens).is_ok(), fits);
                        if fits {
                            model[slot] = model[slot].max(wanted);
                        } else {
                            prop_assert_eq!(pages.table(), before.table());
                        }
                    }
                    Request::Truncate(slot, tokens) => {
                        pages.truncate(slot, tokens);
                        model.get_mut(slot).into_iter().for_each(|m| *m = (*m).min(tokens.div_ceil(PAGE)));
                    }
                    Request::Release(slot) => {
                        pages.release(slot);
                        model.get_mut(slot).into_iter().for_each(|m| *m = 0);
                    }
                }
                let mut seen = BTreeSet::new();
                for (slot, held) in model.iter().enumerate() {
                    let row = &pages.table()[slot * ROW..(slot + 1) * ROW];
                    let kept = &before.table()[slot * ROW..(slot + 1) * ROW];
                    prop_assert!(row[*held..].iter().all(|p| *p == NO_PAGE));
                    for (page, earlier) in row[..*held].iter().zip(kept) {
                        prop_assert!((0..TOTAL as i32).contains(page) && seen.insert(*page));
                        prop_assert!(*earlier == NO_PAGE || earlier == page);
                    }
                }
                prop_assert_eq!(pages.free_pages() + seen.len(), TOTAL as usize);
            }
        }
    }
}
