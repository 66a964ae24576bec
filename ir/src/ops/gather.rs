//! `gather`: rows of a table by number: embeddings of tokens, the rows that logits are asked for.
use super::{Class, OpDef, OpError, arity, check};
use crate::expr::{Body, axes, load};
use crate::quant::Format;
use crate::{DType, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Inputs: a real table `[v, ..row]` with at least one axis in a row, i32 `[n]` in `0..v`.
/// Result: f32 `[n, ..row]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gather {}

impl OpDef for Gather {
    const NAME: &'static str = "gather";
    const CLASS: Class = Class::Movement;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [table, ids] = arity(inputs)?;
        check::elements(0, table, "a real dtype", table.dtype.is_real())?;
        check::elements(0, table, "at least 2 axes", table.rank() >= 2)?;
        check::dtype(1, ids, DType::I32)?;
        let [n] = check::axes(1, ids)?;
        Ok(TensorType::new(DType::F32, [std::slice::from_ref(n), &table.shape[1..]].concat()))
    }

    fn body(&self, inputs: &[TensorType]) -> Option<Body> {
        let mut at = axes(inputs[0].rank());
        at[0] = load(1, [at[0].clone()]);
        Some(Body::new(&load(0, at)))
    }

    fn eval(&self, inputs: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        let (table, ids) = (inputs[0], inputs[1].to_ints());
        let rows = table.shape()[0];
        let mut values = vec![];
        for id in &ids {
            if !(0..rows as i64).contains(id) {
                return Err(OpError::Invalid(format!("row {id} of a table of {rows}")));
            }
            values.extend(table.row(*id as usize));
        }
        let shape = [&[ids.len() as u64], &table.shape()[1..]].concat();
        Ok(Tensor::f32(&shape, &values))
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        let ids = |n| TensorType::known(DType::I32, &[n]);
        let quantised = TensorType::known(DType::Quant(Format::Q4_1), &[5, 64]);
        vec![
            (Gather {}, vec![TensorType::f32(&[4, 8]), ids(3)]),
            (Gather {}, vec![TensorType::known(DType::F16, &[3, 2, 7]), ids(1)]),
            (Gather {}, vec![quantised, ids(3)]),
        ]
    }
}
