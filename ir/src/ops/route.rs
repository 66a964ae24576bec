//! `route`: which experts a token goes to, and how much each counts: the softmax of the `k` greatest logits of a row,
//! zero for the others (Shazeer et al., 2017).
//!
//! NaN counts as plus infinity, and of equals the first come first, so that exactly `k` are chosen, or all where there
//! are no more. Where a row holds NaN or plus infinity, its chosen weights are NaN.
use super::{Class, OpDef, OpError, arity, check};
use crate::expr::{Body, Expr, axes, f32, load, max_over, size, sum};
use crate::{DType, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Input: f32 `[.., e]`, `e` constant. Result: the same type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// How many experts a token goes to.
    pub k: u64,
    /// Whether the weights of those chosen add up to 1, or those of all would.
    pub normalise: bool,
}

impl OpDef for Route {
    const NAME: &'static str = "route";
    const CLASS: Class = Class::Reduction;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [logits] = arity(inputs)?;
        check::dtype(0, logits, DType::F32)?;
        let (experts, _) = check::last_axis(0, logits)?;
        check::constant("the number of experts", experts)?;
        match self.k {
            0 => Err(OpError::Invalid("chooses 0 experts, expected at least 1".into())),
            _ => Ok(logits.clone()),
        }
    }

    /// Chosen is what fewer than `k` come before.
    fn body(&self, inputs: &[TensorType]) -> Option<Body> {
        let at = axes(inputs[0].rank());
        let (expert, row) = at.split_last()?;
        let experts = size(inputs[0].shape.last()?);
        let logit = |e: &Expr| load(0, row.iter().cloned().chain([e.clone()]));
        let key = |e: &Expr| logit(e).equals(logit(e)).select(logit(e), f32(f32::INFINITY));
        let chosen = |e: &Expr| {
            let before = |other: Expr| {
                let is_equal_and_before = || {
                    other
                        .clone()
                        .lt(e.clone())
                        .select(key(&other).equals(key(e)).select(f32(1.0), f32(0.0)), f32(0.0))
                };
                key(e).lt(key(&other)).select(f32(1.0), is_equal_and_before())
            };
            sum(experts.clone(), before).lt(f32(self.k as f32))
        };
        let most = max_over(experts.clone(), |e| logit(&e));
        let power = |e: &Expr| (logit(e) - most.clone()).exp();
        let total = sum(experts.clone(), |e| match self.normalise {
            true => chosen(&e).select(power(&e), f32(0.0)),
            false => power(&e),
        });
        Some(Body::new(&chosen(expert).select(power(expert) / total, f32(0.0))))
    }

    fn eval(&self, inputs: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        let width = inputs[0].shape().last().map_or(1, |d| *d as usize);
        let mut values = vec![];
        for row in inputs[0].to_f32().chunks(width.max(1)) {
            let key = |e: usize| if row[e].is_nan() { f32::INFINITY } else { row[e] };
            let mut order: Vec<usize> = (0..row.len()).collect();
            // A stable sort: the first of equals stays the first.
            order.sort_by(|&a, &b| key(b).partial_cmp(&key(a)).expect("keys are no NaN"));
            let chosen = &order[..row.len().min(usize::try_from(self.k).unwrap_or(usize::MAX))];
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let power = |e: usize| (f64::from(row[e]) - f64::from(most)).exp();
            let counted = if self.normalise { chosen } else { &order[..] };
            let total: f64 = counted.iter().map(|&e| power(e)).sum();
            let mut weights = vec![0.0; row.len()];
            chosen.iter().for_each(|&e| weights[e] = (power(e) / total) as f32);
            values.extend(weights);
        }
        Ok(Tensor::f32(inputs[0].shape(), &values))
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        let of = |k, normalise, shape: &[i64]| (Route { k, normalise }, vec![TensorType::f32(shape)]);
        vec![of(2, true, &[4, 8]), of(3, false, &[2, 3, 7]), of(1, true, &[5]), of(9, true, &[3, 4])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::evaluate_body;

    #[test]
    fn the_first_of_equals_is_chosen_and_nan_before_all() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        for (normalise, logits, chosen) in [
            (true, [1.0, 3.0, 3.0, 3.0], [false, true, true, false]),
            (false, [0.0; 4], [true, true, false, false]),
            (true, [-inf, 2.0, -inf, -inf], [false, true, false, false]),
            (true, [5.0, nan, 1.0, 7.0], [false, true, false, true]),
            (false, [nan, inf, nan, 9.0], [true, true, false, false]),
        ] {
            let op = Route { k: 2, normalise };
            let given = Tensor::f32(&[1, 4], &logits);
            let meant = op.eval(&[&given], &Symbols::new()).unwrap();
            let body = op.body(&[given.ty()]).unwrap();
            let found = evaluate_body(&body, &given.ty(), &[&given], None, &Symbols::new()).unwrap();
            for values in [meant.to_f32(), found.to_f32()] {
                assert_eq!(
                    values.iter().map(|w| *w != 0.0).collect::<Vec<_>>(),
                    chosen,
                    "{logits:?}: {values:?}"
                );
                let is_odd = logits.iter().any(|l| l.is_nan());
                assert!(values.iter().all(|w| *w == 0.0 || w.is_nan() == is_odd), "{logits:?}: {values:?}");
            }
        }
    }
}
