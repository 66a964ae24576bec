//! `compare`: whether one number stands so to the other, point by point, with broadcasting.
use super::{Class, OpDef, OpError, arity, binary};
use crate::expr::Body;
use crate::{DType, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Inputs: two of f32. Result: bool; false where one is NaN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compare {
    /// What is asked.
    pub by: Relation,
}

/// How two numbers may stand to one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relation {
    /// The first is less.
    Lt,
    /// The first is less or equal.
    Le,
    /// The two are equal.
    Eq,
}

impl OpDef for Compare {
    const NAME: &'static str = "compare";
    const CLASS: Class = Class::Pointwise;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [a, b] = arity(inputs)?;
        Ok(binary::broadcast(a, b)?.with_dtype(DType::Bool))
    }

    fn body(&self, inputs: &[TensorType]) -> Option<Body> {
        let rank = inputs[0].rank().max(inputs[1].rank());
        let [a, b] = [0, 1].map(|i| binary::load_broadcast(i, &inputs[i], rank));
        Some(Body::new(&match self.by {
            Relation::Lt => a.lt(b),
            Relation::Le => a.le(b),
            Relation::Eq => a.equals(b),
        }))
    }

    fn eval(&self, inputs: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        let holds = binary::evaluate(inputs[0], inputs[1], |a, b| {
            f32::from(match self.by {
                Relation::Lt => a < b,
                Relation::Le => a <= b,
                Relation::Eq => a == b,
            })
        })?;
        let ints = holds.to_f32().into_iter().map(|v| v as i64);
        Ok(Tensor::from_ints(DType::Bool, holds.shape(), ints))
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        let f32 = TensorType::f32;
        vec![
            (Compare { by: Relation::Lt }, vec![f32(&[3, 5]), f32(&[5])]),
            (Compare { by: Relation::Le }, vec![f32(&[]), f32(&[4, 8])]),
            (Compare { by: Relation::Eq }, vec![f32(&[3, 5]), f32(&[3, 5])]),
        ]
    }
}
