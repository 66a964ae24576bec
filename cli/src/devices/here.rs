//! The GPUs of this machine for who places a plan on them: whether they are there, what their drivers take and allow,
//! and how much of their memory is free.
use super::gpus::{self, Finds, Gpu};
use super::usable_memory;
use crate::cache::Cache;
use crate::calibrate;
use anyhow::bail;
use gpu::Make;
use ir::plan::{Device, Driver};
use ir::topology::Topology;
use std::path::Path;
use std::sync::OnceLock;

/// Says by which GPUs a plan runs that nobody named a device for.
const DEFAULT: &str = "HEDDLE_GPU";

/// A GPU that a plan can be made for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Candidate {
    /// As a plan has it, alone.
    pub(crate) device: Device,
    /// What its maker calls it.
    pub(crate) model: String,
    /// Bytes of its memory that a plan may take now.
    pub(crate) free_bytes: u64,
    /// Why plans cannot run on it.
    pub(crate) obstacle: Option<String>,
}

/// What Vulkan finds; each driver is asked once.
fn vulkan() -> &'static Finds {
    static FOUND: OnceLock<Finds> = OnceLock::new();
    FOUND.get_or_init(|| gpus::find(gpus::Kind::Vulkan))
}

/// What NVIDIA's driver finds.
fn cuda() -> &'static Finds {
    static FOUND: OnceLock<Finds> = OnceLock::new();
    FOUND.get_or_init(|| gpus::find(gpus::Kind::Cuda))
}

/// The GPU that a device of a plan is, or why there is none; nothing of processors, and of GPUs that only a topology's
/// file knows.
fn gpu(device: &Device) -> Option<Result<&'static Gpu, String>> {
    let (driver, number) = whole(&device.name).split_once(':').filter(|_| !device.kind.is_cpu())?;
    let (found, maker) = match driver {
        "vulkan" => (vulkan(), "Vulkan"),
        "cuda" => (cuda(), "CUDA"),
        _ => return None,
    };
    let all = match found {
        Ok(all) => all,
        Err(absent) => return Some(Err(absent.none.clone())),
    };
    let own = number.parse().ok().and_then(|number: usize| all.get(number));
    let missing =
        || format!("found {} {maker} devices, expected {} among them", all.len(), whole(&device.name));
    Some(own.ok_or_else(missing).and_then(|own| match &own.obstacle {
        Some(obstacle) => Err(obstacle.clone()),
        None => Ok(own),
    }))
}

/// The name of the GPU that several devices are parts of.
fn whole(name: &str) -> &str {
    name.split('[').next().unwrap_or_default()
}

/// Refuses devices that plans cannot run on here.
pub(crate) fn check(devices: &[Device]) -> anyhow::Result<()> {
    for device in devices {
        if let Some(Err(reason)) = gpu(device) {
            bail!("{}: {reason}; `heddle devices` lists what there is", device.name);
        }
    }
    Ok(())
}

/// Devices with what their drivers take and allow, of those that are here.
pub(crate) fn described(devices: Vec<Device>) -> Vec<Device> {
    let mut known: Vec<String> = vec![];
    let described = |device: Device| {
        let Some(Ok(gpu)) = gpu(&device) else { return device };
        let is_first = !known.iter().any(|name| name == whole(&device.name));
        known.push(whole(&device.name).to_owned());
        Device { driver: driver(gpu, is_first), ..device }
    };
    devices.into_iter().map(described).collect()
}

/// What a GPU's driver takes and allows: as it was measured, else as is supposed. Several devices on one have one
/// context.
fn driver(gpu: &Gpu, is_first: bool) -> Driver {
    let is_cuda = gpu.device.starts_with("cuda:");
    let supposed = gpu::driver(gpu.make, is_cuda);
    let measured = calibration().and_then(|known| known.device(&gpu.device)).filter(|d| d.model == gpu.model);
    let measured = measured.map(|known| known.driver).filter(|driver| driver.bytes() > 0);
    let Driver { device_bytes, host_bytes, .. } = match is_first {
        true => measured.unwrap_or(supposed),
        false => gpu::driver_of_another(gpu.make, is_cuda),
    };
    Driver { device_bytes, host_bytes, value_bytes: gpu.value_bytes, is_on_host: supposed.is_on_host }
}

/// What was measured here, if anything was and it can be read; who needs it says why it cannot.
pub(crate) fn calibration() -> Option<&'static Topology> {
    static KEPT: OnceLock<Option<Topology>> = OnceLock::new();
    let read = || calibrate::read(&calibrate::place(&Cache::from_env().ok()?)).ok().flatten();
    KEPT.get_or_init(read).as_ref()
}

/// Bytes of a device's memory that a plan may take now, of which `devices` are parts; none where nobody says.
pub(crate) fn free_bytes(device: &Device, devices: &[Device]) -> Option<u64> {
    let Ok(gpu) = gpu(device)? else { return None };
    let parts = devices.iter().filter(|other| whole(&other.name) == whole(&device.name)).count() as u64;
    Some(free_of(gpu) / parts.max(1))
}

fn free_of(gpu: &Gpu) -> u64 {
    let own = gpu.memory_free_bytes.unwrap_or(gpu.memory_bytes);
    match gpu.make {
        Make::Discrete => own,
        // It is the host's, of which others have some.
        Make::Integrated | Make::Software => usable_memory().map_or(own, |usable| own.min(usable)),
    }
}

/// The GPUs that a plan may run on that nobody named a device for, the best first. Where none can be there, no driver
/// is asked.
pub(crate) fn candidates() -> anyhow::Result<Vec<Candidate>> {
    let asked = std::env::var(DEFAULT).unwrap_or_default();
    let takes_software = match asked.as_str() {
        "" => false,
        "none" => return Ok(vec![]),
        "software" => true,
        other => bail!("{DEFAULT} is {other:?}, expected none, or software"),
    };
    let found = |finds: &'static Finds| finds.iter().flatten();
    let cuda = found(cuda());
    let vulkan = if takes_software || may_have_vulkan() { Some(found(vulkan())) } else { None };
    let all = cuda.chain(vulkan.into_iter().flatten()).cloned().collect();
    let ranked = ranked(all, takes_software).into_iter().map(|gpu| Candidate {
        device: Device { driver: driver(&gpu, true), ..gpus::device(&gpu) },
        free_bytes: free_of(&gpu),
        model: gpu.model,
        obstacle: gpu.obstacle,
    });
    Ok(ranked.collect())
}

/// Whether this machine can have a GPU that Vulkan drives: each of them is a file of the system's. Asking Vulkan loads
/// every driver that is installed, which takes a process that has no use for one some ten milliseconds.
fn may_have_vulkan() -> bool {
    const FILES: [&str; 5] = ["/dev/dri", "/dev/nvidiactl", "/dev/dxg", "/dev/kgsl-3d0", "/dev/mali0"];
    cfg!(not(target_os = "linux")) || FILES.iter().any(|file| Path::new(file).exists())
}

/// Those that may be taken, the best first; what CUDA and Vulkan both find is CUDA's, where that can run it.
fn ranked(all: Vec<Gpu>, takes_software: bool) -> Vec<Gpu> {
    let is_cuda = |gpu: &Gpu| gpu.device.starts_with("cuda:");
    let is_same = |a: &Gpu, b: &Gpu| match a.bus.is_empty() || b.bus.is_empty() {
        true => a.model == b.model,
        false => a.bus == b.bus,
    };
    let of_cuda: Vec<Gpu> =
        all.iter().filter(|gpu| is_cuda(gpu) && gpu.obstacle.is_none()).cloned().collect();
    let is_other = |gpu: &Gpu| is_cuda(gpu) || !of_cuda.iter().any(|own| is_same(own, gpu));
    let mut ranked: Vec<Gpu> =
        all.into_iter().filter(|gpu| (takes_software || !gpu.is_software) && is_other(gpu)).collect();
    ranked.sort_by_key(|gpu| (gpu.make, !is_cuda(gpu)));
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(device: &str, make: Make, bus: &str) -> Gpu {
        let mut gpu = Gpu::named(device, "a card");
        (gpu.bus, gpu.make, gpu.is_software) = (bus.into(), make, make == Make::Software);
        gpu
    }

    fn names(all: &[Gpu], takes_software: bool) -> Vec<String> {
        ranked(all.to_vec(), takes_software).into_iter().map(|gpu| gpu.device).collect()
    }

    #[test]
    fn a_card_of_its_own_comes_before_a_part_of_the_processor_and_what_is_played_never_by_default() {
        let all = [
            gpu("vulkan:2", Make::Software, ""),
            gpu("vulkan:1", Make::Integrated, "0000:00:02.0"),
            gpu("vulkan:0", Make::Discrete, "0000:01:00.0"),
        ];
        assert_eq!(names(&all, false), ["vulkan:0", "vulkan:1"]);
        assert_eq!(names(&all, true), ["vulkan:0", "vulkan:1", "vulkan:2"]);
    }

    #[test]
    fn what_both_drivers_find_counts_once() {
        let vulkan = [
            gpu("vulkan:0", Make::Discrete, "0000:01:00.0"),
            gpu("vulkan:1", Make::Discrete, "0000:02:00.0"),
        ];
        let cuda = gpu("cuda:0", Make::Discrete, "0000:02:00.0");
        let both = |cuda: Gpu| [&vulkan[..], &[cuda]].concat();
        assert_eq!(names(&both(cuda.clone()), false), ["cuda:0", "vulkan:0"]);
        // Where nobody says where it is, by its name.
        let nowhere = gpu("cuda:0", Make::Discrete, "");
        assert_eq!(names(&both(nowhere), false), ["cuda:0"]);
        let mut broken = cuda;
        broken.obstacle = Some("NVRTC is missing".into());
        assert_eq!(names(&both(broken), false), ["cuda:0", "vulkan:0", "vulkan:1"]);
    }
}
