//! `expert_combine`: each token's rows, one for each expert that it chose, times those experts' weights, and added up as
//! much as each counts.
use super::expert_linear::{dot, experts, matrix};
use super::experts::{chosen, held, work};
use super::{Class, OpDef, OpError, arity, check};
use crate::expr::Body;
use crate::quant::Format;
use crate::shard::{Asked, Rule, Sharding};
use crate::work::{StepSize, Work};
use crate::{DType, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Inputs: f32 or q8_a `[n, k, d]`, routing weights f32 `[n, e]`, real weights `[held, o, d]`, those of the experts
/// `first..first + held`. Result: f32 `[n, o]`.
///
/// Row `j` of a token belongs to the `j`-th expert that it chose, as `expert_linear` gives them. Experts that are not
/// held add nothing, so that the sum over devices that hold each a part is what one with all would give. Sums run in
/// order of the experts' numbers. Only weights of chosen experts are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExpertCombine {
    /// The number of the first expert held.
    pub first: u64,
}

impl OpDef for ExpertCombine {
    const NAME: &'static str = "expert_combine";
    const CLASS: Class = Class::Opaque;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [x, routing, weight] = arity(inputs)?;
        let [n, k, _] = check::axes(0, x)?;
        held(self.first, x, routing, std::slice::from_ref(weight))?;
        check::constant("the number of a token's rows", k)?;
        Ok(TensorType::new(DType::F32, [n.clone(), weight.shape[1].clone()]))
    }

    fn body(&self, _: &[TensorType]) -> Option<Body> {
        None
    }

    fn eval(&self, inputs: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        let [x, routing, weight] = [0, 1, 2].map(|i| inputs[i]);
        let [n, k, d] = [0, 1, 2].map(|axis| x.shape()[axis]);
        let [count, o] = [weight.shape()[0], weight.shape()[1]];
        let (x, rows) = (x.reshaped(&[n * k, d]), matrix(weight));
        let mut out = vec![];
        for token in 0..n {
            let mut sums = vec![0.0f64; o as usize];
            for (slot, (expert, by)) in (0..).zip(chosen(&routing.row(token as usize), k)) {
                let Some(expert) = expert.checked_sub(self.first).filter(|e| *e < count) else { continue };
                let x = x.row((token * k + slot) as usize);
                for (sum, row) in sums.iter_mut().zip(expert * o..) {
                    *sum += f64::from(by) * dot(&x, &rows.row(row as usize));
                }
            }
            out.extend(sums.into_iter().map(|sum| sum as f32));
        }
        Ok(Tensor::f32(&[n, o], &out))
    }

    /// By the experts whose rows each rank has, or by columns of all rows.
    fn shard(&self, asked: Asked<'_>) -> Result<Rule, OpError> {
        let mut rule = Rule::whole(3);
        let block = asked.inputs[2].dtype.block_len();
        let blocks =
            |ranges: &[Range<u64>]| ranges.iter().all(|r| (r.start % block, r.end % block) == (0, 0));
        match asked.given[0] {
            Some(rows @ Sharding::Experts { ranges }) => {
                rule.needs[0] = rows.clone();
                rule.needs[2] = Sharding::Split { axis: 0, ranges: ranges.clone() };
                rule.gives = Sharding::Partial;
            }
            Some(rows) if rows.along(2).is_some_and(blocks) => {
                (rule.needs[0], rule.needs[2], rule.gives) = (rows.clone(), rows.clone(), Sharding::Partial);
            }
            _ => {}
        }
        Ok(rule)
    }

    /// Columns in whole blocks of the weight and of the activations that it is multiplied with.
    fn wants(&self, input: usize, asked: Asked<'_>) -> Result<Sharding, OpError> {
        let weight = &asked.inputs[2];
        let width = weight.shape[2].known().and_then(|d| u64::try_from(d).ok());
        let grain = weight.dtype.block_len().max(Format::Q8A.block_len() as u64);
        let ranges = width.and_then(|width| asked.shares.divide(width, grain));
        Ok(match ranges.filter(|_| input == 0 && experts(weight, asked.shares).is_none()) {
            Some(ranges) => Sharding::Split { axis: 2, ranges },
            None => Sharding::Whole,
        })
    }

    fn on_rank(&self, rank: usize, needs: &[Sharding], _: &TensorType) -> Self {
        let first = needs[2].along(0).map(|ranges| ranges[rank].start);
        ExpertCombine { first: first.unwrap_or(self.first) }
    }

    /// Rows of experts that are not held are not read.
    fn work(&self, inputs: &[TensorType], step: &StepSize) -> Option<Work> {
        let mut work = work(inputs, &self.infer(inputs).ok()?, &inputs[0].shape[1], step)?;
        let [all, held] = [inputs[1].shape.get(1)?, inputs[2].shape.first()?].map(|d| step.symbols.eval(d));
        let (all, held) = (all?.max(1) as u128, held?.max(0) as u128);
        work.reads[0] = u64::try_from(u128::from(work.reads[0]) * held / all).unwrap_or(u64::MAX);
        Some(work)
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        let f32 = TensorType::f32;
        let of = |format, shape: &[i64]| TensorType::known(DType::Quant(format), shape);
        let f16 = TensorType::known(DType::F16, &[3, 6, 8]);
        vec![
            (ExpertCombine { first: 0 }, vec![f32(&[4, 2, 8]), f32(&[4, 3]), f16]),
            (ExpertCombine { first: 2 }, vec![f32(&[2, 4, 7]), f32(&[2, 5]), f32(&[2, 5, 7])]),
            (
                ExpertCombine { first: 1 },
                vec![of(Format::Q8A, &[3, 4, 64]), f32(&[3, 6]), of(Format::Q5_0, &[3, 17, 64])],
            ),
        ]
    }
}
