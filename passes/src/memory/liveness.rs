//! From which step to which step a buffer lives.
use ir::plan::{Arg, BufferId, Plan, Step};
use std::collections::BTreeMap;

/// For each buffer that a thread uses the steps of first write and last use, in order of the buffers.
pub(super) fn run(plan: &Plan, thread: usize) -> Vec<(usize, (usize, usize))> {
    let mut lives: BTreeMap<BufferId, (usize, usize)> = BTreeMap::new();
    for (at, step) in plan.threads[thread].steps.iter().enumerate() {
        let used = match step {
            Step::Recv { to, .. } => vec![*to],
            Step::Send { from, .. } => vec![*from],
            Step::Run { args, .. } => {
                args.iter().filter_map(|a| if let Arg::B(id) = a { Some(*id) } else { None }).collect()
            }
        };
        for id in used {
            lives.entry(id).or_insert((at, at)).1 = at;
        }
    }
    lives.into_iter().map(|(id, life)| (id.0 as usize, life)).collect()
}
