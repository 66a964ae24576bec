//! The exponential and what comes from it, to about one unit in the last place.
use super::Simd;

/// e to the power of each lane; below −87 as at −87, above 88 as at 88. Exactly 1 at 0.
#[inline(always)]
pub(in super::super) unsafe fn exp<S: Simd>(x: S::F) -> S::F {
    unsafe {
        let x = S::max(x, S::splat(-87.0));
        let x = S::sub(S::splat(0.0), S::max(S::sub(S::splat(0.0), x), S::splat(-88.0)));
        let whole = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        // ln 2 in two parts, the first of which has so few digits that its product is exact.
        let rest = S::fma(whole, S::splat(-0.693_359_4), x);
        let rest = S::fma(whole, S::splat(2.121_944_4e-4), rest);
        let mut sum = S::splat(1.0 / 5040.0);
        for factorial in [720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0] {
            sum = S::fma(sum, rest, S::splat(1.0 / factorial));
        }
        S::mul(sum, S::exp2_whole(whole))
    }
}

/// 2 to the power of each lane, which is at most 0; below −126 as at −126. Exactly 1 at 0.
#[inline(always)]
pub(in super::super) unsafe fn exp2<S: Simd>(x: S::F) -> S::F {
    unsafe {
        let x = S::max(x, S::splat(-126.0));
        let whole = S::round(x);
        let rest = S::sub(x, whole);
        // Off by at most 1e-8 of the result, before rounding.
        let mut sum = S::splat(1.545_316_3e-4);
        for factor in [1.339_086_3e-3, 9.618_083e-3, 5.550_357e-2, 2.402_265e-1, 6.931_472e-1, 1.0] {
            sum = S::fma(sum, rest, S::splat(factor));
        }
        S::mul(sum, S::exp2_whole(whole))
    }
}

/// The hyperbolic tangent of each lane.
#[inline(always)]
pub(in super::super) unsafe fn tanh<S: Simd>(x: S::F) -> S::F {
    unsafe {
        let decay = exp::<S>(S::mul(x, S::splat(-2.0)));
        S::sub(S::div(S::splat(2.0), S::add(S::splat(1.0), decay)), S::splat(1.0))
    }
}
