//! `heddle devices`: what this machine has to run plans on.
mod gpus;
mod here;

pub(crate) use gpus::to_measure as gpus;
pub(crate) use here::{Candidate, calibration, candidates, check, described, free_bytes};

use crate::cache::Cache;
use crate::calibrate::{self, Calibration};
use crate::output;
use clap::Args;
use kernels::simd::Isa;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};

/// Show the devices that plans can run on: cores, SIMD, memory, the kernels chosen for them, what was measured; GPUs
#[derive(Args)]
#[command(after_help = "\
Examples:
  heddle devices
  heddle devices --calibrate
  heddle devices --json | jq '.[0].memory_available_bytes'")]
pub struct Options {
    /// Measure what this machine can do, and keep it for `heddle bench --profile`; it should be idle meanwhile
    #[arg(long)]
    calibrate: bool,
    /// Write what was measured to this file instead
    #[arg(short, long, value_name = "FILE", requires = "calibrate")]
    output: Option<PathBuf>,
    /// Print a JSON array instead of text
    #[arg(long)]
    json: bool,
}

/// The CPU as plans see it. What the system does not tell is none.
#[derive(Serialize)]
pub(crate) struct Cpu {
    pub(crate) device: &'static str,
    kind: &'static str,
    pub(crate) model: Option<String>,
    /// Cores that this process may use: affinity and the control group's quota are counted in.
    pub(crate) cores: Option<usize>,
    cores_online: Option<usize>,
    simd: Vec<&'static str>,
    /// The kernels that a plan compiled here uses, and all that would run.
    pub(crate) kernels: &'static str,
    kernels_available: Vec<&'static str>,
    /// Physical memory, or the control group's limit where that is less.
    pub(crate) memory_bytes: Option<u64>,
    memory_available_bytes: Option<u64>,
    /// What it was measured to do, if it was.
    calibration: Option<Calibration>,
}

pub fn run(options: Options) -> anyhow::Result<()> {
    let place = match &options.output {
        Some(path) => {
            calibrate::measure_into(path)?;
            path.clone()
        }
        None => {
            let cache = Cache::from_env()?;
            if options.calibrate {
                calibrate::keep(&cache)?;
            }
            calibrate::place(&cache)
        }
    };
    let mut cpu = cpu();
    let mut gpus = gpus::all();
    match calibrate::read(&place) {
        Ok(None) => {}
        Ok(Some(topology)) => {
            for gpu in gpus.iter_mut().flatten().flatten() {
                gpu.calibration = Calibration::of(topology.clone(), &gpu.device, place.clone());
            }
            cpu.calibration = Calibration::of(topology, cpu.device, place);
        }
        Err(error) => note!("{}; `heddle devices --calibrate` measures anew", output::explain(&error)),
    }
    if options.json {
        let gpus = gpus.into_iter().flat_map(|found| match found {
            Ok(gpus) => gpus.into_iter().map(|gpu| Device::Gpu(Box::new(gpu))).collect(),
            Err(absent) => vec![Device::Absent(absent)],
        });
        return output::write_json(
            &std::iter::once(Device::Cpu(Box::new(cpu))).chain(gpus).collect::<Vec<_>>(),
        );
    }
    write_cpu(&cpu)?;
    if let Some(calibration) = &cpu.calibration {
        calibration.write()?;
    }
    gpus.iter().try_for_each(|found| match found {
        Ok(gpus) => gpus.iter().try_for_each(|gpu| gpu.write()),
        Err(absent) => absent.write(),
    })
}

#[derive(Serialize)]
#[serde(untagged)]
enum Device {
    Cpu(Box<Cpu>),
    Gpu(Box<gpus::Gpu>),
    Absent(gpus::Absent),
}

fn write_cpu(cpu: &Cpu) -> anyhow::Result<()> {
    let unknown = || "unknown".to_string();
    let cores = match (cpu.cores, cpu.cores_online) {
        (Some(cores), Some(online)) => format!("{cores} usable of {online}"),
        (Some(cores), None) => format!("{cores} usable"),
        _ => unknown(),
    };
    let memory = match (cpu.memory_bytes, cpu.memory_available_bytes) {
        (Some(all), Some(free)) => format!("{}, {} available", output::bytes(all), output::bytes(free)),
        _ => unknown(),
    };
    let kernels = format!("{} (of {})", cpu.kernels, cpu.kernels_available.join(", "));
    output::write(&format!(
        "{}  {}\n  cores    {cores}\n  SIMD     {}\n  kernels  {kernels}\n  memory   {memory}\n",
        cpu.device,
        cpu.model.clone().unwrap_or_else(unknown),
        cpu.simd.join(" "),
    ))
}

pub(crate) fn cpu() -> Cpu {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let total = meminfo_bytes(&meminfo, "MemTotal");
    let group = group_memory();
    let least = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
    Cpu {
        device: "cpu:0",
        kind: "cpu",
        model: cpuinfo_model(&cpuinfo),
        cores: std::thread::available_parallelism().ok().map(usize::from),
        cores_online: count_list(online.trim()),
        simd: simd(),
        kernels: Isa::detect().name(),
        kernels_available: Isa::available().into_iter().map(Isa::name).collect(),
        memory_bytes: least(total, group.map(|(limit, _)| limit)),
        memory_available_bytes: least(
            meminfo_bytes(&meminfo, "MemAvailable"),
            group.map(|(limit, used)| limit.saturating_sub(used)),
        ),
        calibration: None,
    }
}

/// Bytes that a plan can have here: what is available, caches of files among it, and at most what the control
/// group allows; none where the system does not say.
pub(crate) fn usable_memory() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let limit = group_memory().map(|(limit, _)| limit);
    meminfo_bytes(&meminfo, "MemAvailable").into_iter().chain(limit).min()
}

/// The instruction sets that matter here, of those that this CPU has.
#[cfg(target_arch = "x86_64")]
fn simd() -> Vec<&'static str> {
    macro_rules! present {
        ($($name:tt)*) => { [$(($name, is_x86_feature_detected!($name))),*] };
    }
    let all = present!(
        "avx" "avx2" "fma" "f16c" "avxvnni" "avx512f" "avx512bw" "avx512dq" "avx512vl" "avx512vnni" "avx512bf16"
    );
    all.into_iter().filter_map(|(name, present)| present.then_some(name)).collect()
}

#[cfg(target_arch = "aarch64")]
fn simd() -> Vec<&'static str> {
    macro_rules! present {
        ($($name:tt)*) => { [$(($name, std::arch::is_aarch64_feature_detected!($name))),*] };
    }
    let all = present!("neon" "fp16" "dotprod" "i8mm" "bf16" "sve");
    all.into_iter().filter_map(|(name, present)| present.then_some(name)).collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn simd() -> Vec<&'static str> {
    Vec::new()
}

fn cpuinfo_model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

fn meminfo_bytes(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// How many numbers a list like `0-3,8` names.
fn count_list(list: &str) -> Option<usize> {
    list.split(',').try_fold(0, |count, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        Some(count + (last + 1).checked_sub(first)?)
    })
}

/// Limit and use of memory in the tightest control group above this process, if one has a limit.
fn group_memory() -> Option<(u64, u64)> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let limits = root
        .join(group)
        .ancestors()
        .take_while(|folder| folder.starts_with(root))
        .filter_map(|folder| {
            // A group without a limit says `max`, which is no number.
            Some((number(&folder.join("memory.max"))?, number(&folder.join("memory.current"))?))
        })
        .collect::<Vec<_>>();
    limits.into_iter().min_by_key(|(limit, used)| limit.saturating_sub(*used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_files_are_understood() {
        let meminfo = "MemTotal:       16 kB\nMemFree:  1 kB\nMemAvailable:    8 kB\n";
        assert_eq!(meminfo_bytes(meminfo, "MemTotal"), Some(16_384));
        assert_eq!(meminfo_bytes(meminfo, "MemAvailable"), Some(8_192));
        assert_eq!(meminfo_bytes(meminfo, "Mem"), None);
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU: 9000\n";
        assert_eq!(cpuinfo_model(cpuinfo).as_deref(), Some("Some CPU: 9000"));
    }

    #[test]
    fn a_list_of_cores_is_counted() {
        assert_eq!(count_list("0-3,8"), Some(5));
        assert_eq!(count_list("0"), Some(1));
        assert_eq!(count_list(""), None);
        assert_eq!(count_list("3-0"), None);
    }
}
