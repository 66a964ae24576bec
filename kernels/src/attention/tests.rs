//! Attention is held to its meaning in f64, and to itself in other company, splits and instruction sets.
use super::*;
use crate::kv_append::KvAppend;
use crate::paged::Element;
use crate::random::Random;

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
    fn new(random: &mut Random, (heads, shared): Heads, cache: Cache, tokens: &[(i32, i32)]) -> Case {
        let pages_per_slot = tokens.iter().map(|t| t.1 as usize / cache.page + 1).max().unwrap();
        let row = cache.heads * cache.width;
        let mut case = Case {
            op: PagedAttention {
                isa: Isa::detect(),
                n: symbol(),
                heads,
                shared,
                cache,
                pages_per_slot: Extent { constant: pages_per_slot as i64, terms: vec![] },
                scale: 0.3,
                window: None,
                softcap: None,
            },
            queries: random.reals(tokens.len() * heads * cache.width),
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
        let append = |transposed| {
            let pages_per_slot = pages_per_slot.clone();
            KvAppend { isa, n: symbol(), cache, transposed, pages_per_slot }
        };
        let n = rows[0].len() / (cache.heads * cache.width);
        let mut positions: Vec<i32> = (0..n as i32).collect();
        let mut slots = vec![slot as i32; n];
        let caches = [(true, &mut self.keys), (false, &mut self.values)];
        for ((transposed, cache), rows) in caches.into_iter().zip(rows) {
            let args = [
                cache.as_mut_ptr(),
                rows.as_mut_ptr().cast(),
                positions.as_mut_ptr().cast(),
                slots.as_mut_ptr().cast(),
                self.table.as_mut_ptr().cast(),
                cache.as_mut_ptr(),
            ];
            unsafe { append(transposed).run(&args, &[n as i64], 0..n, std::ptr::null_mut()) };
        }
    }

    /// The results for some of the tokens.
    fn run(&mut self, isa: Isa, tokens: Range<usize>) -> Vec<f32> {
        self.run_split(isa, tokens, std::slice::from_ref(&(0..SHARES)))
    }

    /// The same by several workers, each with its units, one after the other.
    fn run_split(&mut self, isa: Isa, tokens: Range<usize>, units: &[Range<usize>]) -> Vec<f32> {
        self.op.isa = isa;
        let row = self.op.heads * self.op.cache.width;
        let mut out = vec![f32::NAN; tokens.len() * row];
        let mut shared = vec![f32::NAN; self.op.shared_bytes() / 4];
        let zeros = shared.len().min(SHARED_ZEROS / 4);
        shared[..zeros].fill(0.0);
        let args = [
            self.queries[tokens.start * row..].as_mut_ptr().cast(),
            self.keys.as_mut_ptr(),
            self.values.as_mut_ptr(),
            self.positions[tokens.start..].as_mut_ptr().cast(),
            self.slots[tokens.start..].as_mut_ptr().cast(),
            self.table.as_mut_ptr().cast(),
            out.as_mut_ptr().cast(),
            shared.as_mut_ptr().cast(),
        ];
        let syms = [tokens.len() as i64];
        assert_eq!(self.op.units(&syms), SHARES);
        for units in units {
            let mut scratch = vec![f32::NAN; self.op.scratch_bytes() / 4];
            unsafe { self.op.run(&args, &syms, units.clone(), scratch.as_mut_ptr().cast()) };
        }
        assert!(shared[..zeros].iter().all(|x| x.to_bits() == 0), "counters are left at zero");
        out
    }

    fn expect_close(&self, out: &[f32]) {
        let (op, width) = (&self.op, self.op.cache.width);
        for (index, out) in out.chunks_exact(width).enumerate() {
            let (token, head) = (index / op.heads, index % op.heads);
            let query = &self.queries[index * width..][..width];
            let (by, skip) = op.shared;
            let start = (head + skip) / by * width;
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

/// A prompt, a token after a short and one after a long history, another prompt, and the end of a long one.
fn mixed() -> Vec<(i32, i32)> {
    let prompt = (0..40).map(|i| (1, i));
    prompt
        .chain([(0, 0), (2, 777)])
        .chain((5..24).map(|i| (0, i)))
        .chain((600..603).map(|i| (1, i)))
        .collect()
}

/// Shares for workers, cut anywhere, in any order.
fn split(random: &mut Random, workers: usize) -> Vec<Range<usize>> {
    let mut cuts: Vec<usize> = (1..workers).map(|_| random.below(SHARES + 1)).chain([0, SHARES]).collect();
    cuts.sort_unstable();
    let mut units: Vec<_> = cuts.windows(2).map(|pair| pair[0]..pair[1]).collect();
    for i in (1..units.len()).rev() {
        units.swap(i, random.below(i + 1));
    }
    units
}

/// Query heads, how many share a key head, and how many of the first one's are elsewhere.
type Heads = (usize, (usize, usize));

fn caches() -> Vec<(Heads, Cache)> {
    let of = |element, heads, page, width| Cache { element, heads, page, width };
    vec![
        ((9, (3, 0)), of(Element::F16, 3, 32, 64)),
        ((5, (3, 1)), of(Element::F16, 2, 32, 64)),
        ((4, (3, 0)), of(Element::F16, 2, 32, 64)),
        ((7, (4, 3)), of(Element::F32, 3, 4, 8)),
        ((3, (1, 0)), of(Element::F16, 3, 16, 64)),
        ((2, (1, 0)), of(Element::F32, 2, 4, 8)),
        ((5, (5, 0)), of(Element::F32, 1, 96, 48)),
        ((4, (4, 0)), of(Element::F16, 1, 64, 256)),
        ((7, (7, 0)), of(Element::F32, 1, 2, 7)),
        ((4, (2, 0)), of(Element::F16, 2, 5, 80)),
    ]
}

#[test]
fn tokens_of_several_sequences_see_their_own_history() {
    let mut random = Random(8);
    for (heads, cache) in caches() {
        for (window, softcap) in
            [(None, None), (Some(1), None), (Some(33), Some(0.5)), (Some(300), Some(30.0))]
        {
            let mut case = Case::new(&mut random, heads, cache, &mixed());
            (case.op.window, case.op.softcap) = (window, softcap);
            let out = case.run(Isa::detect(), 0..case.slots.len());
            case.expect_close(&out);
        }
    }
}

#[test]
fn a_token_has_the_same_bits_in_any_company_split_and_instruction_set() {
    let mut random = Random(9);
    for (heads, cache) in caches() {
        let mut case = Case::new(&mut random, heads, cache, &mixed());
        case.op.softcap = Some(2.0);
        let (n, row) = (case.slots.len(), case.op.heads * cache.width);
        let whole = case.run(Isa::Portable, 0..n);
        for isa in Isa::available() {
            assert_eq!(case.run(isa, 0..n), whole, "on {}", isa.name());
        }
        for tokens in [0..n, 0..1, 39..40, 12..31, 40..42, 41..42, 41..60, 60..64, 61..63] {
            let expected = &whole[tokens.start * row..tokens.end * row];
            assert_eq!(case.run(Isa::detect(), tokens.clone()), expected, "tokens {tokens:?}");
            for workers in 2..6 {
                let units = split(&mut random, workers);
                let found = case.run_split(Isa::detect(), tokens.clone(), &units);
                assert_eq!(found, expected, "tokens {tokens:?}, split in {units:?}");
            }
        }
    }
}

#[test]
fn large_scores_neither_overflow_nor_vanish() {
    let cache = Cache { element: Element::F32, heads: 1, page: 16, width: 16 };
    let mut case = Case::new(&mut Random(10), (1, (1, 0)), cache, &[(0, 70)]);
    case.op.scale = 1000.0;
    let out = case.run(Isa::detect(), 0..1);
    assert!(out.iter().all(|x| x.is_finite() && x.abs() <= 1.0));
}
