//! Which groups look alike, so that one layout serves all of them, and which are equal, so that one can stand for all.
use super::flow::{Flow, NodeIx, Role};
use super::names;
use super::tree::{Child, GroupIx, Run, Tree, empty};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// What a group looks like, as numbers that are equal where the groups are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Of what is drawn: operators, lengths of names, operands. Groups of equal form share their layout.
    pub form: u64,
    /// Of all but a layer's number: also types, attributes, devices. Equal groups can stand for one another.
    pub whole: u64,
}

/// Devices whose letters are drawn on a group.
pub(crate) const BADGES: usize = 4;
/// More children than these, runs counted once, are divided.
pub(super) const CHILDREN_MAX: usize = 400;
/// Into groups of as many.
const CHUNK: usize = 100;

/// Writes every group's shape, inner ones first.
pub(super) fn write(flow: &Flow, tree: &mut Tree) {
    for at in (0..tree.groups.len() as u32).rev().map(GroupIx) {
        let shape = of_group(flow, tree, at);
        tree.groups[at.at()].shape = shape;
    }
}

fn of_group(flow: &Flow, tree: &Tree, group: GroupIx) -> Shape {
    let (mut form, mut whole) = (DefaultHasher::new(), DefaultHasher::new());
    for child in &tree[group].children {
        match child {
            Child::Node(at) => {
                let node = &flow[*at];
                let label = names::without_layer(tree.label(flow, *at), &tree[group].path, "#");
                let ty = node.ty.as_ref().map(ToString::to_string);
                let cells = (label.chars().count(), node.op.len(), ty.as_ref().map_or(0, String::len));
                (0u8, node.role, &node.op, cells).hash(&mut form);
                (label, ty, &node.attributes, node.device).hash(&mut whole);
                node.inputs.iter().for_each(|input| local(flow, tree, group, *input).hash(&mut form));
            }
            Child::Group(inner) => {
                let Shape { form: inner_form, whole: inner_whole } = tree[*inner].shape;
                let devices = tree[*inner].devices.len().min(BADGES);
                (1u8, inner_form, tree[*inner].name.len(), devices).hash(&mut form);
                let name = names::without_layer(&tree[*inner].name, &tree[*inner].name, "#");
                (inner_whole, name).hash(&mut whole);
                let entries = tree.ports.entries(*inner);
                entries.iter().for_each(|entry| local(flow, tree, group, *entry).hash(&mut form));
            }
        }
    }
    for exit in tree.ports.exits(group) {
        local(flow, tree, group, *exit).hash(&mut form);
    }
    let form = form.finish();
    form.hash(&mut whole);
    Shape { form, whole: whole.finish() }
}

/// Where a group has a value from: which of its children and of that one's exits, or which of its own entries.
fn local(flow: &Flow, tree: &Tree, group: GroupIx, value: NodeIx) -> (bool, usize, usize, bool, bool) {
    // What is outside matters as far as its line is drawn.
    let (is_weight, is_quiet) = (flow[value].role == Role::Weight, flow.is_quiet(value));
    match tree.slot_in(group, value) {
        Some(slot) => {
            let exit = match tree[group].children[slot] {
                Child::Group(inner) => tree.ports.exit(inner, value).unwrap_or(0),
                Child::Node(_) => 0,
            };
            (true, slot, exit, is_weight, is_quiet)
        }
        None => (false, tree.ports.entry(group, value).unwrap_or(0), 0, is_weight, is_quiet),
    }
}

/// A group's children, equal groups that follow one another as one.
pub(super) fn runs(tree: &Tree, group: GroupIx) -> Vec<Run> {
    let mut runs: Vec<Run> = vec![];
    let mut last = None;
    for (at, child) in tree[group].children.iter().enumerate() {
        let shape = match child {
            Child::Group(inner) => Some(tree[*inner].shape.whole),
            Child::Node(_) => None,
        };
        match runs.last_mut().filter(|_| shape.is_some() && shape == last) {
            Some(run) => run.times += 1,
            None => runs.push(Run { first: at as u32, times: 1 }),
        }
        last = shape;
    }
    runs
}

/// Divides groups that hold too much to be drawn; whether there were any.
pub(super) fn divide(tree: &mut Tree) -> bool {
    let all = (0..tree.groups.len() as u32).map(GroupIx);
    let large: Vec<(GroupIx, Vec<Run>)> = all
        .map(|group| (group, tree.runs(group).to_vec()))
        .filter(|(_, runs)| runs.len() > CHILDREN_MAX)
        .collect();
    for (group, runs) in &large {
        // As many as fit, or the whole would again hold too much.
        let each = CHUNK.max(runs.len().div_ceil(CHILDREN_MAX));
        for (number, chunk) in runs.chunks(each).enumerate() {
            let (Some(first), Some(last)) = (chunk.first(), chunk.last()) else { continue };
            let children: Vec<Child> =
                tree[*group].children[first.first as usize..(last.first + last.times) as usize].to_vec();
            let name = format!("part {}", number + 1);
            let path = if tree[*group].path.is_empty() {
                name.clone()
            } else {
                format!("{}.{name}", tree[*group].path)
            };
            let depth = tree[*group].depth + 1;
            tree.groups.push(empty(&name, &path, Some(*group), depth));
            let own = GroupIx(tree.groups.len() as u32 - 1);
            for child in children {
                match child {
                    Child::Node(node) => tree.group_of[node.at()] = own,
                    Child::Group(inner) => tree.groups[inner.at()].parent = Some(own),
                }
            }
        }
    }
    if !large.is_empty() {
        order_by_depth(tree);
    }
    !large.is_empty()
}

/// Puts every group behind the one that it is in.
fn order_by_depth(tree: &mut Tree) {
    let count = tree.groups.len();
    let depth = |tree: &Tree, mut at: GroupIx| {
        let mut depth = 0;
        while let Some(parent) = tree[at].parent {
            (at, depth) = (parent, depth + 1);
        }
        depth
    };
    let depths: Vec<u32> = (0..count as u32).map(|at| depth(tree, GroupIx(at))).collect();
    let mut order: Vec<u32> = (0..count as u32).collect();
    order.sort_by_key(|at| depths[*at as usize]);
    let mut new_at = vec![GroupIx::ROOT; count];
    order.iter().enumerate().for_each(|(new, old)| new_at[*old as usize] = GroupIx(new as u32));
    let mut groups: Vec<_> = std::mem::take(&mut tree.groups).into_iter().map(Some).collect();
    for old in order {
        if let Some(mut group) = groups[old as usize].take() {
            group.depth = depths[old as usize];
            group.parent = group.parent.map(|parent| new_at[parent.at()]);
            tree.groups.push(group);
        }
    }
    tree.group_of.iter_mut().for_each(|group| *group = new_at[group.at()]);
}
