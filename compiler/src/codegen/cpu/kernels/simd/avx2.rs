//! AVX2 with FMA: sixteen lanes are two registers.
use super::{Simd, Work, run_if_it_fits};
use std::arch::x86_64::*;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn enter<W: Work>(work: W) {
    unsafe { run_if_it_fits::<Avx2, W>(work) }
}

#[derive(Clone, Copy)]
pub(super) struct Avx2;

type F = [__m256; 2];
type I = [__m256i; 2];

#[inline(always)]
unsafe fn pointwise(a: F, b: F, f: impl Fn(__m256, __m256) -> __m256) -> F {
    [f(a[0], b[0]), f(a[1], b[1])]
}

impl Simd for Avx2 {
    type F = F;
    type I = I;
    type C = I;

    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> F {
        unsafe { [_mm256_set1_ps(x); 2] }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> F {
        unsafe { [_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))] }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u8) -> F {
        unsafe { [0, 16].map(|at| _mm256_cvtph_ps(_mm_loadu_si128(p.add(at).cast()))) }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u8) -> F {
        unsafe {
            [0, 16].map(|at| {
                let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.add(at).cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
            })
        }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const u8) -> F {
        unsafe {
            [0, 8].map(|at| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.add(at).cast()))))
        }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: F) {
        unsafe {
            _mm256_storeu_ps(p, v[0]);
            _mm256_storeu_ps(p.add(8), v[1]);
        }
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u8, v: F) {
        unsafe {
            _mm_storeu_si128(p.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v[0]));
            _mm_storeu_si128(p.add(16).cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v[1]));
        }
    }

    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        unsafe { pointwise(a, b, |a, b| _mm256_add_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn sub(a: F, b: F) -> F {
        unsafe { pointwise(a, b, |a, b| _mm256_sub_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        unsafe { pointwise(a, b, |a, b| _mm256_mul_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn div(a: F, b: F) -> F {
        unsafe { pointwise(a, b, |a, b| _mm256_div_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn max(a: F, b: F) -> F {
        unsafe { pointwise(a, b, |a, b| _mm256_max_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }
    #[inline(always)]
    unsafe fn exp2_whole(a: F) -> F {
        unsafe {
            a.map(|a| {
                let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(a), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
            })
        }
    }
    #[inline(always)]
    unsafe fn round(a: F) -> F {
        unsafe { a.map(|a| _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a)) }
    }
    #[inline(always)]
    unsafe fn lanes(a: F) -> [f32; 16] {
        unsafe { std::mem::transmute(a) }
    }

    #[inline(always)]
    unsafe fn zero_i() -> I {
        unsafe { [_mm256_setzero_si256(); 2] }
    }
    #[inline(always)]
    unsafe fn to_f32(a: I) -> F {
        unsafe { a.map(|a| _mm256_cvtepi32_ps(a)) }
    }
    #[inline(always)]
    unsafe fn dot<const FULL: bool>(acc: I, codes: I, x: *const u8) -> I {
        unsafe {
            let x = _mm256_set1_epi32(x.cast::<i32>().read_unaligned());
            let quads = |codes| {
                let pairs = _mm256_maddubs_epi16(codes, x);
                _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
            };
            // A pair of products fits 16 bits only below code 128, so the top bit goes separately.
            let low = _mm256_set1_epi8(127);
            [0, 1].map(|i| {
                if FULL {
                    let below = quads(_mm256_and_si256(codes[i], low));
                    let top = quads(_mm256_andnot_si256(low, codes[i]));
                    _mm256_add_epi32(acc[i], _mm256_add_epi32(below, top))
                } else {
                    _mm256_add_epi32(acc[i], quads(codes[i]))
                }
            })
        }
    }

    #[inline(always)]
    unsafe fn bytes(p: *const u8) -> I {
        unsafe { [_mm256_loadu_si256(p.cast()), _mm256_loadu_si256(p.add(32).cast())] }
    }
    #[inline(always)]
    unsafe fn nibbles(p: *const u8) -> (I, I) {
        unsafe {
            let low = _mm256_set1_epi8(15);
            let v = Self::bytes(p);
            (v.map(|v| _mm256_and_si256(v, low)), v.map(|v| _mm256_and_si256(_mm256_srli_epi16::<4>(v), low)))
        }
    }
    #[inline(always)]
    unsafe fn with_bit(codes: I, p: *const u8, bit: u8) -> I {
        unsafe {
            // Each of 4 mask bytes is spread over the 8 codes that it speaks of.
            let spread = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
            let which = _mm256_set1_epi64x(i64::from_le_bytes([1, 2, 4, 8, 16, 32, 64, 128]));
            let add = |codes, p: *const u8| {
                let mask = _mm256_set1_epi32(p.cast::<i32>().read_unaligned());
                let bits = _mm256_and_si256(_mm256_shuffle_epi8(mask, spread), which);
                let set = _mm256_cmpeq_epi8(bits, which);
                _mm256_add_epi8(codes, _mm256_and_si256(set, _mm256_set1_epi8(bit as i8)))
            };
            [add(codes[0], p), add(codes[1], p.add(4))]
        }
    }
    #[inline(always)]
    unsafe fn lookup(codes: I, table: &[u8; 16]) -> I {
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            codes.map(|codes| _mm256_shuffle_epi8(table, codes))
        }
    }
    #[inline(always)]
    unsafe fn split(codes: I) -> [F; 4] {
        unsafe {
            [0, 8, 16, 24].map(|shift| {
                codes.map(|codes| {
                    let shifted = _mm256_srlv_epi32(codes, _mm256_set1_epi32(shift));
                    _mm256_cvtepi32_ps(_mm256_and_si256(shifted, _mm256_set1_epi32(255)))
                })
            })
        }
    }
}
