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
    let mut placed: Vec<(usize, (usize, usize))> = vec![];
    for (b, life) in order {
        let together = |other: &&(usize, (usize, usize))| other.1.0 <= life.1 && life.0 <= other.1.1;
        let taken = placed.iter().filter(together);
        let mut taken: Vec<(u64, u64)> = taken.map(|o| (buffers[o.0].offset, buffers[o.0].bytes)).collect();
        taken.sort_unstable();
        let bytes = aligned(buffers[b].bytes);
        let mut offset = 0;
        for (begin, length) in taken {
            if offset + bytes <= begin {
                break;
            }
            offset = offset.max(aligned(begin + length));
        }
        buffers[b].offset = offset;
        placed.push((b, life));
    }
    placed.iter().map(|(b, _)| aligned(buffers[*b].offset + buffers[*b].bytes)).max().unwrap_or(0)
}
