//! A plan beside the graph that it runs: which step computes which node, messages, memory over the steps.
mod flow;
mod memory;
mod messages;

pub(super) use flow::flow_of;
pub use memory::{BufferLife, DeviceMemory};
pub use messages::Message;

use super::flow::{Flow, NodeIx, Role};
use super::names::cut;
use ir::plan::{End, Plan, Step};
use std::cmp::Reverse;
use std::collections::HashMap;

/// A step of a plan: the place of its thread, and its own among the thread's steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepAt {
    /// Which of the plan's threads.
    pub thread: u32,
    /// Which of its steps.
    pub step: u32,
}

/// A plan, and what it says of the nodes of the last pass.
#[derive(Debug)]
pub struct PlanView {
    /// The plan.
    pub plan: Plan,
    /// Its hash.
    pub hash: String,
    /// By thread and step the node that the step computes, or whose value it sends or receives.
    pub nodes: Vec<Vec<Option<NodeIx>>>,
    /// By node the steps that compute it; none for what is given.
    pub steps: HashMap<NodeIx, Vec<StepAt>>,
    /// The messages of a step of the model, by the numbers of their edges.
    pub messages: Vec<Message>,
    /// The memory of each thread's device, in the order of threads.
    pub memory: Vec<DeviceMemory>,
    /// By value and reading device the message that brings it there, by its place.
    carried: HashMap<(NodeIx, u32), usize>,
    /// The places of messages, those between devices first, of these the largest.
    by_size: Vec<usize>,
}

impl PlanView {
    /// A plan beside the graph that it runs.
    pub fn new(plan: Plan, flow: &Flow) -> PlanView {
        let mut nodes = computed(&plan, flow);
        let messages = messages::of(&plan, flow, &mut nodes);
        let memory = memory::of(&plan, &nodes);
        let mut steps: HashMap<NodeIx, Vec<StepAt>> = HashMap::new();
        for (thread, of) in plan.threads.iter().enumerate() {
            for (step, (what, node)) in of.steps.iter().zip(&nodes[thread]).enumerate() {
                if let (Step::Run { .. }, Some(node)) = (what, node) {
                    steps.entry(*node).or_default().push(StepAt { thread: thread as u32, step: step as u32 });
                }
            }
        }
        let mut carried = HashMap::new();
        for (at, message) in messages.iter().enumerate() {
            if let End::Device(reader) = message.to {
                for value in &message.made_by {
                    carried.entry((*value, reader.0)).or_insert(at);
                }
            }
        }
        let mut by_size: Vec<usize> = (0..messages.len()).collect();
        by_size.sort_by_key(|at| {
            let is_of_host = messages[*at].sends.is_empty() || messages[*at].receives.is_empty();
            (is_of_host, Reverse(messages[*at].bytes))
        });
        PlanView { hash: plan.hash(), plan, nodes, steps, messages, memory, carried, by_size }
    }

    /// The messages, those between devices first, of these the largest.
    pub fn by_size(&self) -> impl Iterator<Item = &Message> {
        self.by_size.iter().map(|at| &self.messages[*at])
    }

    /// What an end of an edge is called.
    pub fn end(&self, end: End) -> String {
        end_name(&self.plan, end)
    }

    /// The message by which a device has a value that another makes.
    pub fn message_of(&self, value: NodeIx, reader: u32) -> Option<&Message> {
        self.messages.get(*self.carried.get(&(value, reader))?)
    }
}

/// Cuts the names of a plan of which no honest plan has such long ones.
pub(crate) fn cut_names(plan: &mut Plan) {
    let steps = plan.threads.iter_mut().flat_map(|thread| &mut thread.steps);
    let nodes = steps.filter_map(|step| match step {
        Step::Run { node, .. } => Some(node),
        Step::Send { .. } | Step::Recv { .. } => None,
    });
    let devices = plan.devices.iter_mut().map(|device| &mut device.name);
    let edges = plan.edges.iter_mut().map(|edge| &mut edge.name);
    let given = plan.weights.iter_mut().map(|weight| &mut weight.name);
    let states = plan.states.iter_mut().map(|state| &mut state.name);
    let all = nodes.chain(devices).chain(edges).chain(given).chain(states).chain([&mut plan.model.name]);
    all.for_each(|name| *name = cut(std::mem::take(name)));
}

/// What an end of a plan's edge is called: `host`, or the device's name.
pub fn end_name(plan: &Plan, end: End) -> String {
    match end {
        End::Host => "host".to_owned(),
        End::Device(id) => plan.devices.get(id.0 as usize).map_or_else(|| id.to_string(), |d| d.name.clone()),
    }
}

/// By thread and step the node that the step computes: of those of its path on its device, the next.
fn computed<'a>(plan: &'a Plan, flow: &'a Flow) -> Vec<Vec<Option<NodeIx>>> {
    let mut known: HashMap<(&str, u32), Vec<NodeIx>> = HashMap::new();
    for at in flow.indices().rev().filter(|at| flow[*at].role == Role::Value) {
        known.entry((&flow[at].path, flow[at].device)).or_default().push(at);
    }
    let mut nodes = vec![];
    for thread in &plan.threads {
        let of = |step: &'a Step| match step {
            Step::Run { node, .. } => known.get_mut(&(node.as_str(), thread.device.0)).and_then(Vec::pop),
            _ => None,
        };
        nodes.push(thread.steps.iter().map(of).collect());
    }
    nodes
}
