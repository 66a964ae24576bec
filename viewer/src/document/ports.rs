//! What crosses the bounds of groups: values that come in and values that go out.
use super::flow::{Flow, NodeIx};
use super::tree::{GroupIx, Tree};
use std::collections::HashMap;

/// The values that come into each group and that go out of it, each once, in the order of their first use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ports {
    entries: Vec<Vec<NodeIx>>,
    exits: Vec<Vec<NodeIx>>,
    entry_at: HashMap<(GroupIx, NodeIx), u32>,
    exit_at: HashMap<(GroupIx, NodeIx), u32>,
}

impl Ports {
    pub(super) fn of(flow: &Flow, tree: &Tree) -> Ports {
        let empty = || vec![vec![]; tree.groups.len()];
        let mut ports = Ports { entries: empty(), exits: empty(), ..Ports::default() };
        for user in flow.indices() {
            let own = tree.group_of[user.at()];
            for input in &flow[user].inputs {
                let other = tree.group_of[input.at()];
                let around = if other == own { own } else { tree.around(own, other) };
                Self::put(tree, (own, around), *input, &mut ports.entries, &mut ports.entry_at);
                Self::put(tree, (other, around), *input, &mut ports.exits, &mut ports.exit_at);
            }
        }
        ports
    }

    /// Notes a value in every group from one up to another, which is not among them.
    fn put(
        tree: &Tree,
        (mut from, to): (GroupIx, GroupIx),
        value: NodeIx,
        lists: &mut [Vec<NodeIx>],
        known: &mut HashMap<(GroupIx, NodeIx), u32>,
    ) {
        while from != to {
            let list = &mut lists[from.at()];
            known.entry((from, value)).or_insert_with(|| {
                list.push(value);
                list.len() as u32 - 1
            });
            from = tree[from].parent.unwrap_or(to);
        }
    }

    /// The values from outside that are used in a group.
    pub fn entries(&self, group: GroupIx) -> &[NodeIx] {
        &self.entries[group.at()]
    }

    /// The values of a group that are used outside.
    pub fn exits(&self, group: GroupIx) -> &[NodeIx] {
        &self.exits[group.at()]
    }

    /// Which of a group's entries a value is.
    pub fn entry(&self, group: GroupIx, value: NodeIx) -> Option<usize> {
        self.entry_at.get(&(group, value)).map(|at| *at as usize)
    }

    /// Which of a group's exits a value is.
    pub fn exit(&self, group: GroupIx, value: NodeIx) -> Option<usize> {
        self.exit_at.get(&(group, value)).map(|at| *at as usize)
    }
}
