//! Which nodes of two graphs are the same: by what they stand for, then by name.
use super::flow::{Flow, Node, NodeIx};
use std::collections::HashMap;
use std::hash::Hash;

/// Pairs of nodes of two graphs.
#[derive(Clone, Debug, PartialEq)]
pub struct Matching<'a> {
    before: &'a Flow,
    after: &'a Flow,
    /// By node of the first graph its partner in the second.
    pub to: Vec<Option<NodeIx>>,
    /// By node of the second graph its partner in the first.
    pub from: Vec<Option<NodeIx>>,
}

/// What became of a node from one graph to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It is as it was, wherever its operands come from.
    Same,
    /// It computes the same reference node otherwise: another operator, type, device, attributes or operands.
    Changed,
    /// It was not there before.
    Added,
}

/// What a pass did to a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// By node of the graph that it left.
    pub fates: Vec<Fate>,
    /// By the same the node before that is its partner.
    pub from: Vec<Option<NodeIx>>,
    /// By node of the graph before its partner.
    pub to: Vec<Option<NodeIx>>,
    /// The nodes of the graph before that are gone.
    pub removed: Vec<NodeIx>,
}

/// Which nodes of two graphs stand for the same reference nodes: a fused node and those it came of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// By reference node those of the one graph.
    nodes: HashMap<u32, Vec<NodeIx>>,
}

impl Provenance {
    /// What a graph's nodes stand for.
    pub fn of(flow: &Flow) -> Provenance {
        let mut nodes: HashMap<u32, Vec<NodeIx>> = HashMap::new();
        for at in flow.indices() {
            for reference in &flow[at].stands_for {
                nodes.entry(*reference).or_default().push(at);
            }
        }
        Provenance { nodes }
    }

    /// The graph's nodes that stand for some of what a node of another graph of the same pipeline stands for, in
    /// order: those that it was fused from, or the one that it went into.
    pub fn related(&self, node: &Node) -> Vec<NodeIx> {
        let of = |reference: &u32| self.nodes.get(reference).into_iter().flatten().copied();
        let mut found: Vec<NodeIx> = node.stands_for.iter().flat_map(of).collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl<'a> Matching<'a> {
    /// Of two graphs of one pipeline, whose reference nodes are the same.
    pub fn between(before: &'a Flow, after: &'a Flow) -> Matching<'a> {
        let mut matching = Matching::none(before, after);
        // From what says most to what says least.
        matching
            .pair(|node| (!node.stands_for.is_empty()).then_some((&node.stands_for, &node.op, node.device)));
        matching.pair(|node| (!node.stands_for.is_empty()).then_some((&node.stands_for, &node.op)));
        matching.pair(|node| (!node.stands_for.is_empty()).then_some((&node.stands_for, node.device)));
        // A fused node is where the last of its nodes was: that one makes its value.
        matching.pair(|node| node.stands_for.last().map(|last| (*last, node.device)));
        matching.pair(|node| node.stands_for.last().copied());
        matching.by_name();
        matching
    }

    /// Of two graphs that may have nothing in common but names.
    pub fn by_names(before: &'a Flow, after: &'a Flow) -> Matching<'a> {
        let mut matching = Matching::none(before, after);
        matching.by_name();
        matching
    }

    fn none(before: &'a Flow, after: &'a Flow) -> Matching<'a> {
        let (to, from) = (vec![None; before.nodes.len()], vec![None; after.nodes.len()]);
        Matching { before, after, to, from }
    }

    fn by_name(&mut self) {
        self.pair(|node| is_named(node).then_some((node.title(), &node.op, node.device)));
        self.pair(|node| is_named(node).then_some((node.title(), &node.op)));
        self.pair(|node| is_named(node).then_some(node.title()));
    }

    /// Pairs what has no partner yet and the same key; of several the first with the first, and so on.
    fn pair<K: Hash + Eq>(&mut self, key: impl Fn(&'a Node) -> Option<K>) {
        let mut waiting: HashMap<K, Vec<NodeIx>> = HashMap::new();
        for at in self.before.indices().rev().filter(|at| self.to[at.at()].is_none()) {
            if let Some(key) = key(&self.before.nodes[at.at()]) {
                waiting.entry(key).or_default().push(at);
            }
        }
        if waiting.is_empty() {
            return;
        }
        for at in self.after.indices() {
            if self.from[at.at()].is_some() {
                continue;
            }
            let key = key(&self.after.nodes[at.at()]);
            if let Some(partner) = key.and_then(|key| waiting.get_mut(&key)).and_then(Vec::pop) {
                (self.from[at.at()], self.to[partner.at()]) = (Some(partner), Some(at));
            }
        }
    }

    /// What it takes to come from the first graph to the second.
    pub fn change(&self) -> Change {
        let fate = |(at, node): (usize, &Node)| match self.from[at] {
            None => Fate::Added,
            Some(before) if self.is_same(&self.before[before], node) => Fate::Same,
            Some(_) => Fate::Changed,
        };
        Change {
            fates: self.after.nodes.iter().enumerate().map(fate).collect(),
            from: self.from.clone(),
            to: self.to.clone(),
            removed: self.before.indices().filter(|at| self.to[at.at()].is_none()).collect(),
        }
    }

    /// Whether two partners compute the same of partners.
    fn is_same(&self, before: &Node, after: &Node) -> bool {
        let partners = before.inputs.iter().map(|input| self.to[input.at()]);
        is_alike(before, after) && partners.eq(after.inputs.iter().map(|input| Some(*input)))
    }
}

/// Whether two nodes are equal but for their operands and their numbers.
pub(super) fn is_alike(a: &Node, b: &Node) -> bool {
    (&a.op, &a.attributes, &a.ty, a.device, &a.path, &a.stands_for)
        == (&b.op, &b.attributes, &b.ty, b.device, &b.path, &b.stands_for)
}

/// Whether a node has a name that means something in another graph.
fn is_named(node: &Node) -> bool {
    !node.title().starts_with('%')
}

impl Change {
    /// How many nodes were added, removed and changed.
    pub fn counts(&self) -> (usize, usize, usize) {
        let of = |fate| self.fates.iter().filter(|own| **own == fate).count();
        (of(Fate::Added), self.removed.len(), of(Fate::Changed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(text: &str) -> Flow {
        Flow::of_graph(&ir::text::read(text).unwrap().graph)
    }

    #[test]
    fn a_fused_node_takes_the_place_of_its_last_and_is_known_to_be_of_all() {
        let before = flow(
            "graph g {\n x = input(): f32[2] <- 0\n w = input(): f32[2] <- 1\n %0 = silu(x): f32[2] @a <- 2\n \
             %1 = mul(%0, w): f32[2] @b <- 3\n %2 = neg(%1): f32[2] @c <- 4\n return %2\n}",
        );
        let after = flow(
            "graph g {\n x = input(): f32[2] <- 0\n w = input(): f32[2] <- 1\n \
             %0 = fused(x, w) {body:\"(x0[i0] * x1[i0])\",ty:\"f32[2]\"}: f32[2] @b <- 2, 3\n \
             %1 = neg(%0): f32[2] @c <- 4\n return %1\n}",
        );
        let change = Matching::between(&before, &after).change();
        assert_eq!(change.removed, [NodeIx(2)]);
        assert_eq!(change.fates, [Fate::Same, Fate::Same, Fate::Changed, Fate::Same]);
        assert_eq!(change.from[2], Some(NodeIx(3)));
        assert_eq!(Provenance::of(&before).related(&after[NodeIx(2)]), [NodeIx(2), NodeIx(3)]);
        assert_eq!(Provenance::of(&after).related(&before[NodeIx(2)]), [NodeIx(2)]);
        let back = Matching::between(&after, &before).change();
        assert_eq!(back.counts(), (1, 0, 1));
    }
}
