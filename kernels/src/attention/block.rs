//! One key head of neighbouring tokens, part after part.
use super::super::paged::{Element, Half, Single, Stored};
use super::super::simd::{Simd, Work};
use super::rows::{CHUNKS, Chunks, group, of_group, score, weigh, weighted_sum};
use super::shares::{Call, Item};
use super::{CHUNK, PART, ROWS, SCORES, STATE, state};
use std::ops::Range;

/// The work of one item.
pub(super) struct Attend<'a> {
    call: &'a Call<'a>,
    item: Item,
    /// What this worker does behind it.
    next: Option<Item>,
    /// The item's query heads.
    heads: Range<usize>,
    scratch: Scratch,
}

/// A worker's scratch.
struct Scratch {
    /// Queries of a group of rows in turn by element, group after group.
    queries: *mut f32,
    /// Keys of a chunk, `[width, CHUNK]`, where they are gathered.
    keys: *mut f32,
    /// Values of a part, `[PART, padded]`, where they are gathered.
    values: *mut f32,
    /// Scores and then weights of rows, `SCORES` f32 each.
    scores: *mut f32,
    /// States of rows.
    states: *mut f32,
    /// The same for the part at hand.
    part_states: *mut f32,
}

/// A part at hand: where its keys and values lie, and what of it is seen, counted from its first position.
struct Part {
    start: usize,
    keys: Chunks,
    values: Chunks,
    /// By token.
    own: [(usize, usize); ROWS],
}

impl<'a> Attend<'a> {
    /// # Safety
    /// `scratch` is as long as the kernel says.
    pub(super) unsafe fn new(
        call: &'a Call<'a>,
        item: Item,
        next: Option<Item>,
        scratch: *mut f32,
    ) -> Attend<'a> {
        let mut at = scratch;
        let [queries, keys, values, scores, states, part_states] = call.op.scratch_lens().map(|len| {
            let start = at;
            at = at.wrapping_add(len);
            start
        });
        let heads = call.op.sharing_of(item.head);
        Attend {
            call,
            item,
            next,
            heads,
            scratch: Scratch { queries, keys, values, scores, states, part_states },
        }
    }
}

impl Work for Attend<'_> {
    const ROWS: usize = 1;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let cache = &self.call.op.cache;
        unsafe {
            match cache.element {
                Element::F16 => self.parts::<S, Half>(cache.is_whole(CHUNK)),
                Element::F32 => self.parts::<S, Single>(cache.is_whole(CHUNK)),
            }
        }
    }
}

impl Attend<'_> {
    fn rows(&self) -> usize {
        self.item.block.tokens * self.heads.len()
    }

    /// Does the item's parts, from the caches as they lie or from what is gathered of them.
    #[inline(always)]
    unsafe fn parts<S: Simd, E: Stored>(&self, in_place: bool) {
        let (call, item, len) = (self.call, &self.item, self.call.op.state_len());
        let whole = item.is_whole();
        unsafe {
            self.turn_queries::<S>();
            for row in 0..self.rows() {
                state::clear(self.scratch.states.add(row * len), len);
            }
            for part in item.part..item.parts_end {
                let states = if whole { self.scratch.part_states } else { call.shared_states(item, part) };
                if in_place {
                    self.part_in_place::<S, E>(part, states);
                } else {
                    self.part_gathered::<S, E>(part, states);
                }
                if whole {
                    self.merge::<S>(states);
                }
            }
            if !whole {
                if !call.is_last(item) {
                    return;
                }
                for part in item.block.parts() {
                    self.merge::<S>(call.shared_states(item, part));
                }
            }
            self.finish::<S>();
        }
    }

    #[inline(always)]
    unsafe fn merge<S: Simd>(&self, part: *const f32) {
        let len = self.call.op.state_len();
        for at in (0..self.rows()).map(|row| row * len) {
            unsafe { state::merge::<S>(self.scratch.states.add(at), part.add(at), len) };
        }
    }

    #[inline(always)]
    unsafe fn finish<S: Simd>(&self) {
        let op = self.call.op;
        for row in 0..self.rows() {
            unsafe {
                let out = self.call.out.add(self.offset(row));
                state::finish::<S>(self.scratch.states.add(row * op.state_len()), out, op.cache.width);
            }
        }
    }

    /// From the first query or output to that of row `row`: rows are the heads of the first token, then those of
    /// the next.
    #[inline(always)]
    fn offset(&self, row: usize) -> usize {
        let (op, Item { block, .. }) = (self.call.op, &self.item);
        let (token, own) = (row / self.heads.len(), row % self.heads.len());
        ((block.first + token) * op.heads + self.heads.start + own) * op.cache.width
    }

    /// Lays queries out as they are used: a group's first elements, its second ones, and so on.
    #[inline(always)]
    unsafe fn turn_queries<S: Simd>(&self) {
        let (width, mut row) = (self.call.op.cache.width, 0);
        while row < self.rows() {
            let group = group::<S>(self.rows() - row);
            for own in 0..group {
                unsafe {
                    let query = self.call.queries.add(self.offset(row + own));
                    let to = self.scratch.queries.add(row * width + own);
                    for i in 0..width {
                        to.add(i * group).write(query.add(i).read());
                    }
                }
            }
            row += group;
        }
    }

    /// Where a part lies in the caches, and what of it is seen.
    #[inline(always)]
    unsafe fn find(&self, part: usize) -> Part {
        let (call, Item { block, .. }) = (self.call, &self.item);
        let (cache, start) = (&call.op.cache, part * PART);
        let clip = |position: usize| position.clamp(start, start + PART) - start;
        unsafe {
            let mut own = [(0, 0); ROWS];
            for token in 0..block.tokens {
                let seen = call.seen(block.first + token);
                own[token] = (clip(seen.start), clip(seen.end));
            }
            let mut found = Part {
                start,
                keys: self.keys(&self.item, part),
                values: Chunks { at: [call.values; CHUNKS], stride: cache.width * cache.element_bytes() },
                own,
            };
            for (chunk, first) in chunks(block.seen(part)) {
                let at = cache.at(block.pages, self.item.head, first / CHUNK * CHUNK);
                found.values.at[chunk] = call.values.add(at);
            }
            found
        }
    }

    /// Where the keys of an item's part lie.
    #[inline(always)]
    unsafe fn keys(&self, item: &Item, part: usize) -> Chunks {
        let (call, cache) = (self.call, &self.call.op.cache);
        let mut keys = Chunks { at: [call.keys; CHUNKS], stride: cache.page * cache.element_bytes() };
        for (chunk, first) in chunks(item.block.seen(part)) {
            unsafe {
                let at = cache.at_transposed(item.block.pages, item.head, first / CHUNK * CHUNK);
                keys.at[chunk] = call.keys.add(at);
            }
        }
        keys
    }

    /// The keys that are needed behind those of `part`.
    #[inline(always)]
    unsafe fn keys_behind(&self, part: usize) -> Option<Chunks> {
        unsafe {
            match &self.next {
                _ if part + 1 < self.item.parts_end => Some(self.keys(&self.item, part + 1)),
                Some(next) => Some(self.keys(next, next.part)),
                None => None,
            }
        }
    }

    /// Writes the rows' states in a part to `states`.
    #[inline(always)]
    unsafe fn part_in_place<S: Simd, E: Stored>(&self, part: usize, states: *mut f32) {
        unsafe {
            let (found, behind) = (self.find(part), self.keys_behind(part));
            let mut row = 0;
            while row < self.rows() {
                let rows = group::<S>(self.rows() - row);
                let walked = self.walked(&found, row..row + rows);
                of_group!(S, rows, {
                    self.score::<S, E, R, C>(row, &found.keys, &found.values, walked.clone());
                    self.weigh::<S, R>(row, &found, walked.clone(), states);
                    self.sum::<S, E, R, V>(row, &found.values, behind.as_ref(), walked, states);
                });
                row += rows;
            }
        }
    }

    /// The same where pages are no whole chunks, or heads no whole vectors.
    #[inline(always)]
    unsafe fn part_gathered<S: Simd, E: Stored>(&self, part: usize, states: *mut f32) {
        unsafe {
            let (found, seen) = (self.find(part), self.item.block.seen(part));
            let keys = Chunks { at: [self.scratch.keys.cast(); CHUNKS], stride: CHUNK * Single::BYTES };
            let mut values = Chunks { at: keys.at, stride: self.call.op.padded() * Single::BYTES };
            for (chunk, first) in chunks(seen.clone()) {
                let end = seen.end.min((first / CHUNK + 1) * CHUNK);
                self.gather_keys::<S, E>(first..end);
                values.at[chunk] = self.scratch.values.cast::<u8>().add(chunk * CHUNK * values.stride);
                let mut row = 0;
                while row < self.rows() {
                    let rows = group::<S>(self.rows() - row);
                    let walked = self.walked(&found, row..row + rows);
                    let walked = walked.start.max(chunk * CHUNK)..walked.end.min((chunk + 1) * CHUNK);
                    of_group!(S, rows, self.score::<S, Single, R, C>(row, &keys, &keys, walked));
                    row += rows;
                }
            }
            self.gather_values::<S, E>(&found, seen);
            let mut row = 0;
            while row < self.rows() {
                let rows = group::<S>(self.rows() - row);
                let walked = self.walked(&found, row..row + rows);
                of_group!(S, rows, {
                    self.weigh::<S, R>(row, &found, walked.clone(), states);
                    self.sum::<S, Single, R, V>(row, &values, None, walked, states);
                });
                row += rows;
            }
        }
    }

    /// What of a part one of the rows sees.
    #[inline(always)]
    fn walked(&self, found: &Part, rows: Range<usize>) -> Range<usize> {
        let sharing = self.heads.len();
        let (mut first, mut last) = (PART, 0);
        for (start, end) in &found.own[rows.start / sharing..rows.end.div_ceil(sharing)] {
            if start < end {
                (first, last) = (first.min(*start), last.max(*end));
            }
        }
        first..last
    }

    /// Scores `R` rows against the chunks that hold `walked`.
    #[inline(always)]
    unsafe fn score<S: Simd, E: Stored, const R: usize, const C: usize>(
        &self,
        row: usize,
        keys: &Chunks,
        ahead: &Chunks,
        walked: Range<usize>,
    ) {
        let op = self.call.op;
        unsafe {
            let queries = self.scratch.queries.add(row * op.cache.width);
            let (mut chunk, end) = (walked.start / CHUNK, walked.end.div_ceil(CHUNK));
            while chunk < end {
                let scores = self.scratch.scores.add(row * SCORES + chunk * CHUNK);
                if C == 2 && chunk + 2 <= end {
                    let [keys_at, ahead] = [keys, ahead].map(|c| [c.at[chunk], c.at[chunk + 1]]);
                    score::<S, E, R, 2>(op, queries, keys_at, keys.stride, ahead, scores);
                    chunk += 2;
                } else {
                    let [keys_at, ahead] = [keys, ahead].map(|c| [c.at[chunk]]);
                    score::<S, E, R, 1>(op, queries, keys_at, keys.stride, ahead, scores);
                    chunk += 1;
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn weigh<S: Simd, const R: usize>(
        &self,
        row: usize,
        found: &Part,
        walked: Range<usize>,
        states: *mut f32,
    ) {
        let op = self.call.op;
        for row in row..row + R {
            let (start, end) = found.own[row / self.heads.len()];
            unsafe {
                let (scores, state) =
                    (self.scratch.scores.add(row * SCORES), states.add(row * op.state_len()));
                weigh::<S>(scores, start..end, walked.clone(), state);
            }
        }
    }

    #[inline(always)]
    unsafe fn sum<S: Simd, E: Stored, const R: usize, const V: usize>(
        &self,
        row: usize,
        values: &Chunks,
        ahead: Option<&Chunks>,
        walked: Range<usize>,
        states: *mut f32,
    ) {
        let (padded, len) = (self.call.op.padded(), self.call.op.state_len());
        unsafe {
            let (weights, sums) = (self.scratch.scores.add(row * SCORES), states.add(row * len + STATE));
            let mut column = 0;
            while column + 16 * V <= padded {
                weighted_sum::<S, E, R, V>(weights, walked.clone(), values, column, ahead, sums, len);
                column += 16 * V;
            }
            while column < padded {
                weighted_sum::<S, E, R, 1>(weights, walked.clone(), values, column, ahead, sums, len);
                column += 16;
            }
        }
    }

    /// Lays out a chunk's keys at `positions`; what lies elsewhere in the chunk is not looked at.
    #[inline(always)]
    unsafe fn gather_keys<S: Simd, E: Stored>(&self, positions: Range<usize>) {
        let (call, cache) = (self.call, &self.call.op.cache);
        let lanes = positions.start % CHUNK..(positions.end - 1) % CHUNK + 1;
        let mut from = [call.keys; CHUNK];
        unsafe {
            for (lane, position) in lanes.clone().zip(positions) {
                let key = cache.at_transposed(self.item.block.pages, self.item.head, position);
                from[lane] = call.keys.add(key);
            }
            for i in 0..cache.width {
                let mut row = [0u8; CHUNK * 4];
                for lane in lanes.clone() {
                    let element = from[lane].add(i * cache.page * E::BYTES);
                    row.as_mut_ptr().add(lane * E::BYTES).copy_from_nonoverlapping(element, E::BYTES);
                }
                for half in [0, 16] {
                    let values = E::load::<S>(row.as_ptr().add(half * E::BYTES));
                    S::store(self.scratch.keys.add(i * CHUNK + half), values);
                }
            }
        }
    }

    /// Lays out the values at `positions`.
    #[inline(always)]
    unsafe fn gather_values<S: Simd, E: Stored>(&self, found: &Part, positions: Range<usize>) {
        let (op, item) = (self.call.op, &self.item);
        for position in positions {
            unsafe {
                let from = self.call.values.add(op.cache.at(item.block.pages, item.head, position));
                let to = self.scratch.values.add((position - found.start) * op.padded());
                for column in (0..op.cache.width).step_by(16) {
                    let left = op.cache.width - column;
                    S::store(to.add(column), E::load_end::<S>(from.add(column * E::BYTES), left));
                }
            }
        }
    }
}

/// The chunks of a part that hold some of the positions, and the first of these in each.
fn chunks(positions: Range<usize>) -> impl Iterator<Item = (usize, usize)> {
    let of = move |chunk: usize| (chunk % CHUNKS, positions.start.max(chunk * CHUNK));
    (positions.start / CHUNK..positions.end.div_ceil(CHUNK)).map(of)
}
