//! `select`: one of two numbers by a condition, point by point.
use super::{Class, OpDef, OpError, arity, check};
use crate::expr::{Body, axes, load};
use crate::{DType, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Inputs: bool; f32 where it holds; f32 where not; of one shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Select {}

impl OpDef for Select {
    const NAME: &'static str = "select";
    const CLASS: Class = Class::Pointwise;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [condition, yes, no] = arity(inputs)?;
        check::dtype(0, condition, DType::Bool)?;
        check::exactly(1, yes, condition.with_dtype(DType::F32))?;
        check::exactly(2, no, yes.clone())?;
        Ok(yes.clone())
    }

    fn body(&self, inputs: &[TensorType]) -> Option<Body> {
        let [condition, yes, no] = [0, 1, 2].map(|i| load(i, axes(inputs[0].rank())));
        Some(Body::new(&condition.select(yes, no)))
    }

    fn eval(&self, inputs: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        let arms = inputs[1].to_f32().into_iter().zip(inputs[2].to_f32());
        let chosen =
            inputs[0].to_ints().into_iter().zip(arms).map(|(c, (yes, no))| if c != 0 { yes } else { no });
        Ok(Tensor::f32(inputs[1].shape(), &chosen.collect::<Vec<_>>()))
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        let of = |shape: &[i64]| {
            let arm = TensorType::f32(shape);
            (Select {}, vec![arm.with_dtype(DType::Bool), arm.clone(), arm])
        };
        vec![of(&[4, 8]), of(&[3, 5])]
    }
}
