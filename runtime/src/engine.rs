//! What drives a device: a team of the host's own threads, or an accelerator.
use crate::Executable;
use crate::device::accelerator::Accelerator;
use crate::error::RunError;
use crate::sync::Shared;
use ir::plan::{Plan, Step, Thread};

/// What runs the steps of one thread of a plan.
pub enum Engine {
    /// Workers of the host's processor, which share its memory. There is a place for each kernel of the plan, in order
    /// of id; those that the thread's steps run must have code.
    Team(Vec<Option<Shared<dyn Executable>>>),
    /// A device with a memory and a queue of its own.
    Accelerator(Box<dyn Accelerator>),
}

impl Engine {
    /// A team that has code for every kernel of a plan, in order of id.
    pub fn team(code: &[Shared<dyn Executable>]) -> Engine {
        Engine::Team(code.iter().cloned().map(Some).collect())
    }

    /// Whether it can take the steps of `thread`.
    pub(crate) fn fits(&self, plan: &Plan, thread: &Thread) -> Result<(), RunError> {
        let device = || plan.devices[thread.device.0 as usize].name.clone();
        match self {
            Engine::Team(code) => {
                has_places(plan, code.len())?;
                let mut run = thread.steps.iter().filter_map(|step| match step {
                    Step::Run { kernel, .. } => Some(*kernel),
                    _ => None,
                });
                match run.find(|kernel| code[kernel.0 as usize].is_none()) {
                    Some(kernel) => {
                        let kernel = plan.kernels[kernel.0 as usize].name.clone();
                        Err(RunError::NoCode { device: device(), kernel })
                    }
                    None => Ok(()),
                }
            }
            Engine::Accelerator(_) => {
                let mut own = plan.buffers.iter().filter(|buffer| buffer.device == thread.device);
                match own.find_map(|buffer| Some((buffer.id, buffer.slot?))) {
                    Some((buffer, edge)) => Err(RunError::Unsound(format!(
                        "{buffer} lies in a slot of {edge}, which is memory of the host; expected it in the arena of {}",
                        device()
                    ))),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Whether code for so many kernels is as much as the plan has.
pub(crate) fn has_places(plan: &Plan, found: usize) -> Result<(), RunError> {
    match plan.kernels.len() {
        expected if expected == found => Ok(()),
        expected => {
            Err(RunError::Mismatch { what: "kernels", found: found as u64, expected: expected as u64 })
        }
    }
}
