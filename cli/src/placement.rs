//! Where a plan is to run: `--devices` and `--partition`.
use crate::choices::bytes;
use crate::hints::Hints;
use crate::{calibrate, output};
use anyhow::anyhow;
use clap::Args;
use compiler::CompileError;
use ir::plan::{AllReduce, Device, DeviceId, Hint, Partition};
use ir::topology::{Kind, Topology};
use passes::partition::{CutError, devices_for};
use std::path::{Path, PathBuf};

/// The devices of a plan, and how the model is cut over them.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Placement")]
pub(crate) struct Placement {
    /// Devices, as in "cpu:0[threads=1,memory=2GiB],cpu:1[threads=1]", "vulkan:0" or "cuda:0" (`heddle devices` lists
    /// them; "vulkan:0[0],vulkan:0[1]" are two on one), or a topology's file, of whose devices the first that the
    /// partition takes are used [default: the best GPU that has room, but with --threads, --partition or --hints and where
    /// there is none as many of the processor as the partition takes, which share the threads]
    #[arg(long, value_name = "LIST|FILE.ron", value_parser = devices, conflicts_with = "threads")]
    devices: Option<Devices>,
    /// How the model is cut: none, or data:N, pipeline:N, tensor:N (expert:N divides mixtures by
    /// whole experts), or several, as in pipeline:2,tensor:2; auto takes what is predicted to be best, as this machine
    /// was measured. tensor and expert add up in another order, so with int8 activations a close choice of words may
    /// fall otherwise than uncut [default: auto over several devices]
    #[arg(long, value_name = "CUT", value_parser = cut)]
    partition: Option<Cut>,
    /// How devices that divide tensors add up sums [default: direct; --partition auto takes what is predicted to be best]
    #[arg(long, value_name = "WAY", value_parser = way)]
    all_reduce: Option<AllReduce>,
    /// What auto chooses for [default: latency of one conversation, throughput of several]
    #[arg(long, value_name = "AIM", value_enum)]
    objective: Option<Objective>,
    /// What you say by hand: a file that puts nodes on devices, keeps them undivided, or says with which layers stages
    /// begin and in which format weights are (see examples/hints)
    #[arg(long, value_name = "FILE", value_parser = Hints::read)]
    hints: Option<Hints>,
}

/// How a model is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// As somebody said.
    Named(Partition),
    /// As is predicted to be best.
    Auto,
}

fn cut(text: &str) -> Result<Cut, String> {
    match text.trim() {
        "auto" => Ok(Cut::Auto),
        named => named.parse().map(Cut::Named).map_err(|fault: String| format!("{fault}; or auto")),
    }
}

fn way(text: &str) -> Result<AllReduce, String> {
    let named = AllReduce::ALL.into_iter().find(|way| way.name() == text.trim());
    named.ok_or_else(|| format!("expected {}", AllReduce::ALL.map(AllReduce::name).join(", ")))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Objective {
    Latency,
    Throughput,
}

/// Devices in order, as somebody listed them.
#[derive(Clone, Debug, PartialEq)]
struct Devices {
    list: Vec<Device>,
    /// The file that lists them, and what it says of them.
    file: Option<(PathBuf, Topology)>,
}

impl Placement {
    /// The devices of a plan, and its cut. Devices that nobody listed share `threads`.
    pub(crate) fn decide(&self, threads: u32) -> (Vec<Device>, Cut) {
        let listed = self.devices.as_ref().map(|devices| devices.list.clone());
        let several = listed.as_ref().is_some_and(|list| list.len() > 1);
        let cut = self.partition.unwrap_or(if several { Cut::Auto } else { Cut::Named(Partition::WHOLE) });
        let listed = listed.map(|mut list| {
            // A file lists what there is, not what is to be used.
            if let (Cut::Named(partition), true) = (cut, self.topology().is_some()) {
                list = devices_for(partition, &self.hints(), &list);
            }
            list
        });
        let shared = || {
            // A device for each core is what auto can choose among.
            let count = if let Cut::Named(partition) = cut { partition.devices().max(1) } else { threads };
            let own = |number| (threads / count + u32::from(number < threads % count)).max(1);
            (0..count).map(|number| Device::cpu(number, own(number))).collect()
        };
        (listed.unwrap_or_else(shared), cut)
    }

    /// What auto chooses for.
    pub(crate) fn objective(&self, max_batch: u32) -> compiler::Objective {
        match self.objective {
            Some(Objective::Latency) => compiler::Objective::Latency,
            Some(Objective::Throughput) => compiler::Objective::Throughput,
            None if max_batch > 1 => compiler::Objective::Throughput,
            None => compiler::Objective::Latency,
        }
    }

    /// How sums are added up, where nobody chooses.
    pub(crate) fn all_reduce(&self) -> AllReduce {
        self.all_reduce.unwrap_or_default()
    }

    /// The file that lists the devices, if one does, and what it says of them.
    pub(crate) fn file(&self) -> Option<(&Path, &Topology)> {
        let (path, topology) = self.devices.as_ref()?.file.as_ref()?;
        Some((path, topology))
    }

    pub(crate) fn topology(&self) -> Option<&Topology> {
        Some(self.file()?.1)
    }

    /// What a person says by hand.
    pub(crate) fn hints(&self) -> Vec<Hint> {
        self.hints.as_ref().map_or(vec![], Hints::list)
    }

    /// Why a model was not compiled.
    pub(crate) fn explain(&self, error: CompileError) -> anyhow::Error {
        if let CompileError::Cut(CutError::Devices { partition, expected, found }) = &error
            && found > expected
        {
            let advice = match expected {
                1 => {
                    "name one device, or leave out --partition, which takes the best cut over them".to_owned()
                }
                _ => format!("name {expected} of them, or leave out --partition, which takes the best cut"),
            };
            return anyhow!("--partition {partition} takes {expected} of the {found} devices: {advice}");
        }
        match &self.hints {
            Some(hints) => hints.explain(error),
            None => error.into(),
        }
    }

    /// The devices as they can be listed again.
    pub(crate) fn listed(&self) -> Option<String> {
        self.devices.as_ref().map(Devices::argument)
    }

    /// The command line that says the same.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let said = [
            ("--devices", self.listed()),
            (
                "--partition",
                self.partition.map(|cut| match cut {
                    Cut::Named(partition) => partition.to_string(),
                    Cut::Auto => "auto".into(),
                }),
            ),
            ("--all-reduce", self.all_reduce.map(|way| way.name().to_owned())),
            ("--objective", self.objective.map(|aim| format!("{aim:?}").to_ascii_lowercase())),
            ("--hints", self.hints.as_ref().map(Hints::argument)),
        ];
        said.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?])).flatten().collect()
    }

    /// Whether it says how many threads each device has.
    pub(crate) fn has_devices(&self) -> bool {
        self.devices.is_some()
    }

    /// Whether nobody says anything of devices, nor what only some of them can do.
    pub(crate) fn is_open(&self) -> bool {
        let is_cut = self.partition.is_some_and(|cut| cut != Cut::Named(Partition::WHOLE));
        self.devices.is_none() && !is_cut && self.hints.is_none()
    }

    /// The same on one device that was found.
    pub(crate) fn on(&self, device: Device) -> Placement {
        Placement { devices: Some(Devices { list: vec![device], file: None }), ..self.clone() }
    }
}

impl Devices {
    /// What says the same on a command line.
    fn argument(&self) -> String {
        let one = |d: &Device| {
            let threads = d.kind.is_cpu().then(|| format!("threads={}", d.threads));
            let said: Vec<_> =
                threads.into_iter().chain(d.memory.map(|bytes| format!("memory={bytes}"))).collect();
            match d.name.strip_suffix(']') {
                _ if said.is_empty() => d.name.clone(),
                Some(name) => format!("{name},{}]", said.join(",")),
                None => format!("{}[{}]", d.name, said.join(",")),
            }
        };
        match &self.file {
            Some((path, _)) => path.display().to_string(),
            None => self.list.iter().map(one).collect::<Vec<_>>().join(","),
        }
    }
}

/// Reads `cpu:0[threads=2],cpu:1`, or a topology's file.
fn devices(text: &str) -> Result<Devices, String> {
    if text.trim().ends_with(".ron") {
        return from_file(Path::new(text.trim()));
    }
    let mut list: Vec<Device> = vec![];
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(['[', ',']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let name = name.trim();
        // A device has one name: 00 and +0 are none.
        let is_numbered = |(_, number): &(&str, &str)| {
            number.parse::<u32>().is_ok_and(|parsed| parsed.to_string() == *number)
        };
        let kind = match name.split_once(':').filter(is_numbered) {
            Some(("cpu", _)) => Kind::Cpu,
            Some(("vulkan" | "cuda", _)) => Kind::Gpu,
            _ => {
                return Err(format!(
                    "found device {name:?}, expected cpu:0, cpu:1 and so on, vulkan:0, cuda:0, or a topology's \
                     file that ends in .ron"
                ));
            }
        };
        let mut device = Device { name: name.to_owned(), kind, ..Device::cpu(list.len() as u32, 1) };
        let after = match after.strip_prefix('[') {
            None => after,
            Some(options) => {
                let (options, after) = options
                    .split_once(']')
                    .ok_or_else(|| format!("found no ] behind {name}[, expected {name}[…]"))?;
                let (number, options) = logical(options);
                if let Some(number) = number {
                    if device.kind.is_cpu() {
                        return Err(format!(
                            "found {name}[{number}], expected threads=N: processors have none of their own"
                        ));
                    }
                    device.name = format!("{name}[{number}]");
                }
                options
                    .split(',')
                    .filter(|o| !o.is_empty())
                    .try_for_each(|option| set(&mut device, option))?;
                after
            }
        };
        if list.iter().any(|other| other.name == device.name) {
            return Err(format!("found {} twice, expected each device once", device.name));
        }
        let whole = |device: &Device| device.name.split('[').next().map(str::to_owned);
        let is_part = |device: &Device| device.name.contains('[');
        let overlaps = |other: &&Device| whole(other) == whole(&device) && is_part(other) != is_part(&device);
        if let Some(other) = list.iter().find(overlaps) {
            let (a, b) = (&other.name, &device.name);
            return Err(format!("found {a} beside {b}, expected a device whole or in parts"));
        }
        list.push(device);
        rest = match after.trim_start() {
            "" => "",
            more => more.strip_prefix(',').filter(|more| !more.trim().is_empty()).ok_or_else(|| {
                format!("found {more:?} behind {name}, expected a comma and another device")
            })?,
        };
    }
    if list.is_empty() {
        return Err("expected at least one device, as in cpu:0".into());
    }
    Ok(Devices { list, file: None })
}

/// Which of several devices on one, where the options begin with a number, and the other options.
fn logical(options: &str) -> (Option<u32>, &str) {
    let (first, rest) = options.split_once(',').unwrap_or((options, ""));
    match first.trim().parse() {
        Ok(number) => (Some(number), rest),
        Err(_) => (None, options),
    }
}

/// Takes `threads=2` or `memory=2GiB`.
fn set(device: &mut Device, option: &str) -> Result<(), String> {
    let name = &device.name;
    let fault = || {
        let forms = match device.kind.is_cpu() {
            true => "threads=N with N from 1 to 1024, or memory=BYTES as in 2GiB",
            false => "memory=BYTES as in 2GiB, or first a number where several devices are on one",
        };
        format!("found {name}[{}], expected {forms}", option.trim())
    };
    match option.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
        Some(("threads", _)) if !device.kind.is_cpu() => {
            return Err(format!(
                "found {name}[{}], expected memory=BYTES as in 2GiB: it has no threads to choose",
                option.trim()
            ));
        }
        Some(("threads", value)) => {
            let threads = value.parse().ok().filter(|n| (1..=1024).contains(n));
            device.threads = threads.ok_or_else(fault)?;
        }
        Some(("memory", value)) => device.memory = Some(bytes(value).map_err(|_| fault())?),
        _ => return Err(fault()),
    }
    Ok(())
}

/// The devices that a topology has, each with all its threads and its memory.
fn from_file(path: &Path) -> Result<Devices, String> {
    let topology = calibrate::read_written(path).map_err(|error| output::explain(&error))?;
    let path = std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let device = |(number, found): (u32, &ir::topology::Device)| Device {
        id: DeviceId(number),
        name: found.name.clone(),
        kind: found.kind,
        threads: found.threads,
        memory: Some(found.memory_bytes),
        driver: found.driver,
    };
    let list = (0..).zip(&topology.devices).map(device).collect();
    Ok(Devices { list, file: Some((path, topology)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_they_are_listed() {
        let read = |text: &str| {
            let list = devices(text).unwrap().list;
            list.into_iter().map(|d| (d.id.0, d.name, d.threads, d.memory)).collect::<Vec<_>>()
        };
        assert_eq!(read("cpu:0"), [(0, "cpu:0".to_owned(), 1, None)]);
        let two = [(0, "cpu:3".to_owned(), 2, Some(1 << 20)), (1, "cpu:1".to_owned(), 1, None)];
        assert_eq!(read(" cpu:3[ threads=2, memory = 1MiB ], cpu:1 "), two);
        let listed = "vulkan:0[0],vulkan:0[1,memory=1024],vulkan:1";
        let names: Vec<_> = read(listed).into_iter().map(|(_, name, ..)| name).collect();
        assert_eq!(names, ["vulkan:0[0]", "vulkan:0[1]", "vulkan:1"]);
        let placement = Placement { devices: Some(devices(listed).unwrap()), ..Placement::default() };
        assert_eq!(placement.arguments(), ["--devices", listed]);
        assert_eq!(read("cuda:1[memory=1MiB]"), [(0, "cuda:1".to_owned(), 1, Some(1 << 20))]);
    }

    #[test]
    fn a_file_lists_devices_and_the_cut_takes_the_first_of_them() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/topologies/8xh100-nvswitch.ron");
        let placement = |cut: &str| Placement {
            devices: Some(devices(path).unwrap()),
            partition: Some(super::cut(cut).unwrap()),
            ..Placement::default()
        };
        let names = |cut: &str| {
            let (devices, _) = placement(cut).decide(2);
            devices.into_iter().map(|d| (d.name, d.memory)).collect::<Vec<_>>()
        };
        let of = |number| (format!("gpu:{number}"), Some(80_000_000_000));
        assert_eq!(names("tensor:2"), [of(0), of(1)]);
        assert_eq!(names("auto").len(), 8);
        assert_eq!(placement("auto").arguments()[..2], ["--devices", path]);
        assert!(devices("nowhere.ron").unwrap_err().contains("nowhere.ron does not exist"));
    }

    #[test]
    fn what_is_no_list_of_devices_is_refused_with_the_reason() {
        let refused = |text: &str| devices(text).unwrap_err();
        assert_eq!(refused(""), "expected at least one device, as in cpu:0");
        assert_eq!(
            refused("gpu:0"),
            "found device \"gpu:0\", expected cpu:0, cpu:1 and so on, vulkan:0, cuda:0, or a topology's file \
             that ends in .ron"
        );
        assert_eq!(refused("cpu:0,cpu:0"), "found cpu:0 twice, expected each device once");
        assert_eq!(
            refused("cpu:0[threads=0]"),
            "found cpu:0[threads=0], expected threads=N with N from 1 to 1024, or memory=BYTES as in 2GiB"
        );
        assert_eq!(
            refused("vulkan:0[threads=2]"),
            "found vulkan:0[threads=2], expected memory=BYTES as in 2GiB: it has no threads to choose"
        );
        assert_eq!(refused("vulkan:0[1],vulkan:0[1]"), "found vulkan:0[1] twice, expected each device once");
        assert_eq!(
            refused("cpu:0[1]"),
            "found cpu:0[1], expected threads=N: processors have none of their own"
        );
        assert_eq!(refused("cpu:0[threads=1"), "found no ] behind cpu:0[, expected cpu:0[…]");
        assert!(refused("vulkan:00").starts_with("found device \"vulkan:00\", expected cpu:0"));
        assert_eq!(
            refused("vulkan:0,vulkan:0[1]"),
            "found vulkan:0 beside vulkan:0[1], expected a device whole or in parts"
        );
        assert_eq!(
            refused("vulkan:0[x]"),
            "found vulkan:0[x], expected memory=BYTES as in 2GiB, or first a number where several devices are on one"
        );
        assert_eq!(refused("cpu:0,"), "found \",\" behind cpu:0, expected a comma and another device");
    }

    #[test]
    fn devices_that_nobody_lists_share_the_threads() {
        let threads = |cut: &str, all| {
            let partition = Some(super::cut(cut).unwrap());
            let placement = Placement { partition, ..Placement::default() };
            placement.decide(all).0.into_iter().map(|d| d.threads).collect::<Vec<_>>()
        };
        assert_eq!(threads("none", 5), [5]);
        assert_eq!(threads("tensor:2", 5), [3, 2]);
        assert_eq!(threads("auto", 3), [1, 1, 1]);
        assert_eq!(threads("pipeline:2,tensor:2", 2), [1, 1, 1, 1]);
    }
}
