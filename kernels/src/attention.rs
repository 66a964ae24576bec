//! `paged_attention`: causal attention over paged caches, with a softmax that runs along (Dao et al., 2022).
//!
//! Positions are taken 32 at a time, counted from the sequence's first, and each query goes through them in order:
//! its bits depend neither on the tokens that are worked on with it nor on the split.
//! For every 32, keys are transposed and values widened into scratch, once for all queries of neighbouring tokens.
use super::length;
use super::paged::Cache;
use super::simd::{Isa, Simd, Work, exp, prefetch, tanh};
use runtime::device::{Executable, Extent};
use std::ops::Range;

/// Arguments: queries f32 `[n, heads, width]`, the caches of keys and of values, i32 positions and slots `[n]`, the
/// page table, the output f32 `[n, heads × width]`.
pub struct PagedAttention {
    pub isa: Isa,
    pub n: Extent,
    /// Query heads, a multiple of the cache's.
    pub heads: usize,
    pub cache: Cache,
    /// Columns of the page table.
    pub pages_per_slot: Extent,
    pub scale: f32,
    /// How many positions a token sees, its own the last; at least 1.
    pub window: Option<usize>,
    pub softcap: Option<f32>,
}

/// Positions taken at a time.
const CHUNK: usize = 32;
/// Most tokens worked on together.
const TOKENS: usize = 16;
/// f32 that a query's state has besides its weighted sum: its greatest score, and 16 partial sums of weights.
const STATE: usize = 32;

impl Executable for PagedAttention {
    fn units(&self, syms: &[i64]) -> usize {
        self.cache.heads * length(&self.n, syms)
    }

    fn scratch_bytes(&self) -> usize {
        (2 * CHUNK * self.padded() + TOKENS * self.sharing() * self.state_len()) * 4
    }

    unsafe fn run(&self, args: &[*mut u8], syms: &[i64], units: Range<usize>, scratch: *mut u8) {
        let n = length(&self.n, syms);
        let pages_per_slot = length(&self.pages_per_slot, syms);
        let [positions, slots, table] = [3, 4, 5].map(|i| args[i].cast_const().cast::<i32>());
        let mut unit = units.start;
        while unit < units.end {
            let (head, first) = (unit / n, unit % n);
            unsafe {
                let slot = slots.add(first).read();
                let most = TOKENS.min(units.end - unit).min(n - first);
                let tokens = (1..most).find(|&i| slots.add(first + i).read() != slot).unwrap_or(most);
                let scratch = scratch.cast::<f32>();
                let query = (first * self.heads + head * self.sharing()) * self.cache.width;
                self.isa.run(Block {
                    op: self,
                    head,
                    tokens,
                    queries: args[0].cast::<f32>().add(query),
                    keys: args[1],
                    values: args[2],
                    positions: positions.add(first),
                    pages: table.add(slot as usize * pages_per_slot),
                    out: args[6].cast::<f32>().add(query),
                    wide_keys: scratch,
                    wide_values: scratch.add(CHUNK * self.padded()),
                    states: scratch.add(2 * CHUNK * self.padded()),
                });
                unit += tokens;
            }
        }
    }
}

impl PagedAttention {
    /// Query heads that share a key head.
    fn sharing(&self) -> usize {
        self.heads / self.cache.heads
    }

    /// The width in whole vectors.
    fn padded(&self) -> usize {
        self.cache.width.next_multiple_of(16)
    }

    fn state_len(&self) -> usize {
        STATE + self.padded()
    }

    /// The positions that a token at `position` sees.
    fn seen(&self, position: i32) -> Range<usize> {
        let end = position as usize + 1;
        end.saturating_sub(self.window.unwrap_or(end))..end
    }
}

/// Neighbouring tokens of one sequence, and one key head.
struct Block<'a> {
    op: &'a PagedAttention,
    head: usize,
    tokens: usize,
    queries: *const f32,
    keys: *const u8,
    values: *const u8,
    positions: *const i32,
    pages: *const i32,
    out: *mut f32,
    /// Keys of a chunk, `[padded, CHUNK]`.
    wide_keys: *mut f32,
    /// Values of a chunk, `[CHUNK, padded]`.
    wide_values: *mut f32,
    /// Per token and head: the greatest score, the sums of weights, the weighted sum of values.
    states: *mut f32,
}

impl Work for Block<'_> {
    const ROWS: usize = 1;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let sharing = self.op.sharing();
        unsafe {
            let mut seen = self.op.seen(self.positions.read());
            for token in 1..self.tokens {
                let own = self.op.seen(self.positions.add(token).read());
                seen = seen.start.min(own.start)..seen.end.max(own.end);
            }
            for row in 0..self.tokens * sharing {
                self.state(row).write_bytes(0, self.op.state_len());
                self.state(row).write(f32::NEG_INFINITY);
            }
            let first = seen.start / CHUNK * CHUNK;
            self.ask_for(seen.start..seen.end.min(first + CHUNK));
            for start in (first..seen.end).step_by(CHUNK) {
                let chunk = seen.start.max(start)..seen.end.min(start + CHUNK);
                self.ask_for(start + CHUNK..seen.end.min(start + 2 * CHUNK));
                self.widen::<S>(start, chunk);
                let mut row = 0;
                while row < self.tokens * sharing {
                    row += match self.tokens * sharing - row {
                        6.. if S::ROWS >= 6 => self.attend::<S, 6>(row, start),
                        3.. if S::ROWS >= 3 => self.attend::<S, 3>(row, start),
                        2.. => self.attend::<S, 2>(row, start),
                        _ => self.attend::<S, 1>(row, start),
                    };
                }
            }
            for row in 0..self.tokens * sharing {
                self.finish::<S>(row);
            }
        }
    }
}

impl Block<'_> {
    /// The state of row `row`: rows are the heads of the first token, then those of the next.
    #[inline(always)]
    fn state(&self, row: usize) -> *mut f32 {
        self.states.wrapping_add(row * self.op.state_len())
    }

    /// From the first query or output to that of row `row`.
    #[inline(always)]
    fn offset(&self, row: usize) -> usize {
        let (token, head) = (row / self.op.sharing(), row % self.op.sharing());
        (token * self.op.heads + head) * self.op.cache.width
    }

    /// What row `row` sees of the chunk from `start`, counted from there.
    #[inline(always)]
    unsafe fn own(&self, row: usize, start: usize) -> Range<usize> {
        let seen = self.op.seen(unsafe { self.positions.add(row / self.op.sharing()).read() });
        seen.start.clamp(start, start + CHUNK) - start..seen.end.clamp(start, start + CHUNK) - start
    }

    /// Asks for the keys and values at `positions` ahead of their use: each page lies somewhere else, so that the
    /// machine does not foresee them.
    #[inline(always)]
    unsafe fn ask_for(&self, positions: Range<usize>) {
        let cache = &self.op.cache;
        for position in positions {
            let at = unsafe { cache.at(self.pages, self.head, position) };
            for line in (0..cache.width * cache.element_bytes()).step_by(64) {
                prefetch(self.keys.wrapping_add(at + line));
                prefetch(self.values.wrapping_add(at + line));
            }
        }
    }

    /// Lays out the keys and values at `positions`, of the chunk from `start`.
    #[inline(always)]
    unsafe fn widen<S: Simd>(&self, start: usize, positions: Range<usize>) {
        let (cache, padded) = (&self.op.cache, self.op.padded());
        unsafe {
            for half in [0, 16] {
                if start + half >= positions.end || start + half + 16 <= positions.start {
                    continue;
                }
                let mut rows = [self.keys; 16];
                for (i, row) in rows.iter_mut().enumerate() {
                    // What lies outside is not looked at, but something must stand there.
                    let position = (start + half + i).clamp(positions.start, positions.end - 1);
                    *row = self.keys.add(cache.at(self.pages, self.head, position));
                }
                for part in (0..padded).step_by(16) {
                    let mut square = [S::splat(0.0); 16];
                    for i in 0..16 {
                        let at = rows[i].add(part * cache.element_bytes());
                        square[i] = cache.load::<S>(at, cache.width - part);
                    }
                    let square = transpose::<S>(square);
                    for i in 0..16 {
                        S::store(self.wide_keys.add((part + i) * CHUNK + half), square[i]);
                    }
                }
            }
            for position in positions {
                let row = self.values.add(cache.at(self.pages, self.head, position));
                let to = self.wide_values.add((position - start) * padded);
                for part in (0..padded).step_by(16) {
                    let at = row.add(part * cache.element_bytes());
                    S::store(to.add(part), cache.load::<S>(at, cache.width - part));
                }
            }
        }
    }

    /// Takes the chunk from `start` into the states of `R` rows from `row` on. Gives back `R`.
    #[inline(always)]
    unsafe fn attend<S: Simd, const R: usize>(&self, row: usize, start: usize) -> usize {
        let (op, width) = (self.op, self.op.cache.width);
        unsafe {
            let mut queries = [self.queries; R];
            let mut scores = [[S::splat(0.0); 2]; R];
            for r in 0..R {
                queries[r] = self.queries.add(self.offset(row + r));
            }
            for i in 0..width {
                let keys = self.wide_keys.add(i * CHUNK);
                let keys = [S::load(keys), S::load(keys.add(16))];
                for r in 0..R {
                    let q = S::splat(queries[r].add(i).read());
                    scores[r] = [S::fma(q, keys[0], scores[r][0]), S::fma(q, keys[1], scores[r][1])];
                }
            }
            let mut weights = [[0.0; CHUNK]; R];
            let (mut first, mut end) = (CHUNK, 0);
            for r in 0..R {
                let own = self.own(row + r, start);
                if own.is_empty() {
                    continue;
                }
                let capped = [self.scale::<S>(scores[r][0]), self.scale::<S>(scores[r][1])];
                self.weigh::<S>(self.state(row + r), capped, own.clone(), &mut weights[r]);
                (first, end) = (first.min(own.start), end.max(own.end));
            }
            let mut part = 0;
            while part + 64 <= op.padded() {
                self.sum::<S, R, 4>(row, first..end, &weights, part);
                part += 64;
            }
            while part < op.padded() {
                self.sum::<S, R, 1>(row, first..end, &weights, part);
                part += 16;
            }
        }
        R
    }

    #[inline(always)]
    unsafe fn scale<S: Simd>(&self, scores: S::F) -> S::F {
        unsafe {
            let scaled = S::mul(scores, S::splat(self.op.scale));
            match self.op.softcap {
                Some(cap) => S::mul(S::splat(cap), tanh::<S>(S::div(scaled, S::splat(cap)))),
                None => scaled,
            }
        }
    }

    /// From scores to weights relative to the greatest score so far; what was weighed by a lesser one is weighed
    /// down. Outside `own` weights are zero.
    #[inline(always)]
    unsafe fn weigh<S: Simd>(
        &self,
        state: *mut f32,
        mut scores: [S::F; 2],
        own: Range<usize>,
        weights: &mut [f32; CHUNK],
    ) {
        let whole = own == (0..CHUNK);
        let to = weights.as_mut_ptr();
        unsafe {
            if !whole {
                S::store(to, scores[0]);
                S::store(to.add(16), scores[1]);
                weights[..own.start].fill(f32::NEG_INFINITY);
                weights[own.end..].fill(f32::NEG_INFINITY);
                scores = [S::load(to), S::load(to.add(16))];
            }
            let before = state.read();
            let most = before.max(S::max_lane(S::max(scores[0], scores[1])));
            let sums = state.add(16);
            if most > before {
                let fade = exp::<S>(S::splat(before - most));
                for at in (0..16 + self.op.padded()).step_by(16) {
                    S::store(sums.add(at), S::mul(S::load(sums.add(at)), fade));
                }
                state.write(most);
            }
            for half in 0..2 {
                S::store(to.add(16 * half), exp::<S>(S::sub(scores[half], S::splat(most))));
            }
            if !whole {
                weights[..own.start].fill(0.0);
                weights[own.end..].fill(0.0);
            }
            S::store(sums, S::add(S::load(sums), S::add(S::load(to), S::load(to.add(16)))));
        }
    }

    /// Adds weighted values to the states' sums, `V` vectors from `part` on. What a row does not see has no weight.
    #[inline(always)]
    unsafe fn sum<S: Simd, const R: usize, const V: usize>(
        &self,
        row: usize,
        seen: Range<usize>,
        weights: &[[f32; CHUNK]; R],
        part: usize,
    ) {
        unsafe {
            let mut sums = [[S::splat(0.0); V]; R];
            for r in 0..R {
                let state = self.state(row + r).add(STATE + part);
                for v in 0..V {
                    sums[r][v] = S::load(state.add(16 * v));
                }
            }
            for position in seen {
                let from = self.wide_values.add(position * self.op.padded() + part);
                let mut values = [S::splat(0.0); V];
                for v in 0..V {
                    values[v] = S::load(from.add(16 * v));
                }
                for r in 0..R {
                    let weight = S::splat(*weights[r].get_unchecked(position));
                    for v in 0..V {
                        sums[r][v] = S::fma(weight, values[v], sums[r][v]);
                    }
                }
            }
            for r in 0..R {
                let state = self.state(row + r).add(STATE + part);
                for v in 0..V {
                    S::store(state.add(16 * v), sums[r][v]);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn finish<S: Simd>(&self, row: usize) {
        let width = self.op.cache.width;
        unsafe {
            let state = self.state(row);
            let total: f32 = S::lanes(S::load(state.add(16))).into_iter().sum();
            let out = self.out.add(self.offset(row));
            for part in (0..width).step_by(16) {
                let values = S::div(S::load(state.add(STATE + part)), S::splat(total));
                if part + 16 <= width {
                    S::store(out.add(part), values);
                } else {
                    out.add(part).copy_from_nonoverlapping(S::lanes(values).as_ptr(), width - part);
                }
            }
        }
    }
}

/// Rows become columns: four rounds of dealing out two halves in turn.
#[inline(always)]
unsafe fn transpose<S: Simd>(mut square: [S::F; 16]) -> [S::F; 16] {
    for _ in 0..4 {
        let rows = square;
        for i in 0..8 {
            (square[2 * i], square[2 * i + 1]) = unsafe { S::zip(rows[i], rows[i + 8]) };
        }
    }
    square
}

#[cfg(test)]
mod tests {
    use super::super::kv_append::KvAppend;
    use super::super::paged::Element;
    use super::super::random::Random;
    use super::*;

    const SLOTS: usize = 3;

    /// Tokens of several sequences and caches that hold what they see.
    struct Case {
        op: PagedAttention,
        queries: Vec<f32>,
        keys: Vec<u8>,
        values: Vec<u8>,
        positions: Vec<i32>,
        slots: Vec<i32>,
        table: Vec<i32>,
        /// Keys and values by slot and position, as the caches hold them: `[heads, width]`.
        history: Vec<Vec<[Vec<f32>; 2]>>,
    }

    fn symbol() -> Extent {
        Extent { constant: 0, terms: vec![(1, 0)] }
    }

    impl Case {
        /// `tokens` are slots and positions; each slot's history goes up to the last of its positions.
        fn new(random: &mut Random, sharing: usize, cache: Cache, tokens: &[(i32, i32)]) -> Case {
            let pages_per_slot = tokens.iter().map(|t| t.1 as usize / cache.page + 1).max().unwrap();
            let row = cache.heads * cache.width;
            let mut case = Case {
                op: PagedAttention {
                    isa: Isa::detect(),
                    n: symbol(),
                    heads: cache.heads * sharing,
                    cache,
                    pages_per_slot: Extent { constant: pages_per_slot as i64, terms: vec![] },
                    scale: 0.3,
                    window: None,
                    softcap: None,
                },
                queries: random.reals(tokens.len() * row * sharing),
                // What was never written is NaN.
                keys: vec![0xff; SLOTS * pages_per_slot * cache.page * row * cache.element_bytes()],
                values: vec![],
                positions: tokens.iter().map(|t| t.1).collect(),
                slots: tokens.iter().map(|t| t.0).collect(),
                table: (0..(SLOTS * pages_per_slot) as i32).collect(),
                history: vec![vec![]; SLOTS],
            };
            case.values = case.keys.clone();
            for i in (1..case.table.len()).rev() {
                case.table.swap(i, random.below(i + 1));
            }
            for slot in 0..SLOTS {
                let end = tokens.iter().filter(|t| t.0 as usize == slot).map(|t| t.1 + 1).max().unwrap_or(0);
                let mut rows = [0, 1].map(|_| random.reals(end as usize * row));
                case.append(slot, &mut rows);
                for position in 0..end as usize {
                    let round = |x: &f32| match cache.element {
                        Element::F16 => half::f16::from_f32(*x).to_f32(),
                        Element::F32 => *x,
                    };
                    let at = |rows: &Vec<f32>| rows[position * row..][..row].iter().map(round).collect();
                    case.history[slot].push([at(&rows[0]), at(&rows[1])]);
                }
            }
            case
        }

        fn append(&mut self, slot: usize, rows: &mut [Vec<f32>; 2]) {
            let op = &self.op;
            let (isa, cache, pages_per_slot) = (op.isa, op.cache, op.pages_per_slot.clone());
            let append = KvAppend { isa, n: symbol(), cache, pages_per_slot };
            let n = rows[0].len() / (cache.heads * cache.width);
            let mut positions: Vec<i32> = (0..n as i32).collect();
            let mut slots = vec![slot as i32; n];
            for (cache, rows) in [&mut self.keys, &mut self.values].into_iter().zip(rows) {
                let args = [
                    cache.as_mut_ptr(),
                    rows.as_mut_ptr().cast(),
                    positions.as_mut_ptr().cast(),
                    slots.as_mut_ptr().cast(),
                    self.table.as_mut_ptr().cast(),
                    cache.as_mut_ptr(),
                ];
                unsafe { append.run(&args, &[n as i64], 0..n, std::ptr::null_mut()) };
            }
        }

        /// The results for some of the tokens, in `parts` runs.
        fn run(&mut self, isa: Isa, tokens: Range<usize>, parts: usize) -> Vec<f32> {
            self.op.isa = isa;
            let row = self.op.heads * self.op.cache.width;
            let mut out = vec![f32::NAN; tokens.len() * row];
            let args = [
                self.queries[tokens.start * row..].as_mut_ptr().cast(),
                self.keys.as_mut_ptr(),
                self.values.as_mut_ptr(),
                self.positions[tokens.start..].as_mut_ptr().cast(),
                self.slots[tokens.start..].as_mut_ptr().cast(),
                self.table.as_mut_ptr().cast(),
                out.as_mut_ptr().cast(),
            ];
            let syms = [tokens.len() as i64];
            let units = self.op.units(&syms);
            let mut scratch = vec![f32::NAN; self.op.scratch_bytes() / 4];
            for part in 0..parts {
                let units = units * part / parts..units * (part + 1) / parts;
                unsafe { self.op.run(&args, &syms, units, scratch.as_mut_ptr().cast()) };
            }
            out
        }

        fn expect_close(&self, out: &[f32]) {
            let (op, width) = (&self.op, self.op.cache.width);
            for (index, out) in out.chunks_exact(width).enumerate() {
                let (token, head) = (index / op.heads, index % op.heads);
                let query = &self.queries[index * width..][..width];
                let start = head / op.sharing() * width;
                let history = &self.history[self.slots[token] as usize];
                let seen = &history[op.seen(self.positions[token])];
                let score = |rows: &[Vec<f32>; 2]| {
                    let key = &rows[0][start..start + width];
                    let dot: f64 = query.iter().zip(key).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum();
                    let scaled = dot * f64::from(op.scale);
                    op.softcap.map_or(scaled, |cap| f64::from(cap) * (scaled / f64::from(cap)).tanh()).exp()
                };
                let weights: Vec<f64> = seen.iter().map(score).collect();
                let total: f64 = weights.iter().sum();
                for (i, &out) in out.iter().enumerate() {
                    let values = seen.iter().map(|rows| f64::from(rows[1][start + i]));
                    let exact = values.zip(&weights).map(|(v, w)| v * w).sum::<f64>() / total;
                    assert!((f64::from(out) - exact).abs() < 1e-5, "token {token}: {out}, expected {exact}");
                }
            }
        }
    }

    /// A prompt, a token after a short and one after a long history, and another prompt.
    fn mixed() -> Vec<(i32, i32)> {
        let prompt = (0..40).map(|i| (1, i));
        prompt.chain([(0, 0), (2, 133)]).chain((5..24).map(|i| (0, i))).collect()
    }

    fn caches() -> Vec<(usize, Cache)> {
        let of = |element, heads, page, width| Cache { element, heads, page, width };
        vec![
            (3, of(Element::F16, 3, 16, 64)),
            (1, of(Element::F32, 2, 4, 8)),
            (4, of(Element::F16, 1, 64, 256)),
            (7, of(Element::F32, 1, 2, 7)),
            (2, of(Element::F16, 2, 5, 80)),
        ]
    }

    #[test]
    fn tokens_of_several_sequences_see_their_own_history() {
        let mut random = Random(8);
        for (sharing, cache) in caches() {
            for (window, softcap) in
                [(None, None), (Some(1), None), (Some(33), Some(0.5)), (Some(200), Some(30.0))]
            {
                let mut case = Case::new(&mut random, sharing, cache, &mixed());
                (case.op.window, case.op.softcap) = (window, softcap);
                let out = case.run(Isa::detect(), 0..case.slots.len(), 1);
                case.expect_close(&out);
            }
        }
    }

    #[test]
    fn a_token_has_the_same_bits_in_any_company_split_and_instruction_set() {
        let mut random = Random(9);
        for (sharing, cache) in caches() {
            let mut case = Case::new(&mut random, sharing, cache, &mixed());
            case.op.softcap = Some(2.0);
            let (n, row) = (case.slots.len(), case.op.heads * cache.width);
            let whole = case.run(Isa::Portable, 0..n, 1);
            for isa in Isa::available() {
                assert_eq!(case.run(isa, 0..n, 1), whole, "on {}", isa.name());
            }
            for parts in [2, 3, 7] {
                assert_eq!(case.run(Isa::detect(), 0..n, parts), whole, "in {parts} parts");
            }
            for tokens in [0..1, 39..40, 12..31, 40..42, 41..60] {
                let expected = &whole[tokens.start * row..tokens.end * row];
                assert_eq!(case.run(Isa::detect(), tokens.clone(), 1), expected, "tokens {tokens:?}");
            }
        }
    }

    #[test]
    fn large_scores_neither_overflow_nor_vanish() {
        let cache = Cache { element: Element::F32, heads: 1, page: 16, width: 16 };
        let mut case = Case::new(&mut Random(10), 1, cache, &[(0, 70)]);
        case.op.scale = 1000.0;
        let out = case.run(Isa::detect(), 0..1, 1);
        assert!(out.iter().all(|x| x.is_finite() && x.abs() <= 1.0));
    }
}
