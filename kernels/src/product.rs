//! The inner parts of a matrix product: a run of weight tiles times a panel of a few rows of x.
//!
//! Each output is one chain of sums along k, whatever the panel's height, so its bits are the same in every
//! panel.
//! A panel of `N` rows holds block after block of x, within a block row after row; with one row that is x itself.
use super::codes::{BLOCK, Codes, TILE};
use super::layout::{Coded, Dense, LINE};
use super::simd::{Simd, Work, prefetch};
use std::marker::PhantomData;

/// Bytes of a block of `q8_a`: f32 scale, f32 sum, 32 i8.
pub(crate) const Q8A_BYTES: usize = 40;
/// How far ahead of its use a weight is asked for: across the ends of tiles and weights, for the steps of a plan
/// read them in the order in which they lie.
const AHEAD_BYTES: usize = 16384;

/// What a run needs besides its types.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    /// The length of a dot product.
    pub k: usize,
    /// The first tile, and how many follow each other.
    pub tiles: *const u8,
    pub count: usize,
    /// The panel.
    pub x: *const u8,
    /// In coded layouts with scales for 16: per block, row and half, f32 scale times the sum of x's codes.
    pub halves: *const f32,
    /// Whether the weights were not read just before, for other rows.
    pub is_first: bool,
    /// Where the first row's first output goes, how far the next row's lies, and how many columns there are.
    pub out: *mut f32,
    pub stride: usize,
    pub cols: usize,
}

impl Run {
    /// Scales and codes of tile `tile`.
    #[inline(always)]
    unsafe fn parts<L: Coded>(&self, tile: usize) -> (*const u8, *const u8) {
        let codes_at = L::codes_at(self.k);
        let scales = unsafe { self.tiles.add(tile * (codes_at + self.k / BLOCK * L::Codes::BYTES)) };
        (scales, unsafe { scales.add(codes_at) })
    }

    #[inline(always)]
    unsafe fn store<S: Simd, const N: usize>(&self, tile: usize, y: [S::F; N]) {
        let cols = self.cols - tile * TILE;
        for (row, y) in y.into_iter().enumerate() {
            unsafe {
                let out = self.out.add(row * self.stride + tile * TILE);
                if cols >= TILE {
                    S::store(out, y);
                } else {
                    out.copy_from_nonoverlapping(S::lanes(y).as_ptr(), cols);
                }
            }
        }
    }
}

/// Coded weights times int8 activations, summed in i32 over each scale's values and in f32 from there.
pub(crate) struct CodedInt8<L, const N: usize>(pub Run, pub PhantomData<L>);

impl<L: Coded, const N: usize> Work for CodedInt8<L, N> {
    const ROWS: usize = N;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let run = self.0;
        let line = line();
        for tile in 0..run.count {
            let mut x = run.x;
            let mut halves = run.halves;
            unsafe {
                let (mut scales, mut codes) = run.parts::<L>(tile);
                let mut y = [S::splat(0.0); N];
                for _ in 0..run.k / L::SPAN {
                    if run.is_first {
                        ask_for(scales, L::SPAN_BYTES, line);
                    }
                    let header = L::header::<S>(scales);
                    scales = scales.add(L::HEADER_BYTES);
                    for _ in 0..L::SPAN / BLOCK {
                        if run.is_first {
                            ask_for(codes, L::Codes::BYTES, line);
                        }
                        for part in 0..BLOCK / L::SHARE {
                            let (scale, min) = L::scales::<S>(header, scales, part);
                            let sums = Self::dots::<S>(codes, x, part);
                            for row in 0..N {
                                let x = x.add(row * Q8A_BYTES).cast::<f32>();
                                let x_sum =
                                    if L::SHARE == BLOCK { x.add(1) } else { halves.add(2 * row + part) };
                                let sum = S::mul(S::to_f32(sums[row]), S::splat(x.read_unaligned()));
                                y[row] = S::fma(scale, sum, y[row]);
                                y[row] = S::fma(min, S::splat(x_sum.read_unaligned()), y[row]);
                            }
                        }
                        scales = scales.add(L::GROUPS_BYTES);
                        codes = codes.add(L::Codes::BYTES);
                        x = x.add(N * Q8A_BYTES);
                        if L::SHARE != BLOCK {
                            halves = halves.add(2 * N);
                        }
                    }
                }
                run.store::<S, N>(tile, y);
            }
        }
    }
}

impl<L: Coded, const N: usize> CodedInt8<L, N> {
    /// The sums of products over part `part` of a block.
    #[inline(always)]
    unsafe fn dots<S: Simd>(codes: *const u8, x: *const u8, part: usize) -> [S::I; N] {
        let pairs = L::SHARE / 8;
        unsafe {
            let mut sums = [S::zero_i(); N];
            for j in part * pairs..(part + 1) * pairs {
                let (even, odd) = L::Codes::pair::<S>(codes, j);
                for row in 0..N {
                    let x = x.add(row * Q8A_BYTES + 8 + 8 * j);
                    if L::Codes::FULL {
                        sums[row] = S::dot::<true>(sums[row], even, x);
                        sums[row] = S::dot::<true>(sums[row], odd, x.add(4));
                    } else {
                        sums[row] = S::dot::<false>(sums[row], even, x);
                        sums[row] = S::dot::<false>(sums[row], odd, x.add(4));
                    }
                }
            }
            sums
        }
    }
}

/// Coded weights times f32 activations: each weight becomes f32 and is used `N` times.
pub(crate) struct CodedF32<L, const N: usize>(pub Run, pub PhantomData<L>);

impl<L: Coded, const N: usize> Work for CodedF32<L, N> {
    const ROWS: usize = N;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let run = self.0;
        let line = line();
        for tile in 0..run.count {
            let mut x = run.x.cast::<f32>();
            unsafe {
                let (mut scales, mut block) = run.parts::<L>(tile);
                let mut y = [S::splat(0.0); N];
                for _ in 0..run.k / L::SPAN {
                    if run.is_first {
                        ask_for(scales, L::SPAN_BYTES, line);
                    }
                    let header = L::header::<S>(scales);
                    scales = scales.add(L::HEADER_BYTES);
                    for _ in 0..L::SPAN / BLOCK {
                        if run.is_first {
                            ask_for(block, L::Codes::BYTES, line);
                        }
                        for j in 0..BLOCK / 8 {
                            let scales = L::scales::<S>(header, scales, 8 * j / L::SHARE);
                            let (even, odd) = L::Codes::pair::<S>(block, j);
                            for codes in [even, odd] {
                                let mut w = S::split(codes);
                                for w in &mut w {
                                    *w = S::fma(*w, scales.0, scales.1);
                                }
                                y = accumulate::<S, N, 4>(w, x, y);
                                x = x.add(4 * N);
                            }
                        }
                        scales = scales.add(L::GROUPS_BYTES);
                        block = block.add(L::Codes::BYTES);
                    }
                }
                run.store::<S, N>(tile, y);
            }
        }
    }
}

/// Dense weights times f32 activations.
pub(crate) struct DenseF32<L, const N: usize>(pub Run, pub PhantomData<L>);

impl<L: Dense, const N: usize> Work for DenseF32<L, N> {
    const ROWS: usize = N;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let count = self.0.count;
        let mut tile = 0;
        while tile < count {
            // With few rows, tiles are taken together: a sum is one chain, whose additions wait for one another.
            tile += unsafe {
                match count - tile {
                    4.. if N == 1 => self.tiles::<S, 4>(tile),
                    2.. if N * 2 <= S::SUMS => self.tiles::<S, 2>(tile),
                    _ => self.tiles::<S, 1>(tile),
                }
            };
        }
    }
}

impl<L: Dense, const N: usize> DenseF32<L, N> {
    /// The products of `T` tiles from `tile` on. Gives back `T`.
    #[inline(always)]
    unsafe fn tiles<S: Simd, const T: usize>(&self, tile: usize) -> usize {
        let run = &self.0;
        let tile_bytes = run.k * TILE * L::BYTES;
        let ahead = if T == 1 { AHEAD_BYTES } else { T * tile_bytes };
        let mut x = run.x.cast::<f32>();
        unsafe {
            let mut w = run.tiles.add(tile * tile_bytes);
            let mut y = [[S::splat(0.0); N]; T];
            for k in 0..run.k {
                let mut values = [S::splat(0.0); T];
                for t in 0..T {
                    let w = w.add(t * tile_bytes);
                    if run.is_first && (TILE * L::BYTES).is_multiple_of(LINE) | k.is_multiple_of(2) {
                        prefetch(w.wrapping_add(ahead));
                    }
                    values[t] = L::load::<S>(w);
                }
                for row in 0..N {
                    let x = S::splat(x.add(row).read());
                    for t in 0..T {
                        y[t][row] = S::fma(values[t], x, y[t][row]);
                    }
                }
                w = w.add(TILE * L::BYTES);
                x = x.add(N);
            }
            for (t, y) in y.into_iter().enumerate() {
                run.store::<S, N>(tile + t, y);
            }
        }
        T
    }
}

/// Adds to each row of `y` its x at `K` neighbouring k times `w`.
#[inline(always)]
unsafe fn accumulate<S: Simd, const N: usize, const K: usize>(
    w: [S::F; K],
    x: *const f32,
    mut y: [S::F; N],
) -> [S::F; N] {
    for k in 0..K {
        for row in 0..N {
            unsafe { y[row] = S::fma(w[k], S::splat(x.add(k * N + row).read()), y[row]) };
        }
    }
    y
}

/// Bytes from a line to the next, as a number that the compiler does not know: a loop by it stays a loop, with one
/// instruction that asks. The processor follows that instruction, one line after the other, and asks ahead of it on
/// its own; from an unrolled loop's four instructions, each of which jumps, weights in memory come 15% slower.
#[inline(always)]
fn line() -> usize {
    std::hint::black_box(LINE)
}

/// Asks for what lies `AHEAD_BYTES` behind the `bytes` at `w`, line by line.
#[inline(always)]
fn ask_for(w: *const u8, bytes: usize, line: usize) {
    let mut at = 0;
    while at < bytes {
        prefetch(w.wrapping_add(AHEAD_BYTES + at));
        at += line;
    }
}
