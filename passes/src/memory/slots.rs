//! Which values lie in slots of edges instead of the arena, so that sending and receiving copies nothing.
//!
//! A kernel writes into a slot what is sent behind it, and reads in a slot what was received just before it: no step
//! between waits for anything, so nobody waits longer than for a copy, and no circle of waiting comes of it. Slots are
//! memory of the host, so this is for processors alone: what an accelerator computes lies in a memory of its own.
use ir::plan::{BufferId, EdgeId, Plan, Step, Thread};
use std::collections::HashMap;

pub(super) fn run(plan: &mut Plan) {
    for at in 0..plan.threads.len() {
        let device = plan.threads[at].device;
        if !plan.devices[device.0 as usize].kind.is_cpu() {
            continue;
        }
        let steps = &plan.threads[at].steps;
        let uses = Uses::of(&plan.threads[at]);
        // Senders first: a kernel that waits for a free slot is a step that waits.
        for (buffer, edge) in put_sent(steps, &uses) {
            plan.buffers[buffer.0 as usize].slot = Some(edge);
        }
        for (buffer, edge) in put_received(plan, &plan.threads[at].steps, &uses) {
            plan.buffers[buffer.0 as usize].slot = Some(edge);
        }
    }
}

/// Where a thread's buffers are written, which each is once, and read last.
struct Uses {
    writes: HashMap<BufferId, usize>,
    last_reads: HashMap<BufferId, usize>,
}

impl Uses {
    fn of(thread: &Thread) -> Uses {
        let writes = |(index, step): (usize, &Step)| Some((step.writes()?, index));
        let writes = thread.steps.iter().enumerate().filter_map(writes).collect();
        Uses { writes, last_reads: thread.last_reads() }
    }

    fn last_read(&self, buffer: BufferId, or: usize) -> usize {
        self.last_reads.get(&buffer).copied().unwrap_or(or)
    }
}

/// What a kernel makes and the next message step sends.
fn put_sent(steps: &[Step], uses: &Uses) -> Vec<(BufferId, EdgeId)> {
    let mut found = vec![];
    // From the end, so that what each edge carries next is known.
    let mut next: HashMap<EdgeId, BufferId> = HashMap::new();
    for (index, step) in steps.iter().enumerate().rev() {
        let Step::Send { edge, from } = step else { continue };
        // The step that takes the edge's slot behind this one, at the earliest: the next to be sent may be made in it.
        let claim = next.insert(*edge, *from).and_then(|buffer| uses.writes.get(&buffer));
        let made = uses.writes.get(from).copied();
        let Some(made) = made.filter(|made| matches!(steps[*made], Step::Run { .. })) else { continue };
        let is_next = steps[made + 1..index].iter().all(|s| matches!(s, Step::Run { .. }));
        if is_next && claim.is_none_or(|claim| uses.last_read(*from, index) < *claim) {
            found.push((*from, *edge));
        }
    }
    found
}

/// What is received and read before any other step waits.
fn put_received(plan: &Plan, steps: &[Step], uses: &Uses) -> Vec<(BufferId, EdgeId)> {
    let mut found = vec![];
    for (index, step) in steps.iter().enumerate() {
        let Step::Recv { edge, to } = step else { continue };
        let waits = |step: &Step| match step {
            Step::Run { .. } => step.writes().is_some_and(|b| plan.buffers[b.0 as usize].slot.is_some()),
            Step::Send { .. } | Step::Recv { .. } => true,
        };
        if !steps[index + 1..=uses.last_read(*to, index)].iter().any(waits) {
            found.push((*to, *edge));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::partition::Cut;
    use crate::schedule::{self, tests::request};
    use crate::{Cx, memory};
    use ir::plan::{Device, Partition};
    use ir::text;
    use ir::topology::Kind;

    /// The devices on which values lie in slots, of two that have a product each.
    fn in_slots(kinds: [Kind; 2]) -> Vec<u32> {
        let text = "graph g {
           x = input(): f32[n, 16]
           w0 = weight(): f32[16, 16]
           w1 = weight(): f32[16, 16]
           %0 = linear(x, w0): f32[n, 16] @blk.0.w
           %1 = linear(%0, w1): f32[n, 16] @blk.1.w
           return %1
         }";
        let mut graph = text::read(text).expect("the text is one of a graph").graph;
        let partition: Partition = "pipeline:2".parse().unwrap();
        let devices = [0, 1].map(|id| Device { kind: kinds[id as usize], ..Device::cpu(id, 1) });
        let cx = Cx { cut: Cut::of(&graph, partition, &devices).unwrap(), ..Cx::default() };
        for pass in ["partition", "layout"] {
            crate::run_one(&cx, pass, &mut graph).unwrap();
        }
        let mut plan = schedule::run(&cx, &graph, request(partition, 1, 4, &devices)).unwrap();
        memory::run(&cx, &mut plan, 0).unwrap();
        plan.buffers.iter().filter(|b| b.slot.is_some()).map(|b| b.device.0).collect()
    }

    #[test]
    fn what_an_accelerator_computes_lies_in_no_slot() {
        let (cpu, gpu) = (Kind::Cpu, Kind::Gpu);
        assert_eq!(in_slots([cpu, cpu]), [0, 1]);
        assert_eq!(in_slots([cpu, gpu]), [0]);
        assert_eq!(in_slots([gpu, cpu]), [1]);
        assert!(in_slots([gpu, gpu]).is_empty());
    }
}
