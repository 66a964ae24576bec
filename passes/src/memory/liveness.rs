//! From which step to which step a buffer lives.
use ir::plan::{Arg, Plan, Step};

/// The steps of first write and last use, for each buffer of the plan's first thread.
pub(super) fn run(plan: &Plan) -> Vec<(usize, usize)> {
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; plan.buffers.len()];
    for (at, step) in plan.threads.iter().flat_map(|t| t.steps.iter().enumerate()) {
        let used = match step {
            Step::Recv { to, .. } => vec![*to],
            Step::Send { from, .. } => vec![*from],
            Step::Run { args, .. } => {
                args.iter().filter_map(|a| if let Arg::B(id) = a { Some(*id) } else { None }).collect()
            }
        };
        for id in used {
            lives[id.0 as usize].get_or_insert((at, at)).1 = at;
        }
    }
    lives.into_iter().map(|l| l.expect("every buffer is written by a step")).collect()
}
