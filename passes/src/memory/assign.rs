//! An offset in its device's arena for every buffer: the largest first, each at the lowest place that is free
//! while it lives.
use super::liveness;
use ir::plan::{Buffer, Plan, aligned};
use std::cmp::Reverse;

pub(super) fn run(plan: &mut Plan) {
    for at in 0..plan.threads.len() {
        let mut lives = liveness::run(plan, at);
        lives.retain(|(b, _)| plan.buffers[*b].slot.is_none());
        let thread = &mut plan.threads[at];
        thread.arena_bytes = assign(&mut plan.buffers, &lives);
    }
}

/// Says where the buffers lie that live in some steps, and how many bytes they take together.
fn assign(buffers: &mut [Buffer], lives: &[(usize, (usize, usize))]) -> u64 {
    let mut order = lives.to_vec();
    order.sort_by_key(|&(b, life)| (Reverse(buffers[b].bytes), life.0, b));
    // What is taken in each step, as beginnings and ends.
    let steps = lives.iter().map(|(_, life)| life.1 + 1).max().unwrap_or(0);
    let mut taken: Vec<Vec<(u64, u64)>> = vec![vec![]; steps];
    let mut end = 0;
    for (b, life) in order {
        let mut together = taken[life.0..=life.1].concat();
        together.sort_unstable();
        let bytes = aligned(buffers[b].bytes);
        let mut offset = 0;
        for (begin, end) in together {
            if offset + bytes <= begin {
                break;
            }
            offset = offset.max(aligned(end));
        }
        buffers[b].offset = offset;
        let own = (offset, offset + buffers[b].bytes);
        taken[life.0..=life.1].iter_mut().for_each(|step| step.push(own));
        end = end.max(aligned(own.1));
    }
    end
}
