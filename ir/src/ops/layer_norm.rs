//! `layer_norm`: each row shifted to mean 0 and scaled to variance 1, then by a weight and a bias (Ba et al., 2016).
use super::{Class, OpDef, OpError, arity, check};
use crate::expr::{Body, Cast, axes, f32, load, size, sum};
use crate::{DType, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Inputs: f32 `[.., k]`; weight and bias, f32 `[k]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerNorm {
    /// Added to the variance.
    pub eps: f32,
}

impl OpDef for LayerNorm {
    const NAME: &'static str = "layer_norm";
    const CLASS: Class = Class::Reduction;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [x, w, b] = arity(inputs)?;
        check::dtype(0, x, DType::F32)?;
        let (k, _) = check::last_axis(0, x)?;
        let row = TensorType::new(DType::F32, [k.clone()]);
        check::exactly(1, w, row.clone())?;
        check::exactly(2, b, row)?;
        Ok(x.clone())
    }

    fn body(&self, inputs: &[TensorType]) -> Option<Body> {
        let at = axes(inputs[0].rank());
        let (column, row) = at.split_last()?;
        let width = || size(&inputs[0].shape[row.len()]);
        let count = || width().cast(Cast::ToF32);
        let x = |k| load(0, row.iter().cloned().chain([k]));
        let mean = sum(width(), x) / count();
        let off = |k| x(k) - mean.clone();
        let variance = sum(width(), |k| off(k.clone()) * off(k)) / count();
        let scaled = off(column.clone()) * (variance + f32(self.eps)).rsqrt();
        Some(Body::new(&(scaled * load(1, [column.clone()]) + load(2, [column.clone()]))))
    }

    fn eval(&self, inputs: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        let [x, w, b] = [0, 1, 2].map(|i| inputs[i].to_f32().into_iter().map(f64::from).collect::<Vec<_>>());
        let mut values = vec![];
        for row in x.chunks(w.len().max(1)) {
            let count = row.len() as f64;
            let mean = row.iter().sum::<f64>() / count;
            let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
            let root = (variance + f64::from(self.eps)).sqrt();
            values.extend(
                row.iter().zip(w.iter().zip(&b)).map(|(v, (w, b))| ((v - mean) / root * w + b) as f32),
            );
        }
        Ok(Tensor::f32(inputs[0].shape(), &values))
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        let f32 = TensorType::f32;
        let op = LayerNorm { eps: 1e-5 };
        vec![
            (op.clone(), vec![f32(&[4, 8]), f32(&[8]), f32(&[8])]),
            (op, vec![f32(&[2, 3, 7]), f32(&[7]), f32(&[7])]),
        ]
    }
}
