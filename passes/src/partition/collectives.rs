//! Collectives as nodes: what a group of devices does so that each has what it needs of a value.
use crate::PassError;
use ir::ops::{Add, Concat, Slice};
use ir::shard::Sharding;
use ir::{Graph, NodeId};
use std::ops::Range;

/// A value as a group has it: a node for each rank.
#[derive(Clone, Debug)]
pub(super) struct Spread {
    pub(super) sharding: Sharding,
    pub(super) nodes: Vec<NodeId>,
}

/// A group's value, spread as `need` says.
pub(super) fn spread_as(g: &mut Graph, value: &Spread, need: &Sharding) -> Result<Vec<NodeId>, PassError> {
    if value.sharding == *need {
        return Ok(value.nodes.clone());
    }
    let whole = match &value.sharding {
        Sharding::Whole => value.nodes.clone(),
        // Rows of experts that a rank does not hold are zeros with it.
        Sharding::Partial | Sharding::Experts { .. } => all_reduce(g, &value.nodes)?,
        Sharding::Split { axis, ranges } => all_gather(g, &value.nodes, *axis, ranges)?,
    };
    match need {
        Sharding::Split { axis, ranges } => scatter(g, &whole, *axis, ranges),
        _ => Ok(whole),
    }
}

/// Each rank has the sum, added in order of rank, so that all have the same bits.
fn all_reduce(g: &mut Graph, partial: &[NodeId]) -> Result<Vec<NodeId>, PassError> {
    let mut sums = vec![];
    for &own in partial {
        let mut sum = partial[0];
        for &next in &partial[1..] {
            sum = beside(g, Add {}, &[sum, next], own, "all_reduce")?;
        }
        sums.push(sum);
    }
    Ok(sums)
}

/// Each rank has the whole, of which every rank has a stretch of an axis.
fn all_gather(
    g: &mut Graph,
    parts: &[NodeId],
    axis: usize,
    ranges: &[Range<u64>],
) -> Result<Vec<NodeId>, PassError> {
    let mut wholes = vec![];
    for &own in parts {
        let (mut covered, mut pieces) = (0, vec![]);
        for (part, range) in parts.iter().zip(ranges).filter(|(_, r)| !r.is_empty()) {
            // Stretches can overlap: what an earlier one has is not taken again.
            if range.start < covered && range.end > covered {
                let op = Slice { axis, start: covered - range.start, len: range.end - covered };
                pieces.push(beside(g, op, &[*part], *part, "all_gather")?);
            } else if range.end > covered {
                pieces.push(*part);
            }
            covered = covered.max(range.end);
        }
        wholes.push(match pieces[..] {
            [one] => one,
            _ => beside(g, Concat { axis }, &pieces, own, "all_gather")?,
        });
    }
    Ok(wholes)
}

/// Each rank keeps its stretch of what all have.
fn scatter(
    g: &mut Graph,
    whole: &[NodeId],
    axis: usize,
    ranges: &[Range<u64>],
) -> Result<Vec<NodeId>, PassError> {
    let slice = |(&own, range): (&NodeId, &Range<u64>)| {
        let op = Slice { axis, start: range.start, len: range.end - range.start };
        beside(g, op, &[own], own, "scatter")
    };
    whole.iter().zip(ranges).map(slice).collect()
}

/// A node on the device of `own`, of whose value it is made.
fn beside(
    g: &mut Graph,
    op: impl Into<ir::Op>,
    inputs: &[NodeId],
    own: NodeId,
    name: &str,
) -> Result<NodeId, PassError> {
    let node = g.add(op, inputs)?;
    let (place, path) = (g[own].place, &g[own].path);
    let path = if path.contains(name) { path.clone() } else { format!("{path}.{name}") };
    g.set_path(node, &path);
    g.set_place(node, place);
    Ok(node)
}
