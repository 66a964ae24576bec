//! What the symbols of a graph are in one step: how many tokens, how many rows of logits.
use super::{Dim, TensorType};
use std::collections::BTreeMap;

/// Values of symbols by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbols(BTreeMap<String, i64>);

impl Symbols {
    /// No symbol has a value.
    pub fn new() -> Symbols {
        Symbols::default()
    }

    /// Those of a step: `n` tokens, `m` rows that are asked for, `w` of them whole.
    pub fn of_step(n: i64, m: i64, w: i64) -> Symbols {
        Symbols::new().with("n", n).with("m", m).with("w", w)
    }

    /// With a value for one more symbol.
    pub fn with(mut self, name: &str, value: i64) -> Symbols {
        self.0.insert(name.to_owned(), value);
        self
    }

    /// A symbol's value.
    pub fn get(&self, name: &str) -> Option<i64> {
        self.0.get(name).copied()
    }

    /// A dimension's value, if its symbols have one.
    pub fn eval(&self, dim: &Dim) -> Option<i64> {
        dim.eval(|s| self.get(s))
    }

    /// Extents of a type, if its symbols have values and none comes out negative.
    pub fn extents(&self, ty: &TensorType) -> Option<Vec<u64>> {
        ty.extents(|s| self.get(s))
    }

    /// Learns values from a type and the extents that it has: where a dimension is a bare symbol.
    /// Says which dimension contradicts what is known.
    pub fn learn(&mut self, ty: &TensorType, extents: &[u64]) -> Result<(), String> {
        if ty.rank() != extents.len() {
            return Err(format!("{ty} has {} axes, got {}", ty.rank(), extents.len()));
        }
        for (dim, &extent) in ty.shape.iter().zip(extents) {
            if let (Some((name, 1)), 0, 1) = (dim.terms().next(), dim.constant(), dim.terms().count()) {
                self.0.entry(name.to_owned()).or_insert(extent as i64);
            }
        }
        for (dim, &extent) in ty.shape.iter().zip(extents) {
            match self.eval(dim) {
                Some(value) if value == extent as i64 => {}
                Some(value) => return Err(format!("dimension {dim} of {ty} is {extent}, expected {value}")),
                None => return Err(format!("dimension {dim} of {ty} has symbols without a value")),
            }
        }
        Ok(())
    }
}
