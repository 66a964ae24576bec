//! What the page says of a plan: devices, memory over the steps, messages, misses.
use crate::document::{DeviceMemory, Document, PlanView};
use serde::Serialize;

/// A plan.
#[derive(Serialize)]
pub(super) struct PlanOf {
    hash: String,
    model: String,
    partition: String,
    context: u32,
    devices: Vec<DeviceOf>,
    messages: Vec<MessageOf>,
    misses: Vec<MissOf>,
    numbers: Vec<WorstOf>,
}

#[derive(Serialize)]
struct DeviceOf {
    name: String,
    device: u32,
    steps: u32,
    arena: u64,
    /// Bytes of the arena in use at each step.
    live: Vec<u64>,
    /// What takes how much when it is most.
    parts: Vec<(&'static str, u64)>,
    total: u64,
}

#[derive(Serialize)]
struct MessageOf {
    name: String,
    from: String,
    to: String,
    ty: String,
    token: Option<u64>,
    most: u64,
}

#[derive(Serialize)]
struct MissOf {
    name: String,
    phase: &'static str,
    predicted_us: f64,
    measured_us: f64,
}

#[derive(Serialize)]
struct WorstOf {
    name: String,
    node: String,
    /// Infinity is written as null.
    error: f64,
}

/// Misses that are listed.
const MISSES: usize = 12;
/// Steps of a thread that memory is drawn for.
const STEPS_MAX: usize = 4000;

impl PlanOf {
    pub(super) fn of(document: &Document, view: &PlanView) -> PlanOf {
        let messages = view.messages.iter().map(|message| MessageOf {
            name: message.name.clone(),
            from: message.from_name.clone(),
            to: message.to_name.clone(),
            ty: message.ty.clone(),
            token: message.token_bytes,
            most: message.bytes,
        });
        let misses = document.trace.iter().flat_map(|trace| trace.misses());
        let miss = misses.take(MISSES).map(|miss| MissOf {
            name: miss.name.clone(),
            phase: if miss.is_decode { "decode" } else { "prefill" },
            predicted_us: miss.predicted_us,
            measured_us: miss.measured_us,
        });
        let worst = document.numbers.iter().flat_map(|numbers| &numbers.layers).map(|worst| WorstOf {
            name: worst.name.clone(),
            node: worst.node.clone(),
            error: worst.error,
        });
        PlanOf {
            hash: view.hash.clone(),
            model: view.plan.model.name.clone(),
            partition: view.plan.options.partition.to_string(),
            context: view.plan.options.context,
            devices: view.memory.iter().map(device).collect(),
            messages: messages.collect(),
            misses: miss.collect(),
            numbers: worst.collect(),
        }
    }
}

fn device(memory: &DeviceMemory) -> DeviceOf {
    let most = memory.most();
    let parts = most.iter().flat_map(|(_, parts)| parts).filter(|(_, bytes)| *bytes > 0);
    DeviceOf {
        name: memory.name.clone(),
        device: memory.device,
        steps: memory.steps,
        arena: memory.arena_bytes,
        live: memory.live_bytes.iter().take(STEPS_MAX).copied().collect(),
        parts: parts.copied().collect(),
        total: most.map_or(0, |(proof, _)| proof.total),
    }
}
