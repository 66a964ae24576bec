//! An offset in the arena for every buffer: the largest first, each at the lowest place that is free
//! while it lives.
use super::liveness;
use ir::plan::{Plan, aligned};
use std::cmp::Reverse;

pub(super) fn run(plan: &mut Plan) {
    let lives = liveness::run(plan);
    let mut order: Vec<usize> = (0..plan.buffers.len()).collect();
    order.sort_by_key(|&b| (Reverse(plan.buffers[b].bytes), lives[b].0, b));
    let mut placed: Vec<usize> = vec![];
    for b in order {
        let together = |&&other: &&usize| lives[other].0 <= lives[b].1 && lives[b].0 <= lives[other].1;
        let mut taken: Vec<(u64, u64)> = placed
            .iter()
            .filter(together)
            .map(|&other| (plan.buffers[other].offset, plan.buffers[other].bytes))
            .collect();
        taken.sort_unstable();
        let bytes = aligned(plan.buffers[b].bytes);
        let mut offset = 0;
        for (begin, length) in taken {
            if offset + bytes <= begin {
                break;
            }
            offset = offset.max(aligned(begin + length));
        }
        plan.buffers[b].offset = offset;
        placed.push(b);
    }
    let end = plan.buffers.iter().map(|b| aligned(b.offset + b.bytes)).max().unwrap_or(0);
    plan.threads[0].arena_bytes = end;
}
