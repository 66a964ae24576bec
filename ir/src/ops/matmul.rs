//! `matmul`: the matrix product over the last two axes, once for every index of the axes before them.
use super::{Class, OpDef, OpError, arity, check};
use crate::expr::{Body, axes, load, size, sum};
use crate::{DType, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Inputs: f32 `[.., m, k]` and `[.., k, n]`, equal before. Result: f32 `[.., m, n]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Matmul {}

impl OpDef for Matmul {
    const NAME: &'static str = "matmul";
    const CLASS: Class = Class::Contraction;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [a, b] = arity(inputs)?;
        for (index, ty) in inputs.iter().enumerate() {
            check::dtype(index, ty, DType::F32)?;
            check::elements(index, ty, "at least 2 axes", ty.rank() >= 2)?;
        }
        let columns = b.shape[b.rank() - 1].clone();
        let (k, outer) = check::last_axis(0, a)?;
        let batch = &outer[..outer.len() - 1];
        let expected = batch.iter().cloned().chain([k.clone(), columns.clone()]);
        check::exactly(1, b, TensorType::new(DType::F32, expected))?;
        Ok(TensorType::new(DType::F32, outer.iter().cloned().chain([columns])))
    }

    fn body(&self, inputs: &[TensorType]) -> Option<Body> {
        let at = axes(inputs[0].rank());
        let (column, outer) = at.split_last()?;
        let (_, batch) = outer.split_last()?;
        let width = size(inputs[0].shape.last()?);
        let a = |k| load(0, outer.iter().cloned().chain([k]));
        let b = |k| load(1, batch.iter().cloned().chain([k, column.clone()]));
        Some(Body::new(&sum(width, |k| a(k.clone()) * b(k))))
    }

    fn eval(&self, inputs: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        let (a, b) = (inputs[0].to_f32(), inputs[1].to_f32());
        let [batch @ .., m, k] = inputs[0].shape() else {
            return Err("needs at least 2 axes".to_owned().into());
        };
        let n = inputs[1].shape()[batch.len() + 1];
        let shape = [batch, &[*m, n]].concat();
        let (m, k, n) = (*m as usize, *k as usize, n as usize);
        let mut values = vec![];
        for matrix in 0..batch.iter().product::<u64>() as usize {
            for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                let product =
                    |l| f64::from(a[(matrix * m + i) * k + l]) * f64::from(b[(matrix * k + l) * n + j]);
                values.push((0..k).map(product).sum::<f64>() as f32);
            }
        }
        Ok(Tensor::f32(&shape, &values))
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        let f32 = TensorType::f32;
        vec![
            (Matmul {}, vec![f32(&[4, 8]), f32(&[8, 4])]),
            (Matmul {}, vec![f32(&[2, 3, 7]), f32(&[2, 7, 5])]),
            (Matmul {}, vec![f32(&[1, 2, 5, 1]), f32(&[1, 2, 1, 3])]),
        ]
    }
}
