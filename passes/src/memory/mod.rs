//! Memory: how long values live, where in the arena they lie, and the proof of what the plan takes.
mod assign;
mod liveness;

use crate::{Cx, PassError};
use ir::plan::{Plan, aligned};

/// `process_bytes` is what the process takes beside the plan.
pub(crate) fn run(cx: &Cx, plan: &mut Plan, process_bytes: u64) -> Result<(), PassError> {
    assign::run(plan);
    let scratch = (cx.target.scratch)(plan).map_err(PassError::Backend)?;
    for (kernel, bytes) in plan.kernels.iter_mut().zip(scratch) {
        kernel.scratch = aligned(bytes);
    }
    plan.threads[0].scratch_bytes = plan.kernels.iter().map(|kernel| kernel.scratch).max().unwrap_or(0);
    plan.memory = plan.prove_memory(process_bytes);
    Ok(())
}
