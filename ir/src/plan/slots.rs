//! Buffers that lie in slots of edges, so that one device's kernel writes a message where the other's reads it.
//!
//! Such a buffer has no place of its own: each round it lies in the slot that is next.
//!
//! - At the writer a kernel makes it. Before that step a free slot is awaited; the step that sends it publishes the
//!   slot, and copies nothing. The device may go on reading it, until it takes the edge's next slot.
//! - At the reader a message comes in it. Behind the step that reads it last the slot is given back.
use super::{Arg, BufferId, EdgeId, Plan, Step, Thread};
use std::collections::HashMap;

/// What a step does with slots beside what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotUse {
    /// The edge of which a free slot is awaited before the step, which writes a message there.
    pub claims: Option<EdgeId>,
    /// The buffers whose slots are given back behind the step, with their edges, in the order of their messages.
    pub frees: Vec<(EdgeId, BufferId)>,
}

impl Step {
    /// The buffer that the step writes.
    pub fn writes(&self) -> Option<BufferId> {
        match self {
            Step::Recv { to, .. } => Some(*to),
            Step::Send { .. } => None,
            Step::Run { args, .. } => match args.last() {
                Some(Arg::B(id)) => Some(*id),
                _ => None,
            },
        }
    }

    /// The buffers that the step reads.
    pub fn reads(&self) -> Vec<BufferId> {
        match self {
            Step::Recv { .. } => vec![],
            Step::Send { from, .. } => vec![*from],
            Step::Run { args, .. } => args[..args.len().saturating_sub(1)]
                .iter()
                .filter_map(|a| if let Arg::B(id) = a { Some(*id) } else { None })
                .collect(),
        }
    }
}

impl Thread {
    /// The step that reads each buffer last.
    pub fn last_reads(&self) -> HashMap<BufferId, usize> {
        let reads = |(index, step): (usize, &Step)| step.reads().into_iter().map(move |id| (id, index));
        self.steps.iter().enumerate().flat_map(reads).collect()
    }
}

impl Plan {
    /// What each step of a thread does with slots.
    ///
    /// # Panics
    /// If a step names a buffer that the plan does not hold.
    pub fn slot_uses(&self, thread: &Thread) -> Vec<SlotUse> {
        let mut uses = vec![SlotUse::default(); thread.steps.len()];
        let slot = |id: BufferId| self.buffers[id.0 as usize].slot;
        let last_reads = thread.last_reads();
        for (index, step) in thread.steps.iter().enumerate() {
            match step {
                Step::Run { .. } => uses[index].claims = step.writes().and_then(slot),
                Step::Recv { edge, to } if slot(*to).is_some() => {
                    let last = last_reads.get(to).copied().unwrap_or(index).max(index);
                    uses[last].frees.push((*edge, *to));
                }
                _ => {}
            }
        }
        uses
    }
}
