//! The GPU backends: which kernels they have, and the devices that run them.
use super::{Backend, kernels_on, symbols};
use crate::error::LowerError;
use gpu::Kept;
use ir::plan::{Device, DeviceId, Plan};
use runtime::{Accelerator, DeviceError};

/// Refuses a plan with a kernel that GPUs have no code for.
pub(super) fn check(plan: &Plan) -> Result<(), LowerError> {
    check_lengths(plan)?;
    check_values(plan)?;
    let own = kernels_on(plan, |backend| matches!(backend, Backend::Vulkan(_) | Backend::Cuda(_)));
    for (kernel, _) in plan.kernels.iter().zip(own).filter(|(_, own)| *own) {
        let refuse = |reason| LowerError::Kernel { id: kernel.id, name: kernel.name.clone(), reason };
        gpu::check(kernel, &symbols(plan)).map_err(refuse)?;
    }
    Ok(())
}

/// Refuses values of more elements than kernels count: their indices have 31 bits.
fn check_lengths(plan: &Plan) -> Result<(), LowerError> {
    let on_gpu = |id: DeviceId| {
        plan.devices
            .get(id.0 as usize)
            .is_some_and(|d| matches!(Backend::of(d), Backend::Vulkan(_) | Backend::Cuda(_)))
    };
    let weights = plan.weights.iter().map(|w| (w.device, &w.name, &w.ty, w.bytes));
    let states = plan.states.iter().map(|s| (s.device, &s.name, &s.ty, s.bytes));
    for (device, name, ty, bytes) in weights.chain(states).filter(|value| on_gpu(value.0)) {
        let (len, block) = (ty.dtype.block_len(), ty.dtype.block_bytes().max(1));
        let elements = (bytes / block).saturating_mul(len);
        if i32::try_from(elements).is_err() {
            let reason =
                format!("{name} has {elements} elements, GPUs take {} at most of one value", i32::MAX);
            let device = plan.devices[device.0 as usize].name.clone();
            return Err(LowerError::Device { device, reason });
        }
    }
    Ok(())
}

/// Into how many parts a value is advised to be cut at most.
const PARTS_MAX: u64 = 8;

/// Refuses values that are larger than what a device's driver lets a kernel have of one.
pub(super) fn check_values(plan: &Plan) -> Result<(), LowerError> {
    for device in &plan.devices {
        let Some(most) = device.driver.value_bytes else { continue };
        let is_own = |id: DeviceId| id == device.id;
        let weights = plan.weights.iter().filter(|w| is_own(w.device)).map(|w| (w.name.as_str(), w.bytes));
        let states = plan.states.iter().filter(|s| is_own(s.device)).map(|s| (s.name.as_str(), s.bytes));
        let cut = |bytes: u64| {
            let own = &plan.options.partition;
            let parts = u64::from(own.tensor).saturating_mul(bytes.div_ceil(most.max(1)));
            let whole = device.name.split('[').next().unwrap_or_default();
            if parts > PARTS_MAX {
                return String::new();
            }
            let names: Vec<String> = (0..parts).map(|part| format!("{whole}[{part}]")).collect();
            format!("cut it, as by --partition tensor:{parts} --devices \"{}\", or ", names.join(","))
        };
        let refuse = |what: &str, bytes: u64, advice: String| {
            let reason = format!(
                "{what} takes {bytes} bytes, its driver lets a kernel have {most} at most of one value: \
                 {advice}take another device"
            );
            Err(LowerError::Device { device: device.name.clone(), reason })
        };
        if let Some((name, bytes)) = weights.chain(states).filter(|value| value.1 > most).max_by_key(|v| v.1)
        {
            return refuse(name, bytes, cut(bytes));
        }
        let arena = plan.threads.iter().find(|thread| is_own(thread.device)).map_or(0, |t| t.arena_bytes);
        if arena > most {
            let advice =
                "take fewer tokens or sequences a step, by --chunk of `heddle compile` or --max-batch, or ";
            return refuse("the arena", arena, advice.into());
        }
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
