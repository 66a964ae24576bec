//! `kv_append`: a paged cache with the keys or the values of new tokens in it.
use super::paged::{Pages, cache, table};
use super::{Class, OpDef, OpError, arity, check};
use crate::expr::Body;
use crate::shard::{Asked, Rule, Sharding};
use crate::work::{StepSize, Work};
use crate::{DType, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Inputs: a cache, f16 or f32 `[p, h, page, d]`, or `[p, h, d, page]` where it is transposed; f32 `[n, h, d]`;
/// positions and slots, i32 `[n]`; the page table, i32 `[b, q]`.
/// Result: the cache, row `i` of the second input written at its position of its slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KvAppend {
    /// Whether neighbouring positions are contiguous, as attention reads keys, and not a head's elements.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub transposed: bool,
}

impl OpDef for KvAppend {
    const NAME: &'static str = "kv_append";
    const CLASS: Class = Class::Opaque;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [old, x, addresses @ ..] = arity::<5>(inputs)?;
        let [heads, _, width] = cache(0, old, self.transposed)?;
        let [n, _, _] = check::axes(1, x)?;
        check::exactly(1, x, TensorType::new(DType::F32, [n.clone(), heads.into(), width.into()]))?;
        table(2, addresses, n)?;
        Ok(old.clone())
    }

    fn body(&self, _: &[TensorType]) -> Option<Body> {
        None
    }

    fn eval(&self, inputs: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        let (old, x) = (inputs[0], inputs[1].to_f32());
        let (positions, slots) = (inputs[2].to_ints(), inputs[3].to_ints());
        let pages = Pages::new(inputs[4], old, self.transposed);
        let mut values = old.to_f32();
        let [heads, width] = [1, 2].map(|axis| inputs[1].shape()[axis] as usize);
        for (token, row) in x.chunks(heads * width).enumerate() {
            let at = pages.find(slots[token], positions[token])?;
            for (head, part) in row.chunks(width).enumerate() {
                part.iter().enumerate().for_each(|(i, value)| values[pages.element(at, head, i)] = *value);
            }
        }
        Ok(Tensor::from_f32(old.dtype(), old.shape(), &values))
    }

    /// The rest of the cache stays as it lies.
    fn work(&self, inputs: &[TensorType], step: &StepSize) -> Option<Work> {
        let written = inputs[1].with_dtype(inputs[0].dtype);
        let mut work = Work::moving(inputs, &written, step)?;
        work.reads[0] = 0;
        Some(work)
    }

    /// The cache has the heads that come.
    fn shard(&self, asked: Asked<'_>) -> Result<Rule, OpError> {
        let mut rule = Rule::whole(asked.inputs.len());
        // A cache is as its attention wants it, however what is appended comes.
        let mut spreads = [Some(asked.wanted), asked.given[1]].into_iter().flatten();
        if let Some(heads) = spreads.find(|spread| spread.along(1).is_some()) {
            (rule.needs[0], rule.needs[1], rule.gives) = (heads.clone(), heads.clone(), heads.clone());
        }
        Ok(rule)
    }

    fn wants(&self, input: usize, asked: Asked<'_>) -> Result<Sharding, OpError> {
        let heads = asked.wanted.along(1).is_some() && input == 1;
        Ok(if heads { asked.wanted.clone() } else { Sharding::Whole })
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        let i32 = |shape: &[i64]| TensorType::known(DType::I32, shape);
        let of = |transposed, dtype, [p, h, page, d]: [i64; 4], n| {
            let cache = TensorType::known(dtype, &if transposed { [p, h, d, page] } else { [p, h, page, d] });
            let x = TensorType::f32(&[n, h, d]);
            (KvAppend { transposed }, vec![cache, x, i32(&[n]), i32(&[n]), i32(&[3, 2])])
        };
        vec![
            of(false, DType::F32, [3, 2, 4, 8], 4),
            of(true, DType::F16, [5, 1, 2, 7], 3),
            of(false, DType::F16, [3, 3, 16, 64], 1),
            of(true, DType::F32, [4, 2, 16, 24], 2),
        ]
    }
}
