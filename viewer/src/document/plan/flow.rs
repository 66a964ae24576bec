//! A plan's steps as a graph, for plans that come without one.
use super::super::flow::{Flow, Node, NodeIx, Role};
use ir::TensorType;
use ir::plan::{Arg, BufferId, EdgeId, End, Plan, StateId, Step, WeightId};
use std::collections::{HashMap, VecDeque};

/// The graph of a plan's steps, in an order in which they can be taken; or why there is none.
pub(in super::super) fn flow_of(plan: &Plan) -> Result<Flow, String> {
    let mut steps =
        Steps { plan, nodes: vec![], outputs: vec![], sent: HashMap::new(), given: HashMap::new() };
    let mut threads: Vec<Walk> = plan.threads.iter().map(|_| Walk::default()).collect();
    loop {
        let mut is_stuck = true;
        for (index, walk) in threads.iter_mut().enumerate() {
            let thread = &plan.threads[index];
            while let Some(step) = thread.steps.get(walk.next) {
                if !steps.take(step, thread.device.0, walk)? {
                    break;
                }
                walk.next += 1;
                is_stuck = false;
            }
        }
        if threads.iter().zip(&plan.threads).all(|(walk, thread)| walk.next == thread.steps.len()) {
            break;
        }
        if is_stuck {
            return Err(
                "its steps wait for one another in a circle, or for messages that nobody sends".into()
            );
        }
    }
    Flow::new(&plan.model.name, steps.nodes, steps.outputs)
        .map_err(|node| format!("step of node {} needs what comes behind it", node.0))
}

/// How far a thread has come, and what its buffers hold.
#[derive(Default)]
struct Walk {
    next: usize,
    buffers: HashMap<BufferId, NodeIx>,
    states: HashMap<StateId, NodeIx>,
}

struct Steps<'a> {
    plan: &'a Plan,
    nodes: Vec<Node>,
    outputs: Vec<NodeIx>,
    /// What is under way on each edge.
    sent: HashMap<EdgeId, VecDeque<NodeIx>>,
    /// The nodes of weights and of what the host sends.
    given: HashMap<(Role, u32), NodeIx>,
}

impl Steps<'_> {
    /// Takes a step; whether it could be taken.
    fn take(&mut self, step: &Step, device: u32, walk: &mut Walk) -> Result<bool, String> {
        match step {
            Step::Recv { edge, to } => {
                let about =
                    self.plan.edges.get(edge.0 as usize).ok_or_else(|| format!("there is no {edge}"))?;
                let value = match about.from {
                    End::Host => Some(self.given(Role::Input, edge.0, (&about.name, &about.ty, device))),
                    End::Device(_) => self.sent.get_mut(edge).and_then(VecDeque::pop_front),
                };
                let Some(value) = value else { return Ok(false) };
                walk.buffers.insert(*to, value);
            }
            Step::Send { edge, from } => {
                let value = held(walk, *from)?;
                let to = self.plan.edges.get(edge.0 as usize).map(|about| about.to);
                match to.ok_or_else(|| format!("there is no {edge}"))? {
                    End::Host => self.outputs.push(value),
                    End::Device(_) => self.sent.entry(*edge).or_default().push_back(value),
                }
            }
            Step::Run { kernel, args, node } => {
                let kernel = self
                    .plan
                    .kernels
                    .get(kernel.0 as usize)
                    .ok_or_else(|| format!("there is no {kernel}"))?;
                let Some((result, args)) = args.split_last() else {
                    return Err(format!("{node} has no result"));
                };
                let inputs = args.iter().map(|arg| self.argument(*arg, device, walk));
                let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
                let at = self.push(Node {
                    name: format!("%{}", self.nodes.len()),
                    path: node.clone(),
                    role: Role::Value,
                    op: kernel.op.0.clone(),
                    attributes: kernel.op.1.clone(),
                    ty: Some(kernel.output.clone()),
                    inputs,
                    stands_for: vec![],
                    device,
                });
                match result {
                    Arg::B(id) => drop(walk.buffers.insert(*id, at)),
                    Arg::S(id) => drop(walk.states.insert(*id, at)),
                    Arg::W(id) => return Err(format!("{node} writes {id}")),
                }
            }
        }
        Ok(true)
    }

    fn argument(&mut self, arg: Arg, device: u32, walk: &mut Walk) -> Result<NodeIx, String> {
        match arg {
            Arg::B(id) => held(walk, id),
            Arg::W(WeightId(id)) => {
                let plan = self.plan;
                let weight =
                    plan.weights.get(id as usize).ok_or_else(|| format!("there is no weight {id}"))?;
                Ok(self.given(Role::Weight, id, (&weight.name, &weight.ty, device)))
            }
            Arg::S(id) => {
                let plan = self.plan;
                let state = plan.states.get(id.0 as usize).ok_or_else(|| format!("there is no {id}"))?;
                let given = || self.given(Role::State, id.0, (&state.name, &state.ty, device));
                Ok(*walk.states.entry(id).or_insert_with(given))
            }
        }
    }

    fn given(&mut self, role: Role, id: u32, (name, ty, device): (&str, &TensorType, u32)) -> NodeIx {
        if let Some(at) = self.given.get(&(role, id)) {
            return *at;
        }
        let op = match role {
            Role::Input => "input",
            Role::State => "state",
            Role::Weight | Role::Value => "weight",
        };
        let at = self.push(Node {
            name: name.to_owned(),
            path: String::new(),
            role,
            op: op.to_owned(),
            attributes: String::new(),
            ty: Some(ty.clone()),
            inputs: vec![],
            stands_for: vec![],
            device,
        });
        self.given.insert((role, id), at);
        at
    }

    fn push(&mut self, node: Node) -> NodeIx {
        self.nodes.push(node);
        NodeIx(self.nodes.len() as u32 - 1)
    }
}

fn held(walk: &Walk, buffer: BufferId) -> Result<NodeIx, String> {
    walk.buffers.get(&buffer).copied().ok_or_else(|| format!("{buffer} is read before it is written"))
}
