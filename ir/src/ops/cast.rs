//! `cast`: the same numbers in another dtype.
use super::{Class, OpDef, OpError, arity, check};
use crate::expr::{self, Body, axes, int, load};
use crate::{DType, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Input: elements not in blocks. Real numbers become integers towards zero, within the bounds of i32, NaN 0;
/// integers keep the low bits that the result has room for; what is not 0 becomes true.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cast {
    /// The result's dtype, not of blocks.
    pub to: DType,
}

impl OpDef for Cast {
    const NAME: &'static str = "cast";
    const CLASS: Class = Class::Pointwise;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [x] = arity(inputs)?;
        check::plain(0, x)?;
        match self.to {
            DType::Quant(format) => Err(OpError::Invalid(format!("a cast to {format}, which is of blocks"))),
            to => Ok(x.with_dtype(to)),
        }
    }

    fn body(&self, inputs: &[TensorType]) -> Option<Body> {
        let (from, to) = (inputs[0].dtype, self.to);
        let x = load(0, axes(inputs[0].rank()));
        let as_int = |x: expr::Expr| if from.is_integer() { x } else { x.cast(expr::Cast::ToInt) };
        Some(Body::new(&if from == to || (from.is_real() && to.is_real()) {
            x
        } else if to.is_real() {
            x.cast(expr::Cast::ToF32)
        } else if to == DType::Bool {
            let zero = if from.is_real() { expr::f32(0.0) } else { int(0) };
            !x.equals(zero)
        } else {
            as_int(x)
        }))
    }

    fn eval(&self, inputs: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        let (x, to) = (inputs[0], self.to);
        if to.is_real() {
            return Ok(Tensor::from_f32(to, x.shape(), &x.to_f32()));
        }
        let is_bool = to == DType::Bool;
        let whole = |v: f32| if is_bool { i64::from(v != 0.0) } else { i64::from(v as i32) };
        let ints: Vec<i64> = match x.dtype().is_real() {
            true => x.to_f32().into_iter().map(whole).collect(),
            false => x.to_ints().into_iter().map(|v| if is_bool { i64::from(v != 0) } else { v }).collect(),
        };
        Ok(Tensor::from_ints(to, x.shape(), ints.into_iter()))
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        let all = [DType::F32, DType::F16, DType::BF16, DType::I64, DType::I32, DType::I8, DType::Bool];
        let pairs = all.iter().flat_map(|&from| all.map(|to| (from, to)));
        pairs.map(|(from, to)| (Cast { to }, vec![TensorType::known(from, &[3, 5])])).collect()
    }
}
