//! Plain Rust: sixteen lanes are an array, and the compiler makes of it what it can.
//!
//! `mul_add` rounds once here as in the other instruction sets, so that the bits agree; on a machine without
//! fused multiply-add it is a slow library call.
use super::{Simd, Work, run_if_it_fits};
use half::{bf16, f16};
use std::array::from_fn;

pub(super) unsafe fn enter<W: Work>(work: W) {
    unsafe { run_if_it_fits::<Portable, W>(work) }
}

#[derive(Clone, Copy)]
pub(super) struct Portable;

type F = [f32; 16];

#[inline]
unsafe fn read<T: Copy>(p: *const u8, i: usize) -> T {
    unsafe { p.cast::<T>().add(i).read_unaligned() }
}

impl Simd for Portable {
    type F = F;
    type I = [i32; 16];
    type C = [u8; 64];

    const ROWS: usize = 1;
    const SUMS: usize = 1;

    #[inline]
    unsafe fn splat(x: f32) -> F {
        [x; 16]
    }
    #[inline]
    unsafe fn load(p: *const f32) -> F {
        unsafe { p.cast::<F>().read_unaligned() }
    }
    #[inline]
    unsafe fn load_f16(p: *const u8) -> F {
        from_fn(|i| f16::from_bits(unsafe { read(p, i) }).to_f32())
    }
    #[inline]
    unsafe fn load_bf16(p: *const u8) -> F {
        from_fn(|i| bf16::from_bits(unsafe { read(p, i) }).to_f32())
    }
    #[inline]
    unsafe fn load_i8(p: *const u8) -> F {
        from_fn(|i| f32::from(unsafe { read::<i8>(p, i) }))
    }
    #[inline]
    unsafe fn store(p: *mut f32, v: F) {
        unsafe { p.cast::<F>().write_unaligned(v) }
    }
    #[inline]
    unsafe fn store_f16(p: *mut u8, v: F) {
        unsafe { p.cast::<[u16; 16]>().write_unaligned(v.map(|x| f16::from_f32(x).to_bits())) }
    }

    #[inline]
    unsafe fn add(a: F, b: F) -> F {
        from_fn(|i| a[i] + b[i])
    }
    #[inline]
    unsafe fn sub(a: F, b: F) -> F {
        from_fn(|i| a[i] - b[i])
    }
    #[inline]
    unsafe fn mul(a: F, b: F) -> F {
        from_fn(|i| a[i] * b[i])
    }
    #[inline]
    unsafe fn div(a: F, b: F) -> F {
        from_fn(|i| a[i] / b[i])
    }
    #[inline]
    unsafe fn max(a: F, b: F) -> F {
        from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline]
    unsafe fn exp2_whole(a: F) -> F {
        a.map(|a| f32::from_bits(((a as i32 + 127) << 23) as u32))
    }
    #[inline]
    unsafe fn round(a: F) -> F {
        a.map(f32::round_ties_even)
    }
    #[inline]
    unsafe fn max_lane(a: F) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
    #[inline]
    unsafe fn lanes(a: F) -> [f32; 16] {
        a
    }

    #[inline]
    unsafe fn zip(a: F, b: F) -> (F, F) {
        let at = |i: usize| if i.is_multiple_of(2) { a[i / 2] } else { b[i / 2] };
        (from_fn(at), from_fn(|i| at(16 + i)))
    }

    #[inline]
    unsafe fn unzip(a: F, b: F) -> (F, F) {
        let at = |i: usize| if i < 16 { a[i] } else { b[i - 16] };
        (from_fn(|i| at(2 * i)), from_fn(|i| at(2 * i + 1)))
    }

    #[inline]
    unsafe fn splat_bits(x: f32) -> [i32; 16] {
        [x.to_bits().cast_signed(); 16]
    }
    #[inline]
    unsafe fn bits(a: [i32; 16]) -> F {
        a.map(|a| f32::from_bits(a.cast_unsigned()))
    }
    #[inline]
    unsafe fn dot<const FULL: bool>(acc: [i32; 16], codes: [u8; 64], x: *const u8) -> [i32; 16] {
        let x: [i8; 4] = from_fn(|j| unsafe { read(x, j) });
        from_fn(|i| acc[i] + (0..4).map(|j| i32::from(codes[4 * i + j]) * i32::from(x[j])).sum::<i32>())
    }

    #[inline]
    unsafe fn bytes(p: *const u8) -> [u8; 64] {
        unsafe { p.cast::<[u8; 64]>().read() }
    }
    #[inline]
    unsafe fn store_bytes(p: *mut u8, codes: [u8; 64]) {
        unsafe { p.cast::<[u8; 64]>().write(codes) }
    }
    #[inline]
    unsafe fn nibbles(p: *const u8) -> ([u8; 64], [u8; 64]) {
        let v = unsafe { Self::bytes(p) };
        (v.map(|v| v & 15), v.map(|v| v >> 4))
    }
    #[inline]
    unsafe fn with_bit(codes: [u8; 64], p: *const u8, bit: u8) -> [u8; 64] {
        let mask = u64::from_le_bytes(unsafe { p.cast::<[u8; 8]>().read() });
        from_fn(|i| codes[i] + (mask >> i & 1) as u8 * bit)
    }
    #[inline]
    unsafe fn lookup(codes: [u8; 64], table: &[u8; 16]) -> [u8; 64] {
        codes.map(|code| table[usize::from(code & 15)])
    }
    #[inline]
    unsafe fn split(codes: [u8; 64]) -> [F; 4] {
        from_fn(|j| from_fn(|i| f32::from(codes[4 * i + j])))
    }
}
