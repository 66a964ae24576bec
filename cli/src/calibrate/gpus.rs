//! What GPUs were measured to do, as far as their ceilings say it: kernels of plans are predicted by those.
use super::best::Tries;
use anyhow::Context;
use gpu::ceilings::{Ceiling, Work};
use ir::plan::Driver;
use ir::topology::{Device, Kind, Link, Read, Team};
use ir::work::Operations;
use runtime::{Accelerator, DeviceError};
use std::time::Duration;

/// What is known of a device before it is measured.
pub(crate) struct Known {
    pub(crate) name: String,
    pub(crate) model: String,
    pub(crate) memory_bytes: u64,
    /// Whether a processor plays it, which takes thousands of times as long.
    pub(crate) is_software: bool,
    /// What its driver is supposed to take and allow.
    pub(crate) driver: Driver,
    /// Asks what of its memory is free.
    pub(crate) free_bytes: Box<dyn Fn() -> Option<u64>>,
}

/// Opens a device anew: each ceiling has one to itself.
type Open<'a> = &'a dyn Fn() -> Result<Box<dyn Accelerator>, DeviceError>;

/// Working sets, in MiB: from what near caches hold to what only memory does.
const SETS_MIB: [u64; 5] = [1, 16, 64, 256, 1024];
/// Of what is only played.
const SOFTWARE_SETS_MIB: [u64; 2] = [1, 4];
/// Steps of one run: waiting for the run is a small part of it.
const STEPS: usize = 16;
/// Operations on each value, one behind the other.
const CHAIN: u32 = 64;

const PATIENT: Tries =
    Tries { count: 5, each: Duration::from_millis(20), patience: Duration::from_millis(400) };

/// The device, and the link between it and the host.
pub(crate) fn measure(known: &Known, host: &str, open: Open<'_>) -> anyhow::Result<(Device, Vec<Link>)> {
    let sets = if known.is_software { &SOFTWARE_SETS_MIB[..] } else { &SETS_MIB };
    let fits = |mib: &&u64| (**mib << 20) <= known.memory_bytes / 8;
    let ceiling = |work, values| Ceiling::new(open()?, work, values, STEPS);
    let per_second = |mut ceiling: Ceiling, each: u64| {
        PATIENT.middle(&mut |rounds| {
            (0..rounds).try_for_each(|_| ceiling.run())?;
            Ok(rounds * STEPS as u64 * each)
        })
    };
    let mut reads = vec![];
    for mib in sets.iter().filter(fits) {
        // What is read and what is written, together the working set.
        let ceiling = ceiling(Work::Copy, (mib << 20) / 8)?;
        let bytes = ceiling.bytes;
        reads.push(Read { bytes, bytes_per_second: per_second(ceiling, bytes)?.max(1.0) as u64 });
    }
    anyhow::ensure!(
        !reads.is_empty(),
        "it has {} bytes of memory, too few to measure it",
        known.memory_bytes
    );
    let values = if known.is_software { 1 << 12 } else { 1 << 22 };
    let rate = |work| -> anyhow::Result<u64> {
        let ceiling = ceiling(work, values)?;
        let operations = ceiling.operations;
        Ok(per_second(ceiling, operations)?.max(1.0) as u64)
    };
    let (f32, exp) = (rate(Work::Fma(CHAIN))?, rate(Work::Exp(CHAIN / 8))?);
    let launches = per_second(ceiling(Work::Copy, 64)?, 1)?;
    let link = link(known, host, open).context("copies between it and the host")?;
    let team = Team {
        threads: 1,
        launch_ns: (1e9 / launches.max(1.0)) as u64,
        // Products with codes or halves are computed in f32.
        operations: Operations { int8: f32, f16: f32, f32, exp },
        reads,
        rates: vec![],
    };
    let device = Device {
        name: known.name.clone(),
        kind: Kind::Gpu,
        model: known.model.clone(),
        kernels: String::new(),
        memory_bytes: known.memory_bytes.max(1),
        driver: driver(known, open)?,
        threads: 1,
        teams: vec![team],
    };
    // The host is beside it, too: what it is told and answers goes the same way.
    let own = Link { from: known.name.clone(), ..link.clone() };
    Ok((device, vec![link, own]))
}

/// What the driver takes for a device that is open and has run something; of the device's memory as it says itself,
/// where it does.
fn driver(known: &Known, open: Open<'_>) -> anyhow::Result<Driver> {
    let before = (known.free_bytes)();
    let mut ceiling = Ceiling::new(open()?, Work::Fma(CHAIN), 64, STEPS)?;
    // What comes again is recorded.
    (0..3).try_for_each(|_| ceiling.run())?;
    let taken = before.zip((known.free_bytes)()).map(|(before, after)| before.saturating_sub(after));
    let taken = taken.map(|bytes| bytes.saturating_sub(ceiling.held_bytes())).filter(|bytes| *bytes > 0);
    Ok(Driver { device_bytes: taken.unwrap_or(known.driver.device_bytes), ..known.driver })
}

/// Messages there and back: short ones say the latency, long ones the rate.
fn link(known: &Known, host: &str, open: Open<'_>) -> anyhow::Result<Link> {
    let long = if known.is_software { 1 << 20 } else { 64 << 20 };
    let mut ceiling = Ceiling::new(open()?, Work::Copy, long as u64 / 4, 1)?;
    let mut message = vec![0; long];
    let mut both_ways = |bytes: usize| {
        PATIENT.middle_ns(&mut || {
            ceiling.write(&message[..bytes])?;
            Ok(ceiling.read(&mut message[..bytes])?)
        })
    };
    let (short_ns, long_ns) = (both_ways(64)?, both_ways(long)?);
    let bytes_per_second = (2.0 * long as f64 * 1e9 / (long_ns - short_ns).max(1000.0)) as u64;
    let latency_ns = (short_ns / 2.0) as u64;
    Ok(Link { from: host.into(), to: known.name.clone(), latency_ns, bytes_per_second, wake_ns: 0 })
}
