//! The memory of each device over the steps of its thread, buffer by buffer.
use super::super::flow::NodeIx;
use super::end_name;
use ir::plan::{BufferId, EdgeId, End, MemoryProof, Plan, Thread};
use std::collections::HashMap;

/// A buffer, from the step that writes it first to the one that needs it last.
#[derive(Clone, Debug, PartialEq)]
pub struct BufferLife {
    /// The buffer.
    pub id: BufferId,
    /// The node whose value lies there, where it is known.
    pub node: Option<NodeIx>,
    /// Its type.
    pub ty: String,
    /// Where in the arena, in bytes.
    pub offset: u64,
    /// Bytes with every symbol at its greatest.
    pub bytes: u64,
    /// The edge in whose slots it lies instead of the arena.
    pub slot: Option<EdgeId>,
    /// The first step that has it.
    pub first: u32,
    /// The last one.
    pub last: u32,
}

/// What one device has in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceMemory {
    /// The device's number.
    pub device: u32,
    /// Its name.
    pub name: String,
    /// Bytes of the arena.
    pub arena_bytes: u64,
    /// Steps of its thread.
    pub steps: u32,
    /// Its buffers, in the order in which they are written.
    pub buffers: Vec<BufferLife>,
    /// The edges in whose slots some of them lie, in order.
    pub slots: Vec<EdgeId>,
    /// By step the bytes of the arena that are in use.
    pub live_bytes: Vec<u64>,
    /// The greatest of these.
    pub most_live_bytes: u64,
    /// The proof: bytes by phase.
    pub proof: Vec<MemoryProof>,
}

impl DeviceMemory {
    /// The phase that takes most, and what takes how much then, in bytes; none where nothing is proven.
    pub fn most(&self) -> Option<(&MemoryProof, [(&'static str, u64); 7])> {
        let most = self.proof.iter().max_by_key(|proof| proof.total)?;
        let parts = [
            ("weights", most.weights),
            ("KV cache", most.states),
            ("arena", most.arena),
            ("scratch", most.scratch),
            ("edges", most.staging),
            ("process", most.process),
            ("driver", most.driver),
        ];
        Some((most, parts))
    }
}

pub(super) fn of(plan: &Plan, nodes: &[Vec<Option<NodeIx>>]) -> Vec<DeviceMemory> {
    plan.threads.iter().zip(nodes).map(|(thread, nodes)| of_thread(plan, thread, nodes)).collect()
}

fn of_thread(plan: &Plan, thread: &Thread, nodes: &[Option<NodeIx>]) -> DeviceMemory {
    let mut buffers: Vec<BufferLife> = vec![];
    let mut known: HashMap<BufferId, usize> = HashMap::new();
    let mut last_writes: HashMap<BufferId, u32> = HashMap::new();
    for (index, step) in thread.steps.iter().enumerate() {
        let Some(id) = step.writes() else { continue };
        let Some(buffer) = plan.buffers.get(id.0 as usize) else { continue };
        last_writes.insert(id, index as u32);
        known.entry(id).or_insert_with(|| {
            buffers.push(BufferLife {
                id,
                node: nodes.get(index).copied().flatten(),
                ty: buffer.ty.to_string(),
                offset: buffer.offset,
                bytes: buffer.bytes,
                slot: buffer.slot,
                first: index as u32,
                last: index as u32,
            });
            buffers.len() - 1
        });
    }
    let last_reads = thread.last_reads();
    for life in &mut buffers {
        let read = last_reads.get(&life.id).map_or(0, |step| *step as u32);
        life.last = read.max(last_writes.get(&life.id).copied().unwrap_or(0)).max(life.first);
    }
    let mut changes = vec![(0u64, 0u64); thread.steps.len() + 1];
    for life in buffers.iter().filter(|life| life.slot.is_none()) {
        let (begin, end) = (life.first as usize, life.last as usize + 1);
        changes[begin].0 = changes[begin].0.saturating_add(life.bytes);
        changes[end].1 = changes[end].1.saturating_add(life.bytes);
    }
    let mut live = 0u64;
    let mut live_bytes = vec![];
    for (begun, ended) in changes.iter().take(thread.steps.len()) {
        live = live.saturating_sub(*ended).saturating_add(*begun);
        live_bytes.push(live);
    }
    let mut slots: Vec<EdgeId> = buffers.iter().filter_map(|life| life.slot).collect();
    slots.sort_unstable_by_key(|edge| edge.0);
    slots.dedup();
    DeviceMemory {
        device: thread.device.0,
        name: end_name(plan, End::Device(thread.device)),
        arena_bytes: thread.arena_bytes,
        steps: thread.steps.len() as u32,
        buffers,
        slots,
        most_live_bytes: live_bytes.iter().copied().max().unwrap_or(0),
        live_bytes,
        proof: plan.memory.iter().filter(|proof| proof.device == thread.device).cloned().collect(),
    }
}
