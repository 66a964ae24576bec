//! `linear`: rows times the transposes of one or more weights, whose outputs stand side by side.
//!
//! Weights lie as checkpoints hold them, a row an output. Those that share an input are one operator,
//! so that the input is read once.
use super::{Class, OpDef, OpError, check};
use crate::expr::{Body, axis, load, size, sum};
use crate::quant::Format;
use crate::shard::{self, Asked, Rule, Sharding};
use crate::work::{Operations, StepSize, Work};
use crate::{DType, Dim, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Inputs: f32 or q8_a `[n, k]`, then real weights `[o, k]`. Result: f32 `[n, Σ o]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Linear {}

impl OpDef for Linear {
    const NAME: &'static str = "linear";
    const CLASS: Class = Class::Contraction;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [x, weights @ ..] = inputs else { return Err(OpError::Arity { expected: 2, found: 0 }) };
        if weights.is_empty() {
            return Err(OpError::Arity { expected: 2, found: 1 });
        }
        let fits = matches!(x.dtype, DType::F32 | DType::Quant(Format::Q8A));
        check::elements(0, x, "f32 or q8_a", fits)?;
        let [n, k] = check::axes(0, x)?;
        let mut outputs = Dim::from(0);
        for (index, w) in (1..).zip(weights) {
            check::elements(index, w, "a real dtype", w.dtype.is_real())?;
            let [o, _] = check::axes(index, w)?;
            check::exactly(index, w, TensorType::new(w.dtype, [o.clone(), k.clone()]))?;
            outputs = outputs + o.clone();
        }
        Ok(TensorType::new(DType::F32, [n.clone(), outputs]))
    }

    fn body(&self, inputs: &[TensorType]) -> Option<Body> {
        let (row, column) = (axis(0), axis(1));
        let width = size(&inputs[0].shape[1]);
        let dot =
            |weight, j| sum(width.clone(), |k| load(0, [row.clone(), k.clone()]) * load(weight, [j, k]));
        let mut start = Dim::from(0);
        let mut parts = vec![];
        for (weight, ty) in inputs.iter().enumerate().skip(1) {
            let j = if weight == 1 { column.clone() } else { column.clone() - size(&start) };
            start = start + ty.shape[0].clone();
            parts.push((dot(weight, j), start.clone()));
        }
        let (last, _) = parts.pop()?;
        let chain = parts
            .into_iter()
            .rev()
            .fold(last, |rest, (part, end)| column.clone().lt(size(&end)).select(part, rest));
        Some(Body::new(&chain))
    }

    fn eval(&self, inputs: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        let n = inputs[0].shape()[0] as usize;
        let x: Vec<Vec<f32>> = (0..n).map(|i| inputs[0].row(i)).collect();
        let mut rows = vec![vec![]; n];
        for weight in &inputs[1..] {
            for j in 0..weight.shape()[0] as usize {
                let w = weight.row(j);
                for (row, x) in rows.iter_mut().zip(&x) {
                    let dot: f64 = x.iter().zip(&w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                    row.push(dot as f32);
                }
            }
        }
        let outputs = inputs[1..].iter().map(|w| w.shape()[0]).sum();
        Ok(Tensor::f32(&[n as u64, outputs], &rows.concat()))
    }

    /// Of each weight a part of the columns comes, which the chain of the body does not show.
    fn work(&self, inputs: &[TensorType], step: &StepSize) -> Option<Work> {
        let output = self.infer(inputs).ok()?;
        let [n, width] = step.symbols.extents(&inputs[0])?[..] else { return None };
        let mut operations = Operations::default();
        for weight in &inputs[1..] {
            let rows = step.symbols.extents(weight)?[0];
            let products = [2, n, rows, width].into_iter().fold(1, u64::saturating_mul);
            operations += match (inputs[0].dtype, weight.dtype) {
                (DType::Quant(Format::Q8A), _) => Operations { int8: products, ..Operations::default() },
                (_, DType::F32) => Operations { f32: products, ..Operations::default() },
                _ => Operations { f16: products, ..Operations::default() },
            };
        }
        Some(Work { operations, ..Work::moving(inputs, &output, step)? })
    }

    /// By rows of the inputs' columns, or else by columns of the result, if these are wanted divided.
    fn shard(&self, asked: Asked<'_>) -> Result<Rule, OpError> {
        let whole = Rule::whole(asked.inputs.len());
        let [_, weight] = asked.inputs else { return Ok(whole) };
        let blocks = |ranges: &[Range<u64>]| {
            let block = weight.dtype.block_len();
            ranges.iter().all(|r| r.start.is_multiple_of(block) && r.end.is_multiple_of(block))
        };
        let given = asked.given[0].filter(|x| x.along(1).is_some_and(blocks));
        if let Some(x) = given {
            return Ok(Rule { needs: vec![x.clone(), x.clone()], gives: Sharding::Partial });
        }
        let Some(columns) = shard::moved(asked.wanted, 1, 0, (1, 1)) else { return Ok(whole) };
        Ok(Rule { needs: vec![Sharding::Whole, columns], gives: asked.wanted.clone() })
    }

    /// Columns in whole blocks of the weight and of the activations that it is multiplied with.
    fn wants(&self, input: usize, asked: Asked<'_>) -> Result<Sharding, OpError> {
        let [_, weight] = asked.inputs else { return Ok(Sharding::Whole) };
        let width = weight.shape[1].known().and_then(|d| u64::try_from(d).ok());
        let grain = weight.dtype.block_len().max(Format::Q8A.block_len() as u64);
        let ranges = width.and_then(|width| asked.shares.divide(width, grain));
        Ok(match ranges.filter(|_| input == 0) {
            Some(ranges) => Sharding::Split { axis: 1, ranges },
            None => Sharding::Whole,
        })
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        let f32 = TensorType::f32;
        let of = |format, shape: &[i64]| TensorType::known(DType::Quant(format), shape);
        let f16 = TensorType::known(DType::F16, &[5, 7]);
        vec![
            (Linear {}, vec![f32(&[4, 8]), f32(&[6, 8])]),
            (Linear {}, vec![f32(&[3, 7]), f16, f32(&[1, 7]), f32(&[4, 7])]),
            (
                Linear {},
                vec![of(Format::Q8A, &[3, 64]), of(Format::Q4_1, &[5, 64]), of(Format::Q8_0, &[2, 64])],
            ),
            (Linear {}, vec![f32(&[1, 256]), of(Format::Q4K, &[17, 256]), of(Format::Q6K, &[3, 256])]),
        ]
    }
}
