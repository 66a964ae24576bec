//! Memory: how long values live, where in the arena they lie, and the proof of what the plan takes.
mod assign;
mod liveness;

use crate::{Cx, PassError};
use ir::plan::{Kernel, Plan, aligned};

/// `process_bytes` is what the process takes beside the plan.
pub(crate) fn run(cx: &Cx, plan: &mut Plan, process_bytes: u64) -> Result<(), PassError> {
    assign::run(plan);
    let scratch = (cx.target.scratch)(plan).map_err(PassError::Backend)?;
    for (kernel, bytes) in plan.kernels.iter_mut().zip(scratch) {
        (kernel.scratch, kernel.shared) = (aligned(bytes.own), aligned(bytes.shared));
    }
    let most = |bytes: fn(&Kernel) -> u64| plan.kernels.iter().map(bytes).max().unwrap_or(0);
    let (own, shared) = (most(|kernel| kernel.scratch), most(|kernel| kernel.shared));
    (plan.threads[0].scratch_bytes, plan.threads[0].shared_bytes) = (own, shared);
    plan.memory = plan.prove_memory(process_bytes);
    Ok(())
}
