//! Which worker does what: work is counted in chunks that tokens see, and cut in equal shares.
//!
//! A cut falls between parts of the context where a call has few tokens, otherwise between key heads of neighbouring
//! tokens. What several workers do for one token then meets in the memory that they share: who finishes the last part
//! merges them all.
use super::{CHUNK, FEW, PART, PagedAttention};
use crate::length;
use runtime::device::{Executable, SHARED_ZEROS};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

/// Units of a call: shares of all its work.
pub(super) const SHARES: usize = 1024;

/// One call's arguments.
pub(super) struct Call<'a> {
    pub(super) op: &'a PagedAttention,
    n: usize,
    pub(super) queries: *const f32,
    pub(super) keys: *const u8,
    pub(super) values: *const u8,
    positions: *const i32,
    slots: *const i32,
    table: *const i32,
    pages_per_slot: usize,
    pub(super) out: *mut f32,
    shared: Option<*mut u8>,
}

/// Neighbouring tokens of one sequence.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub(super) first: usize,
    pub(super) tokens: usize,
    /// The sequence's pages.
    pub(super) pages: *const i32,
    /// From the first to behind the last position that one of the tokens sees.
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Some parts of what a block and a key head have to do.
#[derive(Clone, Copy)]
pub(super) struct Item {
    pub(super) block: Block,
    pub(super) head: usize,
    pub(super) part: usize,
    pub(super) parts_end: usize,
}

impl Block {
    pub(super) fn parts(&self) -> Range<usize> {
        self.start / PART..self.end.div_ceil(PART)
    }

    /// The positions of a part that some token sees.
    #[inline(always)]
    pub(super) fn seen(&self, part: usize) -> Range<usize> {
        self.start.max(part * PART)..self.end.min((part + 1) * PART)
    }

    fn weight(&self, positions: Range<usize>) -> u64 {
        ((positions.end.div_ceil(CHUNK) - positions.start / CHUNK) * self.tokens) as u64
    }
}

impl Item {
    pub(super) fn is_whole(&self) -> bool {
        (self.part..self.parts_end) == self.block.parts()
    }
}

impl<'a> Call<'a> {
    /// # Safety
    /// `args` are as the kernel says, and as many.
    pub(super) unsafe fn new(op: &'a PagedAttention, args: &[*mut u8], syms: &[i64]) -> Call<'a> {
        Call {
            op,
            n: length(&op.n, syms),
            queries: args[0].cast(),
            keys: args[1],
            values: args[2],
            positions: args[3].cast_const().cast(),
            slots: args[4].cast_const().cast(),
            table: args[5].cast_const().cast(),
            pages_per_slot: length(&op.pages_per_slot, syms),
            out: args[6].cast(),
            shared: (op.shared_bytes() > 0).then(|| args[7]),
        }
    }

    /// The positions that a token sees.
    #[inline(always)]
    pub(super) unsafe fn seen(&self, token: usize) -> Range<usize> {
        self.op.seen(unsafe { self.positions.add(token).read() })
    }

    /// The tokens from `first` on that are worked on together.
    unsafe fn block(&self, first: usize) -> Block {
        unsafe {
            let slot = self.slots.add(first).read();
            let most = self.op.tokens_most().min(self.n - first);
            let tokens = (1..most).find(|&i| self.slots.add(first + i).read() != slot).unwrap_or(most);
            let mut seen = self.seen(first);
            for token in first + 1..first + tokens {
                let own = self.seen(token);
                seen = seen.start.min(own.start)..seen.end.max(own.end);
            }
            let pages = self.table.add(slot as usize * self.pages_per_slot);
            Block { first, tokens, pages, start: seen.start, end: seen.end }
        }
    }

    fn blocks(&self) -> impl Iterator<Item = Block> {
        let mut first = 0;
        std::iter::from_fn(move || {
            let block = (first < self.n).then(|| unsafe { self.block(first) })?;
            first += block.tokens;
            Some(block)
        })
    }

    /// Calls `visit` with what the shares `units` stand for, in order.
    pub(super) fn items(&self, units: Range<usize>, mut visit: impl FnMut(Item)) {
        let heads = self.op.cache.heads;
        let total = self.blocks().map(|b| b.weight(b.start..b.end)).sum::<u64>() * heads as u64;
        // Work belongs to the share in which its middle lies.
        let bounds = [units.start, units.end].map(|unit| 2 * total * unit as u64);
        let mut before = 0;
        let mut is_mine = |weight: u64| {
            let middle = (2 * before + weight) * SHARES as u64;
            before += weight;
            bounds[0] <= middle && middle < bounds[1]
        };
        for block in self.blocks() {
            let parts = block.parts();
            for head in 0..heads {
                let mut item = Item { block, head, part: parts.start, parts_end: parts.start };
                if self.shared.is_none() || self.n > FEW {
                    item.parts_end =
                        if is_mine(block.weight(block.start..block.end)) { parts.end } else { 0 };
                } else {
                    for part in parts.clone().filter(|&part| is_mine(block.weight(block.seen(part)))) {
                        item.part = if item.parts_end > item.part { item.part } else { part };
                        item.parts_end = part + 1;
                    }
                }
                if item.parts_end > item.part {
                    visit(item);
                }
            }
        }
    }

    /// Where the state of the item's first row in a part lies, in the memory that workers share; the states of its
    /// other rows follow.
    ///
    /// # Safety
    /// The item is not whole.
    pub(super) unsafe fn shared_states(&self, item: &Item, part: usize) -> *mut f32 {
        let op = self.op;
        let before = op.sharing_of(item.head).start * item.block.tokens;
        let row = (part * FEW + item.block.first) * op.heads + before;
        let shared = self.shared.expect("only a call with shared memory splits parts");
        unsafe { shared.add(SHARED_ZEROS).cast::<f32>().add(row * op.state_len()) }
    }

    /// Says that the item's parts are done; true where they were the last of its block and head. Their states, and
    /// what others said before, can be read then.
    ///
    /// # Safety
    /// As above.
    pub(super) unsafe fn is_last(&self, item: &Item) -> bool {
        let shared = self.shared.expect("only a call with shared memory splits parts");
        let (all, own) = (item.block.parts().len(), item.parts_end - item.part);
        unsafe {
            let counter = shared.cast::<u32>().add(item.block.first * self.op.cache.heads + item.head);
            let done = AtomicU32::from_ptr(counter);
            let is_last = done.fetch_add(own as u32, Ordering::AcqRel) as usize + own == all;
            if is_last {
                // For the next kernel, which starts behind this one's end.
                done.store(0, Ordering::Relaxed);
            }
            is_last
        }
    }
}
