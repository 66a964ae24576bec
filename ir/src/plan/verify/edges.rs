//! The part of the verifier that follows messages: both ends exist, and no circle of waiting.
use super::Faults;
use crate::plan::{EdgeId, End, Plan, Section, Step};
use std::collections::BTreeMap;

/// Messages that an edge holds at most: more never help, and every one has its memory.
const CAPACITY_MAX: u32 = 64;
/// The longest deadline: an hour. Nobody waits longer to learn that a device is stuck.
const DEADLINE_MAX_MS: u32 = 3_600_000;

impl Plan {
    pub(super) fn verify_edges(&self, faults: &mut Faults) {
        let symbols = self.max_symbols();
        let mut sends: BTreeMap<EdgeId, Vec<(End, usize, usize)>> = BTreeMap::new();
        let mut receives = sends.clone();
        for (at, thread) in self.threads.iter().enumerate() {
            for (index, step) in thread.steps.iter().enumerate() {
                let end = End::Device(thread.device);
                match step {
                    Step::Send { edge, .. } => sends.entry(*edge).or_default().push((end, at, index)),
                    Step::Recv { edge, .. } => receives.entry(*edge).or_default().push((end, at, index)),
                    Step::Run { .. } => {}
                }
            }
        }
        for (index, edge) in self.edges.iter().enumerate() {
            if edge.capacity == 0 || edge.capacity > CAPACITY_MAX {
                let message = format!("its capacity is {}, expected 1 to {CAPACITY_MAX}", edge.capacity);
                faults.add(Section::Edges, index, message);
            }
            if edge.deadline_ms == 0 || edge.deadline_ms > DEADLINE_MAX_MS {
                let message =
                    format!("its deadline is {} ms, expected 1 to {DEADLINE_MAX_MS}", edge.deadline_ms);
                faults.add(Section::Edges, index, message);
            }
            if edge.from == edge.to {
                faults.add(Section::Edges, index, format!("goes from {} to itself", edge.from));
            }
            match edge.ty.bytes(|s| symbols.get(s)) {
                Some(bytes) if bytes == edge.bytes => {}
                Some(other) => {
                    let message = format!("states {} bytes a message, {} takes {other}", edge.bytes, edge.ty);
                    faults.add(Section::Edges, index, message);
                }
                None => faults.add(Section::Edges, index, format!("the size of {} cannot be known", edge.ty)),
            }
            self.verify_end(index, "send", edge.from, sends.get(&edge.id), faults);
            self.verify_end(index, "receive", edge.to, receives.get(&edge.id), faults);
        }
        if sends.values().chain(receives.values()).all(|ends| ends.len() == 1) {
            self.verify_progress(faults);
        }
    }

    /// An edge has one step at each device end, and none where the host is.
    fn verify_end(
        &self,
        edge: usize,
        deed: &str,
        stated: End,
        found: Option<&Vec<(End, usize, usize)>>,
        faults: &mut Faults,
    ) {
        let found = found.map(Vec::as_slice).unwrap_or_default();
        match (stated, found) {
            (End::Host, []) => {}
            (End::Device(_), [(end, ..)]) if *end == stated => {}
            (End::Device(device), []) => {
                faults.add(Section::Edges, edge, format!("no step of {device} does {deed} over it"))
            }
            (_, [.., (end, at, index)]) => {
                let message = format!(
                    "edge {edge} has {} steps that {deed}, this one on {end}; expected one at {stated}",
                    found.len()
                );
                faults.add(Section::Thread(*at), *index, message);
            }
        }
    }

    /// Runs the threads' sends and receives against queues of the stated capacities: the host feeds
    /// every edge it writes, then takes from every edge it reads.
    fn verify_progress(&self, faults: &mut Faults) {
        let mut queued: Vec<u32> = self.edges.iter().map(|e| u32::from(e.from == End::Host)).collect();
        let mut next = vec![0; self.threads.len()];
        loop {
            let mut moved = false;
            for (thread, next) in self.threads.iter().zip(&mut next) {
                while let Some(step) = thread.steps.get(*next) {
                    match step {
                        Step::Run { .. } => {}
                        Step::Recv { edge, .. } if queued[edge.0 as usize] > 0 => {
                            queued[edge.0 as usize] -= 1
                        }
                        Step::Send { edge, .. }
                            if queued[edge.0 as usize] < self.edges[edge.0 as usize].capacity =>
                        {
                            queued[edge.0 as usize] += 1;
                        }
                        Step::Recv { .. } | Step::Send { .. } => break,
                    }
                    *next += 1;
                    moved = true;
                }
            }
            if !moved {
                break;
            }
        }
        for (at, (thread, next)) in self.threads.iter().zip(next).enumerate() {
            if let Some(Step::Recv { edge, .. } | Step::Send { edge, .. }) = thread.steps.get(next) {
                let message =
                    format!("{} waits here for ever at {edge}: the threads wait in a circle", thread.device);
                faults.add(Section::Thread(at), next, message);
            }
        }
    }
}
