//! Collectives as nodes: what a group of devices does so that each has what it needs of a value.
use crate::PassError;
use ir::ops::{Add, Concat, Slice};
use ir::plan::AllReduce;
use ir::shard::{Sharding, Shares};
use ir::{Graph, NodeId};
use std::ops::Range;

/// A value as a group has it: a node for each rank.
#[derive(Clone, Debug)]
pub(super) struct Spread {
    pub(super) sharding: Sharding,
    pub(super) nodes: Vec<NodeId>,
}

/// A group's value, spread as `need` says.
pub(super) fn spread_as(
    g: &mut Graph,
    value: &Spread,
    need: &Sharding,
    how: AllReduce,
) -> Result<Vec<NodeId>, PassError> {
    if value.sharding == *need {
        return Ok(value.nodes.clone());
    }
    if let Sharding::Split { axis, ranges } = need {
        return match &value.sharding {
            Sharding::Whole => scatter(g, &value.nodes, *axis, ranges),
            Sharding::Partial | Sharding::Experts { .. } => reduce_scatter(g, &value.nodes, *axis, ranges),
            Sharding::Split { axis: from, ranges: had } => {
                all_to_all(g, &value.nodes, (*from, had), (*axis, ranges))
            }
        };
    }
    match &value.sharding {
        Sharding::Whole => Ok(value.nodes.clone()),
        // Rows of experts that a rank does not hold are zeros with it.
        Sharding::Partial | Sharding::Experts { .. } => all_reduce(g, &value.nodes, how),
        Sharding::Split { axis, ranges } => all_gather(g, &value.nodes, *axis, ranges),
    }
}

/// Each rank has the sum, all of them with the same bits.
pub(super) fn all_reduce(
    g: &mut Graph,
    partial: &[NodeId],
    how: AllReduce,
) -> Result<Vec<NodeId>, PassError> {
    let ranks = partial.len();
    let ty = &g[partial[0]].ty;
    let axis = ty.rank().saturating_sub(1);
    let width = ty.shape.last().and_then(|dim| u64::try_from(dim.known()?).ok());
    // What cannot be divided among the ranks is added as a whole.
    let chunks = width.and_then(|width| Shares::new(vec![1; ranks]).divide(width, CHUNK));
    match (how, chunks) {
        (AllReduce::Tree, _) => {
            let sum = up_a_tree(g, partial)?;
            Ok(vec![sum; ranks])
        }
        (AllReduce::Scatter, Some(chunks)) => {
            let sums = reduce_scatter(g, partial, axis, &chunks)?;
            gather(g, partial, &sums, axis)
        }
        (AllReduce::Ring, Some(chunks)) => {
            let sums = round_a_ring(g, partial, axis, &chunks)?;
            let copies = pass_round(g, partial, &sums)?;
            let mut wholes = vec![];
            for (own, pieces) in partial.iter().zip(copies) {
                wholes.push(beside(g, Concat { axis }, &pieces, *own, NAME)?);
            }
            Ok(wholes)
        }
        _ => in_order(g, partial),
    }
}

const NAME: &str = "all_reduce";
/// Chunks of a sum are of multiples of so many elements: a line of the cache.
const CHUNK: u64 = 16;

/// Each rank adds all of it, in order of rank.
fn in_order(g: &mut Graph, partial: &[NodeId]) -> Result<Vec<NodeId>, PassError> {
    let mut sums = vec![];
    for &own in partial {
        let mut sum = partial[0];
        for &next in &partial[1..] {
            sum = beside(g, Add {}, &[sum, next], own, NAME)?;
        }
        sums.push(sum);
    }
    Ok(sums)
}

/// The first rank has the sum: of each two that are left the first takes what the second has.
fn up_a_tree(g: &mut Graph, partial: &[NodeId]) -> Result<NodeId, PassError> {
    let mut left = partial.to_vec();
    while left.len() > 1 {
        let mut sums = vec![];
        for pair in left.chunks(2) {
            sums.push(match *pair {
                [first, second] => beside(g, Add {}, &[first, second], first, NAME)?,
                _ => pair[0],
            });
        }
        left = sums;
    }
    Ok(left[0])
}

/// Each rank has its stretch of the sum, added in order of rank.
fn reduce_scatter(
    g: &mut Graph,
    partial: &[NodeId],
    axis: usize,
    ranges: &[Range<u64>],
) -> Result<Vec<NodeId>, PassError> {
    let mut sums = vec![];
    for (own, range) in partial.iter().zip(ranges) {
        let mut sum = stretch(g, partial[0], axis, range)?;
        for &next in &partial[1..] {
            let next = stretch(g, next, axis, range)?;
            sum = beside(g, Add {}, &[sum, next], *own, NAME)?;
        }
        sums.push(sum);
    }
    Ok(sums)
}

/// Each rank has its chunk of the sum, which began at the next rank and came round, added to by each.
fn round_a_ring(
    g: &mut Graph,
    partial: &[NodeId],
    axis: usize,
    chunks: &[Range<u64>],
) -> Result<Vec<NodeId>, PassError> {
    let ranks = partial.len();
    let mut sums: Vec<NodeId> = vec![];
    for (at, chunk) in chunks.iter().enumerate() {
        sums.push(stretch(g, partial[(at + 1) % ranks], axis, chunk)?);
    }
    // Hop by hop and not chunk by chunk, so that steps stand in the order in which they can be taken.
    for hop in 2..=ranks {
        for (at, chunk) in chunks.iter().enumerate() {
            let rank = partial[(at + hop) % ranks];
            let own = stretch(g, rank, axis, chunk)?;
            sums[at] = beside(g, Add {}, &[sums[at], own], rank, NAME)?;
        }
    }
    Ok(sums)
}

/// Each rank has every chunk, in order, which it had of the rank before it.
fn pass_round(g: &mut Graph, partial: &[NodeId], own: &[NodeId]) -> Result<Vec<Vec<NodeId>>, PassError> {
    let ranks = partial.len();
    let mut has: Vec<Vec<NodeId>> = partial.iter().map(|_| own.to_vec()).collect();
    for (hop, (chunk, &first)) in (1..ranks).flat_map(|hop| own.iter().enumerate().map(move |c| (hop, c))) {
        let (from, to) = ((chunk + hop - 1) % ranks, (chunk + hop) % ranks);
        let held = if hop == 1 { first } else { has[from][chunk] };
        // The last rank passes it to nobody, and so takes it from its edge as it is.
        has[to][chunk] = if hop + 1 == ranks { held } else { copy(g, held, partial[to])? };
    }
    Ok(has)
}

/// The same value on another rank's device.
fn copy(g: &mut Graph, value: NodeId, to: NodeId) -> Result<NodeId, PassError> {
    let axis = g[value].ty.rank().saturating_sub(1);
    let len = g[value].ty.shape[axis].known().unwrap_or(0) as u64;
    beside(g, Slice { axis, start: 0, len }, &[value], to, NAME)
}

/// Each rank has all stretches side by side.
fn gather(
    g: &mut Graph,
    partial: &[NodeId],
    pieces: &[NodeId],
    axis: usize,
) -> Result<Vec<NodeId>, PassError> {
    partial.iter().map(|own| beside(g, Concat { axis }, pieces, *own, NAME)).collect()
}

/// Each rank has a stretch of one axis, of which it had one of another.
fn all_to_all(
    g: &mut Graph,
    parts: &[NodeId],
    (from, had): (usize, &[Range<u64>]),
    (to, ranges): (usize, &[Range<u64>]),
) -> Result<Vec<NodeId>, PassError> {
    let is_plain = had.windows(2).all(|pair| pair[0].end == pair[1].start);
    if from == to || !is_plain {
        let wholes = all_gather(g, parts, from, had)?;
        return scatter(g, &wholes, to, ranges);
    }
    let mut stretches = vec![];
    for (own, range) in parts.iter().zip(ranges) {
        let mut pieces = vec![];
        for &part in parts {
            pieces.push(stretch(g, part, to, range)?);
        }
        stretches.push(beside(g, Concat { axis: from }, &pieces, *own, "all_to_all")?);
    }
    Ok(stretches)
}

/// A stretch of a value, on the value's device.
fn stretch(g: &mut Graph, value: NodeId, axis: usize, range: &Range<u64>) -> Result<NodeId, PassError> {
    let op = Slice { axis, start: range.start, len: range.end - range.start };
    beside(g, op, &[value], value, NAME)
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
