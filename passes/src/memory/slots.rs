//! Which values lie in slots of edges instead of the arena, so that sending and receiving copies nothing.
//!
//! A kernel writes into a slot what is sent behind it, and reads in a slot what was received just before it: no step
//! between waits for anything, so nobody waits longer than for a copy, and no circle of waiting comes of it.
use ir::plan::{BufferId, EdgeId, Plan, Step};

pub(super) fn run(plan: &mut Plan) {
    for at in 0..plan.threads.len() {
        // Senders first: a kernel that waits for a free slot is a step that waits.
        for put in [put_sent, put_received] {
            for (buffer, edge) in put(plan, &plan.threads[at].steps) {
                plan.buffers[buffer.0 as usize].slot = Some(edge);
            }
        }
    }
}

/// What a kernel makes and the next message step sends.
fn put_sent(_: &Plan, steps: &[Step]) -> Vec<(BufferId, EdgeId)> {
    let mut found = vec![];
    for (index, step) in steps.iter().enumerate() {
        let Step::Send { edge, from } = step else { continue };
        let made = steps[..index].iter().rposition(|s| s.writes() == Some(*from));
        let Some(made) = made.filter(|made| matches!(steps[*made], Step::Run { .. })) else { continue };
        let is_next = steps[made + 1..index].iter().all(|s| matches!(s, Step::Run { .. }));
        let last_read = steps.iter().rposition(|s| s.reads().contains(from)).unwrap_or(index);
        if is_next && next_claim(steps, index, *edge).is_none_or(|claim| last_read < claim) {
            found.push((*from, *edge));
        }
    }
    found
}

/// The step that takes the slot of an edge behind the one sent at `sent`, at the earliest: the next to be sent may be
/// made in it.
fn next_claim(steps: &[Step], sent: usize, wanted: EdgeId) -> Option<usize> {
    let next = steps[sent + 1..].iter().find_map(|step| match step {
        Step::Send { edge, from } if *edge == wanted => Some(from),
        _ => None,
    })?;
    steps.iter().position(|step| step.writes() == Some(*next))
}

/// What is received and read before any other step waits.
fn put_received(plan: &Plan, steps: &[Step]) -> Vec<(BufferId, EdgeId)> {
    let mut found = vec![];
    for (index, step) in steps.iter().enumerate() {
        let Step::Recv { edge, to } = step else { continue };
        let last_read = steps.iter().rposition(|s| s.reads().contains(to)).unwrap_or(index);
        let waits = |step: &Step| match step {
            Step::Run { .. } => step.writes().is_some_and(|b| plan.buffers[b.0 as usize].slot.is_some()),
            Step::Send { .. } | Step::Recv { .. } => true,
        };
        if !steps[index + 1..=last_read].iter().any(waits) {
            found.push((*to, *edge));
        }
    }
    found
}
