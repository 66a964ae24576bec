//! The GPU backends: which kernels they have, and the devices that run them.
use super::{Backend, kernels_on, symbols};
use crate::error::LowerError;
use ir::plan::{Device, Plan};
use runtime::Accelerator;

/// Refuses a plan with a kernel that GPUs have no code for.
pub(super) fn check(plan: &Plan) -> Result<(), LowerError> {
    let own = kernels_on(plan, |backend| matches!(backend, Backend::Vulkan(_)));
    for (kernel, _) in plan.kernels.iter().zip(own).filter(|(_, own)| *own) {
        let refuse = |reason| LowerError::Kernel { id: kernel.id, name: kernel.name.clone(), reason };
        gpu::check(kernel, &symbols(plan)).map_err(refuse)?;
    }
    Ok(())
}

/// Opens a device that Vulkan finds.
pub(super) fn vulkan(device: &Device, number: usize) -> Result<Box<dyn Accelerator>, LowerError> {
    gpu::vulkan::open(number)
        .map_err(|e| LowerError::Device { device: device.name.clone(), reason: e.to_string() })
}
