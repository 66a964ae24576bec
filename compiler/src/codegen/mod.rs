//! From a plan's kernels to code: one folder per backend.
pub mod cpu;
pub mod gpu;
pub mod reference;

use crate::error::LowerError;
use ::gpu::Kept;
use ir::plan::{Device, Fault, Kernel, Plan, Section, Step, Where};
use ir::topology::Kind;
use passes::{Scratch, Target};
use runtime::Engine;
use runtime::device::Executable;
use std::sync::Arc;

/// Who has code for a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Workers of this process.
    Cpu,
    /// The device of that number that Vulkan finds.
    Vulkan(usize),
    /// The device of that number that NVIDIA's driver finds.
    Cuda(usize),
    /// Nobody here: plans for it can be made, looked at and simulated.
    Elsewhere,
}

impl Backend {
    /// The backend of a device, which its name says.
    pub fn of(device: &Device) -> Backend {
        // Of several devices on one the name ends in their number: `vulkan:0[1]`.
        let name = device.name.split('[').next().unwrap_or_default();
        let number = |number: &str| number.parse().ok();
        let backend = match name.split_once(':') {
            _ if device.kind.is_cpu() => Some(Backend::Cpu),
            Some(("vulkan", own)) => number(own).map(Backend::Vulkan),
            Some(("cuda", own)) => number(own).map(Backend::Cuda),
            _ => None,
        };
        backend.unwrap_or(Backend::Elsewhere)
    }
}

/// Every device whose name says another kind than it states: nobody could tell what is to run its steps.
pub fn verify_devices(plan: &Plan) -> Vec<Fault> {
    let said = |device: &Device| match device.name.split_once(':')?.0 {
        "cpu" => Some(Kind::Cpu),
        "vulkan" | "cuda" => Some(Kind::Gpu),
        _ => None,
    };
    let is_other = |device: &Device| said(device).is_some_and(|kind| kind != device.kind);
    let fault = |(index, device): (usize, &Device)| {
        let kind = |is_cpu| if is_cpu { "a processor" } else { "a GPU" };
        let (found, expected) = (kind(device.kind.is_cpu()), kind(!device.kind.is_cpu()));
        let message = format!(
            "{} is stated to be {found}, expected {expected} of that name: change name and kind together",
            device.name
        );
        Fault { at: Where { section: Section::Devices, index }, message }
    };
    plan.devices.iter().enumerate().filter(|(_, device)| is_other(device)).map(fault).collect()
}

/// Whether there is code for all of these devices.
pub fn has_code(devices: &[Device]) -> bool {
    devices.iter().all(|device| Backend::of(device) != Backend::Elsewhere)
}

/// Whether products on a device take int8 activations: those of GPUs that we have code for take f32.
pub fn takes_int8(device: &Device) -> bool {
    matches!(Backend::of(device), Backend::Cpu | Backend::Elsewhere)
}

/// What passes are told of the devices' backends. Where there is no code for one of them, every weight lies as its file
/// has it; else all of them read weights in the processor's layouts.
pub fn target(devices: &[Device]) -> Target {
    match has_code(devices) {
        true => Target { scratch, ..cpu::target() },
        false => Target::default(),
    }
}

/// Lowers every kernel to learn that it can be, and what memory it needs beside its arguments.
fn scratch(plan: &Plan) -> Result<Vec<Scratch>, String> {
    gpu::check(plan).map_err(|e| e.to_string())?;
    let code = on_cpus(plan).map_err(|e| e.to_string())?;
    let bytes = |code: &Option<Arc<dyn Executable>>| {
        code.as_ref().map_or(Scratch::default(), |code| Scratch {
            own: code.scratch_bytes() as u64,
            shared: code.shared_bytes() as u64,
        })
    };
    Ok(code.iter().map(bytes).collect())
}

/// The code of every kernel of a plan, in order of id, for processors alone. A plan that states less memory than the
/// code needs is refused.
pub fn lower(plan: &Plan) -> Result<Vec<Arc<dyn Executable>>, LowerError> {
    let code = cpu::lower(plan.kernels.iter(), &symbols(plan))?;
    plan.kernels.iter().zip(&code).try_for_each(|(kernel, code)| check_room(kernel, code))?;
    Ok(code)
}

/// Whether there is code for all kernels where they run, and the plan has the memory that it needs.
pub fn check(plan: &Plan) -> Result<(), LowerError> {
    gpu::check(plan)?;
    let code = on_cpus(plan)?;
    let mut pairs = plan.kernels.iter().zip(&code);
    pairs.try_for_each(|(kernel, code)| code.iter().try_for_each(|code| check_room(kernel, code)))
}

/// What drives each thread of a plan, in order; kernels are made ready where they run, and machine code that takes long
/// to make is kept.
pub fn engines(plan: &Plan, kept: &Kept) -> Result<Vec<Engine>, LowerError> {
    gpu::check_values(plan)?;
    let code = on_cpus(plan)?;
    for (kernel, code) in plan.kernels.iter().zip(&code) {
        code.iter().try_for_each(|code| check_room(kernel, code))?;
    }
    let engine = |device: &Device| match Backend::of(device) {
        Backend::Cpu => Ok(Engine::Team(code.clone())),
        Backend::Vulkan(number) => gpu::vulkan(device, number).map(Engine::Accelerator),
        Backend::Cuda(number) => gpu::cuda(device, number, kept).map(Engine::Accelerator),
        Backend::Elsewhere => {
            let reason = "there is no code for it: a plan for it can be looked at and simulated";
            Err(LowerError::Device { device: device.name.clone(), reason: reason.into() })
        }
    };
    plan.threads.iter().map(|thread| engine(&plan.devices[thread.device.0 as usize])).collect()
}

/// The code of the kernels that processors run.
fn on_cpus(plan: &Plan) -> Result<Vec<Option<Arc<dyn Executable>>>, LowerError> {
    let own = kernels_on(plan, |backend| backend == Backend::Cpu);
    let kernels = plan.kernels.iter().zip(&own).filter_map(|(kernel, own)| own.then_some(kernel));
    let mut made = cpu::lower(kernels, &symbols(plan))?.into_iter();
    Ok(own.into_iter().map(|own| if own { made.next() } else { None }).collect())
}

/// Which kernels run on devices of some backends.
fn kernels_on(plan: &Plan, is_own: impl Fn(Backend) -> bool) -> Vec<bool> {
    let mut found = vec![false; plan.kernels.len()];
    for thread in &plan.threads {
        if !is_own(Backend::of(&plan.devices[thread.device.0 as usize])) {
            continue;
        }
        for step in &thread.steps {
            if let Step::Run { kernel, .. } = step {
                found[kernel.0 as usize] = true;
            }
        }
    }
    found
}

fn check_room(kernel: &Kernel, code: &Arc<dyn Executable>) -> Result<(), LowerError> {
    for (what, stated, needed) in [
        ("scratch", kernel.scratch, code.scratch_bytes()),
        ("shared memory", kernel.shared, code.shared_bytes()),
    ] {
        if needed as u64 > stated {
            let reason = format!("states {stated} bytes of {what}, its code needs {needed}");
            return Err(LowerError::Kernel { id: kernel.id, name: kernel.name.clone(), reason });
        }
    }
    Ok(())
}

/// Every weight that does not lie as the backend reads it.
pub fn verify_weights(plan: &Plan) -> Vec<Fault> {
    cpu::weights::verify(plan)
}

fn symbols(plan: &Plan) -> Vec<String> {
    plan.symbols.iter().map(|s| s.name.clone()).collect()
}
