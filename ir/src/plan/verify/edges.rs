//! The part of the verifier that follows messages: both ends exist, and no circle of waiting.
use super::Faults;
use crate::plan::{EdgeId, End, Plan, Section, Step};
use std::collections::BTreeMap;

/// Messages that an edge holds at most: more never help, and every one has its memory.
pub(super) const CAPACITY_MAX: u32 = 64;
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
        for (index, edge) in self.edges.iter().enumerate() {
            let count = |steps: &BTreeMap<EdgeId, Vec<_>>| steps.get(&edge.id).map_or(0, Vec::len);
            let (sent, received) = (count(&sends), count(&receives));
            if ![edge.from, edge.to].contains(&End::Host) && sent != received && sent.min(received) > 0 {
                let message = format!("{sent} steps send over it and {received} receive, expected as many");
                faults.add(Section::Edges, index, message);
            }
        }
        if faults.is_empty() {
            self.verify_progress(faults);
        }
    }

    /// The steps at a device's end of an edge are that device's; where the host is there are none.
    fn verify_end(
        &self,
        edge: usize,
        deed: &str,
        stated: End,
        found: Option<&Vec<(End, usize, usize)>>,
        faults: &mut Faults,
    ) {
        let found = found.map(Vec::as_slice).unwrap_or_default();
        if let End::Device(device) = stated
            && !self.has_device(device)
        {
            faults.add(Section::Edges, edge, format!("there is no {device}"));
        } else if let (End::Device(device), []) = (stated, found) {
            faults.add(Section::Edges, edge, format!("no step of {device} does {deed} over it"));
        }
        for (end, at, index) in found.iter().filter(|(end, ..)| *end != stated) {
            let message = format!("edge {edge} is to {deed} at {stated}, this step does on {end}");
            faults.add(Section::Thread(*at), *index, message);
        }
        // The host feeds and takes one message of each edge in a step.
        let by_host = [self.edges[edge].from, self.edges[edge].to].contains(&End::Host);
        if let Some((_, at, index)) = found.get(1).filter(|_| by_host) {
            let message = format!("edge {edge} has {} steps that {deed}, expected one", found.len());
            faults.add(Section::Thread(*at), *index, message);
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
