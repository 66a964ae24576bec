//! Which weights of two plans are in other formats, and how many bytes they take.
use super::moves::patterns;
use crate::output;
use ir::DType;
use ir::plan::Plan;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// Weights that are in another format than before.
#[derive(Serialize)]
pub(super) struct Reformat {
    from: DType,
    to: DType,
    /// Which, as patterns of hints.
    weights: Vec<String>,
    /// How many.
    count: usize,
    /// What they took on all devices together, packed.
    before_bytes: u64,
    after_bytes: u64,
}

/// The format and the packed bytes of each weight, by name.
type Formats<'a> = BTreeMap<&'a str, (DType, u64)>;

/// What is in another format from one plan to another.
pub(super) fn between(a: &Plan, b: &Plan) -> Vec<Reformat> {
    let (was, is) = (formats(a), formats(b));
    let mut groups: BTreeMap<(DType, DType), Reformat> = BTreeMap::new();
    for (name, (from, before_bytes)) in was {
        let Some(&(to, after_bytes)) = is.get(name).filter(|(to, _)| *to != from) else { continue };
        let none = || Reformat { from, to, weights: vec![], count: 0, before_bytes: 0, after_bytes: 0 };
        let group = groups.entry((from, to)).or_insert_with(none);
        group.weights.push(name.strip_suffix(".weight").unwrap_or(name).to_owned());
        group.count += 1;
        group.before_bytes += before_bytes;
        group.after_bytes += after_bytes;
    }
    let mut groups: Vec<Reformat> = groups.into_values().collect();
    for group in &mut groups {
        let names: Vec<&str> = group.weights.iter().map(String::as_str).collect();
        group.weights = patterns(&names, &BTreeMap::new());
    }
    groups
}

/// What several devices share counts once.
fn formats(plan: &Plan) -> Formats<'_> {
    let mut formats = Formats::new();
    let mut seen = HashSet::new();
    for weight in plan.weights.iter().filter(|weight| seen.insert(weight.offset)) {
        formats.entry(&weight.name).or_insert((weight.ty.dtype, 0)).1 += weight.bytes;
    }
    formats
}

impl fmt::Display for Reformat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reformat { from, to, weights, count, before_bytes, after_bytes } = self;
        let count = if *count == 1 { "1 weight".into() } else { format!("{count} weights") };
        let [before, after] = [before_bytes, after_bytes].map(|bytes| output::bytes(*bytes));
        write!(f, "from {from} to {to}, {count}, {before} to {after}: {}", weights.join(", "))
    }
}
