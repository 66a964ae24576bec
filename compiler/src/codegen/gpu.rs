//! The GPU backends: which kernels they have, and the devices that run them.
use super::{Backend, kernels_on, symbols};
use crate::error::LowerError;
use gpu::Kept;
use ir::plan::{Device, Plan};
use runtime::{Accelerator, DeviceError};

/// Refuses a plan with a kernel that GPUs have no code for.
pub(super) fn check(plan: &Plan) -> Result<(), LowerError> {
    let own = kernels_on(plan, |backend| matches!(backend, Backend::Vulkan(_) | Backend::Cuda(_)));
    for (kernel, _) in plan.kernels.iter().zip(own).filter(|(_, own)| *own) {
        let refuse = |reason| LowerError::Kernel { id: kernel.id, name: kernel.name.clone(), reason };
        gpu::check(kernel, &symbols(plan)).map_err(refuse)?;
    }
    Ok(())
}

/// Opens a device that Vulkan finds.
pub(super) fn vulkan(device: &Device, number: usize) -> Result<Box<dyn Accelerator>, LowerError> {
    gpu::vulkan::open(number).map_err(|error| refused(device, &error))
}

/// Opens a device that NVIDIA's driver finds.
pub(super) fn cuda(device: &Device, number: usize, kept: &Kept) -> Result<Box<dyn Accelerator>, LowerError> {
    gpu::cuda::open(number, kept.clone()).map_err(|error| refused(device, &error))
}

fn refused(device: &Device, error: &DeviceError) -> LowerError {
    LowerError::Device { device: device.name.clone(), reason: error.to_string() }
}
