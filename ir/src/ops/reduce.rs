//! `reduce`: an axis folded into one value.
use super::{Class, OpDef, OpError, arity, check};
use crate::expr::{self, Body, Cast, axes, load, size};
use crate::tensor::for_each_index;
use crate::{DType, Dim, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Input: f32. Result: the same with extent 1 along `axis`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reduce {
    /// How values are joined.
    pub fold: Fold,
    /// Which axis.
    pub axis: usize,
}

/// How a `reduce` joins values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fold {
    /// Their sum; 0 over nothing.
    Sum,
    /// The greatest; minus infinity over nothing.
    Max,
    /// Their mean; NaN over nothing.
    Mean,
}

impl OpDef for Reduce {
    const NAME: &'static str = "reduce";
    const CLASS: Class = Class::Reduction;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [x] = arity(inputs)?;
        check::dtype(0, x, DType::F32)?;
        let mut ty = x.clone();
        let missing = || OpError::Invalid(format!("{x} has no axis {}", self.axis));
        *ty.shape.get_mut(self.axis).ok_or_else(missing)? = Dim::from(1);
        Ok(ty)
    }

    fn body(&self, inputs: &[TensorType]) -> Option<Body> {
        let count = size(&inputs[0].shape[self.axis]);
        let at = axes(inputs[0].rank());
        let x = |k| {
            let mut at = at.clone();
            at[self.axis] = k;
            load(0, at)
        };
        Some(Body::new(&match self.fold {
            Fold::Sum => expr::sum(count, x),
            Fold::Max => expr::max_over(count, x),
            Fold::Mean => expr::sum(count.clone(), x) / count.cast(Cast::ToF32),
        }))
    }

    fn eval(&self, inputs: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        let (x, from) = (inputs[0].to_f32(), inputs[0].shape());
        let inner = from[self.axis + 1..].iter().product::<u64>();
        let mut shape = from.to_vec();
        shape[self.axis] = 1;
        let start = if self.fold == Fold::Max { f64::NEG_INFINITY } else { 0.0 };
        let mut values = vec![start; shape.iter().product::<u64>() as usize];
        let mut flat = 0;
        for_each_index(from, |_| {
            // Row-major: the axis' extent lies between what is before it and what is after.
            let to = flat / (from[self.axis] * inner) * inner + flat % inner;
            let (value, v) = (&mut values[to as usize], f64::from(x[flat as usize]));
            *value = if self.fold == Fold::Max { value.max(v) } else { *value + v };
            flat += 1;
        });
        let by = if self.fold == Fold::Mean { from[self.axis] as f64 } else { 1.0 };
        Ok(Tensor::f32(&shape, &values.iter().map(|v| (v / by) as f32).collect::<Vec<_>>()))
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        vec![
            (Reduce { fold: Fold::Sum, axis: 1 }, vec![TensorType::f32(&[4, 8])]),
            (Reduce { fold: Fold::Max, axis: 0 }, vec![TensorType::f32(&[4, 8])]),
            (Reduce { fold: Fold::Mean, axis: 1 }, vec![TensorType::f32(&[2, 3, 7])]),
        ]
    }
}
