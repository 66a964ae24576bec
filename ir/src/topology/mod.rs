//! A topology: devices with what they were measured to do, and the links between them.
//!
//! It is what a cost model knows of machines, of this one or of one that somebody else measured. Its text form
//! ([`Topology::to_text`]) is RON, canonical, one item a line. All numbers are whole.
pub(crate) mod lines;
mod rate;
mod route;
mod split;
mod text;
mod verify;

pub use rate::{Rate, RateAt};
pub use route::Route;
pub use text::TopologyError;
pub use verify::TopologyFault;

use crate::plan::Driver;
use crate::work::Operations;
use serde::{Deserialize, Serialize};

/// The version of the form that this code writes; it reads no other.
pub const VERSION: u32 = 2;

/// Devices and links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// The form's version.
    pub version: u32,
    /// What can run steps.
    pub devices: Vec<Device>,
    /// Names of what runs nothing and passes messages on, as many at once as come: a switch, a host's bus, a
    /// network.
    #[serde(default)]
    pub switches: Vec<String>,
    /// What joins devices and switches.
    #[serde(default)]
    pub links: Vec<Link>,
}

/// Something that runs steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Its name, as in plans: `cpu:0`.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// What its maker calls it; empty where nobody says.
    #[serde(default)]
    pub model: String,
    /// The instruction set that its kernels were measured with; empty where none were.
    #[serde(default)]
    pub kernels: String,
    /// Its memory, in bytes.
    pub memory_bytes: u64,
    /// What its driver takes and allows.
    #[serde(default, skip_serializing_if = "Driver::is_none")]
    pub driver: Driver,
    /// How many threads run on it at once; of a GPU one, which starts its kernels.
    #[serde(default = "one")]
    pub threads: u32,
    /// What teams of some sizes reach: from 1 thread to all of them, in order.
    pub teams: Vec<Team>,
}

fn one() -> u32 {
    1
}

/// What a device is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Cores that share a memory.
    #[default]
    Cpu,
    /// An accelerator with a memory of its own.
    Gpu,
}

impl Kind {
    /// Whether it is cores.
    pub fn is_cpu(&self) -> bool {
        *self == Kind::Cpu
    }
}

/// What so many threads of a device reach together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Team {
    /// How many.
    #[serde(default = "one")]
    pub threads: u32,
    /// What it takes until all have begun and ended a kernel, with what the one before has written for it and
    /// what it leaves for the next, in nanoseconds.
    pub launch_ns: u64,
    /// Operations a second, for each kind alone.
    pub operations: Operations,
    /// How fast they read, by how much they read over and over; in order.
    pub reads: Vec<Read>,
    /// What kernels were measured to reach, where they were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<Rate>,
}

/// How fast so many bytes are read that are read again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// How many bytes, all threads together.
    pub bytes: u64,
    /// Bytes a second.
    pub bytes_per_second: u64,
}

/// What messages between two devices, or switches, take. It is there for both ways, each at this speed at the
/// same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The name of one end.
    pub from: String,
    /// The name of the other. Where it is the same, the link joins any two threads of the device, the host's
    /// among them.
    pub to: String,
    /// What the shortest message takes, in nanoseconds.
    pub latency_ns: u64,
    /// What long messages come to, in bytes a second.
    pub bytes_per_second: u64,
    /// What it takes beside to wake a reader that has waited for so long that it sleeps, in nanoseconds.
    #[serde(default, skip_serializing_if = "is_none")]
    pub wake_ns: u64,
}

fn is_none(ns: &u64) -> bool {
    *ns == 0
}

impl Topology {
    /// The device of that name.
    pub fn device(&self, name: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.name == name)
    }
}

impl Device {
    /// What a team of so many threads reaches: as measured, else on a line between its neighbours, and more than
    /// all of the threads as much as all.
    pub fn team(&self, threads: u32) -> Option<Team> {
        let above = self.teams.iter().find(|team| team.threads >= threads).or(self.teams.last())?;
        let below = self.teams.iter().rev().find(|team| team.threads <= threads).unwrap_or(above);
        let (from, to) = (below.threads, above.threads);
        let between = |a: u64, b: u64| match (threads.saturating_sub(from), to.saturating_sub(from)) {
            (_, 0) => b,
            (part, whole) => {
                let part = f64::from(part) / f64::from(whole);
                (a as f64 + (b as f64 - a as f64) * part).round() as u64
            }
        };
        let (a, b) = (&below.operations, &above.operations);
        let read = |&Read { bytes, bytes_per_second }: &Read| {
            let slower = below.read_rate(bytes).unwrap_or(bytes_per_second);
            Read { bytes, bytes_per_second: between(slower, bytes_per_second) }
        };
        let rate = |rate: &Rate| match below.rate(&rate.kernel) {
            Some(slower) => rate.between(slower, between),
            None => rate.clone(),
        };
        Some(Team {
            threads,
            launch_ns: between(below.launch_ns, above.launch_ns),
            operations: Operations {
                int8: between(a.int8, b.int8),
                f16: between(a.f16, b.f16),
                f32: between(a.f32, b.f32),
                exp: between(a.exp, b.exp),
            },
            reads: above.reads.iter().map(read).collect(),
            rates: above.rates.iter().map(rate).collect(),
        })
    }
}

impl Team {
    /// Bytes a second of what comes round every so many bytes: as measured, else on a line between the next that
    /// were, by the logarithm of the bytes. None where nothing was.
    pub fn read_rate(&self, bytes: u64) -> Option<u64> {
        let above = self.reads.iter().find(|read| read.bytes >= bytes).or(self.reads.last())?;
        let below = self.reads.iter().rev().find(|read| read.bytes <= bytes).unwrap_or(above);
        let [from, to, at] = [below.bytes, above.bytes, bytes].map(|bytes| (bytes.max(1) as f64).ln());
        let part = if to > from { (at - from) / (to - from) } else { 0.0 };
        let (near, far) = (below.bytes_per_second as f64, above.bytes_per_second as f64);
        Some((near + (far - near) * part).round() as u64)
    }

    /// What that kernel was measured to reach.
    pub fn rate(&self, kernel: &str) -> Option<&Rate> {
        self.rates.iter().find(|rate| rate.kernel == kernel)
    }
}

#[cfg(test)]
pub(crate) fn sample() -> Topology {
    let reads = |by| {
        [(1 << 18, 90_000_000_000), (1 << 30, 20_000_000_000)]
            .map(|(bytes, rate)| Read { bytes, bytes_per_second: rate * by })
            .to_vec()
    };
    let team = |threads: u32, launch_ns| {
        let by = u64::from(threads);
        let at = |rows, rate| RateAt { rows, operations_per_second: rate * by, exposed_percent: 20 };
        Team {
            threads,
            launch_ns,
            operations: Operations {
                int8: 1_000_000_000_000 * by,
                f16: 250_000_000_000 * by,
                f32: 200_000_000_000 * by,
                exp: 10_000_000_000 * by,
            },
            reads: reads(by),
            rates: vec![Rate {
                kernel: "bodies".into(),
                at: vec![at(1, 10_000_000_000)],
                start_ns: 9,
                queries_per_second: 0,
            }],
        }
    };
    let device = Device {
        name: "cpu:0".into(),
        kind: Kind::Cpu,
        model: "a \"fast\" one".into(),
        kernels: "avx512".into(),
        memory_bytes: 16 << 30,
        driver: Default::default(),
        threads: 4,
        teams: vec![team(1, 10), team(2, 400), team(4, 1000)],
    };
    let link = Link {
        from: "cpu:0".into(),
        to: "cpu:0".into(),
        latency_ns: 150,
        bytes_per_second: 8_000_000_000,
        wake_ns: 30_000,
    };
    Topology { version: VERSION, devices: vec![device], switches: vec!["bus".into()], links: vec![link] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_team_between_two_that_were_measured_lies_on_a_line_between_them() {
        let topology = sample();
        let device = topology.device("cpu:0").unwrap();
        let three = device.team(3).unwrap();
        assert_eq!((three.launch_ns, three.operations.f32), (700, 600_000_000_000));
        assert_eq!(three.reads[0], Read { bytes: 1 << 18, bytes_per_second: 270_000_000_000 });
        assert_eq!(three.rates[0].at[0].operations_per_second, 30_000_000_000);
        assert_eq!(device.team(2).as_ref(), Some(&device.teams[1]));
        assert_eq!(device.team(9), Some(Team { threads: 9, ..device.teams[2].clone() }));
    }

    #[test]
    fn what_comes_round_is_read_as_fast_as_what_is_as_much() {
        let team = sample().devices[0].team(1).unwrap();
        let rates = [0, 1 << 18, 1 << 24, 1 << 30, 1 << 40].map(|bytes| team.read_rate(bytes).unwrap());
        assert_eq!(rates, [90, 90, 55, 20, 20].map(|giga| giga * 1_000_000_000));
    }
}
