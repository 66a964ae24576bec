//! Rows of f32 to `q8_a` blocks: to the bit what the format itself makes of them.
use ir::quant::Format;

/// Values in a block.
const LEN: usize = 32;
/// Bytes of a block.
const BYTES: usize = 40;

/// Quantises `count` values, a whole number of blocks.
///
/// # Safety
/// `values` holds `count` f32, and `blocks` has room for their blocks.
pub(super) unsafe extern "C" fn row(values: *const f32, blocks: *mut u8, count: usize) {
    // SAFETY: as the caller says.
    let (values, blocks) = unsafe {
        (
            std::slice::from_raw_parts(values, count),
            std::slice::from_raw_parts_mut(blocks, count / LEN * BYTES),
        )
    };
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the machine has what the function is compiled for.
            return unsafe { x86::row_512(values, blocks) };
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { x86::row_256(values, blocks) };
        }
    }
    Format::Q8A.quantise(values, blocks);
}

/// The scale, and the factor that takes values to codes.
#[cfg(target_arch = "x86_64")]
fn scales(most: f32) -> (f32, f32) {
    if most == 0.0 { (0.0, 0.0) } else { (most / 127.0, 127.0 / most) }
}

#[cfg(target_arch = "x86_64")]
fn finish(block: &mut [u8; BYTES], scale: f32, sum: i32) {
    block[..4].copy_from_slice(&scale.to_le_bytes());
    block[4..8].copy_from_slice(&(scale * sum as f32).to_le_bytes());
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{BYTES, LEN, finish, scales};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f")]
    pub(super) fn row_512(values: &[f32], blocks: &mut [u8]) {
        for (values, block) in values.as_chunks::<LEN>().0.iter().zip(blocks.as_chunks_mut::<BYTES>().0) {
            // SAFETY: a chunk holds two vectors.
            let halves =
                unsafe { [_mm512_loadu_ps(values.as_ptr()), _mm512_loadu_ps(values.as_ptr().add(LEN / 2))] };
            // In this order a NaN on the left is passed over.
            let zero = _mm512_setzero_ps();
            let most = halves.iter().fold(zero, |most, &v| _mm512_max_ps(_mm512_abs_ps(v), most));
            let (scale, inverse) = scales(_mm512_reduce_max_ps(most));
            let inverse = _mm512_set1_ps(inverse);
            let mut sum = _mm512_setzero_si512();
            for (half, codes) in halves.iter().zip(block[8..].as_chunks_mut::<16>().0) {
                let scaled = _mm512_mul_ps(*half, inverse);
                let is_number = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(scaled, scaled);
                let rounded = _mm512_maskz_cvtps_epi32(is_number, scaled);
                sum = _mm512_add_epi32(sum, rounded);
                // SAFETY: a chunk holds 16 codes.
                unsafe { _mm_storeu_si128(codes.as_mut_ptr().cast(), _mm512_cvtsepi32_epi8(rounded)) };
            }
            finish(block, scale, _mm512_reduce_add_epi32(sum));
        }
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn row_256(values: &[f32], blocks: &mut [u8]) {
        let sign = _mm256_set1_ps(-0.0);
        for (values, block) in values.as_chunks::<LEN>().0.iter().zip(blocks.as_chunks_mut::<BYTES>().0) {
            // SAFETY: a chunk holds four vectors.
            let quarters: [__m256; 4] =
                std::array::from_fn(|i| unsafe { _mm256_loadu_ps(values.as_ptr().add(8 * i)) });
            let zero = _mm256_setzero_ps();
            let most = quarters.iter().fold(zero, |most, &v| _mm256_max_ps(_mm256_andnot_ps(sign, v), most));
            let most = _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps::<1>(most));
            let most = _mm_max_ps(most, _mm_movehl_ps(most, most));
            let most = _mm_max_ss(most, _mm_shuffle_ps::<1>(most, most));
            let (scale, inverse) = scales(_mm_cvtss_f32(most));
            let inverse = _mm256_set1_ps(inverse);
            let mut codes = [0i32; LEN];
            for (quarter, codes) in quarters.iter().zip(codes.as_chunks_mut::<8>().0) {
                let scaled = _mm256_mul_ps(*quarter, inverse);
                let is_number = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_ORD_Q>(scaled, scaled));
                let rounded = _mm256_and_si256(_mm256_cvtps_epi32(scaled), is_number);
                // SAFETY: a chunk holds eight codes.
                unsafe { _mm256_storeu_si256(codes.as_mut_ptr().cast(), rounded) };
            }
            for (byte, code) in block[8..].iter_mut().zip(codes) {
                *byte = code as i8 as u8;
            }
            finish(block, scale, codes.iter().sum());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every way that this machine has, on values of all sizes, zeros, ties, infinities and NaN.
    #[test]
    fn every_width_makes_the_blocks_of_the_format() {
        let mut values: Vec<f32> =
            (0..64 * LEN as i32).map(|i| ((i * 7919 % 2003) - 1001) as f32 * 0.37f32.powi(i / 64)).collect();
        values[..LEN].fill(0.0);
        (0..LEN).for_each(|i| values[LEN + i] = i as f32 - 15.5);
        values[LEN] = 127.0;
        values[3 * LEN + 5] = f32::NAN;
        values[5 * LEN + 31] = f32::INFINITY;
        let mut expected = vec![0; values.len() / LEN * BYTES];
        Format::Q8A.quantise(&values, &mut expected);
        let mut found = vec![1; expected.len()];
        unsafe { row(values.as_ptr(), found.as_mut_ptr(), values.len()) };
        assert!(found == expected);
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            found.fill(1);
            unsafe { x86::row_256(&values, &mut found) };
            assert!(found == expected);
        }
    }
}
