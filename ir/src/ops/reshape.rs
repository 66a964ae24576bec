//! `reshape`: the same elements in the same order under other extents.
use super::{Class, OpDef, OpError, arity, check};
use crate::expr::{Body, Expr, axes, int, load, size};
use crate::shard::{self, Asked, Rule, Sharding};
use crate::{DType, Dim, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Input: elements not in blocks, at most one extent a symbol. That extent may be split or merged only as
/// the first of the axes concerned: a body divides by constants alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reshape {
    /// The result's extents.
    pub shape: Vec<Dim>,
}

impl OpDef for Reshape {
    const NAME: &'static str = "reshape";
    const CLASS: Class = Class::Movement;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [x] = arity(inputs)?;
        check::plain(0, x)?;
        let ty = TensorType::new(x.dtype, self.shape.clone());
        check::possible(&ty)?;
        match source(&x.shape, &ty.shape) {
            Some(_) => Ok(ty),
            None => Err(OpError::Invalid(format!("{x} does not reshape to {ty}"))),
        }
    }

    fn body(&self, inputs: &[TensorType]) -> Option<Body> {
        Some(Body::new(&load(0, source(&inputs[0].shape, &self.shape)?)))
    }

    fn eval(&self, inputs: &[&Tensor], symbols: &Symbols) -> Result<Tensor, OpError> {
        let ty = TensorType::new(inputs[0].dtype(), self.shape.clone());
        let shape = symbols.extents(&ty).filter(|s| s.iter().product::<u64>() == inputs[0].len() as u64);
        let misfit = || OpError::Invalid(format!("{} does not reshape to {ty}", inputs[0].ty()));
        Ok(inputs[0].reshaped(&shape.ok_or_else(misfit)?))
    }

    /// Heads are divided as the columns are that they lie in: `[n, h*d]` and `[n, h, d]`.
    fn shard(&self, asked: Asked<'_>) -> Result<Rule, OpError> {
        let given = asked.given[0].and_then(|given| {
            let (from, to) = (&asked.inputs[0].shape, &self.shape);
            Some((given, across(given, from, to)?))
        });
        Ok(match given {
            Some((given, gives)) => Rule { needs: vec![given.clone()], gives },
            None => Rule::whole(1),
        })
    }

    fn wants(&self, _: usize, asked: Asked<'_>) -> Result<Sharding, OpError> {
        let to = &asked.inputs[0].shape;
        Ok(across(asked.wanted, &self.shape, to).unwrap_or(Sharding::Whole))
    }

    fn on_rank(&self, _: usize, _: &[Sharding], own: &TensorType) -> Self {
        Reshape { shape: own.shape.clone() }
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        let to = |shape: &[i64]| Reshape { shape: shape.iter().map(|&d| Dim::from(d)).collect() };
        vec![
            (to(&[4, 2, 4]), vec![TensorType::f32(&[4, 8])]),
            (to(&[21]), vec![TensorType::f32(&[3, 1, 7])]),
            (to(&[6, 1, 5]), vec![TensorType::f32(&[2, 15])]),
            (to(&[]), vec![TensorType::known(DType::I32, &[1, 1])]),
            (to(&[4, 1, 8, 1]), vec![TensorType::f32(&[1, 4, 8])]),
        ]
    }
}

/// How the elements are spread under the extents `to` that are so spread under `from`, where the two differ in
/// that the second axis of one is two axes of the other.
fn across(spread: &Sharding, from: &[Dim], to: &[Dim]) -> Option<Sharding> {
    let width = |d: &Dim| d.known().and_then(|d| u64::try_from(d).ok()).filter(|d| *d > 0);
    match (from, to) {
        ([n, joined], [same, heads, d]) if n == same && *joined == heads.clone() * d.known()? => {
            shard::moved(spread, 1, 1, (1, width(d)?))
        }
        ([n, heads, d], [same, joined]) if n == same && *joined == heads.clone() * d.known()? => {
            shard::moved(spread, 1, 1, (width(d)?, 1))
        }
        _ => None,
    }
}

/// The input's coordinates from the result's, if the two have as many elements as far as their form shows.
fn source(from: &[Dim], to: &[Dim]) -> Option<Vec<Expr>> {
    if let Some(coordinates) = only_ones_differ(from, to) {
        return Some(coordinates);
    }
    let (counts_from, counts_to) = (prefixes(from)?, prefixes(to)?);
    if counts_from.last() != counts_to.last() {
        return None;
    }
    let at = axes(to.len());
    let mut coordinates = vec![];
    let mut taken = 0;
    // Axes up to a count that both have are reshaped among themselves.
    for (i, count) in counts_from.iter().enumerate().skip(1) {
        let end = counts_to.iter().rposition(|c| c == count);
        if let Some(end) = end.filter(|_| counts_from.get(i + 1) != Some(count)) {
            coordinates.extend(regroup(&from[coordinates.len()..i], &to[taken..end], &at[taken..end])?);
            taken = end;
        }
    }
    Some(coordinates)
}

/// The coordinates where axes of extent 1 come or go, which any symbols allow.
fn only_ones_differ(from: &[Dim], to: &[Dim]) -> Option<Vec<Expr>> {
    let is_wide = |d: &&Dim| d.known() != Some(1);
    if !from.iter().filter(is_wide).eq(to.iter().filter(is_wide)) {
        return None;
    }
    let mut wide = axes(to.len()).into_iter().zip(to).filter(|(_, d)| is_wide(d)).map(|(at, _)| at);
    Some(from.iter().map(|d| if is_wide(&d) { wide.next().unwrap_or(int(0)) } else { int(0) }).collect())
}

/// How many elements the axes before each hold together, and all of them.
fn prefixes(shape: &[Dim]) -> Option<Vec<Dim>> {
    let exact =
        |d: &Dim| d.terms().map(|t| t.1).chain([d.constant()]).all(|c| c.unsigned_abs() < i64::MAX as u64);
    let mut counts = vec![Dim::from(1)];
    for d in shape {
        counts.push(counts.last()?.times(d).filter(exact)?);
    }
    Some(counts)
}

/// Coordinates in `from` of the point `at` of `to`, which has as many elements.
fn regroup(from: &[Dim], to: &[Dim], at: &[Expr]) -> Option<Vec<Expr>> {
    let unit = Dim::from(1);
    let join = |flat: Option<Expr>, (d, i): (&Dim, &Expr)| {
        Some(flat.map_or(i.clone(), |flat| flat * size(d) + i.clone()))
    };
    let wide = to.iter().zip(at).filter(|(d, _)| **d != unit);
    let mut flat = wide.fold(None, join).unwrap_or(int(0));
    let first = from.iter().position(|d| *d != unit);
    let mut coordinates = vec![int(0); from.len()];
    for (i, d) in from.iter().enumerate().rev().filter(|(_, d)| **d != unit) {
        if Some(i) == first {
            coordinates[i] = flat.clone();
        } else {
            let extent = int(d.known()?.max(1));
            coordinates[i] = flat.clone() % extent.clone();
            flat = flat / extent;
        }
    }
    Some(coordinates)
}
