//! Which values of the reference a node's value should be: the whole of one, a rank's stretch of one, or several
//! side by side.
use super::Reference;
use ir::ops::Weight;
use ir::plan::{DeviceId, Plan, Step};
use ir::{Graph, NodeId, Op};
use std::collections::HashMap;
use std::ops::Range;

/// Values of the reference that stand side by side along an axis.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) axis: usize,
    pub(super) pieces: Vec<Piece>,
}

/// A value of the reference, or a range of the axis of it.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) reference: u32,
    pub(super) range: Option<Range<u64>>,
}

/// What makes nodes the ranks of one computation: replica, operator, path, what they stand for, and the how many-th
/// of these on their device they are.
type Group<'a> = (u32, &'static str, &'a str, &'a [u32], usize);

/// The nodes of a graph, for finding what each should be.
pub(super) struct Alignment<'a> {
    g: &'a Graph,
    reference: &'a Reference,
    /// The nodes of each group by device.
    groups: HashMap<Group<'a>, Vec<NodeId>>,
    group_of: HashMap<NodeId, Group<'a>>,
}

impl<'a> Alignment<'a> {
    pub(super) fn of(g: &'a Graph, plan: &Plan, reference: &'a Reference) -> Alignment<'a> {
        let (mut groups, mut group_of): (HashMap<_, Vec<NodeId>>, _) = (HashMap::new(), HashMap::new());
        let mut seen: HashMap<(u32, Group<'_>), usize> = HashMap::new();
        for n in g.order() {
            let node = &g[n];
            let replica = plan.replica_of(DeviceId(node.place));
            let mut group = (replica, node.op.name(), node.path.as_str(), &node.stands_for[..], 0);
            let count = seen.entry((node.place, group)).or_default();
            group.4 = *count;
            *count += 1;
            groups.entry(group).or_default().push(n);
            group_of.insert(n, group);
        }
        groups.values_mut().for_each(|nodes| nodes.sort_by_key(|n| g[*n].place));
        Alignment { g, reference, groups, group_of }
    }

    /// What a node's value should be; none for what is no value of the reference, as a part of a sum is not.
    pub(super) fn stretch(&self, n: NodeId) -> Option<Stretch> {
        match self.product(n) {
            Some(found) => found,
            None => self.g[n].stands_for.iter().rev().find_map(|id| self.stretch_of(n, *id)),
        }
    }

    /// A product's columns are its weights' rows: those say what stands where, however products were joined and
    /// divided. None for what is no product of weights.
    fn product(&self, n: NodeId) -> Option<Option<Stretch>> {
        let (first, rows) = match self.g[n].op {
            Op::Linear(_) => (1, 0),
            Op::ExpertLinear(_) => (2, 1),
            _ => return None,
        };
        let mut pieces = vec![];
        for input in self.g.inputs(n).into_iter().skip(first) {
            let Op::Weight(weight) = &self.g[input].op else { return None };
            let reference = self.product_of(n, &weight.name, first)?;
            let range = match weight.part {
                None => None,
                Some(part) if part.axis as usize == rows => {
                    let len = weight.ty.shape[rows].known().and_then(|len| u64::try_from(len).ok())?;
                    Some(part.start..part.start.checked_add(len)?)
                }
                // Of every column a part of the sum, or only some experts' rows.
                Some(_) => return Some(None),
            };
            pieces.push(Piece { reference, range });
        }
        let axis = self.g[n].ty.rank().checked_sub(1)?;
        Some(Some(Stretch { axis, pieces }))
    }

    /// The product with a weight among those that a node stands for.
    fn product_of(&self, n: NodeId, weight: &str, first: usize) -> Option<u32> {
        let Reference { graph, nodes, .. } = self.reference;
        let is_weight =
            |id: &NodeId| matches!(&graph[*id].op, Op::Weight(Weight { name, .. }) if name == weight);
        let has_it = |id: &u32| {
            nodes.get(id).is_some_and(|r| {
                graph[*r].op.name() == self.g[n].op.name()
                    && graph.inputs(*r).get(first).is_some_and(is_weight)
            })
        };
        self.g[n].stands_for.iter().copied().find(has_it)
    }

    /// A node as all of a value of the reference, or as a rank's stretch of it behind those of the ranks before.
    fn stretch_of(&self, n: NodeId, reference: u32) -> Option<Stretch> {
        let (own, whole) = (&self.g[n].ty, &self.reference.graph[*self.reference.nodes.get(&reference)?].ty);
        if own.rank() != whole.rank() {
            return None;
        }
        let differ: Vec<usize> = (0..own.rank()).filter(|a| own.shape[*a] != whole.shape[*a]).collect();
        let [axis] = differ[..] else {
            let piece = Piece { reference, range: None };
            return differ.is_empty().then(|| Stretch { axis: 0, pieces: vec![piece] });
        };
        let extent = |n: NodeId| u64::try_from(self.g[n].ty.shape.get(axis)?.known()?).ok();
        let (mut start, mut own) = (0, None);
        for &rank in &self.groups[&self.group_of[&n]] {
            let end = start + extent(rank)?;
            own = own.or((rank == n).then_some(start..end));
            start = end;
        }
        // Stretches that overlap do not say where they begin.
        let is_all = whole.shape[axis].known() == i64::try_from(start).ok();
        let piece = Piece { reference, range: Some(own.filter(|_| is_all)?) };
        Some(Stretch { axis, pieces: vec![piece] })
    }
}

/// The node of each step of each thread: those of a device come in the graph's order, and where a person moved a
/// step, it is the next of the same path and operator.
pub(super) fn nodes_of_steps(plan: &Plan, g: &Graph) -> Vec<Vec<Option<NodeId>>> {
    let attributes: HashMap<NodeId, String> = g.nodes().map(|n| (n, g[n].op.attributes())).collect();
    let mut nodes: HashMap<(&str, &str, &str), Vec<NodeId>> = HashMap::new();
    for n in g.order().into_iter().rev().filter(|n| !matches!(g[*n].op, Op::Input(_) | Op::Weight(_))) {
        nodes.entry((&g[n].path, g[n].op.name(), &attributes[&n])).or_default().push(n);
    }
    let mut of_steps = vec![];
    for thread in &plan.threads {
        let place = thread.device.0;
        let nodes = thread.steps.iter().map(|step| {
            let Step::Run { kernel, node, .. } = step else { return None };
            let kernel = plan.kernels.get(kernel.0 as usize)?;
            let waiting = nodes.get_mut(&(node.as_str(), kernel.op.0.as_str(), kernel.op.1.as_str()))?;
            let fits = |n: &NodeId| g[*n].ty == kernel.output;
            let own = waiting.iter().rposition(|n| fits(n) && g[*n].place == place);
            own.or_else(|| waiting.iter().rposition(fits)).map(|at| waiting.remove(at))
        });
        of_steps.push(nodes.collect());
    }
    of_steps
}
