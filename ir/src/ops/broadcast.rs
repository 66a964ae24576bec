//! `broadcast`: a tensor repeated along axes of extent 1 and along axes that it lacks.
use super::movement::rearrange;
use super::{Class, OpDef, OpError, arity, binary, check};
use crate::expr::Body;
use crate::{DType, Dim, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Input: elements not in blocks, whose axes are aligned with the last of `shape`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Broadcast {
    /// The result's extents.
    pub shape: Vec<Dim>,
}

impl OpDef for Broadcast {
    const NAME: &'static str = "broadcast";
    const CLASS: Class = Class::Movement;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [x] = arity(inputs)?;
        check::plain(0, x)?;
        let ty = TensorType::new(x.dtype, self.shape.clone());
        check::possible(&ty)?;
        let fits = |(own, d): (&Dim, &Dim)| own == d || own.known() == Some(1);
        if x.rank() > ty.rank() || !x.shape.iter().rev().zip(ty.shape.iter().rev()).all(fits) {
            return Err(OpError::Invalid(format!("{x} does not broadcast to {ty}")));
        }
        Ok(ty)
    }

    fn body(&self, inputs: &[TensorType]) -> Option<Body> {
        Some(Body::new(&binary::load_broadcast(0, &inputs[0], self.shape.len())))
    }

    fn eval(&self, inputs: &[&Tensor], symbols: &Symbols) -> Result<Tensor, OpError> {
        let ty = TensorType::new(inputs[0].dtype(), self.shape.clone());
        let unknown = || OpError::Invalid(format!("{ty} has symbols without a value"));
        let shape = symbols.extents(&ty).ok_or_else(unknown)?;
        let own = inputs[0].shape();
        rearrange(inputs[0], &shape, |index| {
            let aligned = &index[index.len() - own.len()..];
            aligned.iter().zip(own).map(|(i, d)| if *d == 1 { 0 } else { *i }).collect()
        })
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        let to = |shape: &[i64]| Broadcast { shape: shape.iter().map(|&d| Dim::from(d)).collect() };
        vec![
            (to(&[4, 8]), vec![TensorType::f32(&[8])]),
            (to(&[3, 5, 7]), vec![TensorType::f32(&[3, 1, 7])]),
            (to(&[2, 3]), vec![TensorType::known(DType::I32, &[])]),
        ]
    }
}
