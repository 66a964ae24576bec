//! The groups of a graph: a tree of names, in which equal layers are known as equal.
use super::flow::{Flow, NodeIx, Role};
use super::names;
use super::ports::Ports;
use super::shapes::{self, Shape};
use std::collections::HashMap;

/// A group of a [`Tree`], by its place in it. The first is the whole graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupIx(pub u32);

impl GroupIx {
    /// The whole graph.
    pub const ROOT: GroupIx = GroupIx(0);

    /// As an index of tables.
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

/// What a group holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Child {
    /// Another group.
    Group(GroupIx),
    /// A node.
    Node(NodeIx),
}

/// Nodes that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// What stands in its title: `blk.3`, `attn`.
    pub name: String,
    /// All of its name: `blk.3.attn`; the same in every graph of a pipeline.
    pub path: String,
    /// What it is in; none for the whole graph.
    pub parent: Option<GroupIx>,
    /// What it holds, in order of the first node.
    pub children: Vec<Child>,
    /// How many nodes there are beneath it.
    pub count: u32,
    /// How many levels it is below the whole graph.
    pub depth: u32,
    /// The devices of what is computed beneath it, in order.
    pub devices: Vec<u32>,
    /// What it looks like.
    pub shape: Shape,
}

/// Children that follow one another and are equal but for a layer's number: drawn as one, with ×N on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first of them, by its place among its group's children.
    pub first: u32,
    /// How many.
    pub times: u32,
}

/// The groups of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// The groups, each behind the one that it is in.
    pub groups: Vec<Group>,
    /// The group of each node.
    pub group_of: Vec<GroupIx>,
    /// By node its place among its group's children.
    pub(super) slot_of: Vec<u32>,
    /// By group its place among its parent's children.
    pub(super) slot_of_group: Vec<u32>,
    /// By group its children, equal ones that follow one another as one.
    runs: Vec<Vec<Run>>,
    by_path: HashMap<String, GroupIx>,
    /// What crosses each group's bounds.
    pub ports: Ports,
}

impl Tree {
    /// The groups that a graph's names make. Groups that hold too much to be drawn are divided in the order of nodes.
    pub fn of(flow: &Flow) -> Tree {
        let (groups, mut group_of) = named(flow);
        adopt(flow, &groups, &mut group_of);
        let mut tree = Tree {
            groups,
            group_of,
            slot_of: vec![],
            slot_of_group: vec![],
            runs: vec![],
            by_path: HashMap::new(),
            ports: Ports::default(),
        };
        tree.index(flow);
        while shapes::divide(&mut tree) {
            tree.index(flow);
        }
        tree
    }

    /// A group's parts, equal ones that follow one another as one.
    pub fn runs(&self, group: GroupIx) -> &[Run] {
        &self.runs[group.at()]
    }

    /// The run of equal children that a child is in, itself if it has no equals beside it.
    pub fn run_of(&self, child: Child) -> Option<Run> {
        let (runs, slot) = (self.runs(self.parent(child)?), self.slot(child));
        runs[..runs.partition_point(|run| run.first <= slot)].last().copied()
    }

    /// What is written on a node: its name without that of the groups around it.
    pub fn label<'a>(&self, flow: &'a Flow, node: NodeIx) -> &'a str {
        self.label_and_levels(flow, node).0
    }

    /// The same, and how many levels above its own group the one is whose name was left out; -1 where none was.
    pub(crate) fn label_and_levels<'a>(&self, flow: &'a Flow, node: NodeIx) -> (&'a str, i64) {
        let title = flow[node].title();
        let (mut group, mut levels) = (Some(self.group_of[node.at()]), 0);
        while let Some(at) = group.filter(|at| *at != GroupIx::ROOT) {
            let rest = title.strip_prefix(self[at].path.as_str()).and_then(|rest| rest.strip_prefix('.'));
            if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
                return (rest, levels);
            }
            (group, levels) = (self[at].parent, levels + 1);
        }
        (title, -1)
    }

    /// The group of that path.
    pub fn find(&self, path: &str) -> Option<GroupIx> {
        self.by_path.get(path).copied()
    }

    /// The group that holds a child; none for the whole graph, and for a node that there is not.
    pub fn parent(&self, child: Child) -> Option<GroupIx> {
        match child {
            Child::Group(group) => self[group].parent,
            Child::Node(node) => self.group_of.get(node.at()).copied(),
        }
    }

    /// The place of a child among those of its group.
    pub fn slot(&self, child: Child) -> u32 {
        match child {
            Child::Group(group) => self.slot_of_group[group.at()],
            Child::Node(node) => self.slot_of[node.at()],
        }
    }

    /// The child of a group in which a node is, by its place among the children; none where it is outside.
    pub fn slot_in(&self, group: GroupIx, node: NodeIx) -> Option<usize> {
        let (mut at, mut slot) = (self.group_of[node.at()], self.slot_of[node.at()]);
        while at != group {
            slot = self.slot_of_group[at.at()];
            at = self[at].parent?;
        }
        Some(slot as usize)
    }

    /// Every node beneath a child, in order.
    pub fn nodes(&self, child: Child) -> Vec<NodeIx> {
        let (mut nodes, mut waiting) = (vec![], vec![child]);
        while let Some(child) = waiting.pop() {
            match child {
                Child::Node(node) => nodes.push(node),
                Child::Group(group) => waiting.extend(self[group].children.iter().rev()),
            }
        }
        nodes
    }

    /// The innermost group that holds both.
    pub fn around(&self, a: GroupIx, b: GroupIx) -> GroupIx {
        around(&self.groups, a, b)
    }

    /// Fills in what follows from which node is in which group.
    fn index(&mut self, flow: &Flow) {
        for group in &mut self.groups {
            group.children.clear();
            group.devices.clear();
            group.count = 0;
        }
        self.slot_of = vec![0; flow.nodes.len()];
        self.slot_of_group = vec![0; self.groups.len()];
        let mut is_held = vec![false; self.groups.len()];
        for node in flow.indices() {
            let own = self.group_of[node.at()];
            let mut inner = Child::Node(node);
            let mut at = Some(own);
            let mut is_new = true;
            while let Some(group) = at {
                if is_new {
                    self.groups[group.at()].children.push(inner);
                }
                is_new = !std::mem::replace(&mut is_held[group.at()], true);
                let group_mut = &mut self.groups[group.at()];
                group_mut.count += 1;
                if flow[node].role == Role::Value && !group_mut.devices.contains(&flow[node].device) {
                    group_mut.devices.push(flow[node].device);
                }
                inner = Child::Group(group);
                at = self.groups[group.at()].parent;
            }
        }
        // What is given stands before what is computed, or it would part layers that are equal.
        let is_computed =
            |child: &Child| !matches!(child, Child::Node(node) if flow[*node].role != Role::Value);
        for group in &mut self.groups {
            group.devices.sort_unstable();
            group.children.sort_by_key(is_computed);
            for (slot, child) in group.children.iter().enumerate() {
                match child {
                    Child::Node(node) => self.slot_of[node.at()] = slot as u32,
                    Child::Group(inner) => self.slot_of_group[inner.at()] = slot as u32,
                }
            }
        }
        self.ports = Ports::of(flow, self);
        shapes::write(flow, self);
        let all = (0..self.groups.len() as u32).map(GroupIx);
        self.runs = all.clone().map(|group| shapes::runs(self, group)).collect();
        // Of two groups of one path, which only odd names make, the first.
        self.by_path = all.rev().map(|group| (self[group].path.clone(), group)).collect();
    }
}

impl std::ops::Index<GroupIx> for Tree {
    type Output = Group;
    fn index(&self, group: GroupIx) -> &Group {
        &self.groups[group.at()]
    }
}

/// A group that holds nothing yet.
pub(super) fn empty(name: &str, path: &str, parent: Option<GroupIx>, depth: u32) -> Group {
    Group {
        name: name.to_owned(),
        path: path.to_owned(),
        parent,
        children: vec![],
        count: 0,
        depth,
        devices: vec![],
        shape: Shape::default(),
    }
}

/// The groups of nodes that say where they belong; all others are in none yet, which is written as the root.
fn named(flow: &Flow) -> (Vec<Group>, Vec<GroupIx>) {
    let mut parts: HashMap<(&str, &str), u32> = HashMap::new();
    let said = |node: &NodeIx| is_placed_by_name(flow, *node);
    for node in flow.indices().filter(said) {
        if let (groups, Some(part)) = names::groups(&flow[node].path) {
            *parts.entry((groups.last().copied().unwrap_or_default(), part)).or_default() += 1;
        }
    }
    let mut groups = vec![empty(&flow.name, "", None, 0)];
    let mut known: HashMap<(GroupIx, &str), GroupIx> = HashMap::new();
    let mut group_of = vec![GroupIx::ROOT; flow.nodes.len()];
    for node in flow.indices().filter(said) {
        let (around, part) = names::groups(&flow[node].path);
        let mut at = GroupIx::ROOT;
        let part = part.filter(|part| {
            parts.get(&(around.last().copied().unwrap_or_default(), *part)).is_some_and(|count| *count > 1)
        });
        for (path, is_part) in around.iter().map(|path| (*path, false)).chain(part.map(|part| (part, true))) {
            at = *known.entry((at, path)).or_insert_with(|| {
                let outer = &groups[at.at()];
                let full = if is_part { format!("{}.{path}", outer.path) } else { path.to_owned() };
                let inside = full.strip_prefix(outer.path.as_str()).unwrap_or(&full);
                let name = inside.strip_prefix('.').unwrap_or(inside).to_owned();
                let depth = outer.depth + 1;
                groups.push(empty(&name, &full, Some(at), depth));
                GroupIx(groups.len() as u32 - 1)
            });
        }
        group_of[node.at()] = at;
    }
    (groups, group_of)
}

/// Whether a node's path says its group. What has none goes where it is used.
fn is_placed_by_name(flow: &Flow, node: NodeIx) -> bool {
    flow[node].role == Role::Value && !flow[node].path.is_empty()
}

/// Puts every other node into the innermost group in which all of its users are.
fn adopt(flow: &Flow, groups: &[Group], group_of: &mut [GroupIx]) {
    for node in flow.indices().rev().filter(|node| !is_placed_by_name(flow, *node)) {
        let users = flow.users(node).iter().map(|user| group_of[user.at()]);
        group_of[node.at()] = users.reduce(|a, b| around(groups, a, b)).unwrap_or(GroupIx::ROOT);
    }
}

fn around(groups: &[Group], mut a: GroupIx, mut b: GroupIx) -> GroupIx {
    while a != b {
        let (deep_a, deep_b) = (groups[a.at()].depth, groups[b.at()].depth);
        if deep_a >= deep_b {
            a = groups[a.at()].parent.unwrap_or(GroupIx::ROOT);
        }
        if deep_b >= deep_a {
            b = groups[b.at()].parent.unwrap_or(GroupIx::ROOT);
        }
    }
    a
}
