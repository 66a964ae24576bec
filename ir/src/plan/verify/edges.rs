//! The part of the verifier that follows messages: both ends exist, and no circle of waiting.
use super::Faults;
use crate::plan::{BufferId, CAPACITY_MAX, Edge, EdgeId, End, Plan, Section, Step, Thread};
use std::collections::BTreeMap;

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
            if let (End::Device(from), End::Device(to)) = (edge.from, edge.to)
                && [from, to].iter().all(|device| (device.0 as usize) < self.devices.len())
                && self.replica_of(from) != self.replica_of(to)
            {
                let message =
                    format!("goes from {from} to {to}, which belong to replicas with steps of their own");
                faults.add(Section::Edges, index, message);
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

    /// Runs the threads against queues of the stated capacities, and the host, which feeds as many rounds as can
    /// be under way and then takes what comes of them. Who waits for ever in some order of threads does so in
    /// every one, for no thread looks whether it would have to wait. Edges and slots have been found sound.
    pub(super) fn verify_progress(&self, faults: &mut Faults) {
        let rounds = self.options.micro_batches as usize;
        let mut threads: Vec<Actor> = self.threads.iter().map(|t| Actor::device(self, t, rounds)).collect();
        threads.push(Actor::host(self, rounds));
        let mut queues: Vec<Queue> = self.edges.iter().map(|e| Queue::new(e.capacity)).collect();
        while threads.iter_mut().any(|thread| thread.goes_on(&mut queues)) {}
        for (at, (step, act)) in threads.iter().enumerate().filter_map(|(at, t)| Some((at, t.next()?))) {
            let (who, section, index) = match self.threads.get(at) {
                Some(thread) => (thread.device.to_string(), Section::Thread(at), step),
                None => ("the host".into(), Section::Edges, act.edge().0 as usize),
            };
            let message =
                format!("{who} waits here for ever at {}: the threads wait in a circle", act.edge());
            faults.add(section, index, message);
        }
    }
}

/// What a thread does with an edge.
#[derive(Clone, Copy)]
enum Act {
    /// Waits for room.
    Claim(EdgeId),
    /// Puts a message into a slot that was claimed.
    Put(EdgeId),
    /// Waits for a message, and leaves it in its slot.
    Take(EdgeId),
    /// Gives the oldest slot back.
    Free(EdgeId),
}

impl Act {
    fn edge(self) -> EdgeId {
        match self {
            Act::Claim(edge) | Act::Put(edge) | Act::Take(edge) | Act::Free(edge) => edge,
        }
    }
}

/// An edge's slots.
struct Queue {
    free: u32,
    full: u32,
}

impl Queue {
    fn new(capacity: u32) -> Queue {
        Queue { free: capacity, full: 0 }
    }
}

/// A thread of the run, with the steps at which it acts.
struct Actor {
    acts: Vec<(usize, Act)>,
    at: usize,
    rounds: usize,
}

impl Actor {
    fn device(plan: &Plan, thread: &Thread, rounds: usize) -> Actor {
        let mut acts = vec![];
        let slot = |id: &BufferId| plan.buffers[id.0 as usize].slot;
        for (index, (step, uses)) in thread.steps.iter().zip(plan.slot_uses(thread)).enumerate() {
            match step {
                Step::Run { .. } => acts.extend(uses.claims.map(|edge| (index, Act::Claim(edge)))),
                Step::Send { edge, from } if slot(from) == Some(*edge) => acts.push((index, Act::Put(*edge))),
                Step::Send { edge, .. } => {
                    acts.extend([Act::Claim(*edge), Act::Put(*edge)].map(|a| (index, a)))
                }
                Step::Recv { edge, to } => {
                    acts.push((index, Act::Take(*edge)));
                    acts.extend(slot(to).is_none().then_some((index, Act::Free(*edge))));
                }
            }
            acts.extend(uses.frees.iter().map(|(edge, _)| (index, Act::Free(*edge))));
        }
        Actor { acts, at: 0, rounds }
    }

    fn host(plan: &Plan, rounds: usize) -> Actor {
        let at = |of: fn(&Edge) -> End| plan.edges.iter().filter(move |e| of(e) == End::Host).map(|e| e.id);
        let fed = at(|e| e.from).flat_map(|edge| [Act::Claim(edge), Act::Put(edge)]);
        let taken = at(|e| e.to).flat_map(|edge| [Act::Take(edge), Act::Free(edge)]);
        let (fed, taken): (Vec<_>, Vec<_>) = (fed.collect(), taken.collect());
        let acts = (0..rounds).flat_map(|_| fed.iter()).chain((0..rounds).flat_map(|_| taken.iter()));
        Actor { acts: acts.map(|act| (0, *act)).collect(), at: 0, rounds: 1 }
    }

    /// What it has not done.
    fn next(&self) -> Option<(usize, Act)> {
        self.acts.get(self.at).copied()
    }

    /// Acts until it has to wait, and says whether it did anything.
    fn goes_on(&mut self, queues: &mut [Queue]) -> bool {
        let mut moved = false;
        while let Some((_, act)) = self.next() {
            let Queue { free, full } = &mut queues[act.edge().0 as usize];
            let (from, to) = match act {
                Act::Claim(_) => (Some(free), None),
                Act::Put(_) => (None, Some(full)),
                Act::Take(_) => (Some(full), None),
                Act::Free(_) => (None, Some(free)),
            };
            match from {
                Some(0) => break,
                Some(count) => *count -= 1,
                None => {}
            }
            to.into_iter().for_each(|count| *count += 1);
            moved = true;
            self.at += 1;
            if self.at == self.acts.len() && self.rounds > 1 {
                self.rounds -= 1;
                self.at = 0;
            }
        }
        moved
    }
}
