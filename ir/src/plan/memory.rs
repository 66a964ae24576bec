//! The proof of memory: for each device and phase, what takes how many bytes.
use super::{DeviceId, Plan, aligned};
use serde::{Deserialize, Serialize};
use std::fmt;

/// When memory is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Weights mapped and states allocated, nothing computed yet.
    Load,
    /// The largest step: every symbol at its greatest.
    Prefill,
    /// The largest decode step: a token for each sequence.
    Decode,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Load => "load",
            Phase::Prefill => "prefill",
            Phase::Decode => "decode",
        })
    }
}

/// Bytes of one device in one phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryProof {
    /// The device.
    pub device: DeviceId,
    /// When.
    pub phase: Phase,
    /// Packed weights.
    pub weights: u64,
    /// States: the KV cache.
    pub states: u64,
    /// The arena, as far as the phase uses it.
    pub arena: u64,
    /// Scratch of the whole team: each worker's, and what they share.
    pub scratch: u64,
    /// Slots of the edges that the device reads, and of those by which it answers the host.
    pub staging: u64,
    /// The process itself: code, tokeniser, stacks. On the first device only.
    pub process: u64,
    /// What the device's driver takes, of the device's memory and of the host's.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub driver: u64,
    /// The sum.
    pub total: u64,
}

impl MemoryProof {
    /// Fills in the sum.
    pub fn summed(self) -> MemoryProof {
        let total = self.sum();
        MemoryProof { total, ..self }
    }

    /// What of it the plan takes for the device, and neither the process nor the driver.
    pub fn own(&self) -> u64 {
        self.total.saturating_sub(self.process).saturating_sub(self.driver)
    }

    /// What `total` must be.
    pub fn sum(&self) -> u64 {
        let parts =
            [self.weights, self.states, self.arena, self.scratch, self.staging, self.process, self.driver];
        parts.into_iter().fold(0, u64::saturating_add)
    }
}

fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

impl Plan {
    /// Bytes of a row of the proof that lie in the device's own memory: what passes between devices, and the process,
    /// lie in the host's, and so does a part of what a driver takes.
    pub fn on_device(&self, proof: &MemoryProof) -> u64 {
        match self.devices.get(proof.device.0 as usize).filter(|device| !device.kind.is_cpu()) {
            Some(device) => {
                proof.own().saturating_sub(proof.staging).saturating_add(device.driver.device_bytes)
            }
            None => proof.total,
        }
    }

    /// Bytes of a row of the proof that lie in the host's memory.
    pub fn on_host(&self, proof: &MemoryProof) -> u64 {
        match self.devices.get(proof.device.0 as usize).filter(|device| !device.kind.is_cpu()) {
            Some(device) if !device.driver.is_on_host => proof.total.saturating_sub(self.on_device(proof)),
            _ => proof.total,
        }
    }

    /// The proof that the plan's buffers, weights, states and edges amount to; `process` bytes are
    /// taken from the plan's own statement, for they do not follow from it.
    pub fn prove_memory(&self, process: u64) -> Vec<MemoryProof> {
        let phases = [Phase::Load, Phase::Prefill, Phase::Decode];
        self.threads
            .iter()
            .enumerate()
            .flat_map(|(at, t)| phases.map(|phase| self.prove(t, phase, if at == 0 { process } else { 0 })))
            .collect()
    }

    fn prove(&self, thread: &super::Thread, phase: Phase, process: u64) -> MemoryProof {
        let device = thread.device;
        let known = self.devices.iter().find(|d| d.id == device);
        let threads = known.map_or(1, |d| u64::from(d.threads));
        let symbols = if phase == Phase::Decode { self.decode_symbols() } else { self.max_symbols() };
        let used = |b: &&super::Buffer| b.device == device && b.slot.is_none();
        let end =
            |b: &super::Buffer| b.offset.saturating_add(b.ty.bytes(|s| symbols.get(s)).unwrap_or(b.bytes));
        let arena = match phase {
            Phase::Load => 0,
            _ => aligned(self.buffers.iter().filter(used).map(end).max().unwrap_or(0)),
        };
        let keeps = |e: &&super::Edge| e.keeper() == Some(device);
        let slots = |e: &super::Edge| e.bytes.saturating_mul(u64::from(e.capacity));
        MemoryProof {
            device,
            phase,
            weights: self
                .weights
                .iter()
                .filter(|w| w.device == device)
                .fold(0, |sum, w| sum.saturating_add(w.bytes)),
            states: thread.state_bytes,
            arena,
            scratch: thread.scratch_bytes.saturating_mul(threads).saturating_add(thread.shared_bytes),
            staging: self.edges.iter().filter(keeps).map(slots).fold(0, u64::saturating_add),
            process,
            driver: known.map_or(0, |d| d.driver.bytes()),
            total: 0,
        }
        .summed()
    }
}
