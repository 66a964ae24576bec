//! The part of the verifier that follows slots: what lies in one is written before it is sent and not read once the
//! slot can hold something else.
use super::Faults;
use crate::plan::{Buffer, BufferId, EdgeId, End, Plan, Section, Step, Thread};
use std::collections::{BTreeMap, HashSet, VecDeque};

impl Plan {
    /// Whether slots are sound. Types, ids and lives have been found so.
    pub(super) fn verify_slots(&self, faults: &mut Faults) -> bool {
        for (index, buffer) in self.buffers.iter().enumerate() {
            if let Some(message) = self.misplaced(buffer) {
                faults.add(Section::Buffers, index, message);
            }
        }
        if !faults.is_empty() {
            return false;
        }
        for (at, thread) in self.threads.iter().enumerate() {
            let mut walk = Walk::new(self);
            for (index, fault) in walk.thread(thread) {
                faults.add(Section::Thread(at), index, fault);
            }
        }
        faults.is_empty()
    }

    /// What is wrong with where a buffer lies, if it is in a slot.
    fn misplaced(&self, buffer: &Buffer) -> Option<String> {
        let id = buffer.slot?;
        let Some(edge) = self.edges.get(id.0 as usize) else {
            return Some(format!("lies in a slot of {id}, which there is not"));
        };
        let own = End::Device(buffer.device);
        if edge.ty != buffer.ty {
            Some(format!("is {}, and lies in a slot of {id}, which carries {}", buffer.ty, edge.ty))
        } else if ![edge.from, edge.to].contains(&own) {
            Some(format!("lies in a slot of {id}, which has no end on {}", buffer.device))
        } else if buffer.offset != 0 {
            Some(format!("lies in a slot of {id}, and at offset {}, expected 0", buffer.offset))
        } else {
            None
        }
    }
}

/// A thread's slots from step to step.
struct Walk<'a> {
    plan: &'a Plan,
    /// By edge, what is written into its next slot and not yet sent.
    open: BTreeMap<EdgeId, BufferId>,
    /// By edge, what lies in the slot that was sent last.
    sent: BTreeMap<EdgeId, BufferId>,
    /// What lies in slots that may hold something else by now.
    lost: HashSet<BufferId>,
    /// By edge, what was received and still lies in its slots, the oldest first.
    held: BTreeMap<EdgeId, VecDeque<BufferId>>,
}

impl<'a> Walk<'a> {
    fn new(plan: &'a Plan) -> Walk<'a> {
        Walk {
            plan,
            open: BTreeMap::new(),
            sent: BTreeMap::new(),
            lost: HashSet::new(),
            held: BTreeMap::new(),
        }
    }

    fn slot(&self, buffer: BufferId) -> Option<EdgeId> {
        self.plan.buffers[buffer.0 as usize].slot
    }

    /// The faults of a thread's steps, with their numbers.
    fn thread(&mut self, thread: &Thread) -> Vec<(usize, String)> {
        let mut faults = vec![];
        for (index, (step, uses)) in thread.steps.iter().zip(self.plan.slot_uses(thread)).enumerate() {
            faults.extend(self.step(step).map(|fault| (index, fault)));
            for read in step.reads().into_iter().filter(|read| self.lost.contains(read)) {
                let message = format!("reads {read}, whose slot can hold the next message by now");
                faults.push((index, message));
            }
            for (edge, buffer) in uses.frees {
                let held = self.held.entry(edge).or_default();
                if held.pop_front() != Some(buffer) {
                    let message =
                        format!("is the last to read {buffer}, before what came earlier over {edge}");
                    faults.push((index, message));
                }
            }
        }
        if let Some((edge, buffer)) = self.open.first_key_value() {
            faults.push((usize::MAX, format!("{buffer} lies in a slot of {edge} and is never sent")));
        }
        faults
    }

    fn step(&mut self, step: &Step) -> Option<String> {
        match step {
            Step::Run { .. } => {
                let buffer = step.writes()?;
                let edge = self.slot(buffer)?;
                let (plan, device) = (self.plan, self.plan.buffers[buffer.0 as usize].device);
                if plan.edges[edge.0 as usize].from != End::Device(device) {
                    return Some(format!(
                        "writes {buffer}, which lies in a slot of {edge} that {device} reads"
                    ));
                }
                let fault = self.take(edge);
                self.open.insert(edge, buffer);
                return fault;
            }
            Step::Send { edge, from } if self.slot(*from) == Some(*edge) => {
                if self.open.remove(edge) != Some(*from) {
                    return Some(format!("{from} is sent from its slot a second time"));
                }
                self.sent.insert(*edge, *from);
            }
            Step::Send { edge, .. } => return self.take(*edge),
            Step::Recv { edge, to } => match (self.slot(*to), self.held.get(edge).and_then(|h| h.front())) {
                (Some(other), _) if other != *edge => {
                    return Some(format!("receives over {edge} into a slot of {other}"));
                }
                (Some(_), _) => self.held.entry(*edge).or_default().push_back(*to),
                (None, Some(held)) => {
                    return Some(format!(
                        "receives a copy over {edge}, of which {held} is still in its slot"
                    ));
                }
                (None, None) => {}
            },
        }
        None
    }

    /// Takes the next slot of an edge, whatever for: what was sent last is no longer there. A fault, if one is taken
    /// already.
    fn take(&mut self, edge: EdgeId) -> Option<String> {
        self.lost.extend(self.sent.remove(&edge));
        let open = self.open.get(&edge)?;
        Some(format!("takes a slot of {edge}, of which {open} is not sent"))
    }
}
