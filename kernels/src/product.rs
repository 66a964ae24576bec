//! The inner parts of a matrix product: a run of weight tiles times a panel of a few rows of x.
//!
//! Each output is one chain of sums along k, whatever the panel's height, so its bits are the same in every
//! panel.
//! A panel of `N` rows holds block after block of x, within a block row after row; with one row that is x itself.
use super::codes::{BLOCK, Codes, TILE};
use super::layout::{Coded, Dense};
use super::prefetch::{AHEAD_BYTES, Prefetch, Reading, ahead_bytes};
use super::simd::{Simd, Work};
use ir::quant::q8_a::MAGIC;
use std::marker::PhantomData;

/// Bytes of a block of `q8_a`: f32 scale, f32 sum, 32 i8.
pub(crate) const Q8A_BYTES: usize = 40;
/// Bytes of a block in a panel of several rows: f32 scale, f32 scale × −[`MAGIC`], f32 sum, 32 i8.
pub(crate) const PANEL_BYTES: usize = 44;

/// What a run needs besides its types.
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
    /// Who asks for weights ahead of their use, unless they were read just before, for other rows.
    pub prefetch: Option<Prefetch>,
    /// Whether the outputs hold sums over smaller k, to which these are added.
    pub is_begun: bool,
    /// Where the first row's first output goes, how far the next row's lies, and how many columns there are.
    pub out: *mut f32,
    pub stride: usize,
    pub cols: usize,
}

impl Run {
    /// Whether the kernel asks for weights ahead of their use.
    #[inline(always)]
    fn asks(&self) -> bool {
        self.prefetch == Some(Prefetch::Software)
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

    /// The sums that tile `tile` of `N` rows begins with.
    #[inline(always)]
    unsafe fn begin<S: Simd, const N: usize>(&self, tile: usize) -> [S::F; N] {
        unsafe {
            let mut y = [S::splat(0.0); N];
            if !self.is_begun {
                return y;
            }
            let cols = self.cols - tile * TILE;
            for row in 0..N {
                let out = self.out.add(row * self.stride + tile * TILE);
                y[row] = if cols >= TILE {
                    S::load(out)
                } else {
                    let mut lanes = [0.0; TILE];
                    lanes.as_mut_ptr().copy_from_nonoverlapping(out, cols);
                    S::load(lanes.as_ptr())
                };
            }
            y
        }
    }
}

/// Coded weights times int8 activations, summed in i32 over each scale's values and in f32 from there.
pub(crate) struct CodedInt8<'a, L, const N: usize>(pub &'a Run, pub PhantomData<L>);

impl<L: Coded, const N: usize> Work for CodedInt8<'_, L, N> {
    const ROWS: usize = N;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut tile = 0;
        while tile < self.0.count {
            tile += unsafe {
                match self.0.count - tile {
                    2.. if N > 1 && 4 * N <= S::SUMS => self.tiles::<S, 2>(tile),
                    _ => self.tiles::<S, 1>(tile),
                }
            };
        }
    }
}

impl<L: Coded, const N: usize> CodedInt8<'_, L, N> {
    /// Bytes of a block of x: a single row is read where it is.
    const X_BYTES: usize = if N == 1 { Q8A_BYTES } else { PANEL_BYTES };
    /// Where its codes begin.
    const X_CODES: usize = Self::X_BYTES - BLOCK;

    /// The products of `T` tiles from `tile` on. Gives back `T`.
    #[inline(always)]
    unsafe fn tiles<S: Simd, const T: usize>(&self, tile: usize) -> usize {
        let run = self.0;
        let (mut x, mut halves) = (run.x, run.halves);
        let tile_bytes = L::tile_bytes(run.k);
        unsafe {
            // Of each tile where the next scales and the next codes are.
            let mut at = [(run.tiles.add(tile * tile_bytes), run.tiles); T];
            let mut reading = Reading::new(at[0].0, ahead_bytes(T, tile_bytes));
            let mut y = [[S::splat(0.0); N]; T];
            for t in 0..T {
                at[t].0 = at[0].0.add(t * tile_bytes);
                y[t] = run.begin::<S, N>(tile + t);
            }
            for k in (0..run.k).step_by(L::SPAN) {
                if k % L::STRETCH == 0 {
                    for t in 0..T {
                        if k > 0 {
                            at[t].0 = at[t].1;
                        }
                        at[t].1 = at[t].0.add(L::SCALES_BYTES);
                    }
                }
                let mut headers = [(S::splat(0.0), S::splat(0.0)); T];
                if run.asks() {
                    reading.ask_for(T * L::SPAN_BYTES);
                }
                for t in 0..T {
                    headers[t] = L::header::<S>(at[t].0);
                    at[t].0 = at[t].0.add(L::HEADER_BYTES);
                }
                for _ in 0..L::SPAN / BLOCK {
                    if run.asks() {
                        reading.ask_for(T * L::Codes::BYTES);
                    }
                    for part in 0..BLOCK / L::SHARE {
                        let sums = Self::dots::<S, T>(&at, x, part);
                        for t in 0..T {
                            let (scale, min) = L::scales::<S>(headers[t], at[t].0, part);
                            for row in 0..N {
                                let x = x.add(row * Self::X_BYTES).cast::<f32>();
                                let x_scale = x.read_unaligned();
                                let shift = match N {
                                    1 => -MAGIC * x_scale,
                                    _ => x.add(1).read_unaligned(),
                                };
                                let x_sum = match L::SHARE {
                                    BLOCK => x.byte_add(Self::X_CODES - 4),
                                    _ => halves.add(2 * row + part),
                                };
                                let (sum, y) = (S::bits(sums[t][row]), &mut y[t][row]);
                                let sum = S::fma(sum, S::splat(x_scale), S::splat(shift));
                                *y = S::fma(scale, sum, *y);
                                *y = S::fma(min, S::splat(x_sum.read_unaligned()), *y);
                            }
                        }
                    }
                    for t in 0..T {
                        at[t] = (at[t].0.add(L::GROUPS_BYTES), at[t].1.add(L::Codes::BYTES));
                    }
                    x = x.add(N * Self::X_BYTES);
                    if L::SHARE != BLOCK {
                        halves = halves.add(2 * N);
                    }
                }
            }
            for t in 0..T {
                run.store::<S, N>(tile + t, y[t]);
            }
        }
        T
    }

    /// [`MAGIC`] and the sums of products over part `part` of a block, below 2²²: as floats, what their bits say.
    #[inline(always)]
    unsafe fn dots<S: Simd, const T: usize>(
        at: &[(*const u8, *const u8); T],
        x: *const u8,
        part: usize,
    ) -> [[S::I; N]; T] {
        let pairs = L::SHARE / 8;
        unsafe {
            let mut sums = [[S::splat_bits(MAGIC); N]; T];
            for j in part * pairs..(part + 1) * pairs {
                // Closures would not be compiled for the instruction set.
                let mut codes = [L::Codes::pair::<S>(at[0].1, j); T];
                for t in 1..T {
                    codes[t] = L::Codes::pair::<S>(at[t].1, j);
                }
                for row in 0..N {
                    let x = x.add(row * Self::X_BYTES + Self::X_CODES + 8 * j);
                    for t in 0..T {
                        let ((even, odd), sum) = (codes[t], &mut sums[t][row]);
                        if L::Codes::FULL {
                            *sum = S::dot::<true>(*sum, even, x);
                            *sum = S::dot::<true>(*sum, odd, x.add(4));
                        } else {
                            *sum = S::dot::<false>(*sum, even, x);
                            *sum = S::dot::<false>(*sum, odd, x.add(4));
                        }
                    }
                }
            }
            sums
        }
    }
}

/// Coded weights times f32 activations: each weight becomes f32 and is used `N` times.
pub(crate) struct CodedF32<'a, L, const N: usize>(pub &'a Run, pub PhantomData<L>);

impl<L: Coded, const N: usize> Work for CodedF32<'_, L, N> {
    const ROWS: usize = N;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let run = self.0;
        for tile in 0..run.count {
            let mut x = run.x.cast::<f32>();
            unsafe {
                let tile_at = run.tiles.add(tile * L::tile_bytes(run.k));
                let mut reading = Reading::new(tile_at, AHEAD_BYTES);
                let mut y = [S::splat(0.0); N];
                for k in (0..run.k).step_by(L::SPAN) {
                    let (scales, block) = L::span_at(k);
                    let (mut scales, mut block) = (tile_at.add(scales), tile_at.add(block));
                    if run.asks() {
                        reading.ask_for(L::SPAN_BYTES);
                    }
                    let header = L::header::<S>(scales);
                    scales = scales.add(L::HEADER_BYTES);
                    for _ in 0..L::SPAN / BLOCK {
                        if run.asks() {
                            reading.ask_for(L::Codes::BYTES);
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
pub(crate) struct DenseF32<'a, L, const N: usize>(pub &'a Run, pub PhantomData<L>);

impl<L: Dense, const N: usize> Work for DenseF32<'_, L, N> {
    const ROWS: usize = N;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let count = self.0.count;
        let mut tile = 0;
        if N == 1 && self.0.prefetch == Some(Prefetch::Hardware) {
            let apart = count / 4;
            for tile in 0..apart {
                unsafe { self.tiles::<S, 4>(tile, apart) };
            }
            tile = 4 * apart;
        }
        while tile < count {
            // With few rows, tiles are taken together: a sum is one chain, whose additions wait for one another.
            tile += unsafe {
                match count - tile {
                    4.. if N == 1 => self.tiles::<S, 4>(tile, 1),
                    2.. if N * 2 <= S::SUMS => self.tiles::<S, 2>(tile, 1),
                    _ => self.tiles::<S, 1>(tile, 1),
                }
            };
        }
    }
}

impl<L: Dense, const N: usize> DenseF32<'_, L, N> {
    /// Values along k from one asking for weights to the next.
    const TURN: usize = 8;

    /// The products of `T` tiles, `apart` from one another, from `tile` on. Gives back `T`.
    #[inline(always)]
    unsafe fn tiles<S: Simd, const T: usize>(&self, tile: usize, apart: usize) -> usize {
        let run = self.0;
        let tile_bytes = run.k * TILE * L::BYTES;
        let mut x = run.x.cast::<f32>();
        unsafe {
            let mut w = run.tiles.add(tile * tile_bytes);
            let mut y = [[S::splat(0.0); N]; T];
            let mut reading = Reading::new(w, ahead_bytes(T, tile_bytes));
            for start in (0..run.k).step_by(Self::TURN) {
                let count = Self::TURN.min(run.k - start);
                if run.asks() {
                    reading.ask_for(T * count * TILE * L::BYTES);
                }
                for _ in 0..count {
                    let mut values = [S::splat(0.0); T];
                    for t in 0..T {
                        values[t] = L::load::<S>(w.add(t * apart * tile_bytes));
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
            }
            for (t, y) in y.into_iter().enumerate() {
                run.store::<S, N>(tile + t * apart, y);
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
