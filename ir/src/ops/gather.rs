//! `gather`: rows of a table by number: embeddings of tokens, the rows that logits are asked for.
use super::{Class, OpDef, OpError, arity, check};
use crate::expr::{Body, axes, f32, int, load, size};
use crate::quant::Format;
use crate::shard::{Asked, ROWS_GRAIN, Rule, Sharding};
use crate::{DType, Dim, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Inputs: a real table `[v, ..row]` with at least one axis in a row, i32 `[n]` in `0..v`.
/// Result: f32 `[n, ..row]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gather {
    /// The table is a part of a longer one, from this row on: numbers of rows outside it give zeros.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u32>,
}

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
        let Some(first) = self.first.map(i64::from) else { return Some(Body::new(&load(0, at))) };
        let row = at[0].clone();
        let end = size(&(inputs[0].shape[0].clone() + Dim::from(first)));
        at[0] = row.clone() - int(first);
        let below_end = row.clone().lt(end).select(load(0, at), f32(0.0));
        Some(Body::new(&row.lt(int(first)).select(f32(0.0), below_end)))
    }

    fn eval(&self, inputs: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        let (table, ids) = (inputs[0], inputs[1].to_ints());
        let rows = table.shape()[0];
        let mut values = vec![];
        let width = table.shape()[1..].iter().product::<u64>() as usize;
        for id in &ids {
            let row = id - i64::from(self.first.unwrap_or(0));
            match ((0..rows as i64).contains(&row), self.first) {
                (true, _) => values.extend(table.row(row as usize)),
                (false, Some(_)) => values.extend(std::iter::repeat_n(0.0, width)),
                (false, None) => return Err(OpError::Invalid(format!("row {id} of a table of {rows}"))),
            }
        }
        let shape = [&[ids.len() as u64], &table.shape()[1..]].concat();
        Ok(Tensor::f32(&shape, &values))
    }

    /// A weight's rows are divided as columns of logits are, so that a table that serves both is there once; each
    /// rank gives the rows that it has, and zeros.
    fn shard(&self, asked: Asked<'_>) -> Result<Rule, OpError> {
        let rows = asked.inputs[0].shape[0].known().and_then(|d| u64::try_from(d).ok());
        let is_free = asked.given[0].is_none() && self.first.is_none();
        let ranges = rows.filter(|_| is_free).and_then(|rows| asked.shares.divide(rows, ROWS_GRAIN));
        let Some(ranges) = ranges else { return Ok(Rule::whole(2)) };
        let table = Sharding::Split { axis: 0, ranges };
        Ok(Rule { needs: vec![table, Sharding::Whole], gives: Sharding::Partial })
    }

    /// Where columns of the rows are wanted divided, so are those of the table.
    fn wants(&self, input: usize, asked: Asked<'_>) -> Result<Sharding, OpError> {
        Ok(match asked.wanted {
            Sharding::Split { axis: 1.., .. } if input == 0 => asked.wanted.clone(),
            _ => Sharding::Whole,
        })
    }

    fn on_rank(&self, rank: usize, needs: &[Sharding], _: &TensorType) -> Self {
        let first = needs[0].along(0).map(|ranges| ranges[rank].start as u32);
        Gather { first: first.or(self.first) }
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        let ids = |n| TensorType::known(DType::I32, &[n]);
        let quantised = TensorType::known(DType::Quant(Format::Q4_1), &[5, 64]);
        vec![
            (Gather::default(), vec![TensorType::f32(&[4, 8]), ids(3)]),
            (Gather::default(), vec![TensorType::known(DType::F16, &[3, 2, 7]), ids(1)]),
            (Gather { first: Some(1) }, vec![TensorType::f32(&[2, 8]), ids(6)]),
            (Gather { first: Some(2) }, vec![quantised.clone(), ids(3)]),
            (Gather::default(), vec![quantised, ids(3)]),
        ]
    }
}
