//! `rms_norm`: divides each row by its root mean square, then scales it by a weight (Zhang and Sennrich, 2019).
use super::{Class, OpDef, OpError, arity};
use crate::expr::{Body, Cast, axes, f32, load, size, sum};
use crate::shard::{self, Asked, Rule, Sharding};
use crate::{DType, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RmsNorm {
    /// Added to the mean square.
    pub eps: f32,
}

impl OpDef for RmsNorm {
    const NAME: &'static str = "rms_norm";
    const CLASS: Class = Class::Reduction;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [x, w] = arity(inputs)?;
        let [.., last] = &x.shape[..] else {
            return Err(OpError::Invalid("needs at least one axis".into()));
        };
        if x.dtype != DType::F32 {
            return Err(OpError::Type { index: 0, found: x.clone(), expected: x.with_dtype(DType::F32) });
        }
        let expected = TensorType::new(DType::F32, [last.clone()]);
        if *w != expected {
            return Err(OpError::Type { index: 1, found: w.clone(), expected });
        }
        Ok(x.clone())
    }

    fn body(&self, inputs: &[TensorType]) -> Option<Body> {
        let at = axes(inputs[0].rank());
        let (col, row) = at.split_last()?;
        let width = size(inputs[0].shape.last()?);
        let x = |k| load(0, row.iter().cloned().chain([k]));
        let mean = sum(width.clone(), |k| x(k.clone()) * x(k)) / width.cast(Cast::ToF32);
        Some(Body::new(&(x(col.clone()) * (mean + f32(self.eps)).rsqrt() * load(1, [col.clone()]))))
    }

    fn eval(&self, inputs: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        let (x, w) = (inputs[0].to_f32(), inputs[1].to_f32());
        let rows = x.chunks(w.len().max(1)).flat_map(|row| {
            let squares: f64 = row.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
            let root = (squares / w.len() as f64 + f64::from(self.eps)).sqrt();
            row.iter().zip(&w).map(move |(v, w)| (f64::from(*v) / root) as f32 * w)
        });
        Ok(Tensor::f32(inputs[0].shape(), &rows.collect::<Vec<_>>()))
    }

    /// Rows stay whole; what is before them can be divided.
    fn shard(&self, asked: Asked<'_>) -> Result<Rule, OpError> {
        Ok(shard::by_rows(asked))
    }

    fn wants(&self, input: usize, asked: Asked<'_>) -> Result<Sharding, OpError> {
        Ok(shard::wanted_by_rows(input, asked))
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        let op = RmsNorm { eps: 1e-5 };
        vec![
            (op.clone(), vec![TensorType::f32(&[4, 8]), TensorType::f32(&[8])]),
            (op, vec![TensorType::f32(&[2, 3, 7]), TensorType::f32(&[7])]),
        ]
    }
}
