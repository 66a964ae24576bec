//! Takes tiles apart for many rows: every code a byte, every scale and min an f32, as [`Unpacked`] has them.
use super::codes::{BLOCK, Codes};
use super::layout::{Coded, Dense, Unpacked, Visit};
use super::prefetch::{AHEAD_BYTES, Reading};
use super::product::tile_parts;
use super::simd::{Isa, Simd, Work};
use std::marker::PhantomData;
use std::ops::Range;

/// Takes `count` tiles at `from` apart, as far as `k` goes, a whole number of spans.
pub(crate) struct Unpack {
    pub isa: Isa,
    /// The k of the whole tiles.
    pub of: usize,
    pub k: Range<usize>,
    pub from: *const u8,
    pub count: usize,
    pub to: *mut u8,
}

impl Visit for Unpack {
    type Out = ();

    fn coded<L: Coded>(self) {
        let isa = self.isa;
        unsafe { isa.run(Tiles::<L>(self, PhantomData)) }
    }

    fn dense<L: Dense>(self) {
        unreachable!("dense weights have no codes")
    }
}

struct Tiles<L>(Unpack, PhantomData<L>);

impl<L: Coded> Work for Tiles<L> {
    const ROWS: usize = 1;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Unpack { of, k, from, count, to, .. } = self.0;
        let (before, k) = (k.start, k.len());
        for tile in 0..count {
            unsafe {
                let (mut scales, mut codes) = tile_parts::<L>(from, of, tile);
                scales = scales.add(before / L::SPAN * L::SPAN_BYTES);
                codes = codes.add(before / BLOCK * L::Codes::BYTES);
                let mut ask_scales = Reading::new(scales, AHEAD_BYTES);
                let mut ask_codes = Reading::new(codes, AHEAD_BYTES);
                let (scales_to, codes_to) = match (L::SHARE, L::Codes::FULL) {
                    (BLOCK, false) => tile_parts::<Unpacked<BLOCK, false>>(to, k, tile),
                    (BLOCK, true) => tile_parts::<Unpacked<BLOCK, true>>(to, k, tile),
                    _ => tile_parts::<Unpacked<16, false>>(to, k, tile),
                };
                let mut scales_to = scales_to.cast_mut().cast::<f32>();
                let mut codes_to = codes_to.cast_mut();
                for _ in 0..k / L::SPAN {
                    ask_scales.ask_for(L::SPAN_BYTES);
                    let header = L::header::<S>(scales);
                    scales = scales.add(L::HEADER_BYTES);
                    for _ in 0..L::SPAN / BLOCK {
                        ask_codes.ask_for(L::Codes::BYTES);
                        for part in 0..BLOCK / L::SHARE {
                            let (scale, min) = L::scales::<S>(header, scales, part);
                            S::store(scales_to, scale);
                            S::store(scales_to.add(16), min);
                            scales_to = scales_to.add(32);
                        }
                        for j in 0..4 {
                            let (even, odd) = L::Codes::pair::<S>(codes, j);
                            S::store_bytes(codes_to, even);
                            S::store_bytes(codes_to.add(64), odd);
                            codes_to = codes_to.add(128);
                        }
                        scales = scales.add(L::GROUPS_BYTES);
                        codes = codes.add(L::Codes::BYTES);
                    }
                }
            }
        }
    }
}
