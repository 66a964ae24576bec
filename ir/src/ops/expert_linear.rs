//! `expert_linear`: each token's row times the weights of the experts that it chose: what comes of several weights stands
//! side by side, what comes of several experts one below the other.
use super::experts::{chosen, held, work};
use super::{Class, OpDef, OpError, check};
use crate::expr::Body;
use crate::quant::Format;
use crate::shard::{self, Asked, Rule, Sharding, Shares};
use crate::work::{StepSize, Work};
use crate::{DType, Dim, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Inputs: f32 or q8_a `[n, d]`, routing weights f32 `[n, e]`, then one or more real weights `[held, o, d]`, those of
/// the experts `first..first + held`. Result: f32 `[n, k, Σ o]`.
///
/// Row `j` of a token belongs to the `j`-th expert that it chose, in order of their numbers; it is zeros where that one
/// is not held, or fewer are chosen. Whom a token chose beyond `k` is passed over. Only weights of chosen experts are
/// read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExpertLinear {
    /// The number of the first expert held.
    pub first: u64,
    /// How many experts a token has room for.
    pub k: u64,
}

/// The experts of a stacked weight that each rank holds, where a group divides mixtures so.
pub(super) fn experts(weight: &TensorType, shares: &Shares) -> Option<Vec<Range<u64>>> {
    shares.divide_experts(u64::try_from(weight.shape[0].known()?).ok()?)
}

impl OpDef for ExpertLinear {
    const NAME: &'static str = "expert_linear";
    const CLASS: Class = Class::Opaque;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [x, routing, weights @ ..] = inputs else {
            return Err(OpError::Arity { expected: 3, found: inputs.len() });
        };
        let [n, _] = check::axes(0, x)?;
        held(self.first, x, routing, weights)?;
        let outputs = weights.iter().fold(Dim::from(0), |sum, w| sum + w.shape[1].clone());
        let k = i64::try_from(self.k).ok().filter(|k| *k > 0);
        let k = k.ok_or_else(|| format!("has room for {} experts, expected at least 1", self.k))?;
        Ok(TensorType::new(DType::F32, [n.clone(), k.into(), outputs]))
    }

    fn body(&self, _: &[TensorType]) -> Option<Body> {
        None
    }

    fn eval(&self, inputs: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        let [x, routing, weights @ ..] = inputs else {
            return Err(OpError::Arity { expected: 3, found: inputs.len() });
        };
        let (n, k) = (x.shape()[0], self.k);
        let outputs = weights.iter().map(|w| w.shape()[1]).sum::<u64>();
        let mut out = Tensor::f32(&[n, k, outputs], &vec![0.0; (n * k * outputs) as usize]).to_f32();
        let rows: Vec<Tensor> = weights.iter().map(|w| matrix(w)).collect();
        for token in 0..n as usize {
            let x = x.row(token);
            for (slot, (expert, _)) in chosen(&routing.row(token), k).enumerate() {
                let mut at = (token * k as usize + slot) * outputs as usize;
                for (weight, rows) in weights.iter().zip(&rows) {
                    let [count, o] = [weight.shape()[0], weight.shape()[1]];
                    let Some(expert) = expert.checked_sub(self.first).filter(|e| *e < count) else {
                        continue;
                    };
                    for row in expert * o..(expert + 1) * o {
                        out[at] = dot(&x, &rows.row(row as usize)) as f32;
                        at += 1;
                    }
                }
            }
        }
        Ok(Tensor::f32(&[n, k, outputs], &out))
    }

    /// By whole experts where the group divides them so, else by columns of the result, if these are wanted divided.
    fn shard(&self, asked: Asked<'_>) -> Result<Rule, OpError> {
        let mut rule = Rule::whole(asked.inputs.len());
        if let [_, _, weight] = asked.inputs
            && self.first == 0
        {
            if let Some(ranges) = experts(weight, asked.shares) {
                rule.needs[2] = Sharding::Split { axis: 0, ranges: ranges.clone() };
                rule.gives = Sharding::Experts { ranges };
            } else if let Some(columns) = shard::moved(asked.wanted, 2, 1, (1, 1)) {
                (rule.needs[2], rule.gives) = (columns, asked.wanted.clone());
            }
        }
        Ok(rule)
    }

    fn on_rank(&self, rank: usize, needs: &[Sharding], _: &TensorType) -> Self {
        let first = needs.get(2).and_then(|weight| weight.along(0)).map(|ranges| ranges[rank].start);
        ExpertLinear { first: first.unwrap_or(self.first), ..self.clone() }
    }

    fn work(&self, inputs: &[TensorType], step: &StepSize) -> Option<Work> {
        let output = self.infer(inputs).ok()?;
        work(inputs, &output, &output.shape[1], step)
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        let f32 = TensorType::f32;
        let of = |format, shape: &[i64]| TensorType::known(DType::Quant(format), shape);
        let q4_1 = of(Format::Q4_1, &[2, 5, 64]);
        vec![
            (ExpertLinear { first: 0, k: 2 }, vec![f32(&[4, 8]), f32(&[4, 4]), f32(&[4, 6, 8])]),
            (
                ExpertLinear { first: 1, k: 3 },
                vec![f32(&[2, 7]), f32(&[2, 3]), f32(&[2, 1, 7]), f32(&[2, 4, 7])],
            ),
            (
                ExpertLinear { first: 3, k: 6 },
                vec![of(Format::Q8A, &[3, 64]), f32(&[3, 6]), q4_1, of(Format::Q8_0, &[2, 2, 64])],
            ),
        ]
    }
}

/// The matrices of all experts, one below the other.
pub(super) fn matrix(weight: &Tensor) -> Tensor {
    let [count, o, k] = [0, 1, 2].map(|axis| weight.shape()[axis]);
    weight.reshaped(&[count * o, k])
}

pub(super) fn dot(x: &[f32], w: &[f32]) -> f64 {
    x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum()
}
