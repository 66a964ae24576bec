//! Which message edges of two plans came and went, and what they carry for a token.
use ir::Symbols;
use ir::plan::{Edge, End, Plan, Step};
use serde::Serialize;
use std::fmt;

/// The edges that only one of two plans has, or both otherwise.
#[derive(Serialize)]
pub(super) struct Edges {
    gone: Vec<Traffic>,
    new: Vec<Traffic>,
}

/// An edge, and what crosses it in a step of one token.
#[derive(Clone, PartialEq, Serialize)]
pub(crate) struct Traffic {
    from: String,
    to: String,
    /// The type of a message.
    ty: String,
    /// What it carries.
    name: String,
    pub(crate) messages: usize,
    pub(crate) bytes: u64,
    capacity: u32,
    deadline_ms: u32,
}

/// What came and went from one plan to another.
pub(super) fn between(a: &Plan, b: &Plan) -> Edges {
    let of = |plan: &Plan| plan.edges.iter().map(|edge| traffic(plan, edge)).collect::<Vec<_>>();
    let (mut gone, mut new) = (of(a), of(b));
    let both: Vec<Traffic> = gone.iter().filter(|edge| new.contains(edge)).cloned().collect();
    gone.retain(|edge| !both.contains(edge));
    new.retain(|edge| !both.contains(edge));
    Edges { gone, new }
}

/// Messages that cross edges between devices for a token of one sequence, and the bytes in them.
pub(crate) fn per_token(plan: &Plan) -> (u64, u64) {
    let between = plan.edges.iter().filter(|edge| edge.from != End::Host && edge.to != End::Host);
    let all = between
        .map(|edge| traffic(plan, edge))
        .fold((0, 0), |(messages, bytes), edge| (messages + edge.messages as u64, bytes + edge.bytes));
    let replicas = u64::from(plan.options.partition.data.max(1));
    (all.0 / replicas, all.1 / replicas)
}

/// What crosses an edge of a plan.
pub(crate) fn traffic(plan: &Plan, edge: &Edge) -> Traffic {
    let name = |end: End| match end {
        End::Host => "host".to_owned(),
        End::Device(id) => plan.devices.get(id.0 as usize).map_or_else(|| id.to_string(), |d| d.name.clone()),
    };
    let is_sent = |step: &&Step| matches!(step, Step::Send { edge: id, .. } if *id == edge.id);
    let sent = plan.threads.iter().flat_map(|thread| &thread.steps).filter(is_sent).count();
    let messages = if edge.from == End::Host { 1 } else { sent };
    let token = Symbols::of_step(1, 1, 0);
    Traffic {
        from: name(edge.from),
        to: name(edge.to),
        ty: edge.ty.to_string(),
        name: edge.name.clone(),
        messages,
        bytes: edge.ty.bytes(|s| token.get(s)).unwrap_or(0) * messages as u64,
        capacity: edge.capacity,
        deadline_ms: edge.deadline_ms,
    }
}

impl fmt::Display for Edges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signed = self.gone.iter().map(|edge| ('-', edge)).chain(self.new.iter().map(|edge| ('+', edge)));
        for (sign, edge) in signed {
            let Traffic { from, to, ty, name, messages, bytes, capacity, deadline_ms } = edge;
            let messages = if *messages == 1 { "1 message".into() } else { format!("{messages} messages") };
            write!(f, "{sign} edge from {from} to {to}, {ty}: {messages}, {bytes} bytes a token, ")?;
            writeln!(f, "capacity {capacity}, deadline {deadline_ms} ms: {name}")?;
        }
        Ok(())
    }
}
