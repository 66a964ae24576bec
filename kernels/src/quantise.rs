//! Rows of f32 to `q8_a` blocks: to the bit what the format itself makes of them.
use ir::quant::{Format, q8_a};

/// Values in a block.
const LEN: usize = 32;
/// Bytes of a block.
const BYTES: usize = 40;

/// Quantises `count` values, a whole number of blocks.
///
/// # Safety
/// `values` holds `count` f32, and `blocks` has room for their blocks.
pub unsafe extern "C" fn row(values: *const f32, blocks: *mut u8, count: usize) {
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
    (q8_a::scale(most), if most == 0.0 { 0.0 } else { 127.0 / most })
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

    /// Blocks taken together, so that their scales are computed in one vector.
    const TOGETHER: usize = 4;

    #[target_feature(enable = "avx512f")]
    pub(super) fn row_512(values: &[f32], blocks: &mut [u8]) {
        let (groups, rest) = values.as_chunks::<{ TOGETHER * LEN }>();
        let (group_blocks, rest_blocks) = blocks.as_chunks_mut::<{ TOGETHER * BYTES }>();
        for (values, blocks) in groups.iter().zip(group_blocks) {
            four_blocks(values, blocks);
        }
        if !rest.is_empty() {
            let mut values = [0.0; TOGETHER * LEN];
            let mut blocks = [0; TOGETHER * BYTES];
            values[..rest.len()].copy_from_slice(rest);
            four_blocks(&values, &mut blocks);
            rest_blocks.copy_from_slice(&blocks[..rest_blocks.len()]);
        }
    }

    #[target_feature(enable = "avx512f")]
    fn four_blocks(values: &[f32; TOGETHER * LEN], blocks: &mut [u8; TOGETHER * BYTES]) {
        let zero = _mm512_setzero_ps();
        let halves: [[__m512; 2]; TOGETHER] = std::array::from_fn(|i| {
            // SAFETY: a block's values are two vectors.
            std::array::from_fn(|h| unsafe { _mm512_loadu_ps(values.as_ptr().add(i * LEN + h * LEN / 2)) })
        });
        // In this order a NaN on the left is passed over.
        let most = halves.map(|block| {
            let most = block.iter().fold(zero, |most, &v| _mm512_max_ps(_mm512_abs_ps(v), most));
            let (low, high) =
                (_mm512_castps512_ps256(most), _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(most)));
            let most = _mm256_max_ps(low, _mm256_castpd_ps(high));
            _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps::<1>(most))
        });
        let [a, b] = [(most[0], most[1]), (most[2], most[3])]
            .map(|(x, y)| _mm_max_ps(_mm_unpacklo_ps(x, y), _mm_unpackhi_ps(x, y)));
        let most = _mm_max_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a));
        let full = _mm_set1_ps(127.0);
        // What q8_a::scale does.
        let cleared = _mm_castsi128_ps(_mm_set1_epi32(!3));
        let scales = _mm_and_ps(_mm_div_ps(most, full), cleared);
        // A block of zeros has scale zero, and codes that are zero times anything.
        let inverses = _mm_and_ps(_mm_div_ps(full, most), _mm_cmpneq_ps(most, _mm_setzero_ps()));
        let mut inverse = [0.0; TOGETHER];
        // SAFETY: it holds four values.
        unsafe { _mm_storeu_ps(inverse.as_mut_ptr(), inverses) };
        let mut sums = [_mm_setzero_si128(); TOGETHER];
        for (i, block) in blocks.as_chunks_mut::<BYTES>().0.iter_mut().enumerate() {
            let inverse = _mm512_set1_ps(inverse[i]);
            let mut sum = _mm512_setzero_si512();
            for (half, codes) in halves[i].iter().zip(block[8..].as_chunks_mut::<16>().0) {
                let scaled = _mm512_mul_ps(*half, inverse);
                let is_number = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(scaled, scaled);
                let rounded = _mm512_maskz_cvtps_epi32(is_number, scaled);
                sum = _mm512_add_epi32(sum, rounded);
                // SAFETY: a chunk holds 16 codes.
                unsafe { _mm_storeu_si128(codes.as_mut_ptr().cast(), _mm512_cvtsepi32_epi8(rounded)) };
            }
            let sum = _mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum));
            sums[i] = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
        }
        let [a, b] = [(sums[0], sums[1]), (sums[2], sums[3])]
            .map(|(x, y)| _mm_add_epi32(_mm_unpacklo_epi32(x, y), _mm_unpackhi_epi32(x, y)));
        let sums = _mm_cvtepi32_ps(_mm_add_epi32(_mm_unpacklo_epi64(a, b), _mm_unpackhi_epi64(a, b)));
        let sums = _mm_mul_ps(scales, sums);
        let heads = [_mm_unpacklo_ps(scales, sums), _mm_unpackhi_ps(scales, sums)];
        for (i, block) in blocks.as_chunks_mut::<BYTES>().0.iter_mut().enumerate() {
            let head = _mm_castps_si128(heads[i / 2]);
            let head = if i % 2 == 0 { head } else { _mm_unpackhi_epi64(head, head) };
            // SAFETY: a block begins with scale and sum.
            unsafe { _mm_storel_epi64(block.as_mut_ptr().cast(), head) };
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
            (0..67 * LEN as i32).map(|i| ((i * 7919 % 2003) - 1001) as f32 * 0.37f32.powi(i / 64)).collect();
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
