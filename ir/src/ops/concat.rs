//! `concat`: tensors one after the other along an axis.
use super::{Class, OpDef, OpError, check};
use crate::expr::{Body, axes, load, size};
use crate::{DType, Dim, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Inputs: two or more of one dtype, not in blocks, that differ at most in their extent along `axis`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Concat {
    /// Which axis.
    pub axis: usize,
}

impl OpDef for Concat {
    const NAME: &'static str = "concat";
    const CLASS: Class = Class::Movement;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [first, _, ..] = inputs else {
            return Err(OpError::Arity { expected: 2, found: inputs.len() });
        };
        let axis = self.axis;
        if axis >= first.rank() {
            return Err(OpError::Invalid(format!("{first} has no axis {axis}")));
        }
        let mut total = Dim::from(0);
        for (index, ty) in inputs.iter().enumerate() {
            check::plain(index, ty)?;
            let mut expected = first.clone();
            if let Some(own) = ty.shape.get(axis) {
                expected.shape[axis] = own.clone();
            }
            check::exactly(index, ty, expected)?;
            total = total + ty.shape[axis].clone();
        }
        let mut ty = first.clone();
        ty.shape[axis] = total;
        Ok(ty)
    }

    fn body(&self, inputs: &[TensorType]) -> Option<Body> {
        let at = axes(inputs[0].rank());
        let mut start = Dim::from(0);
        let mut parts = vec![];
        for (index, ty) in inputs.iter().enumerate() {
            let mut own = at.clone();
            if index > 0 {
                own[self.axis] = own[self.axis].clone() - size(&start);
            }
            start = start + ty.shape[self.axis].clone();
            parts.push((load(index, own), start.clone()));
        }
        let (last, _) = parts.pop()?;
        let before = |end: &Dim| at[self.axis].clone().lt(size(end));
        Some(Body::new(
            &parts.into_iter().rev().fold(last, |rest, (part, end)| before(&end).select(part, rest)),
        ))
    }

    fn eval(&self, inputs: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        let mut shape = inputs[0].shape().to_vec();
        shape[self.axis] = inputs.iter().map(|t| t.shape()[self.axis]).sum();
        let outer = shape[..self.axis].iter().product::<u64>() as usize;
        let mut bytes = vec![];
        for i in 0..outer {
            for input in inputs {
                let part = input.bytes().len() / outer;
                bytes.extend_from_slice(&input.bytes()[i * part..(i + 1) * part]);
            }
        }
        Ok(Tensor::from_bytes(inputs[0].dtype(), &shape, bytes).expect("the parts make the whole"))
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        let f32 = TensorType::f32;
        let i32 = |shape: &[i64]| TensorType::known(DType::I32, shape);
        vec![
            (Concat { axis: 1 }, vec![f32(&[4, 8]), f32(&[4, 3])]),
            (Concat { axis: 0 }, vec![f32(&[1, 7]), f32(&[3, 7]), f32(&[2, 7])]),
            (Concat { axis: 0 }, vec![i32(&[2]), i32(&[5])]),
        ]
    }
}
