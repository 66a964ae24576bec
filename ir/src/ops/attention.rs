//! `attention`: each query's mean of the values, weighted by the softmax of its products with the keys.
//!
//! Query heads share key heads in order: query head `j` of `h` reads key head `j / (h / hk)` of `hk`.
use super::{Class, OpDef, OpError, check};
use crate::expr::{Body, Expr, axis, f32, int, load, max_over, size, sum};
use crate::{DType, Dim, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Inputs: queries, f32 `[h, n, d]`; keys and values, f32 `[hk, s, d]`; where wanted a mask, f32 `[n, s]`, that
/// is added to the scaled products. Result: f32 `[h, n, d]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attention {
    /// What products of queries and keys are multiplied with.
    pub scale: f32,
    /// Whether query `i` sees only keys up to `i + (s - n)`: the last query all, each before it one less.
    pub causal: bool,
}

impl OpDef for Attention {
    const NAME: &'static str = "attention";
    const CLASS: Class = Class::Contraction;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [q, k, v, mask @ ..] = inputs else {
            return Err(OpError::Arity { expected: 3, found: inputs.len() });
        };
        check::dtype(0, q, DType::F32)?;
        check::dtype(1, k, DType::F32)?;
        let ([h, n, d], [hk, s, dk]) = (check::axes(0, q)?, check::axes(1, k)?);
        check::exactly(2, v, k.clone())?;
        match mask {
            [] => {}
            [mask] => check::exactly(3, mask, TensorType::new(DType::F32, [n.clone(), s.clone()]))?,
            _ => return Err(OpError::Arity { expected: 4, found: inputs.len() }),
        }
        let (h, hk) = (
            check::constant("the number of query heads", h)?,
            check::constant("the number of key heads", hk)?,
        );
        if d != dk || h % hk != 0 {
            return Err(OpError::Invalid(format!("queries {q} do not fit keys {k}")));
        }
        match (s.clone() - n.clone()).known() {
            Some(past) if self.causal && past < 0 => {
                Err(OpError::Invalid(format!("{n} causal queries have no more than {s} keys")))
            }
            _ => Ok(q.clone()),
        }
    }

    fn body(&self, inputs: &[TensorType]) -> Option<Body> {
        let (head, token, column) = (axis(0), axis(1), axis(2));
        let [h, n, d] = &inputs[0].shape[..] else { return None };
        let [hk, s, _] = &inputs[1].shape[..] else { return None };
        let key_head = head.clone() / int(h.known()? / hk.known()?);
        let past = s.clone() - n.clone() + Dim::from(1);
        let seen = || if self.causal { token.clone() + size(&past) } else { size(s) };
        let score = |t: Expr| {
            let q = |k| load(0, [head.clone(), token.clone(), k]);
            let key = |k| load(1, [key_head.clone(), t.clone(), k]);
            let scaled = sum(size(d), |k| q(k.clone()) * key(k)) * f32(self.scale);
            if inputs.len() == 4 { scaled + load(3, [token.clone(), t.clone()]) } else { scaled }
        };
        let max = max_over(seen(), score);
        let power = |t| (score(t) - max.clone()).exp();
        let value = |t| load(2, [key_head.clone(), t, column.clone()]);
        Some(Body::new(&(sum(seen(), |t| power(t.clone()) * value(t)) / sum(seen(), power))))
    }

    fn eval(&self, inputs: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        let tensors: Vec<Vec<f32>> = inputs.iter().map(|t| t.to_f32()).collect();
        let [h, n, d] = [0, 1, 2].map(|i| inputs[0].shape()[i] as usize);
        let [hk, s] = [0, 1].map(|i| inputs[1].shape()[i] as usize);
        let mut out = vec![];
        for (head, token) in (0..h).flat_map(|head| (0..n).map(move |token| (head, token))) {
            let seen = if self.causal { (token + 1 + s).saturating_sub(n) } else { s };
            let query = &tensors[0][(head * n + token) * d..][..d];
            let row = |t: usize| (head / (h / hk) * s + t) * d;
            let score = |t: usize| {
                let key = &tensors[1][row(t)..][..d];
                let dot: f64 = query.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
                dot * f64::from(self.scale)
                    + tensors.get(3).map_or(0.0, |mask| f64::from(mask[token * s + t]))
            };
            let scores: Vec<f64> = (0..seen).map(score).collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
            let total: f64 = weights.iter().sum();
            out.extend((0..d).map(|i| {
                let value = |(t, w): (usize, &f64)| w * f64::from(tensors[2][row(t) + i]);
                (weights.iter().enumerate().map(value).sum::<f64>() / total) as f32
            }));
        }
        Ok(Tensor::f32(inputs[0].shape(), &out))
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        let f32 = TensorType::f32;
        let of =
            |causal, q: &[i64], k: &[i64]| (Attention { scale: 0.35, causal }, vec![f32(q), f32(k), f32(k)]);
        let mut masked = of(false, &[2, 3, 7], &[1, 5, 7]);
        masked.1.push(f32(&[3, 5]));
        vec![
            of(true, &[4, 3, 8], &[2, 3, 8]),
            of(true, &[3, 2, 5], &[3, 6, 5]),
            of(false, &[2, 4, 8], &[2, 1, 8]),
            masked,
        ]
    }
}
