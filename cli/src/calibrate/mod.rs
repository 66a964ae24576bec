//! What this machine was measured to do, and where that is kept: the topology that the cost model counts with.
mod best;
mod gpus;
mod kernels;
mod lacks;
mod measure;
mod parts;
mod show;

pub(crate) use gpus::Known;
pub(crate) use lacks::for_plan;
pub(crate) use measure::ASK_AHEAD_BYTES;
pub(crate) use show::Calibration;

use crate::cache::Cache;
use crate::{devices, output};
use anyhow::Context;
use compiler::Bundle;
use ir::plan::Device;
use ir::topology::{Topology, TopologyError, VERSION};
use measure::measure;
use std::fs;
use std::path::{Path, PathBuf};

/// Where this machine's topology is kept.
pub(crate) fn place(cache: &Cache) -> PathBuf {
    cache.root().join("topology.ron")
}

/// The topology in a file; none where there is no such file.
pub(crate) fn read(path: &Path) -> anyhow::Result<Option<Topology>> {
    let fault = || format!("cannot read {}", path.display());
    match output::read_text(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        text => Ok(Some(Topology::from_text(&text.with_context(fault)?).with_context(fault)?)),
    }
}

/// The topology in a file that somebody names.
pub(crate) fn read_written(path: &Path) -> anyhow::Result<Topology> {
    read(path)?.with_context(|| format!("{} does not exist", path.display()))
}

/// The topology that a command counts with: of the file that somebody names, else of the bundle in a folder, else of
/// this machine.
pub(crate) fn asked_or_own(
    asked: Option<&Path>,
    bundle: Option<&Path>,
    devices: &[Device],
) -> anyhow::Result<Topology> {
    for_devices(asked_or_kept(asked, bundle)?, devices)
}

/// The same as it is written or was measured: of a processor that is to be several devices, as one.
pub(crate) fn asked_or_kept(asked: Option<&Path>, bundle: Option<&Path>) -> anyhow::Result<Topology> {
    let own = bundle.and_then(Bundle::topology_path);
    match asked.or(own.as_deref()) {
        Some(path) => read_written(path),
        None => kept_or_measured(&Cache::from_env()?),
    }
}

/// Measures this machine and keeps what that gives.
pub(crate) fn keep(cache: &Cache) -> anyhow::Result<Topology> {
    let root = cache.root();
    fs::create_dir_all(root).with_context(|| format!("cannot create the folder {}", root.display()))?;
    measure_into(&place(cache))
}

/// Measures this machine and writes that to a file, whole or not at all, in a folder that is there.
pub(crate) fn measure_into(path: &Path) -> anyhow::Result<Topology> {
    let fault = || format!("cannot write {}", path.display());
    // Said before what takes long, not after it.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::metadata(folder.unwrap_or(Path::new("."))).with_context(fault)?;
    let topology = measure()?;
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}", std::process::id()));
    let written = fs::write(&partial, topology.to_text()).and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        // What is left of it, if anything, is of no use; that it cannot be removed is said by the first error.
        let _ = fs::remove_file(&partial);
    }
    written.with_context(fault)?;
    Ok(topology)
}

/// This machine's topology: as it is kept, else measured now and kept.
pub(crate) fn kept_or_measured(cache: &Cache) -> anyhow::Result<Topology> {
    let path = place(cache);
    let reason = match read(&path) {
        Ok(Some(topology)) => match stale(&topology) {
            None => return Ok(topology),
            Some(reason) => reason,
        },
        Ok(None) => "this machine was never measured".to_owned(),
        Err(error) => match error.downcast_ref() {
            Some(TopologyError::Version { found }) => {
                format!("the calibration that was kept is of version {found}, today's of {VERSION}")
            }
            _ => output::explain(&error),
        },
    };
    note!("{reason}: calibrating, which takes up to a minute");
    keep(cache)
}

/// Why a topology that was measured here no longer says what this machine is.
pub(crate) fn stale(topology: &Topology) -> Option<String> {
    let now = devices::cpu();
    let cores = now.cores.unwrap_or(1) as u32;
    let Some(device) = topology.device(now.device) else {
        return Some(format!("the calibration has no {}", now.device));
    };
    let was = (device.model.as_str(), device.kernels.as_str(), device.threads);
    let is = (now.model.as_deref().unwrap_or_default(), now.kernels, cores);
    (was != is).then(|| {
        let said = |(model, kernels, threads): (&str, &str, u32)| {
            format!("{}, {} kernels, {threads} threads", output::plain(model), output::plain(kernels))
        };
        format!("the calibration is of another machine ({}; this is {})", said(was), said(is))
    })
}

/// A topology with so many devices: where it has them not, and they are parts of this machine's processor or of one
/// of its GPUs, with those in parts.
pub(crate) fn for_devices(topology: Topology, wanted: &[Device]) -> anyhow::Result<Topology> {
    let mut topology = parts::of_gpus(topology, wanted);
    let is_missing = |device: &&Device| !device.kind.is_cpu() && topology.device(&device.name).is_none();
    if let Some(missing) = wanted.iter().find(is_missing) {
        let has: Vec<&str> = topology.devices.iter().map(|device| device.name.as_str()).collect();
        anyhow::bail!(
            "nothing is known of {}, only of {}: `heddle devices --calibrate` measures what this machine has now",
            missing.name,
            has.join(", ")
        );
    }
    let own = devices::cpu().device;
    let is_part = |device: &&Device| device.kind.is_cpu() && device.name.starts_with("cpu:");
    let parts: Vec<(&str, u32)> =
        wanted.iter().filter(is_part).map(|d| (d.name.as_str(), d.threads)).collect();
    let has_other = topology.devices.iter().any(|device| device.kind.is_cpu() && device.name != own);
    let is_whole = parts.len() <= 1 && parts.iter().all(|(name, _)| topology.device(name).is_some());
    if is_whole || has_other || topology.device(own).is_none() {
        return Ok(topology);
    }
    let threads: u32 = parts.iter().map(|part| part.1).sum();
    let has = topology.device(own).map_or(0, |device| device.threads);
    topology = topology.split(own, &parts).with_context(|| {
        format!("the devices want {threads} threads at once, this machine has {has}: what it would take there cannot be said, but with --topology FILE for a machine that has them")
    })?;
    Ok(topology)
}
