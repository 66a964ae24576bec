//! From a plan's kernels to code: one folder per backend.
pub mod cpu;
pub mod reference;
pub mod tree;

use crate::error::LowerError;
use ir::plan::Plan;
use runtime::device::Executable;
use std::sync::Arc;

/// The code of every kernel of a plan, in order of id.
pub fn lower(plan: &Plan) -> Result<Vec<Arc<dyn Executable>>, LowerError> {
    let symbols: Vec<String> = plan.symbols.iter().map(|s| s.name.clone()).collect();
    cpu::lower(&plan.kernels, &symbols)
}
