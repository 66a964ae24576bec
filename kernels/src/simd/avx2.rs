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

/// The same for both registers. (A closure would not be compiled for AVX2: only what is surely inlined is.)
macro_rules! both {
    ($i:ident => $e:expr) => {
        [
            {
                let $i = 0;
                $e
            },
            {
                let $i = 1;
                $e
            },
        ]
    };
}

impl Simd for Avx2 {
    type F = F;
    type I = I;
    type C = I;

    const ROWS: usize = 4;
    const SUMS: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> F {
        unsafe { [_mm256_set1_ps(x); 2] }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> F {
        unsafe { both!(i => _mm256_loadu_ps(p.add(8 * i))) }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u8) -> F {
        unsafe { both!(i => _mm256_cvtph_ps(_mm_loadu_si128(p.add(16 * i).cast()))) }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u8) -> F {
        unsafe {
            let wide: I = both!(i => _mm256_cvtepu16_epi32(_mm_loadu_si128(p.add(16 * i).cast())));
            both!(i => _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide[i])))
        }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const u8) -> F {
        unsafe { both!(i => _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.add(8 * i).cast())))) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: F) {
        unsafe { both!(i => _mm256_storeu_ps(p.add(8 * i), v[i])) };
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u8, v: F) {
        unsafe {
            both!(i => _mm_storeu_si128(p.add(16 * i).cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v[i])))
        };
    }

    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        unsafe { both!(i => _mm256_add_ps(a[i], b[i])) }
    }
    #[inline(always)]
    unsafe fn sub(a: F, b: F) -> F {
        unsafe { both!(i => _mm256_sub_ps(a[i], b[i])) }
    }
    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        unsafe { both!(i => _mm256_mul_ps(a[i], b[i])) }
    }
    #[inline(always)]
    unsafe fn div(a: F, b: F) -> F {
        unsafe { both!(i => _mm256_div_ps(a[i], b[i])) }
    }
    #[inline(always)]
    unsafe fn max(a: F, b: F) -> F {
        unsafe { both!(i => _mm256_max_ps(a[i], b[i])) }
    }
    #[inline(always)]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        unsafe { both!(i => _mm256_fmadd_ps(a[i], b[i], c[i])) }
    }
    #[inline(always)]
    unsafe fn exp2_whole(a: F) -> F {
        unsafe {
            let exponent: I = both!(i => _mm256_add_epi32(_mm256_cvtps_epi32(a[i]), _mm256_set1_epi32(127)));
            both!(i => _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent[i])))
        }
    }
    #[inline(always)]
    unsafe fn round(a: F) -> F {
        unsafe { both!(i => _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a[i])) }
    }
    #[inline(always)]
    unsafe fn max_lane(a: F) -> f32 {
        unsafe {
            let eight = _mm256_max_ps(a[0], a[1]);
            let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }
    #[inline(always)]
    unsafe fn lanes(a: F) -> [f32; 16] {
        unsafe { std::mem::transmute(a) }
    }

    #[inline(always)]
    unsafe fn zip(a: F, b: F) -> (F, F) {
        unsafe { (zip_eight(a[0], b[0]), zip_eight(a[1], b[1])) }
    }

    #[inline(always)]
    unsafe fn unzip(a: F, b: F) -> (F, F) {
        unsafe {
            let (a, b) = (unzip_eight(a[0], a[1]), unzip_eight(b[0], b[1]));
            ([a[0], b[0]], [a[1], b[1]])
        }
    }

    #[inline(always)]
    unsafe fn splat_bits(x: f32) -> I {
        unsafe { [_mm256_set1_epi32(x.to_bits().cast_signed()); 2] }
    }
    #[inline(always)]
    unsafe fn bits(a: I) -> F {
        unsafe { both!(i => _mm256_castsi256_ps(a[i])) }
    }
    #[inline(always)]
    unsafe fn dot<const FULL: bool>(acc: I, codes: I, x: *const u8) -> I {
        unsafe {
            let x = _mm256_set1_epi32(x.cast::<i32>().read_unaligned());
            if !FULL {
                return both!(i => _mm256_add_epi32(acc[i], quads(codes[i], x)));
            }
            // A pair of products fits 16 bits only below code 128, so the top bit goes separately.
            let low = _mm256_set1_epi8(127);
            let below: I = both!(i => quads(_mm256_and_si256(codes[i], low), x));
            let top: I = both!(i => quads(_mm256_andnot_si256(low, codes[i]), x));
            both!(i => _mm256_add_epi32(acc[i], _mm256_add_epi32(below[i], top[i])))
        }
    }

    #[inline(always)]
    unsafe fn bytes(p: *const u8) -> I {
        unsafe { both!(i => _mm256_loadu_si256(p.add(32 * i).cast())) }
    }
    #[inline(always)]
    unsafe fn store_bytes(p: *mut u8, codes: I) {
        unsafe { both!(i => _mm256_storeu_si256(p.add(32 * i).cast(), codes[i])) };
    }
    #[inline(always)]
    unsafe fn nibbles(p: *const u8) -> (I, I) {
        unsafe {
            let (v, low) = (Self::bytes(p), _mm256_set1_epi8(15));
            (
                both!(i => _mm256_and_si256(v[i], low)),
                both!(i => _mm256_and_si256(_mm256_srli_epi16::<4>(v[i]), low)),
            )
        }
    }
    #[inline(always)]
    unsafe fn with_bit(codes: I, p: *const u8, bit: u8) -> I {
        unsafe {
            let bit = _mm256_set1_epi8(bit as i8);
            both!(i => _mm256_add_epi8(codes[i], _mm256_and_si256(set_bits(p.add(4 * i)), bit)))
        }
    }
    #[inline(always)]
    unsafe fn lookup(codes: I, table: &[u8; 16]) -> I {
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            both!(i => _mm256_shuffle_epi8(table, codes[i]))
        }
    }
    #[inline(always)]
    unsafe fn split(codes: I) -> [F; 4] {
        unsafe {
            let byte = _mm256_set1_epi32(255);
            [
                both!(i => _mm256_cvtepi32_ps(_mm256_and_si256(codes[i], byte))),
                both!(i => _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32::<8>(codes[i]), byte))),
                both!(i => _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32::<16>(codes[i]), byte))),
                both!(i => _mm256_cvtepi32_ps(_mm256_srli_epi32::<24>(codes[i]))),
            ]
        }
    }
}

#[inline(always)]
unsafe fn zip_eight(a: __m256, b: __m256) -> F {
    unsafe {
        let (even, odd) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        [_mm256_permute2f128_ps::<0x20>(even, odd), _mm256_permute2f128_ps::<0x31>(even, odd)]
    }
}

/// The even lanes of both, the odd ones.
#[inline(always)]
unsafe fn unzip_eight(a: __m256, b: __m256) -> F {
    unsafe {
        let (even, odd) = (_mm256_shuffle_ps::<0x88>(a, b), _mm256_shuffle_ps::<0xdd>(a, b));
        [even, odd].map(|v| _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_castps_pd(v))))
    }
}

/// The dot products of each 4 codes with the 4 bytes of x.
#[inline(always)]
unsafe fn quads(codes: __m256i, x: __m256i) -> __m256i {
    unsafe { _mm256_madd_epi16(_mm256_maddubs_epi16(codes, x), _mm256_set1_epi16(1)) }
}

/// Bytes of ones where the 32 bits at `p` are set.
#[inline(always)]
unsafe fn set_bits(p: *const u8) -> __m256i {
    unsafe {
        // Each of the 4 bytes is spread over the 8 lanes that it speaks of.
        let spread = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
        let which = _mm256_set1_epi64x(i64::from_le_bytes([1, 2, 4, 8, 16, 32, 64, 128]));
        let bytes = _mm256_set1_epi32(p.cast::<i32>().read_unaligned());
        _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(bytes, spread), which), which)
    }
}
