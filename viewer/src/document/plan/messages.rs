//! The messages of a plan: who sends what to whom, and how many bytes that is.
use super::super::flow::{Flow, NodeIx, Role};
use super::{StepAt, end_name};
use ir::plan::{BufferId, EdgeId, End, Plan, Step};
use std::collections::HashMap;

/// What crosses an edge in a step of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The edge.
    pub edge: EdgeId,
    /// What it carries, as the plan calls it.
    pub name: String,
    /// The writer.
    pub from: End,
    /// The reader.
    pub to: End,
    /// What the writer is called.
    pub from_name: String,
    /// What the reader is called.
    pub to_name: String,
    /// The type of a message.
    pub ty: String,
    /// Bytes of one with every symbol at its greatest.
    pub bytes: u64,
    /// Bytes of one in a decode step; none where a symbol has no value.
    pub token_bytes: Option<u64>,
    /// Messages that the edge holds at most.
    pub capacity: u32,
    /// The steps that send it; none where the host does.
    pub sends: Vec<StepAt>,
    /// The steps that receive it; none where the host does.
    pub receives: Vec<StepAt>,
    /// The nodes whose values it carries in a step of the model, in the order in which they are sent.
    pub made_by: Vec<NodeIx>,
    /// The nodes at the reader that need it.
    pub read_by: Vec<NodeIx>,
}

/// The messages of each edge; what the steps that send and receive are about is written into `nodes`.
pub(super) fn of(plan: &Plan, flow: &Flow, nodes: &mut [Vec<Option<NodeIx>>]) -> Vec<Message> {
    let token = plan.decode_symbols();
    let mut messages: Vec<Message> = plan
        .edges
        .iter()
        .map(|edge| Message {
            edge: edge.id,
            name: edge.name.clone(),
            from: edge.from,
            to: edge.to,
            from_name: end_name(plan, edge.from),
            to_name: end_name(plan, edge.to),
            ty: edge.ty.to_string(),
            bytes: edge.bytes,
            token_bytes: edge.ty.bytes(|symbol| token.get(symbol)),
            capacity: edge.capacity,
            sends: vec![],
            receives: vec![],
            made_by: vec![],
            read_by: vec![],
        })
        .collect();
    // By edge the nodes whose values are sent, where they are known.
    let mut sent: Vec<Vec<Option<NodeIx>>> = vec![vec![]; messages.len()];
    for (thread, of) in plan.threads.iter().enumerate() {
        let mut made: HashMap<BufferId, NodeIx> = HashMap::new();
        let mut received: HashMap<BufferId, EdgeId> = HashMap::new();
        for (index, step) in of.steps.iter().enumerate() {
            let at = StepAt { thread: thread as u32, step: index as u32 };
            match step {
                Step::Run { .. } => {
                    let Some(node) = nodes[thread][index] else { continue };
                    for buffer in step.reads() {
                        let edge = received.get(&buffer).and_then(|edge| messages.get_mut(edge.0 as usize));
                        if let Some(message) = edge.filter(|message| !message.read_by.contains(&node)) {
                            message.read_by.push(node);
                        }
                    }
                    if let Some(to) = step.writes() {
                        made.insert(to, node);
                        received.remove(&to);
                    }
                }
                Step::Send { edge, from } => {
                    if let Some(message) = messages.get_mut(edge.0 as usize) {
                        message.sends.push(at);
                        nodes[thread][index] = made.get(from).copied();
                        sent[edge.0 as usize].push(made.get(from).copied());
                    }
                }
                Step::Recv { edge, to } => {
                    if let Some(message) = messages.get_mut(edge.0 as usize) {
                        message.receives.push(at);
                        received.insert(*to, *edge);
                    }
                }
            }
        }
    }
    for (message, mut sent) in messages.iter_mut().zip(sent) {
        if message.from == End::Host {
            let is_it = |at: &NodeIx| flow[*at].role == Role::Input && flow[*at].name == message.name;
            sent = vec![flow.indices().find(is_it); message.receives.len().max(1)];
        }
        // Messages arrive in the order in which they are sent.
        for (at, value) in message.receives.iter().zip(&sent) {
            nodes[at.thread as usize][at.step as usize] = *value;
        }
        message.made_by = sent.into_iter().flatten().collect();
        message.made_by.dedup();
    }
    messages
}
