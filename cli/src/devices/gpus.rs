//! GPUs, and why there are none.
use crate::calibrate::{Calibration, Known};
use crate::output;
use gpu::{Kept, cuda, vulkan};
use runtime::{Accelerator, DeviceError};
use serde::Serialize;

/// A GPU as plans see it.
#[derive(Serialize)]
pub(super) struct Gpu {
    pub(super) device: String,
    kind: &'static str,
    model: String,
    driver: String,
    /// What its maker calls what it can do, of those of NVIDIA.
    #[serde(skip_serializing_if = "Option::is_none")]
    compute_capability: Option<String>,
    /// Its own memory.
    memory_bytes: u64,
    /// Whether a processor plays it: correct, and slow.
    is_software: bool,
    /// Why plans cannot run on it yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    obstacle: Option<String>,
    /// What it was measured to do, if it was.
    pub(super) calibration: Option<Calibration>,
}

/// What finds no GPU, and why.
#[derive(Serialize)]
pub(super) struct Absent {
    /// What their names would begin with.
    device: &'static str,
    kind: &'static str,
    /// Why there are none.
    none: String,
}

/// Those that a driver finds, or why it finds none.
pub(super) type Finds = Result<Vec<Gpu>, Absent>;

/// What each of the drivers that plans can run by finds.
pub(super) fn all() -> [Finds; 2] {
    let none = |device| move |none| Absent { device, kind: "gpu", none };
    [vulkan().map_err(none("vulkan")), cuda().map_err(none("cuda"))]
}

fn vulkan() -> Result<Vec<Gpu>, String> {
    let gpu = |(number, found): (usize, vulkan::Found)| Gpu {
        device: format!("vulkan:{number}"),
        kind: "gpu",
        model: found.name,
        driver: found.driver,
        compute_capability: None,
        memory_bytes: found.memory_bytes,
        is_software: found.is_software,
        calibration: None,
        obstacle: None,
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
        is_software: false,
        calibration: None,
        obstacle: found.obstacle,
    };
    Ok(cuda::devices()?.into_iter().enumerate().map(gpu).collect())
}

impl Gpu {
    pub(super) fn write(&self) -> anyhow::Result<()> {
        let Gpu { device, model, driver, memory_bytes, .. } = self;
        let (model, driver) = (output::plain(model), output::plain(driver));
        let memory = output::bytes(*memory_bytes);
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
