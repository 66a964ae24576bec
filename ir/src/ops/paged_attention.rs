//! `paged_attention`: causal attention of new tokens over their sequences' paged caches (Kwon et al., 2023).
//!
//! Query heads share key heads in order: query head `j` of `h` reads key head `j / (h / hk)` of `hk`; where a device has
//! but some of those that share its first or last one, [`Shared`] says which.
use super::paged::{Pages, cache, table};
use super::{Class, OpDef, OpError, arity, check};
use crate::expr::Body;
use crate::shard::{Asked, Heads, Rule, Sharding, Shares};
use crate::work::{Operations, StepSize, Work};
use crate::{DType, Dim, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Inputs: queries, f32 `[n, h, d]`; caches of keys, transposed, and of values, both f16 or both f32:
/// `[p, hk, d, page]` and `[p, hk, page, d]`; positions and slots, i32 `[n]`; the page table, i32 `[b, q]`.
/// Result: f32 `[n, h*d]`.
/// A token at position `i` sees positions `0..=i` of its slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PagedAttention {
    /// What products of queries and keys are multiplied with.
    pub scale: f32,
    /// How many positions a token sees, its own the last; all where nothing is said.
    #[serde(default)]
    pub window: Option<u32>,
    /// Caps scaled products as `softcap` does.
    #[serde(default)]
    pub softcap: Option<f32>,
    /// How query heads share key heads, where it is not evenly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<Shared>,
}

/// Query head `j` reads key head `(j + skip) / by`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// How many query heads share a key head.
    pub by: u32,
    /// How many of those that share the first key head are not here.
    pub skip: u32,
}

impl Shared {
    /// Whether so many query heads read all of so many key heads, and no others.
    fn fits(self, heads: i64, key_heads: i64) -> bool {
        let Shared { by, skip } = self;
        let end = heads.checked_add(i64::from(skip));
        skip < by && end.is_some_and(|end| (end as u64).div_ceil(u64::from(by)) == key_heads as u64)
    }
}

impl OpDef for PagedAttention {
    const NAME: &'static str = "paged_attention";
    const CLASS: Class = Class::Opaque;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [q, k, v, addresses @ ..] = arity::<6>(inputs)?;
        check::dtype(0, q, DType::F32)?;
        let [n, h, d] = check::axes(0, q)?;
        let [heads, page, width] = cache(1, k, true)?;
        let shape = [k.shape[0].clone(), heads.into(), page.into(), width.into()];
        check::exactly(2, v, TensorType::new(k.dtype, shape))?;
        table(3, addresses, n)?;
        let h = check::constant("the number of query heads", h)?;
        let fits = self.shared.map_or(h % heads == 0, |shared| shared.fits(h, heads));
        if *d != Dim::from(width) || !fits {
            return Err(OpError::Invalid(format!("queries {q} do not fit keys {k}")));
        }
        if let Some(cap) = self.softcap.filter(|cap| !(cap.is_finite() && *cap > 0.0)) {
            return Err(OpError::Invalid(format!("caps scores at {cap}")));
        }
        if self.window == Some(0) {
            return Err(OpError::Invalid("a window of 0 positions".into()));
        }
        Ok(TensorType::new(DType::F32, [n.clone(), d.clone() * h]))
    }

    fn body(&self, _: &[TensorType]) -> Option<Body> {
        None
    }

    fn eval(&self, inputs: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        let [q, keys, values] = [0, 1, 2].map(|i| inputs[i].to_f32());
        let (positions, slots) = (inputs[3].to_ints(), inputs[4].to_ints());
        let [keys_at, pages] = [(1, true), (2, false)].map(|(i, t)| Pages::new(inputs[5], inputs[i], t));
        let [n, h, d] = [0, 1, 2].map(|axis| inputs[0].shape()[axis] as usize);
        let even = Shared { by: (h / inputs[1].shape()[1] as usize) as u32, skip: 0 };
        let Shared { by, skip } = self.shared.unwrap_or(even);
        let mut out = vec![];
        for (token, head) in (0..n).flat_map(|t| (0..h).map(move |head| (t, head))) {
            let (query, key_head) = (&q[(token * h + head) * d..][..d], (head + skip as usize) / by as usize);
            let last = positions[token];
            pages.find(slots[token], last)?;
            let first = self.window.map_or(0, |w| (last + 1 - i64::from(w)).max(0));
            let mut rows = vec![];
            for position in first..=last {
                rows.push(pages.find(slots[token], position)?);
            }
            let score = |at: &(usize, usize)| {
                let key: Vec<f32> = (0..d).map(|i| keys[keys_at.element(*at, key_head, i)]).collect();
                self.score(query, &key)
            };
            let scores: Vec<f64> = rows.iter().map(score).collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
            let total: f64 = weights.iter().sum();
            out.extend((0..d).map(|i| {
                let value = |at| f64::from(values[pages.element(at, key_head, i)]);
                let sum: f64 = rows.iter().zip(&weights).map(|(at, w)| w * value(*at)).sum();
                (sum / total) as f32
            }));
        }
        Ok(Tensor::f32(&[n as u64, (h * d) as u64], &out))
    }

    /// A sequence's keys and values are read once for all its tokens in the step, as far back as its first sees.
    fn work(&self, inputs: &[TensorType], step: &StepSize) -> Option<Work> {
        let mut work = Work::moving(inputs, &self.infer(inputs).ok()?, step)?;
        let [_, heads, width] = step.symbols.extents(&inputs[0])?[..] else { return None };
        let position = inputs[1].dtype.bytes(step.symbols.eval(&inputs[1].shape[1])? as u64 * width)?;
        let window = self.window.map_or(u64::MAX, u64::from);
        let (mut positions, mut seen) = (0u64, 0u64);
        for new in &step.sequences {
            let first = (new.start + 1).saturating_sub(window);
            positions = positions.saturating_add(new.end - first.min(new.end));
            seen = new.clone().fold(seen, |seen, at| seen.saturating_add((at + 1).min(window)));
        }
        for cache in &mut work.reads[1..3] {
            *cache = (*cache).min(positions.saturating_mul(position));
        }
        // A product with the key and one with the value; the scale, the cap, the greatest, the shift, the sum.
        let capped = u64::from(self.softcap.is_some());
        let scores = seen.saturating_mul(heads);
        let products = scores.saturating_mul(4 * width);
        let is_f32 = inputs[1].dtype == DType::F32;
        work.operations = Operations {
            int8: 0,
            f16: if is_f32 { 0 } else { products },
            f32: scores.saturating_mul(4 + 4 * capped).saturating_add(if is_f32 { products } else { 0 }),
            exp: scores.saturating_mul(1 + capped),
        };
        Some(work)
    }

    /// Each rank has some of the query heads and the key heads that these read.
    fn shard(&self, asked: Asked<'_>) -> Result<Rule, OpError> {
        let mut rule = Rule::whole(asked.inputs.len());
        let Heads { queries, keys } = heads(&asked)?;
        let width = asked.inputs[0].shape[2].known().unwrap_or(0) as u64;
        let columns = queries.iter().map(|r| r.start * width..r.end * width).collect();
        rule.gives = Sharding::Split { axis: 1, ranges: columns };
        rule.needs[0] = Sharding::Split { axis: 1, ranges: queries };
        rule.needs[1..3].fill(Sharding::Split { axis: 1, ranges: keys });
        Ok(rule)
    }

    fn wants(&self, input: usize, asked: Asked<'_>) -> Result<Sharding, OpError> {
        Ok(self.shard(asked)?.needs.swap_remove(input))
    }

    /// A rank that has not whole groups is told which heads share.
    fn on_rank(&self, rank: usize, needs: &[Sharding], _: &TensorType) -> Self {
        let [queries, keys] = [0, 1].map(|input| needs[input].along(1).unwrap_or_default());
        let (Some(all), Some(all_keys)) = (queries.last(), keys.last()) else { return self.clone() };
        let by = all.end / all_keys.end.max(1);
        let (own, own_keys) = (&queries[rank], &keys[rank]);
        let is_even = own_keys.end - own_keys.start == 1
            || (own.start, own.end) == (own_keys.start * by, own_keys.end * by);
        let skip = own.start.saturating_sub(own_keys.start * by);
        let shared = (!is_even).then_some(Shared { by: by as u32, skip: skip as u32 });
        PagedAttention { shared: shared.or(self.shared), ..self.clone() }
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        let i32 = |shape: &[i64]| TensorType::known(DType::I32, shape);
        let plain = PagedAttention { scale: 0.35, window: None, softcap: None, shared: None };
        let parts = |by, skip| PagedAttention { shared: Some(Shared { by, skip }), ..plain.clone() };
        let of = |op: &PagedAttention, dtype, n, h, [p, hk, page, d]: [i64; 4]| {
            let [keys, values] = [[p, hk, d, page], [p, hk, page, d]].map(|s| TensorType::known(dtype, &s));
            let q = TensorType::f32(&[n, h, d]);
            (op.clone(), vec![q, keys, values, i32(&[n]), i32(&[n]), i32(&[3, 2])])
        };
        vec![
            of(&plain, DType::F32, 4, 4, [3, 2, 4, 8]),
            of(&plain, DType::F16, 3, 3, [5, 1, 2, 7]),
            of(&PagedAttention { window: Some(2), ..plain.clone() }, DType::F32, 5, 2, [3, 2, 2, 16]),
            of(&PagedAttention { softcap: Some(0.5), ..plain.clone() }, DType::F16, 1, 9, [4, 3, 16, 64]),
            of(&parts(3, 0), DType::F16, 2, 4, [3, 2, 32, 64]),
            of(&parts(3, 1), DType::F32, 3, 5, [3, 2, 4, 8]),
            of(&parts(4, 3), DType::F16, 6, 7, [4, 3, 32, 16]),
        ]
    }
}

/// The query heads of each rank, and their key heads.
fn heads(asked: &Asked<'_>) -> Result<Heads, OpError> {
    let count = |input: usize| asked.inputs[input].shape[1].known().and_then(|d| u64::try_from(d).ok());
    let (queries, keys) = (count(0).unwrap_or(0), count(1).unwrap_or(0));
    let width = asked.inputs[0].shape[2].known().map_or(1, |width| width.max(1) as u64);
    asked.shares.divide_heads(queries, keys, width).ok_or_else(|| {
        let works: Vec<String> = (1..=queries.min(DEGREES_SHOWN))
            .filter(|ranks| Shares::new(vec![1; *ranks as usize]).divide_heads(queries, keys, width).is_some())
            .map(|ranks| ranks.to_string())
            .collect();
        OpError::Invalid(format!(
            "{queries} query heads that share {keys} key heads cannot be divided over {} devices, but over {}",
            asked.shares.ranks(),
            works.join(", ")
        ))
    })
}

/// No group is larger.
const DEGREES_SHOWN: u64 = 256;

impl PagedAttention {
    fn score(&self, query: &[f32], key: &[f32]) -> f64 {
        let dot: f64 = query.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
        let scaled = dot * f64::from(self.scale);
        self.softcap.map_or(scaled, |cap| f64::from(cap) * (scaled / f64::from(cap)).tanh())
    }
}
