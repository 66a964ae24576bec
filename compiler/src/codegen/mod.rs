//! From a plan's kernels to code: one folder per backend.
pub mod cpu;
pub mod reference;
pub mod tree;

use crate::error::LowerError;
use ir::plan::{Device, Fault, Plan};
use passes::Target;
use runtime::device::Executable;
use std::sync::Arc;

/// What passes are told of the devices' backend. There is code for processors only: plans for anything else have
/// every weight as its file has it, and can be looked at and simulated.
pub fn target(devices: &[Device]) -> Target {
    match devices.iter().all(|device| device.kind.is_cpu()) {
        true => cpu::target(),
        false => Target::default(),
    }
}

/// The code of every kernel of a plan, in order of id. A plan that states less memory than the code needs is refused.
pub fn lower(plan: &Plan) -> Result<Vec<Arc<dyn Executable>>, LowerError> {
    let code = cpu::lower(&plan.kernels, &symbols(plan))?;
    for (kernel, code) in plan.kernels.iter().zip(&code) {
        for (what, stated, needed) in [
            ("scratch", kernel.scratch, code.scratch_bytes()),
            ("shared memory", kernel.shared, code.shared_bytes()),
        ] {
            if needed as u64 > stated {
                let reason = format!("states {stated} bytes of {what}, its code needs {needed}");
                return Err(LowerError::Kernel { id: kernel.id, name: kernel.name.clone(), reason });
            }
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
