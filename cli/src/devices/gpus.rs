//! GPUs, and why there are none.
use crate::output;
use gpu::vulkan::{self, Found};
use serde::Serialize;

/// A GPU as plans see it.
#[derive(Serialize)]
pub(super) struct Gpu {
    device: String,
    kind: &'static str,
    model: String,
    driver: String,
    /// Its own memory.
    memory_bytes: u64,
    /// Whether a processor plays it: correct, and slow.
    is_software: bool,
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
    };
    Ok(vulkan::devices()?.into_iter().enumerate().map(gpu).collect())
}

impl Gpu {
    pub(super) fn write(&self) -> anyhow::Result<()> {
        let Gpu { device, model, driver, memory_bytes, is_software, .. } = self;
        let note = if *is_software { "\n  speed    slow: a processor plays it, for tests" } else { "" };
        let (model, driver) = (output::plain(model), output::plain(driver));
        let memory = output::bytes(*memory_bytes);
        output::write(&format!("{device}  {model}\n  driver   {driver}\n  memory   {memory}{note}\n"))
    }
}
