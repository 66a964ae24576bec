//! The inner loops: scores of some rows, their softmax within a part, their weighted sums.
use super::super::paged::Stored;
use super::super::simd::{Simd, exp2, prefetch, tanh};
use super::{CHUNK, PagedAttention, SCORES};
use std::f32::consts::LOG2_E;
use std::ops::Range;

/// Chunks of a part.
pub(super) const CHUNKS: usize = super::PART / CHUNK;

/// How many of `left` rows are taken at once: as many as the registers hold sums for.
#[inline(always)]
pub(super) fn group<S: Simd>(left: usize) -> usize {
    let sizes: &[usize] = match S::ROWS {
        12.. => &[12, 8, 4, 3, 2, 1],
        2.. => &[3, 2, 1],
        _ => &[2, 1],
    };
    *sizes.iter().find(|&&size| size <= left).unwrap_or(&1)
}

/// Evaluates an expression with constants for a group of `$rows` rows: `R`, how many; `C`, how many chunks are scored
/// at once; `V`, how many vectors of values are summed at once.
macro_rules! of_group {
    ($S:ident, $rows:expr, $e:expr) => {
        of_group!(@ $S, $rows, $e, [12: 12 1 2, 12: 8 1 2, 12: 4 2 4, 12: 3 2 4, 12: 2 2 4, 12: 1 2 4, 0: 3 1 2, 0: 2 1 2, 0: 1 1 2])
    };
    (@ $S:ident, $rows:expr, $e:expr, [$($has:literal: $R:literal $C:literal $V:literal),*]) => {
        match $rows {
            $($R if ($S::ROWS >= 12) == ($has == 12) => {
                #[allow(dead_code)]
                const R: usize = $R;
                #[allow(dead_code)]
                const C: usize = $C;
                #[allow(dead_code)]
                const V: usize = $V;
                $e
            })*
            _ => {}
        }
    };
}
pub(super) use of_group;

/// A part's keys or values: where its chunks begin, and how far a row of a chunk is from the next, in bytes.
/// A row of keys is an element of the positions' vectors, a row of values a position.
#[derive(Clone, Copy)]
pub(super) struct Chunks {
    pub(super) at: [*const u8; CHUNKS],
    pub(super) stride: usize,
}

/// Scores `R` queries, at `queries` in turn by element, against `C` chunks of keys. Meanwhile asks for the chunks of
/// values at `ahead`, which are contiguous.
#[inline(always)]
pub(super) unsafe fn score<S: Simd, E: Stored, const R: usize, const C: usize>(
    op: &PagedAttention,
    queries: *const f32,
    keys: [*const u8; C],
    stride: usize,
    ahead: [*const u8; C],
    scores: *mut f32,
) {
    unsafe {
        let mut sums = [[[S::splat(0.0); 2]; C]; R];
        for i in 0..op.cache.width {
            let mut row = [[S::splat(0.0); 2]; C];
            for c in 0..C {
                let at = keys[c].add(i * stride);
                row[c] = [E::load::<S>(at), E::load::<S>(at.add(16 * E::BYTES))];
                ask_for::<E>(ahead[c].wrapping_add(i * CHUNK * E::BYTES));
            }
            for r in 0..R {
                let q = S::splat(queries.add(i * R + r).read());
                for c in 0..C {
                    sums[r][c] = [S::fma(q, row[c][0], sums[r][c][0]), S::fma(q, row[c][1], sums[r][c][1])];
                }
            }
        }
        // From products to exponents of 2.
        let factor = S::splat(op.softcap.map_or(op.scale * LOG2_E, |cap| op.scale / cap));
        for r in 0..R {
            for c in 0..C {
                for half in 0..2 {
                    let to = scores.add(r * SCORES + c * CHUNK + half * 16);
                    S::store(to, S::mul(sums[r][c][half], factor));
                }
            }
        }
        if let Some(cap) = op.softcap {
            for r in 0..R {
                bend::<S>(scores.add(r * SCORES), C * CHUNK, cap * LOG2_E);
            }
        }
    }
}

/// Each of `len` scores becomes its hyperbolic tangent times `cap`.
#[inline(always)]
unsafe fn bend<S: Simd>(scores: *mut f32, len: usize, cap: f32) {
    for at in (0..len).step_by(16) {
        unsafe {
            let bent = tanh::<S>(S::load(scores.add(at)));
            S::store(scores.add(at), S::mul(bent, S::splat(cap)));
        }
    }
}

/// Asks for the `CHUNK` elements at `p`.
#[inline(always)]
unsafe fn ask_for<E: Stored>(p: *const u8) {
    for line in (0..CHUNK * E::BYTES).step_by(64) {
        prefetch(p.wrapping_add(line));
    }
}

/// From a row's scores to its weights in a part, of which it sees `own`; weights are zero elsewhere in `walked`.
/// Begins the row's state.
#[inline(always)]
pub(super) unsafe fn weigh<S: Simd>(
    scores: *mut f32,
    own: Range<usize>,
    walked: Range<usize>,
    state: *mut f32,
) {
    unsafe {
        if own.is_empty() {
            fill(scores, walked, 0.0);
            state.write(f32::NEG_INFINITY);
            state.add(1).write(0.0);
            return;
        }
        let whole = own.start / 16 * 16..own.end.next_multiple_of(16);
        fill(scores, whole.start..own.start, f32::NEG_INFINITY);
        fill(scores, own.end..whole.end, f32::NEG_INFINITY);
        let mut most = S::load(scores.add(whole.start));
        for at in (whole.start + 16..whole.end).step_by(16) {
            most = S::max(most, S::load(scores.add(at)));
        }
        let most = S::max_lane(most);
        for at in whole.clone().step_by(16) {
            let score = S::sub(S::load(scores.add(at)), S::splat(most));
            S::store(scores.add(at), exp2::<S>(score));
        }
        fill(scores, walked.start.min(whole.start)..own.start, 0.0);
        fill(scores, own.end..walked.end.max(whole.end), 0.0);
        let mut total = S::splat(0.0);
        for at in whole.step_by(16) {
            total = S::add(total, S::load(scores.add(at)));
        }
        state.write(most);
        state.add(1).write(sum(S::lanes(total)));
    }
}

#[inline(always)]
unsafe fn fill(scores: *mut f32, range: Range<usize>, value: f32) {
    for at in range {
        unsafe { scores.add(at).write(value) };
    }
}

/// The sum of lanes: halves are added to one another until one is left.
#[inline(always)]
fn sum(mut lanes: [f32; 16]) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}

/// Writes the sums of weighted values over the positions `seen` of a part for `R` rows, `stride` f32 from one to the
/// next: `V` vectors from `column` on. Meanwhile asks for the keys at `ahead`.
#[inline(always)]
pub(super) unsafe fn weighted_sum<S: Simd, E: Stored, const R: usize, const V: usize>(
    weights: *const f32,
    seen: Range<usize>,
    values: &Chunks,
    column: usize,
    ahead: Option<&Chunks>,
    to: *mut f32,
    stride: usize,
) {
    unsafe {
        let mut sums = [[S::splat(0.0); V]; R];
        let mut position = seen.start;
        while position < seen.end {
            let (chunk, first) = (position / CHUNK, position % CHUNK);
            let mut at = values.at[chunk].add(first * values.stride + column * E::BYTES);
            // Each position asks for its share of rows, so that all are asked for when the last column is done.
            let mut asked =
                ahead.map_or(at, |a| a.at[chunk].wrapping_add((column + first * V / 2) * a.stride));
            let asked_stride = ahead.map_or(0, |a| a.stride);
            for position in position..seen.end.min(position - first + CHUNK) {
                let mut row = [S::splat(0.0); V];
                for v in 0..V {
                    row[v] = E::load::<S>(at.add(v * 16 * E::BYTES));
                }
                for r in 0..R {
                    let weight = S::splat(weights.add(r * SCORES + position).read());
                    for v in 0..V {
                        sums[r][v] = S::fma(weight, row[v], sums[r][v]);
                    }
                }
                for _ in 0..V / 2 {
                    ask_for::<E>(asked);
                    asked = asked.wrapping_add(asked_stride);
                }
                at = at.wrapping_add(values.stride);
            }
            position += CHUNK - first;
        }
        for r in 0..R {
            for v in 0..V {
                S::store(to.add(r * stride + column + 16 * v), sums[r][v]);
            }
        }
    }
}
