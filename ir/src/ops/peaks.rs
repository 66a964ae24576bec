//! `peaks`: the greatest number of each stretch of a row, so that who looks for the greatest of all need not look at
//! every stretch. NaN counts as plus infinity.
use super::{Class, OpDef, OpError, arity, check};
use crate::expr::{Body, axes, f32, int, load, max_over};
use crate::{DType, Dim, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Input: f32 `[.., d]`, `d` constant. Result: f32 `[.., d / stretch]`, rounded up: the last stretch can be shorter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peaks {
    /// How many numbers a stretch has.
    pub stretch: u64,
}

/// As what a number counts where the greatest are looked for.
pub(super) fn rank(x: f32) -> f32 {
    if x.is_nan() { f32::INFINITY } else { x }
}

/// How many stretches a row of `width` has.
pub(super) fn stretches(width: i64, stretch: u64) -> Result<i64, OpError> {
    let each = i64::try_from(stretch).ok().filter(|each| *each > 0);
    let each = each.ok_or_else(|| format!("stretches of {stretch} numbers, expected at least 1"))?;
    Ok(width / each + i64::from(width % each > 0))
}

impl OpDef for Peaks {
    const NAME: &'static str = "peaks";
    const CLASS: Class = Class::Reduction;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [x] = arity(inputs)?;
        check::dtype(0, x, DType::F32)?;
        let (width, rows) = check::last_axis(0, x)?;
        let count = stretches(check::constant("the width of a row", width)?, self.stretch)?;
        Ok(TensorType::new(DType::F32, rows.iter().cloned().chain([Dim::from(count)])))
    }

    fn body(&self, inputs: &[TensorType]) -> Option<Body> {
        let at = axes(inputs[0].rank());
        let (stretch, row) = at.split_last()?;
        let (width, each) = (inputs[0].shape.last()?.known()?, i64::try_from(self.stretch).ok()?);
        let greatest = max_over(int(each), |k| {
            let at = stretch.clone() * int(each) + k;
            // What is looked at twice is no greater for it.
            let at = if width % each == 0 { at } else { at.min(int(width - 1)) };
            let x = load(0, row.iter().cloned().chain([at]));
            x.clone().equals(x.clone()).select(x, f32(f32::INFINITY))
        });
        Some(Body::new(&greatest))
    }

    fn eval(&self, inputs: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        let (width, rows) =
            inputs[0].shape().split_last().ok_or_else(|| "needs at least one axis".to_owned())?;
        let each = usize::try_from(self.stretch).unwrap_or(usize::MAX);
        let x = inputs[0].to_f32();
        let greatest = |stretch: &[f32]| stretch.iter().copied().map(rank).fold(f32::NEG_INFINITY, f32::max);
        let stretches = x.chunks((*width as usize).max(1)).flat_map(|row| row.chunks(each));
        let shape = [rows, &[width.div_ceil(self.stretch)]].concat();
        Ok(Tensor::f32(&shape, &stretches.map(greatest).collect::<Vec<_>>()))
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        let of = |stretch, shape: &[i64]| (Peaks { stretch }, vec![TensorType::f32(shape)]);
        vec![of(4, &[4, 8]), of(3, &[2, 3, 7]), of(9, &[5]), of(256, &[3, 700])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::evaluate_body;

    #[test]
    fn nan_counts_as_infinity_and_nothing_else_does() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        let given = Tensor::f32(&[2, 5], &[1.0, nan, -2.0, -3.0, -inf, -inf, -inf, 5.0, inf, nan]);
        let op = Peaks { stretch: 2 };
        let body = op.body(&[given.ty()]).unwrap();
        let ty = op.infer(&[given.ty()]).unwrap();
        let found = evaluate_body(&body, &ty, &[&given], None, &Symbols::new()).unwrap();
        for peaks in [op.eval(&[&given], &Symbols::new()).unwrap(), found] {
            assert_eq!(peaks.to_f32(), [inf, -2.0, -inf, -inf, inf, inf]);
        }
    }
}
