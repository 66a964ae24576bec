//! A row's state: its greatest score, the sum of its weights relative to that, and the weighted sum of values.
use super::super::simd::{Simd, exp2};
use super::STATE;

/// A state that has seen nothing.
#[inline(always)]
pub(super) unsafe fn clear(state: *mut f32, len: usize) {
    unsafe {
        state.write_bytes(0, len);
        state.write(f32::NEG_INFINITY);
    }
}

/// Takes the state of a later part into that of the parts before it, both of `len` f32.
#[inline(always)]
pub(super) unsafe fn merge<S: Simd>(into: *mut f32, part: *const f32, len: usize) {
    unsafe {
        let (before, own) = (into.read(), part.read());
        if own == f32::NEG_INFINITY {
            return;
        }
        let most = before.max(own);
        let before = exp2::<S>(S::splat(before - most));
        let own = exp2::<S>(S::splat(own - most));
        let total = into.add(1).read() * S::lanes(before)[0] + part.add(1).read() * S::lanes(own)[0];
        into.write(most);
        into.add(1).write(total);
        for at in (STATE..len).step_by(16) {
            let faded = S::mul(S::load(into.add(at)), before);
            S::store(into.add(at), S::fma(S::load(part.add(at)), own, faded));
        }
    }
}

/// Writes the weighted mean of values, `width` of them.
#[inline(always)]
pub(super) unsafe fn finish<S: Simd>(state: *const f32, out: *mut f32, width: usize) {
    unsafe {
        let total = S::splat(state.add(1).read());
        for at in (0..width).step_by(16) {
            let mean = S::div(S::load(state.add(STATE + at)), total);
            if at + 16 <= width {
                S::store(out.add(at), mean);
            } else {
                out.add(at).copy_from_nonoverlapping(S::lanes(mean).as_ptr(), width - at);
            }
        }
    }
}
