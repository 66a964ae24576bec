//! Joins products that share an input into one: q, k and v; gate and up.
//!
//! The joined `linear` reads its input once and gives the columns of all; slices hand them out.
use crate::{Change, Cx, PassError};
use ir::ops::{Linear, Slice};
use ir::{Graph, NodeId, Op};

pub(crate) fn run(_: &Cx, g: &mut Graph) -> Result<Change, PassError> {
    let mut change = Change::None;
    for first in g.order() {
        if !g.contains(first) || !is_product(g, first) {
            continue;
        }
        let x = g.inputs(first)[0];
        let sibling = |&n: &NodeId| is_product(g, n) && g.inputs(n)[0] == x && g[n].place == g[first].place;
        let group: Vec<NodeId> = g.users(x).into_iter().filter(sibling).collect();
        if group.len() > 1 && group[0] == first {
            join(g, x, &group)?;
            change = Change::Some;
        }
    }
    Ok(change)
}

/// A product with weights of known widths that no output names: outputs keep their own kernel.
fn is_product(g: &Graph, n: NodeId) -> bool {
    matches!(g[n].op, Op::Linear(_))
        && g[n].ty.rank() == 2
        && g[n].ty.shape[1].known().is_some()
        && !g.outputs.contains(&n)
}

fn join(g: &mut Graph, x: NodeId, group: &[NodeId]) -> Result<(), PassError> {
    let mut inputs = vec![x];
    inputs.extend(group.iter().flat_map(|&n| g.inputs(n)[1..].to_vec()));
    let joined = g.add(Linear {}, &inputs)?;
    g.inherit(joined, group);
    let path = shared_path(group.iter().map(|&n| g[n].path.as_str()));
    g.set_path(joined, &path);
    let mut start = 0;
    for &product in group {
        let len = g[product].ty.shape[1].known().expect("a product that joins has a known width") as u64;
        let part = g.add(Slice { axis: 1, start, len }, &[joined])?;
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
