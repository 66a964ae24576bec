//! Memory: how long values live, where in the arena they lie, and the proof of what the plan takes.
mod assign;
mod liveness;
mod slots;

use crate::{Cx, PassError};
use ir::plan::{Plan, Step, aligned};

/// `process_bytes` is what the process takes beside the plan.
pub(crate) fn run(cx: &Cx, plan: &mut Plan, process_bytes: u64) -> Result<(), PassError> {
    slots::run(plan);
    assign::run(plan);
    let scratch = (cx.target.scratch)(plan).map_err(PassError::Backend)?;
    for (kernel, bytes) in plan.kernels.iter_mut().zip(scratch) {
        (kernel.scratch, kernel.shared) = (aligned(bytes.own), aligned(bytes.shared));
    }
    for thread in &mut plan.threads {
        let kernels = || {
            thread.steps.iter().filter_map(|step| match step {
                Step::Run { kernel, .. } => Some(&plan.kernels[kernel.0 as usize]),
                _ => None,
            })
        };
        let own = kernels().map(|kernel| kernel.scratch).max();
        let shared = kernels().map(|kernel| kernel.shared).max();
        (thread.scratch_bytes, thread.shared_bytes) = (own.unwrap_or(0), shared.unwrap_or(0));
    }
    plan.memory = plan.prove_memory(process_bytes);
    Ok(())
}
