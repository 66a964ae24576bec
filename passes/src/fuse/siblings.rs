//! Joins products that share an input into one: q, k and v; gate and up, also those of experts.
//!
//! The joined product reads its input once and gives the columns of all; slices hand them out.
use crate::{Change, Cx, PassError};
use ir::ops::Slice;
use ir::{Graph, NodeId, Op};

pub(crate) fn run(_: &Cx, g: &mut Graph) -> Result<Change, PassError> {
    let mut change = Change::None;
    for first in g.order() {
        if !g.contains(first) {
            continue;
        }
        let Some(shared) = shared_inputs(g, first) else { continue };
        let sibling = |&n: &NodeId| {
            shared_inputs(g, n).is_some()
                && g[n].op == g[first].op
                && g[n].place == g[first].place
                && g.inputs(n)[..shared] == g.inputs(first)[..shared]
        };
        let group: Vec<NodeId> = g.users(g.inputs(first)[0]).into_iter().filter(sibling).collect();
        if group.len() > 1 && group[0] == first {
            join(g, shared, &group)?;
            change = Change::Some;
        }
    }
    Ok(change)
}

/// How many inputs a product has before its weights. Their widths must be known, and no output may name it: outputs
/// keep their own kernel.
fn shared_inputs(g: &Graph, n: NodeId) -> Option<usize> {
    let shared = match g[n].op {
        Op::Linear(_) => 1,
        Op::ExpertLinear(_) => 2,
        _ => return None,
    };
    (width(g, n).is_some() && !g.outputs.contains(&n)).then_some(shared)
}

fn width(g: &Graph, product: NodeId) -> Option<u64> {
    g[product].ty.shape.last()?.known().and_then(|width| u64::try_from(width).ok())
}

fn join(g: &mut Graph, shared: usize, group: &[NodeId]) -> Result<(), PassError> {
    let mut inputs = g.inputs(group[0])[..shared].to_vec();
    inputs.extend(group.iter().flat_map(|&n| g.inputs(n)[shared..].to_vec()));
    let joined = g.add(g[group[0]].op.clone(), &inputs)?;
    g.inherit(joined, group);
    let path = shared_path(group.iter().map(|&n| g[n].path.as_str()));
    g.set_path(joined, &path);
    let mut start = 0;
    for &product in group {
        let len = width(g, product).expect("a product that joins has a known width");
        let axis = g[product].ty.rank() - 1;
        let part = g.add(Slice { axis, start, len }, &[joined])?;
        g.replace(product, part);
        g.remove(product);
        start += len;
    }
    Ok(())
}

/// `blk.0.attn.q`, `blk.0.attn.k` → `blk.0.attn.q+k`.
fn shared_path<'a>(paths: impl Iterator<Item = &'a str>) -> String {
    let paths: Vec<_> = paths.collect();
    let cut = |p: &'a str| p.rsplit_once('.').unwrap_or(("", p));
    let (stem, _) = cut(paths[0]);
    if paths.iter().any(|p| cut(p).0 != stem) {
        return paths[0].to_owned();
    }
    let leaves: Vec<_> = paths.iter().map(|p| cut(p).1).collect();
    if stem.is_empty() { leaves.join("+") } else { format!("{stem}.{}", leaves.join("+")) }
}
