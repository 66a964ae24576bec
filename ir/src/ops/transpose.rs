//! `transpose`: the axes in another order.
use super::movement::rearrange;
use super::{Class, OpDef, OpError, arity, check};
use crate::expr::{Body, axis, load};
use crate::{Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Input: elements not in blocks. Result: axis `i` is axis `order[i]` of the input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transpose {
    /// Every axis of the input once.
    pub order: Vec<usize>,
}

impl OpDef for Transpose {
    const NAME: &'static str = "transpose";
    const CLASS: Class = Class::Movement;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [x] = arity(inputs)?;
        check::plain(0, x)?;
        let mut sorted = self.order.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..x.rank()) {
            return Err(OpError::Invalid(format!("{:?} is no order of the axes of {x}", self.order)));
        }
        Ok(TensorType::new(x.dtype, self.order.iter().map(|&a| x.shape[a].clone())))
    }

    fn body(&self, _: &[TensorType]) -> Option<Body> {
        let from = (0..self.order.len()).map(|a| self.order.iter().position(|&o| o == a).map(axis));
        Some(Body::new(&load(0, from.collect::<Option<Vec<_>>>()?)))
    }

    fn eval(&self, inputs: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        let shape: Vec<u64> = self.order.iter().map(|&a| inputs[0].shape()[a]).collect();
        rearrange(inputs[0], &shape, |index| {
            let mut at = vec![0; index.len()];
            self.order.iter().zip(index).for_each(|(&a, i)| at[a] = *i);
            at
        })
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        vec![
            (Transpose { order: vec![1, 0] }, vec![TensorType::f32(&[4, 8])]),
            (Transpose { order: vec![2, 0, 1] }, vec![TensorType::f32(&[3, 2, 7])]),
        ]
    }
}
