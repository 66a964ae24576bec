//! From a plan's kernels to code: one folder per backend.
pub mod cpu;
pub mod reference;
pub mod tree;

use crate::error::LowerError;
use ir::plan::{Fault, Plan};
use runtime::device::Executable;
use std::sync::Arc;

/// The code of every kernel of a plan, in order of id. A plan that states less scratch than the code needs is refused.
pub fn lower(plan: &Plan) -> Result<Vec<Arc<dyn Executable>>, LowerError> {
    let code = cpu::lower(&plan.kernels, &symbols(plan))?;
    for (kernel, code) in plan.kernels.iter().zip(&code) {
        let needed = code.scratch_bytes() as u64;
        if needed > kernel.scratch {
            let reason = format!("states {} bytes of scratch, its code needs {needed}", kernel.scratch);
            return Err(LowerError::Kernel { id: kernel.id, name: kernel.name.clone(), reason });
        }
    }
    Ok(code)
}

/// Every weight that does not lie as the backend reads it.
pub fn verify_weights(plan: &Plan) -> Vec<Fault> {
    cpu::weights::verify(plan)
}

fn symbols(plan: &Plan) -> Vec<String> {
    plan.symbols.iter().map(|s| s.name.clone()).collect()
}
