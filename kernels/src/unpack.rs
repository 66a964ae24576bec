//! Takes tiles apart for many rows: every code a byte, every scale and min an f32, as [`super::layout::Unpacked`] has them.
use super::codes::{BLOCK, Codes};
use super::layout::{Coded, Dense, Visit};
use super::prefetch::{AHEAD_BYTES, Reading};
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
        let Unpack { of, k, from, count, mut to, .. } = self.0;
        for tile in 0..count {
            unsafe {
                let tile = from.add(tile * L::tile_bytes(of));
                let mut reading = Reading::new(tile.add(L::span_at(k.start).0), AHEAD_BYTES);
                for k in k.clone().step_by(L::SPAN) {
                    let (scales, codes) = L::span_at(k);
                    let (mut scales, mut codes) = (tile.add(scales), tile.add(codes));
                    let header = L::header::<S>(scales);
                    scales = scales.add(L::HEADER_BYTES);
                    reading.ask_for(L::SPAN_BYTES);
                    for _ in 0..L::SPAN / BLOCK {
                        reading.ask_for(L::Codes::BYTES);
                        for part in 0..BLOCK / L::SHARE {
                            let (scale, min) = L::scales::<S>(header, scales, part);
                            S::store(to.cast(), scale);
                            S::store(to.add(64).cast(), min);
                            to = to.add(128);
                        }
                        for j in 0..4 {
                            let (even, odd) = L::Codes::pair::<S>(codes, j);
                            S::store_bytes(to, even);
                            S::store_bytes(to.add(64), odd);
                            to = to.add(128);
                        }
                        scales = scales.add(L::GROUPS_BYTES);
                        codes = codes.add(L::Codes::BYTES);
                    }
                }
            }
        }
    }
}
