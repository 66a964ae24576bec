//! Which nodes of two plans run on other devices, by ranges of layers.
use super::items::{ranges, split};
use ir::plan::{Plan, Step};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Nodes that run on other devices than before.
#[derive(Serialize)]
pub(super) struct Move {
    /// Where they ran; nowhere where only the second plan has them.
    from: Vec<String>,
    /// Where they run; nowhere where only the first plan has them.
    to: Vec<String>,
    /// Which, as patterns of hints: `blk.{3..5}` is all of these layers.
    nodes: Vec<String>,
    /// How many.
    count: usize,
}

/// The devices on which nodes run, in order.
type Places = BTreeMap<String, Vec<String>>;

/// What moved from one plan to another; behind it what is gone, and what is new.
pub(super) fn between(a: &Plan, b: &Plan) -> Vec<Move> {
    let (was, is) = (places(a), places(b));
    let all: BTreeSet<&str> = was.keys().chain(is.keys()).map(String::as_str).collect();
    let of = |places: &Places, node: &str| places.get(node).cloned().unwrap_or_default();
    let mut groups: BTreeMap<[Vec<String>; 2], Vec<&str>> = BTreeMap::new();
    for node in &all {
        groups.entry([of(&was, node), of(&is, node)]).or_default().push(node);
    }
    // How many nodes each layer has in all.
    let mut sizes: BTreeMap<u64, usize> = BTreeMap::new();
    all.iter().filter_map(|node| split(node)).for_each(|(_, layer, _)| *sizes.entry(layer).or_default() += 1);
    let differing = groups.into_iter().filter(|([from, to], _)| from != to);
    let of = |([from, to], nodes): ([Vec<String>; 2], Vec<&str>)| Move {
        from,
        to,
        count: nodes.len(),
        nodes: patterns(&nodes, &sizes),
    };
    let mut moved: Vec<Move> = differing.map(of).collect();
    moved.sort_by_key(|moved| (moved.from.is_empty(), moved.to.is_empty()));
    moved
}

/// What was joined into one step counts as what it was joined of.
fn places(plan: &Plan) -> Places {
    let mut places = Places::new();
    for thread in &plan.threads {
        let device = plan.devices.get(thread.device.0 as usize).map_or("", |device| &device.name);
        for step in &thread.steps {
            let Step::Run { node, .. } = step else { continue };
            let (stem, leaves) = node
                .rsplit_once('.')
                .map_or((String::new(), &node[..]), |(stem, leaves)| (format!("{stem}."), leaves));
            for leaf in leaves.split('+') {
                let own = places.entry(format!("{stem}{leaf}")).or_default();
                if own.last().is_none_or(|last| last != device) {
                    own.push(device.to_owned());
                }
            }
        }
    }
    places
}

/// Nodes as patterns: whole layers first, then what several layers have moved alike.
pub(super) fn patterns(nodes: &[&str], sizes: &BTreeMap<u64, usize>) -> Vec<String> {
    let mut layers: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    let mut others = vec![];
    for node in nodes {
        match split(node) {
            Some((_, layer, leaf)) => layers.entry(layer).or_default().push(leaf),
            None => others.push((*node).to_owned()),
        }
    }
    let mut alike: BTreeMap<Vec<&str>, Vec<u64>> = BTreeMap::new();
    for (layer, own) in layers {
        // Nothing stands for all of a layer.
        let is_whole = sizes.get(&layer) == Some(&own.len());
        alike.entry(if is_whole { vec![] } else { own }).or_default().push(layer);
    }
    let mut patterns = vec![];
    for (leaves, layers) in alike {
        let leaves = match leaves[..] {
            [] => String::new(),
            [one] => format!(".{one}"),
            _ => format!(".{{{}}}", leaves.join(",")),
        };
        patterns.extend(ranges(&layers).iter().map(|range| format!("blk.{range}{leaves}")));
    }
    patterns.extend(others);
    patterns
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from.join(" and "), self.to.join(" and "));
        match (self.from.is_empty(), self.to.is_empty()) {
            (true, _) => write!(f, "new on {to}")?,
            (_, true) => write!(f, "gone from {from}")?,
            _ => write!(f, "moved from {from} to {to}")?,
        }
        let count = if self.count == 1 { "1 node".into() } else { format!("{} nodes", self.count) };
        write!(f, ", {count}: {}", self.nodes.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_layers_and_what_layers_have_in_common_are_named_together() {
        let nodes =
            ["blk.0.a", "blk.0.b", "blk.1.a", "blk.1.b", "blk.2.a", "blk.3.a", "blk.5.a", "blk.5.c", "out"];
        let sizes = [(0, 2), (1, 2), (2, 2), (3, 2), (5, 3)].into();
        let expected = ["blk.{0..1}", "blk.{2..3}.a", "blk.5.{a,c}", "out"];
        assert_eq!(patterns(&nodes, &sizes), expected);
    }
}
