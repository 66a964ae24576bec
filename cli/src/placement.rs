//! Where a plan is to run: `--devices` and `--partition`.
use clap::Args;
use ir::plan::{Device, Partition};

/// The devices of a plan, and how the model is cut over them.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Placement")]
pub(crate) struct Placement {
    /// Devices, as in "cpu:0[threads=1],cpu:1[threads=1]" [default: as many as the partition takes, which share the
    /// threads]
    #[arg(long, value_name = "LIST", value_parser = devices, conflicts_with = "threads")]
    devices: Option<Devices>,
    /// How the model is cut: none, or data:N, pipeline:N, tensor:N (expert:N divides mixtures by
    /// whole experts), or several, as in pipeline:2,tensor:2; auto
    /// takes what is predicted to be best, as this machine was measured [default: auto over several devices]
    #[arg(long, value_name = "CUT", value_parser = cut)]
    partition: Option<Cut>,
    /// What auto chooses for [default: latency of one conversation, throughput of several]
    #[arg(long, value_name = "AIM", value_enum)]
    objective: Option<Objective>,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Objective {
    Latency,
    Throughput,
}

/// Devices in order, as somebody listed them.
#[derive(Clone, Debug, PartialEq)]
struct Devices(Vec<Device>);

impl Placement {
    /// The devices of a plan, and its cut. Devices that nobody listed share `threads`.
    pub(crate) fn decide(&self, threads: u32) -> (Vec<Device>, Cut) {
        let listed = self.devices.as_ref().map(|Devices(list)| list.clone());
        let several = listed.as_ref().is_some_and(|list| list.len() > 1);
        let cut = self.partition.unwrap_or(if several { Cut::Auto } else { Cut::Named(Partition::WHOLE) });
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

    /// The command line that says the same.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let list = |Devices(list): &Devices| {
            let one = |d: &Device| format!("{}[threads={}]", d.name, d.threads);
            list.iter().map(one).collect::<Vec<_>>().join(",")
        };
        let said = [
            ("--devices", self.devices.as_ref().map(list)),
            (
                "--partition",
                self.partition.map(|cut| match cut {
                    Cut::Named(partition) => partition.to_string(),
                    Cut::Auto => "auto".into(),
                }),
            ),
            ("--objective", self.objective.map(|aim| format!("{aim:?}").to_ascii_lowercase())),
        ];
        said.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?])).flatten().collect()
    }

    /// Whether it says how many threads each device has.
    pub(crate) fn has_devices(&self) -> bool {
        self.devices.is_some()
    }
}

/// Reads `cpu:0[threads=2],cpu:1`.
fn devices(text: &str) -> Result<Devices, String> {
    let mut list: Vec<Device> = vec![];
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(['[', ',']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let name = name.trim();
        let number = name.strip_prefix("cpu:").and_then(|number| number.parse::<u32>().ok());
        if number.is_none() {
            return Err(format!("found device {name:?}, expected cpu:0, cpu:1 and so on"));
        }
        if list.iter().any(|device| device.name == name) {
            return Err(format!("found {name} twice, expected each device once"));
        }
        let (threads, after) = match after.strip_prefix('[') {
            None => (1, after),
            Some(options) => {
                let (options, after) = options
                    .split_once(']')
                    .ok_or_else(|| format!("found no ] behind {name}[, expected {name}[threads=N]"))?;
                let threads = options.trim().strip_prefix("threads=").and_then(|n| n.trim().parse().ok());
                let threads = threads.filter(|n| (1..=1024).contains(n));
                let fault =
                    || format!("found {name}[{options}], expected {name}[threads=N] with N from 1 to 1024");
                (threads.ok_or_else(fault)?, after)
            }
        };
        list.push(Device { name: name.to_owned(), ..Device::cpu(list.len() as u32, threads) });
        rest = match after.trim_start() {
            "" => "",
            more => more.strip_prefix(',').filter(|more| !more.trim().is_empty()).ok_or_else(|| {
                format!("found {more:?} behind {name}, expected a comma and another device")
            })?,
        };
    }
    if list.is_empty() { Err("expected at least one device, as in cpu:0".into()) } else { Ok(Devices(list)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_they_are_listed() {
        let read = |text: &str| {
            let Devices(list) = devices(text).unwrap();
            list.into_iter().map(|d| (d.id.0, d.name, d.threads)).collect::<Vec<_>>()
        };
        assert_eq!(read("cpu:0"), [(0, "cpu:0".to_owned(), 1)]);
        let two = [(0, "cpu:3".to_owned(), 2), (1, "cpu:1".to_owned(), 1)];
        assert_eq!(read(" cpu:3[ threads=2 ], cpu:1 "), two);
    }

    #[test]
    fn what_is_no_list_of_devices_is_refused_with_the_reason() {
        let refused = |text: &str| devices(text).unwrap_err();
        assert_eq!(refused(""), "expected at least one device, as in cpu:0");
        assert_eq!(refused("gpu:0"), "found device \"gpu:0\", expected cpu:0, cpu:1 and so on");
        assert_eq!(refused("cpu:0,cpu:0"), "found cpu:0 twice, expected each device once");
        assert_eq!(
            refused("cpu:0[threads=0]"),
            "found cpu:0[threads=0], expected cpu:0[threads=N] with N from 1 to 1024"
        );
        assert_eq!(refused("cpu:0[threads=1"), "found no ] behind cpu:0[, expected cpu:0[threads=N]");
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
