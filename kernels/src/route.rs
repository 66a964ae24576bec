//! `route`: the greatest logits of each row and their softmax; compiled from its body it would compare each with each.
//!
//! A row is summed in order of the logits' greatness where only those chosen count, else in order of the experts.
use super::length;
use runtime::device::{Executable, Extent};
use std::ops::Range;

/// Arguments: logits f32 `[n, experts]`, the output, which has the same shape.
pub struct Route {
    pub n: Extent,
    pub experts: usize,
    /// How many are chosen, at most as many as there are.
    pub k: usize,
    pub normalise: bool,
}

impl Executable for Route {
    fn units(&self, syms: &[i64]) -> usize {
        length(&self.n, syms)
    }

    /// The numbers of those chosen.
    fn scratch_bytes(&self) -> usize {
        self.k * size_of::<u32>()
    }

    unsafe fn run(&self, args: &[*mut u8], _: &[i64], units: Range<usize>, scratch: *mut u8) {
        for row in units {
            // SAFETY: the row lies in both arguments, and nobody else has this one of the output, or the scratch.
            let (logits, weights, chosen) = unsafe {
                let [logits, weights] = [0, 1].map(|arg| args[arg].cast::<f32>().add(row * self.experts));
                (
                    std::slice::from_raw_parts(logits.cast_const(), self.experts),
                    std::slice::from_raw_parts_mut(weights, self.experts),
                    std::slice::from_raw_parts_mut(scratch.cast::<u32>(), self.k),
                )
            };
            self.row(logits, weights, chosen);
        }
    }
}

impl Route {
    fn row(&self, logits: &[f32], weights: &mut [f32], chosen: &mut [u32]) {
        choose(logits, chosen);
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let power = |logit: f32| (logit - most).exp();
        let total: f32 = match self.normalise {
            true => chosen.iter().map(|&expert| power(logits[expert as usize])).sum(),
            false => logits.iter().copied().map(power).sum(),
        };
        weights.fill(0.0);
        for &expert in &*chosen {
            weights[expert as usize] = power(logits[expert as usize]) / total;
        }
    }
}

/// The greatest logits' numbers, the greatest first, and of equals the first; NaN counts as plus infinity.
fn choose(logits: &[f32], chosen: &mut [u32]) {
    let key = |logit: f32| if logit.is_nan() { f32::INFINITY } else { logit };
    let mut count = 0;
    for (expert, &logit) in logits.iter().enumerate() {
        let logit = key(logit);
        let is_before = |other: u32| key(logits[other as usize]) < logit;
        if count == chosen.len() && !is_before(chosen[count - 1]) {
            continue;
        }
        // The last makes room where there is none.
        count = (count + 1).min(chosen.len());
        let mut at = count - 1;
        while at > 0 && is_before(chosen[at - 1]) {
            chosen[at] = chosen[at - 1];
            at -= 1;
        }
        chosen[at] = expert as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::*;
    use ir::{Op, Symbols, Tensor, ops};

    /// Ties, NaN and infinities among them.
    fn logits(random: &mut Random, count: usize) -> Vec<f32> {
        let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        let logit = |_| match random.below(40) {
            at @ 0..3 => odd[at],
            3..20 => random.below(3) as f32,
            _ => 4.0 * random.real(),
        };
        (0..count).map(logit).collect()
    }

    #[test]
    fn every_row_is_what_the_operator_means() {
        let mut random = Random(31);
        for (n, experts, k) in [(200, 8, 2), (50, 128, 8), (9, 5, 5), (7, 1, 1), (40, 6, 3)] {
            for normalise in [false, true] {
                let logits = logits(&mut random, n * experts);
                let given = Tensor::f32(&[n as u64, experts as u64], &logits);
                let op = Op::from(ops::Route { k: k as u64, normalise });
                let meant = op.eval(&[&given], &Symbols::new()).unwrap().to_f32();
                let rows = Extent { constant: 0, terms: vec![(1, 0)] };
                let route = Route { n: rows, experts, k, normalise };
                let mut found = vec![f32::NAN; logits.len()];
                let mut scratch = vec![u32::MAX; route.scratch_bytes().div_ceil(4)];
                let args = [logits.as_ptr().cast_mut().cast(), found.as_mut_ptr().cast()];
                for units in [0..n / 3, n / 3..n] {
                    unsafe { route.run(&args, &[n as i64], units, scratch.as_mut_ptr().cast()) };
                }
                for (at, (found, meant)) in found.iter().zip(meant).enumerate() {
                    let is_close = (found - meant).abs() <= 1e-6 || found.is_nan() && meant.is_nan();
                    assert!(
                        is_close && (*found == 0.0) == (meant == 0.0),
                        "{at} of {k} of {experts}: {found}, {meant}"
                    );
                }
            }
        }
    }
}
