//! GPUs, and why there are none.
use crate::calibrate::{Calibration, Known};
use crate::output;
use gpu::vulkan::{self, Found};
use runtime::{Accelerator, DeviceError};
use serde::Serialize;

/// A GPU as plans see it.
#[derive(Serialize)]
pub(super) struct Gpu {
    pub(super) device: String,
    kind: &'static str,
    model: String,
    driver: String,
    /// Its own memory.
    memory_bytes: u64,
    /// Whether a processor plays it: correct, and slow.
    is_software: bool,
    /// What it was measured to do, if it was.
    pub(super) calibration: Option<Calibration>,
}

/// Those that Vulkan finds, or why it finds none.
pub(super) fn vulkan() -> Result<Vec<Gpu>, String> {
    let gpu = |(number, found): (usize, Found)| Gpu {
        device: format!("vulkan:{number}"),
        kind: "gpu",
        model: found.name,
        driver: found.driver,
        memory_bytes: found.memory_bytes,
        is_software: found.is_software,
        calibration: None,
    };
    Ok(vulkan::devices()?.into_iter().enumerate().map(gpu).collect())
}

/// What opens a device.
type Opener = Box<dyn Fn() -> Result<Box<dyn Accelerator>, DeviceError>>;

/// All that can be opened, for who measures them.
pub(crate) fn to_measure() -> Vec<(Known, Opener)> {
    let found = vulkan::devices().unwrap_or_default().into_iter().enumerate();
    let one = |(number, found): (usize, Found)| {
        let Found { name, memory_bytes, is_software, .. } = found;
        let known = Known { name: format!("vulkan:{number}"), model: name, memory_bytes, is_software };
        (known, Box::new(move || vulkan::open(number)) as Opener)
    };
    found.map(one).collect()
}

impl Gpu {
    pub(super) fn write(&self) -> anyhow::Result<()> {
        let Gpu { device, model, driver, memory_bytes, is_software, .. } = self;
        let note = if *is_software { "\n  speed    slow: a processor plays it, for tests" } else { "" };
        let (model, driver) = (output::plain(model), output::plain(driver));
        let memory = output::bytes(*memory_bytes);
        output::write(&format!("{device}  {model}\n  driver   {driver}\n  memory   {memory}{note}\n"))?;
        self.calibration.as_ref().map_or(Ok(()), Calibration::write)
    }
}
