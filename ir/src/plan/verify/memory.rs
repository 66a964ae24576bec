//! The part of the verifier that holds the stated proof of memory to what follows from the plan.
use super::Faults;
use crate::plan::{MemoryProof, Plan, Section, Step, Thread, aligned};

/// More bytes than any device has: sums beyond have lost their meaning.
pub(super) const BYTES_MAX: u64 = 1 << 56;

impl Plan {
    pub(super) fn verify_memory(&self, faults: &mut Faults) {
        for (at, thread) in self.threads.iter().enumerate() {
            self.verify_sums(at, thread, faults);
        }
        let process = self.memory.first().map_or(0, |m| m.process);
        let expected = self.prove_memory(process);
        if expected.len() != self.memory.len() {
            let message = format!("the proof has {} rows, expected {}", self.memory.len(), expected.len());
            return faults.add(Section::Memory, usize::MAX, message);
        }
        for (index, (found, expected)) in self.memory.iter().zip(&expected).enumerate() {
            if let Some(message) = difference(found, expected) {
                faults.add(Section::Memory, index, message);
            }
            if expected.total > BYTES_MAX {
                let message = format!("takes {} bytes, expected at most {BYTES_MAX}", expected.total);
                faults.add(Section::Memory, index, message);
            }
            let taken = self.on_device(expected);
            if let Some(budget) = self.budget(expected.device).filter(|budget| taken > *budget) {
                let over = taken - budget;
                let message = format!("takes {taken} bytes, {over} over the budget of {budget}");
                faults.add(Section::Memory, index, message);
            }
        }
    }
}

impl Plan {
    /// A thread takes what its buffers, states and kernels take, and no more.
    fn verify_sums(&self, at: usize, thread: &Thread, faults: &mut Faults) {
        let in_arena = self.buffers.iter().filter(|b| b.device == thread.device && b.slot.is_none());
        let buffers = in_arena.map(|b| b.offset + b.bytes);
        let states = self.states.iter().filter(|s| s.device == thread.device).map(|s| s.offset + s.bytes);
        let kernels = || {
            thread.steps.iter().filter_map(|step| match step {
                Step::Run { kernel, .. } => Some(&self.kernels[kernel.0 as usize]),
                _ => None,
            })
        };
        for (name, found, expected) in [
            ("arena_bytes", thread.arena_bytes, buffers.max()),
            ("state_bytes", thread.state_bytes, states.max()),
            ("scratch_bytes", thread.scratch_bytes, kernels().map(|k| k.scratch).max()),
            ("shared_bytes", thread.shared_bytes, kernels().map(|k| k.shared).max()),
        ] {
            let expected = aligned(expected.unwrap_or(0));
            if found != expected {
                let message = format!("{name} is {found}, it follows {expected}");
                faults.add(Section::Thread(at), usize::MAX, message);
            }
        }
    }
}

/// `prefill: arena is stated as 5, it follows 7`, for every number that differs.
fn difference(found: &MemoryProof, expected: &MemoryProof) -> Option<String> {
    if (found.device, found.phase) != (expected.device, expected.phase) {
        let name = |m: &MemoryProof| format!("{} of {}", m.phase, m.device);
        return Some(format!("is about {}, expected {}", name(found), name(expected)));
    }
    let numbers = |m: &MemoryProof| {
        let MemoryProof { weights, states, arena, scratch, staging, process, driver, total, .. } = *m;
        [
            ("weights", weights),
            ("states", states),
            ("arena", arena),
            ("scratch", scratch),
            ("staging", staging),
            ("process", process),
            ("driver", driver),
            ("total", total),
        ]
    };
    let differ = numbers(found).into_iter().zip(numbers(expected)).filter(|(f, e)| f != e);
    let differ: Vec<String> = differ
        .map(|((name, found), (_, expected))| format!("{name} states {found}, it follows {expected}"))
        .collect();
    (!differ.is_empty()).then(|| format!("{}: {}", found.phase, differ.join("; ")))
}
