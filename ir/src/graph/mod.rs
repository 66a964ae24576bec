//! The computation graph. The only module that names `petgraph`.
mod order;

use crate::{Op, OpError, TensorType};
use petgraph::Direction::{Incoming, Outgoing};
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef;
use std::fmt;

/// A node of one graph. Ids are given in order of creation and never reused while a graph lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(NodeIndex<u32>);

/// One typed value and the operator that makes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What makes the value.
    pub op: Op,
    /// What the value is.
    pub ty: TensorType,
    /// Where it belongs, as a path (`blk.3.attn.q`); empty where nobody said.
    pub path: String,
    /// The nodes of the reference graph that it stands for, in order of id.
    pub stands_for: Vec<u32>,
    /// On which device it is made: the device's number in the plan.
    pub place: u32,
}

/// An operand: the edge from a value to its user carries which input it is.
#[derive(Clone, Copy, Debug)]
struct Operand {
    slot: u32,
}

/// A pure dataflow graph: a node is one value, an edge an operand.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// The graph's name in text form.
    pub name: String,
    /// What the graph returns, in order.
    pub outputs: Vec<NodeId>,
    /// A removed node leaves its place empty: `StableDiGraph` would give its id to the next.
    nodes: StableDiGraph<Option<Node>, Operand>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: &str) -> Graph {
        Graph { name: name.to_owned(), ..Graph::default() }
    }

    /// Adds a node and infers its type: there is no such thing as an untyped node.
    pub fn add(&mut self, op: impl Into<Op>, inputs: &[NodeId]) -> Result<NodeId, OpError> {
        let op = op.into();
        let types: Vec<_> = inputs.iter().map(|&n| self[n].ty.clone()).collect();
        let ty = op.infer(&types)?;
        Ok(self.add_unchecked(op, ty, inputs))
    }

    /// Adds a node with a stated type. For the text reader; the verifier will compare.
    pub fn add_unchecked(&mut self, op: Op, ty: TensorType, inputs: &[NodeId]) -> NodeId {
        let node = Node { op, ty, path: String::new(), stands_for: vec![], place: 0 };
        let id = NodeId(self.nodes.add_node(Some(node)));
        for (slot, input) in inputs.iter().enumerate() {
            self.nodes.add_edge(input.0, id.0, Operand { slot: slot as u32 });
        }
        id
    }

    /// Every node, in order of creation.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.node_indices().filter(|i| self.nodes[*i].is_some()).map(NodeId)
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the node is in the graph.
    pub fn contains(&self, id: NodeId) -> bool {
        self.nodes.node_weight(id.0).is_some_and(Option::is_some)
    }

    /// The operands of a node, in order.
    pub fn inputs(&self, id: NodeId) -> Vec<NodeId> {
        let edges = self.nodes.edges_directed(id.0, Incoming);
        let mut slots: Vec<_> = edges.map(|e| (e.weight().slot, NodeId(e.source()))).collect();
        slots.sort_unstable();
        slots.into_iter().map(|(_, n)| n).collect()
    }

    /// The types of a node's operands, in order.
    pub fn input_types(&self, id: NodeId) -> Vec<TensorType> {
        self.inputs(id).iter().map(|&n| self[n].ty.clone()).collect()
    }

    /// The nodes that use a value, each once, in order of creation.
    pub fn users(&self, id: NodeId) -> Vec<NodeId> {
        let mut users: Vec<_> =
            self.nodes.edges_directed(id.0, Outgoing).map(|e| NodeId(e.target())).collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    /// Whether a node or an output needs the value.
    pub fn is_used(&self, id: NodeId) -> bool {
        self.nodes.edges_directed(id.0, Outgoing).next().is_some() || self.outputs.contains(&id)
    }

    /// Makes every user and output of `old` use `new`, and lets `new` stand for what `old` stood for.
    ///
    /// The types must be equal; a user that is `new` itself keeps `old`.
    pub fn replace(&mut self, old: NodeId, new: NodeId) {
        assert_eq!(self[old].ty, self[new].ty, "a value is replaced by one of its type");
        let edges: Vec<_> =
            self.nodes.edges_directed(old.0, Outgoing).map(|e| (e.id(), e.target(), *e.weight())).collect();
        for (edge, user, operand) in edges.into_iter().filter(|e| e.1 != new.0) {
            self.nodes.remove_edge(edge);
            self.nodes.add_edge(new.0, user, operand);
        }
        self.outputs.iter_mut().filter(|o| **o == old).for_each(|o| *o = new);
        self.inherit(new, &[old]);
    }

    /// Lets `id` stand for what `from` stood for, take the first path among them if it has none, and be made
    /// where the first of them is.
    pub fn inherit(&mut self, id: NodeId, from: &[NodeId]) {
        let mut stands_for = self[id].stands_for.clone();
        for &f in from {
            stands_for.extend_from_slice(&self[f].stands_for);
        }
        stands_for.sort_unstable();
        stands_for.dedup();
        let path = from.iter().map(|&f| self[f].path.clone()).find(|p| !p.is_empty());
        let place = from.first().map_or(self[id].place, |&f| self[f].place);
        let node = self.node_mut(id);
        node.place = place;
        node.stands_for = stands_for;
        if node.path.is_empty() {
            node.path = path.unwrap_or_default();
        }
    }

    /// Gives a node another operator, of the same type on the same inputs.
    pub fn set_op(&mut self, id: NodeId, op: impl Into<Op>) {
        self.node_mut(id).op = op.into();
    }

    /// Says where a node belongs.
    pub fn set_path(&mut self, id: NodeId, path: &str) {
        self.node_mut(id).path = path.to_owned();
    }

    /// Says on which device a node is made.
    pub fn set_place(&mut self, id: NodeId, place: u32) {
        self.node_mut(id).place = place;
    }

    /// Says which reference nodes a node stands for.
    pub fn set_stands_for(&mut self, id: NodeId, reference: Vec<u32>) {
        self.node_mut(id).stands_for = reference;
    }

    /// Numbers every node as standing for itself: this graph becomes the reference.
    pub fn number_as_reference(&mut self) {
        for (number, id) in self.order().into_iter().enumerate() {
            self.node_mut(id).stands_for = vec![number as u32];
        }
    }

    /// Removes an unused node.
    pub fn remove(&mut self, id: NodeId) {
        assert!(!self.is_used(id), "only unused nodes can be removed");
        let operands: Vec<_> = self.nodes.edges_directed(id.0, Incoming).map(|e| e.id()).collect();
        for operand in operands {
            self.nodes.remove_edge(operand);
        }
        self.nodes[id.0] = None;
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes[id.0].as_mut().expect("the node is in the graph")
    }

    /// Removes every node that no output needs, but for those that `keep` names.
    pub fn remove_unused(&mut self, keep: impl Fn(&Node) -> bool) -> usize {
        let mut removed = 0;
        for id in self.order().into_iter().rev() {
            if !self.is_used(id) && !keep(&self[id]) {
                self.remove(id);
                removed += 1;
            }
        }
        removed
    }
}

impl std::ops::Index<NodeId> for Graph {
    type Output = Node;
    fn index(&self, id: NodeId) -> &Node {
        self.nodes[id.0].as_ref().expect("the node is in the graph")
    }
}

impl NodeId {
    /// The number behind the id, for tables beside a graph.
    pub fn index(self) -> usize {
        self.0.index()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0.index())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Add, Input};

    #[test]
    fn an_id_is_never_given_again() {
        let mut g = Graph::new("g");
        let x = g
            .add(Input { name: "x".into(), ty: TensorType::f32(&[2]), state: false, part: None }, &[])
            .unwrap();
        let gone = g.add(Add {}, &[x, x]).unwrap();
        g.remove(gone);
        let next = g.add(Add {}, &[x, x]).unwrap();
        assert!(next > gone && !g.contains(gone) && !g.is_used(next));
        assert_eq!((g.len(), g.users(x)), (2, vec![next]));
    }
}
