//! The part of the verifier that holds the stated proof of memory to what follows from the plan.
use super::Faults;
use crate::plan::{ALIGNMENT, MemoryProof, Plan, Section};

/// More bytes than any device has: sums beyond have lost their meaning.
const BYTES_MAX: u64 = 1 << 56;

impl Plan {
    pub(super) fn verify_memory(&self, faults: &mut Faults) {
        for (at, thread) in self.threads.iter().enumerate() {
            let scratch = thread.scratch_bytes;
            if !scratch.is_multiple_of(ALIGNMENT) {
                let message =
                    format!("a worker's scratch has {scratch} bytes, which is no multiple of {ALIGNMENT}");
                faults.add(Section::Thread(at), usize::MAX, message);
            }
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
            if let Some(budget) = self.options.memory.filter(|b| expected.total > *b) {
                let over = expected.total - budget;
                let message = format!("takes {} bytes, {over} over the budget of {budget}", expected.total);
                faults.add(Section::Memory, index, message);
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
        let MemoryProof { weights, states, arena, scratch, staging, process, total, .. } = *m;
        [
            ("weights", weights),
            ("states", states),
            ("arena", arena),
            ("scratch", scratch),
            ("staging", staging),
            ("process", process),
            ("total", total),
        ]
    };
    let differ = numbers(found).into_iter().zip(numbers(expected)).filter(|(f, e)| f != e);
    let differ: Vec<String> = differ
        .map(|((name, found), (_, expected))| format!("{name} states {found}, it follows {expected}"))
        .collect();
    (!differ.is_empty()).then(|| format!("{}: {}", found.phase, differ.join("; ")))
}
