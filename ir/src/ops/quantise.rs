//! `quantise`: rows of f32 rounded to blocks of `q8_a`, for products of integers.
use super::{Class, OpDef, OpError, arity, check};
use crate::expr::{Body, axes, load};
use crate::quant::Format;
use crate::{DType, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Input: f32 `[.., k]` of whole blocks. Result: the same in q8_a.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantise {}

const TO: DType = DType::Quant(Format::Q8A);

impl OpDef for Quantise {
    const NAME: &'static str = "quantise";
    const CLASS: Class = Class::Pointwise;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [x] = arity(inputs)?;
        check::dtype(0, x, DType::F32)?;
        let ty = x.with_dtype(TO);
        check::possible(&ty)?;
        Ok(ty)
    }

    /// The value itself: what stores it rounds it.
    fn body(&self, inputs: &[TensorType]) -> Option<Body> {
        Some(Body::new(&load(0, axes(inputs[0].rank()))))
    }

    fn eval(&self, inputs: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        Ok(Tensor::from_f32(TO, inputs[0].shape(), &inputs[0].to_f32()))
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        [&[4, 64][..], &[3, 1, 32]].map(|shape| (Quantise {}, vec![TensorType::f32(shape)])).to_vec()
    }
}
