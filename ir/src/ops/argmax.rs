//! `argmax`: where in each row the greatest number stands; the first of equals. NaN is never the greatest.
use super::{Class, OpDef, OpError, arity, check};
use crate::expr::Body;
use crate::{DType, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Input: f32 `[.., d]`. Result: i32 `[..]`, 0 where a row holds nothing greater than minus infinity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Argmax {}

impl OpDef for Argmax {
    const NAME: &'static str = "argmax";
    const CLASS: Class = Class::Opaque;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [x] = arity(inputs)?;
        check::dtype(0, x, DType::F32)?;
        let (_, rows) = check::last_axis(0, x)?;
        Ok(TensorType::new(DType::I32, rows.iter().cloned()))
    }

    fn body(&self, _: &[TensorType]) -> Option<Body> {
        None
    }

    fn eval(&self, inputs: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        let (x, shape) = (inputs[0].to_f32(), inputs[0].shape());
        let (width, rows) = shape.split_last().ok_or_else(|| "needs at least one axis".to_owned())?;
        let width = *width as usize;
        let first_greatest = |row: usize| {
            let row = &x[row * width..][..width];
            let best = row
                .iter()
                .enumerate()
                .fold((0, f32::NEG_INFINITY), |best, (i, &v)| if v > best.1 { (i, v) } else { best });
            best.0 as i64
        };
        let count = rows.iter().product::<u64>() as usize;
        Ok(Tensor::from_ints(DType::I32, rows, (0..count).map(first_greatest)))
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        [&[4, 8][..], &[2, 3, 7], &[5]].map(|shape| (Argmax {}, vec![TensorType::f32(shape)])).to_vec()
    }
}
