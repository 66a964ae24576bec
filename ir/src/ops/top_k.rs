//! `top_k`: the `k` greatest numbers of each row and where they stand: the tokens that a sampler can choose from.
//!
//! The greatest comes first, and of equals the one that stands first. NaN counts as plus infinity, and stays NaN.
use super::peaks::{rank, stretches};
use super::{Class, OpDef, OpError, arity, check};
use crate::work::{StepSize, Work};
use crate::{DType, Dim, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Inputs: f32 `[.., d]`, `d` constant; f32 `[.., d / stretch]`, the `peaks` of the stretches of its rows.
/// Result: f32 `[.., 2, k]`: the numbers, then where in the row they stand.
///
/// Peaks say where to look. Below the `k`th greatest of them, if there are as many, neither stretches nor numbers
/// count. Where peaks are what they should be, that leaves out none of the `k` greatest; where they are not, there can
/// be too few, and minus infinity at 0 stands for each that lacks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopK {
    /// How many, at most as many as a row has.
    pub k: u64,
    /// How many numbers a stretch has.
    pub stretch: u64,
}

impl TopK {
    /// The widest row: places up to here are exact as f32.
    pub const WIDTH_MAX: i64 = 1 << 24;
}

impl OpDef for TopK {
    const NAME: &'static str = "top_k";
    const CLASS: Class = Class::Opaque;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [x, peaks] = arity(inputs)?;
        check::dtype(0, x, DType::F32)?;
        let (width, rows) = check::last_axis(0, x)?;
        let width = check::constant("the width of a row", width)?;
        let of = |last: &[i64]| {
            TensorType::new(DType::F32, rows.iter().cloned().chain(last.iter().map(|d| Dim::from(*d))))
        };
        check::exactly(1, peaks, of(&[stretches(width, self.stretch)?]))?;
        if width > TopK::WIDTH_MAX {
            return Err(OpError::Invalid(format!("a row of {width}, expected at most {}", TopK::WIDTH_MAX)));
        }
        match i64::try_from(self.k).ok().filter(|k| (1..=width).contains(k)) {
            Some(k) => Ok(of(&[2, k])),
            None => {
                Err(OpError::Invalid(format!("the {} greatest of {width}, expected 1 to {width}", self.k)))
            }
        }
    }

    fn body(&self, _: &[TensorType]) -> Option<crate::expr::Body> {
        None
    }

    fn eval(&self, inputs: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        let (width, rows) =
            inputs[0].shape().split_last().ok_or_else(|| "needs at least one axis".to_owned())?;
        let (width, k) = (*width as usize, self.k as usize);
        let each = usize::try_from(self.stretch).unwrap_or(usize::MAX);
        let (x, peaks) = (inputs[0].to_f32(), inputs[1].to_f32());
        let mut values = vec![];
        for (row, peaks) in x.chunks(width).zip(peaks.chunks(width.div_ceil(each))) {
            let mut sorted: Vec<f32> = peaks.iter().copied().map(rank).collect();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let least = sorted.get(k - 1).copied().unwrap_or(f32::NEG_INFINITY);
            let counts = |at: &usize| rank(peaks[at / each]) >= least && rank(row[*at]) >= least;
            let mut chosen: Vec<usize> = (0..width).filter(counts).collect();
            // A stable sort: the first of equals stays the first.
            chosen.sort_by(|&a, &b| rank(row[b]).partial_cmp(&rank(row[a])).expect("ranks are no NaN"));
            chosen.truncate(k);
            let lacking = k - chosen.len();
            values.extend(chosen.iter().map(|&at| row[at]));
            values.extend(std::iter::repeat_n(f32::NEG_INFINITY, lacking));
            values.extend(chosen.iter().map(|&at| at as f32));
            values.extend(std::iter::repeat_n(0.0, lacking));
        }
        Ok(Tensor::f32(&[rows, &[2, self.k]].concat(), &values))
    }

    /// All peaks are read, and as many stretches as it takes.
    fn work(&self, inputs: &[TensorType], step: &StepSize) -> Option<Work> {
        let mut work = Work::moving(inputs, &self.infer(inputs).ok()?, step)?;
        let width = inputs[0].shape.last()?.known()? as u64;
        let seen = self.k.saturating_mul(self.stretch).min(width);
        work.reads[0] = work.reads[0] / width * seen;
        // Each is compared once.
        work.operations.f32 = (work.reads[0] + work.reads[1]) / 4;
        Some(work)
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        let of = |k, stretch, x: &[i64], peaks: &[i64]| {
            (TopK { k, stretch }, vec![TensorType::f32(x), TensorType::f32(peaks)])
        };
        vec![
            of(3, 4, &[4, 8], &[4, 2]),
            of(7, 3, &[2, 3, 7], &[2, 3, 3]),
            of(1, 9, &[5], &[1]),
            of(2, 256, &[3, 700], &[3, 3]),
            of(64, 256, &[2, 20000], &[2, 79]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::Peaks;
    use super::*;

    #[test]
    fn the_first_of_equals_is_first_and_nan_before_all() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        for (row, greatest) in [
            ([1.0, 3.0, 3.0, 3.0, 2.0, 9.0], [(9.0, 5), (3.0, 1), (3.0, 2)]),
            ([-0.0, 0.0, -0.0, -1.0, -1.0, 0.0], [(-0.0, 0), (0.0, 1), (-0.0, 2)]),
            ([-inf, -inf, -inf, -inf, 4.0, -inf], [(4.0, 4), (-inf, 0), (-inf, 1)]),
            ([5.0, inf, 1.0, nan, 7.0, nan], [(inf, 1), (nan, 3), (nan, 5)]),
        ] {
            for stretch in [1, 2, 4, 6] {
                let x = Tensor::f32(&[1, 6], &row);
                let peaks = Peaks { stretch }.eval(&[&x], &Symbols::new()).unwrap();
                let found = TopK { k: 3, stretch }.eval(&[&x, &peaks], &Symbols::new()).unwrap().to_f32();
                let meant = greatest.map(|(x, _)| x).into_iter().chain(greatest.map(|(_, at)| at as f32));
                let bits = |x: f32| if x.is_nan() { u32::MAX } else { x.to_bits() };
                assert!(
                    found.iter().copied().map(bits).eq(meant.map(bits)),
                    "{row:?} by {stretch}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn peaks_that_are_none_leave_gaps() {
        let (x, peaks) = (Tensor::f32(&[4], &[1.0, 2.0, 3.0, 4.0]), Tensor::f32(&[2], &[3.5, 9.0]));
        let found = TopK { k: 2, stretch: 2 }.eval(&[&x, &peaks], &Symbols::new()).unwrap();
        assert_eq!(found.to_f32(), [4.0, f32::NEG_INFINITY, 3.0, 0.0]);
    }
}
