//! GPUs, and why there are none.
use crate::calibrate::{Calibration, Known};
use crate::output;
use gpu::{Kept, Make, cuda, vulkan};
use ir::plan;
use runtime::{Accelerator, DeviceError};
use serde::Serialize;

/// A GPU as plans see it.
#[derive(Clone, Serialize)]
pub(super) struct Gpu {
    pub(super) device: String,
    kind: &'static str,
    pub(super) model: String,
    driver: String,
    /// What its maker calls what it can do, of those of NVIDIA.
    #[serde(skip_serializing_if = "Option::is_none")]
    compute_capability: Option<String>,
    /// Its own memory.
    pub(super) memory_bytes: u64,
    /// What of it is free now, where the driver says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory_free_bytes: Option<u64>,
    /// Bytes of one value at most, where the driver lets a kernel have no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value_bytes: Option<u64>,
    /// Whether a processor plays it: correct, and slow.
    pub(super) is_software: bool,
    /// Why plans cannot run on it yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) obstacle: Option<String>,
    #[serde(skip)]
    pub(super) make: Make,
    /// Where on the PCI bus it is, by which CUDA and Vulkan know one and the same.
    #[serde(skip)]
    pub(super) bus: String,
    /// What it was measured to do, if it was.
    pub(super) calibration: Option<Calibration>,
}

/// What finds no GPU, and why.
#[derive(Clone, Serialize)]
pub(super) struct Absent {
    /// What their names would begin with.
    device: &'static str,
    kind: &'static str,
    /// Why there are none.
    pub(super) none: String,
}

/// Those that a driver finds, or why it finds none.
pub(super) type Finds = Result<Vec<Gpu>, Absent>;

/// A driver that plans can run by.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Vulkan,
    Cuda,
}

/// What each of the drivers that plans can run by finds.
pub(super) fn all() -> [Finds; 2] {
    [find(Kind::Vulkan), find(Kind::Cuda)]
}

/// What a driver finds.
pub(super) fn find(kind: Kind) -> Finds {
    let none = |device| move |none| Absent { device, kind: "gpu", none };
    match kind {
        Kind::Vulkan => vulkan().map_err(none("vulkan")),
        Kind::Cuda => cuda().map_err(none("cuda")),
    }
}

/// A GPU as a plan has it, alone.
pub(super) fn device(gpu: &Gpu) -> plan::Device {
    plan::Device { name: gpu.device.clone(), kind: ir::topology::Kind::Gpu, ..plan::Device::cpu(0, 1) }
}

fn vulkan() -> Result<Vec<Gpu>, String> {
    let gpu = |(number, found): (usize, vulkan::Found)| Gpu {
        device: format!("vulkan:{number}"),
        kind: "gpu",
        model: found.name,
        driver: found.driver,
        compute_capability: None,
        memory_bytes: found.memory_bytes,
        memory_free_bytes: found.free_bytes,
        value_bytes: Some(found.value_bytes),
        is_software: found.make == Make::Software,
        calibration: None,
        obstacle: None,
        make: found.make,
        bus: found.bus,
    };
    Ok(vulkan::devices()?.into_iter().enumerate().map(gpu).collect())
}

/// What opens a device.
type Opener = Box<dyn Fn() -> Result<Box<dyn Accelerator>, DeviceError>>;

/// All that can be opened, for who measures them.
pub(crate) fn to_measure() -> Vec<(Known, Opener)> {
    let opener = |gpu: &Gpu| -> Option<Opener> {
        let (kind, number) = gpu.device.split_once(':')?;
        let number = number.parse().ok()?;
        Some(match kind {
            "cuda" => Box::new(move || cuda::open(number, Kept::default())),
            _ => Box::new(move || vulkan::open(number)),
        })
    };
    let found = all().into_iter().flatten().flatten().filter(|gpu| gpu.obstacle.is_none());
    let known = |gpu: &Gpu| Known {
        name: gpu.device.clone(),
        model: gpu.model.clone(),
        memory_bytes: gpu.memory_bytes,
        is_software: gpu.is_software,
        driver: gpu::driver(gpu.make, gpu.device.starts_with("cuda:")),
        free_bytes: {
            let device = gpu.device.clone();
            let own = move |now: &Gpu| now.device == device;
            Box::new(move || all().into_iter().flatten().flatten().find(&own)?.memory_free_bytes)
        },
    };
    found.filter_map(|gpu| Some((known(&gpu), opener(&gpu)?))).collect()
}

fn cuda() -> Result<Vec<Gpu>, String> {
    let dotted = |(major, minor): (i32, i32)| format!("{major}.{minor}");
    let gpu = |(number, found): (usize, cuda::Found)| Gpu {
        device: format!("cuda:{number}"),
        kind: "gpu",
        model: found.name,
        driver: format!("CUDA {}", dotted(found.driver)),
        compute_capability: Some(dotted(found.capability)),
        memory_bytes: found.memory_bytes,
        memory_free_bytes: found.free_bytes,
        value_bytes: None,
        is_software: false,
        calibration: None,
        obstacle: found.obstacle,
        make: found.make,
        bus: found.bus,
    };
    Ok(cuda::devices()?.into_iter().enumerate().map(gpu).collect())
}

impl Gpu {
    #[cfg(test)]
    pub(super) fn named(device: &str, model: &str) -> Gpu {
        Gpu {
            device: device.into(),
            kind: "gpu",
            model: model.into(),
            driver: String::new(),
            compute_capability: None,
            memory_bytes: 1 << 30,
            memory_free_bytes: None,
            value_bytes: None,
            is_software: false,
            obstacle: None,
            make: Make::Discrete,
            bus: String::new(),
            calibration: None,
        }
    }

    pub(super) fn write(&self) -> anyhow::Result<()> {
        let Gpu { device, model, driver, memory_bytes, .. } = self;
        let (model, driver) = (output::plain(model), output::plain(driver));
        let free = |bytes: u64| format!(", {} free", output::bytes(bytes));
        let memory = output::bytes(*memory_bytes) + &self.memory_free_bytes.map_or(String::new(), free);
        let capability = self.compute_capability.as_ref().map(|c| format!("  compute  {c}\n"));
        let speed = self.is_software.then(|| "  speed    slow: a processor plays it, for tests\n".to_owned());
        let obstacle = self.obstacle.as_ref().map(|reason| format!("  unusable {}\n", output::plain(reason)));
        let more: String = [capability, speed, obstacle].into_iter().flatten().collect();
        output::write(&format!("{device}  {model}\n  driver   {driver}\n  memory   {memory}\n{more}"))?;
        self.calibration.as_ref().map_or(Ok(()), Calibration::write)
    }
}

impl Absent {
    pub(super) fn write(&self) -> anyhow::Result<()> {
        output::write(&format!("{}  none: {}\n", self.device, self.none))
    }
}
