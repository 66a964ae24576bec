//! A graph as it is drawn: nodes in flat tables, operands before users.
use super::names::cut;
use ir::{Graph, NodeId, TensorType};
use std::collections::HashMap;

/// A node of a [`Flow`], by its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIx(pub u32);

impl NodeIx {
    /// As an index of tables.
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

/// What a node is for, as far as drawing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Comes from the host in every step.
    Input,
    /// Outlives a step: the KV cache.
    State,
    /// A weight, or another constant. Not drawn unless it is asked for.
    Weight,
    /// Computed.
    Value,
}

/// What comes from outside and has more users than these is drawn without lines.
const QUIET_USERS: usize = 4;

/// One value and what makes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its name: of inputs, states and weights their own, of other values `%` and a number.
    pub name: String,
    /// Where it belongs: `blk.3.attn_q`; empty where nobody said.
    pub path: String,
    /// What it is for.
    pub role: Role,
    /// The operator's name.
    pub op: String,
    /// The operator's attributes, as in a graph's text; empty where it has none.
    pub attributes: String,
    /// What the value is; none for a kernel without a result of its own.
    pub ty: Option<TensorType>,
    /// Its operands, in order.
    pub inputs: Vec<NodeIx>,
    /// The nodes of the first graph that it stands for, in order.
    pub stands_for: Vec<u32>,
    /// The number of the device that makes it.
    pub device: u32,
}

/// A graph without a circle: every node stands behind its operands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flow {
    /// The graph's name.
    pub name: String,
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// What it returns, in order.
    pub outputs: Vec<NodeIx>,
    /// By node where its users begin in `users`, and where the last ones end.
    user_starts: Vec<u32>,
    users: Vec<NodeIx>,
}

impl Node {
    /// What it is called for a person: its path, else its name.
    pub fn title(&self) -> &str {
        if self.path.is_empty() { &self.name } else { &self.path }
    }
}

impl Flow {
    /// A graph of nodes, of which none may have an operand at or behind its own place; else the first that has.
    pub fn new(name: &str, nodes: Vec<Node>, outputs: Vec<NodeIx>) -> Result<Flow, NodeIx> {
        let late = |(at, node): &(usize, &Node)| node.inputs.iter().any(|input| input.at() >= *at);
        if let Some((at, _)) = nodes.iter().enumerate().find(late) {
            return Err(NodeIx(at as u32));
        }
        let shortened = |node: Node| {
            let [name, path, op] = [node.name, node.path, node.op].map(cut);
            Node { name, path, op, ..node }
        };
        let nodes = nodes.into_iter().map(shortened).collect();
        let mut flow = Flow { name: cut(name.to_owned()), nodes, outputs, ..Flow::default() };
        flow.find_users();
        Ok(flow)
    }

    /// A graph as its text has it.
    ///
    /// # Panics
    /// If the graph has a circle, which the reader of texts refuses.
    pub fn of_graph(graph: &Graph) -> Flow {
        let order = graph.order();
        let at: HashMap<NodeId, u32> = order.iter().enumerate().map(|(at, id)| (*id, at as u32)).collect();
        let mut numbered = 0;
        let node = |id: &NodeId| {
            let node = &graph[*id];
            let name = node.op.given_name().map_or_else(
                || {
                    numbered += 1;
                    format!("%{}", numbered - 1)
                },
                str::to_owned,
            );
            Node {
                name: cut(name),
                path: cut(node.path.clone()),
                role: role(&node.op),
                op: if role(&node.op) == Role::State { "state" } else { node.op.name() }.to_owned(),
                attributes: node.op.written_attributes(),
                ty: Some(node.ty.clone()),
                inputs: graph.inputs(*id).iter().map(|input| NodeIx(at[input])).collect(),
                stands_for: node.stands_for.clone(),
                device: node.place,
            }
        };
        let nodes = order.iter().map(node).collect();
        let outputs = graph.outputs.iter().map(|id| NodeIx(at[id])).collect();
        let mut flow = Flow { name: cut(graph.name.clone()), nodes, outputs, ..Flow::default() };
        flow.find_users();
        flow
    }

    /// Its nodes by their places.
    pub fn indices(&self) -> impl DoubleEndedIterator<Item = NodeIx> + use<> {
        (0..self.nodes.len() as u32).map(NodeIx)
    }

    /// The nodes that use a value, in order, each once.
    pub fn users(&self, node: NodeIx) -> &[NodeIx] {
        let [from, to] = [node.at(), node.at() + 1].map(|at| self.user_starts[at] as usize);
        &self.users[from..to]
    }

    /// Whether lines to all users of a value would say little: it comes from outside, and many read it. Such lines
    /// are drawn where a person asks for them.
    pub fn is_quiet(&self, node: NodeIx) -> bool {
        self[node].role != Role::Value && self.users(node).len() > QUIET_USERS
    }

    fn find_users(&mut self) {
        let mut pairs: Vec<(NodeIx, NodeIx)> = vec![];
        for user in self.indices() {
            pairs.extend(self.nodes[user.at()].inputs.iter().map(|input| (*input, user)));
        }
        pairs.sort_unstable();
        pairs.dedup();
        self.user_starts = vec![0; self.nodes.len() + 1];
        pairs.iter().for_each(|(input, _)| self.user_starts[input.at() + 1] += 1);
        for at in 1..self.user_starts.len() {
            self.user_starts[at] += self.user_starts[at - 1];
        }
        self.users = pairs.into_iter().map(|(_, user)| user).collect();
    }
}

impl std::ops::Index<NodeIx> for Flow {
    type Output = Node;
    fn index(&self, node: NodeIx) -> &Node {
        &self.nodes[node.at()]
    }
}

fn role(op: &ir::Op) -> Role {
    match op {
        ir::Op::Input(input) if input.state => Role::State,
        ir::Op::Input(_) => Role::Input,
        other if other.class() == ir::Class::Source => Role::Weight,
        _ => Role::Value,
    }
}
