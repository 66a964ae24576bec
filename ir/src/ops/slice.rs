//! `slice`: a range of one axis.
use super::movement::rearrange;
use super::{Class, OpDef, OpError, arity, check};
use crate::expr::{Body, axes, int, load};
use crate::{Dim, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Input: elements not in blocks, `axis` of constant extent. Result: indices `start..start + len` of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// Which axis.
    pub axis: usize,
    /// The first index that is kept.
    pub start: u64,
    /// How many are kept.
    pub len: u64,
}

impl OpDef for Slice {
    const NAME: &'static str = "slice";
    const CLASS: Class = Class::Movement;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [x] = arity(inputs)?;
        check::plain(0, x)?;
        let Slice { axis, start, len } = *self;
        let extent = x.shape.get(axis).ok_or_else(|| OpError::Invalid(format!("{x} has no axis {axis}")))?;
        let known = extent.known().and_then(|d| u64::try_from(d).ok());
        let end = start.checked_add(len);
        if known.zip(end).is_none_or(|(extent, end)| end > extent) {
            return Err(OpError::Invalid(format!("{len} from {start} do not lie in axis {axis} of {x}")));
        }
        let mut ty = x.clone();
        ty.shape[axis] = Dim::from(len as i64);
        Ok(ty)
    }

    fn body(&self, inputs: &[TensorType]) -> Option<Body> {
        let mut at = axes(inputs[0].rank());
        at[self.axis] = at[self.axis].clone() + int(self.start as i64);
        Some(Body::new(&load(0, at)))
    }

    fn eval(&self, inputs: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        let mut shape = inputs[0].shape().to_vec();
        shape[self.axis] = self.len;
        rearrange(inputs[0], &shape, |index| {
            let mut at = index.to_vec();
            at[self.axis] += self.start;
            at
        })
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        vec![
            (Slice { axis: 1, start: 2, len: 4 }, vec![TensorType::f32(&[4, 8])]),
            (Slice { axis: 0, start: 1, len: 1 }, vec![TensorType::f32(&[3, 2, 7])]),
        ]
    }
}
