//! `softmax`: each row's exponentials over their sum, shifted by the row's greatest so that none overflows.
use super::{Class, OpDef, OpError, arity, check};
use crate::expr::{Body, axes, load, max_over, size, sum};
use crate::{DType, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Input: f32 with at least one axis; the last is the row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Softmax {}

impl OpDef for Softmax {
    const NAME: &'static str = "softmax";
    const CLASS: Class = Class::Reduction;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [x] = arity(inputs)?;
        check::dtype(0, x, DType::F32)?;
        check::last_axis(0, x)?;
        Ok(x.clone())
    }

    fn body(&self, inputs: &[TensorType]) -> Option<Body> {
        let at = axes(inputs[0].rank());
        let (column, row) = at.split_last()?;
        let width = size(inputs[0].shape.last()?);
        let x = |k| load(0, row.iter().cloned().chain([k]));
        let max = max_over(width.clone(), x);
        let power = |k| (x(k) - max.clone()).exp();
        Some(Body::new(&(power(column.clone()) / sum(width, power))))
    }

    fn eval(&self, inputs: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        let width = inputs[0].shape().last().map_or(1, |d| *d as usize);
        let mut values = vec![];
        for row in inputs[0].to_f32().chunks(width.max(1)) {
            let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let powers: Vec<f64> = row.iter().map(|v| (f64::from(*v) - f64::from(max)).exp()).collect();
            let total: f64 = powers.iter().sum();
            values.extend(powers.iter().map(|p| (p / total) as f32));
        }
        Ok(Tensor::f32(inputs[0].shape(), &values))
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        [&[4, 8][..], &[2, 3, 7], &[1]].map(|shape| (Softmax {}, vec![TensorType::f32(shape)])).to_vec()
    }
}
