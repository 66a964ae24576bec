//! Shows what this machine was measured to do.
use super::stale;
use crate::output;
use ir::topology::{Device, Link, Read, Topology};
use serde::Serialize;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

/// What one device was measured to do.
#[derive(Clone, Serialize)]
pub(crate) struct Calibration {
    path: PathBuf,
    /// None where the file's time lies ahead.
    age_seconds: Option<u64>,
    /// Why it no longer says what this machine is.
    stale: Option<String>,
    #[serde(flatten)]
    device: Device,
    /// Those that begin at the device.
    links: Vec<Link>,
}

impl Calibration {
    /// The device of that name in a topology that lies at `path`.
    pub(crate) fn of(mut topology: Topology, name: &str, path: PathBuf) -> Option<Calibration> {
        let changed = fs::metadata(&path).and_then(|meta| meta.modified()).ok();
        let age = changed.and_then(|time| SystemTime::now().duration_since(time).ok());
        let stale = stale(&topology);
        topology.links.retain(|link| link.from == name);
        let at = topology.devices.iter().position(|device| device.name == name)?;
        let (device, links) = (topology.devices.swap_remove(at), topology.links);
        Some(Calibration { path, age_seconds: age.map(|age| age.as_secs()), stale, device, links })
    }

    pub(crate) fn write(&self) -> anyhow::Result<()> {
        let path = self.path.display().to_string();
        let age = self.age_seconds.map_or("in the future".to_owned(), age);
        output::write(&format!("  measured {age}: {}\n", output::plain(&path)))?;
        if let Some(reason) = &self.stale {
            output::write(&format!("  but {reason}\n"))?;
        }
        for Link { to, latency_ns, bytes_per_second, wake_ns, .. } in &self.links {
            let own = if self.device.kind.is_cpu() { "between cores" } else { "with the host" };
            let to = if *to == self.device.name { own } else { to };
            let rate = giga(*bytes_per_second);
            output::write(&format!(
                "  messages {to}: {latency_ns} ns, then {rate} GB/s; {wake_ns} ns more to a reader that sleeps\n"
            ))?;
        }
        // The file has those between, too.
        let is_shown = |read: &&Read| read.bytes.is_power_of_two() && read.bytes.ilog2().is_multiple_of(2);
        let sets = self.device.teams.first().map_or(&[][..], |team| &team.reads);
        let sets: Vec<u64> = sets.iter().filter(is_shown).map(|read| read.bytes).collect();
        let columns: Vec<String> = sets.iter().map(|bytes| format!(" GB/s OF {}", binary(*bytes))).collect();
        let rates = [" THREADS", " LAUNCH ns", " int8 GOP/s", " f16 GOP/s", " f32 GOP/s", " exp GOP/s"];
        let headings: Vec<&str> = rates.into_iter().chain(columns.iter().map(String::as_str)).collect();
        let rows = self.device.teams.iter().map(|team| {
            let of = &team.operations;
            let rates = [of.int8, of.f16, of.f32, of.exp].map(giga);
            let read = |bytes: &u64| team.read_rate(*bytes).map_or(String::new(), giga);
            let reads = sets.iter().map(read);
            [team.threads.to_string(), team.launch_ns.to_string()]
                .into_iter()
                .chain(rates)
                .chain(reads)
                .collect()
        });
        output::write_table(&headings, &rows.collect::<Vec<_>>())
    }
}

fn giga(per_second: u64) -> String {
    let giga = per_second as f64 / 1e9;
    if giga < 100.0 { format!("{giga:.1}") } else { format!("{giga:.0}") }
}

/// Bytes in the units of caches: `4 MiB`.
fn binary(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")];
    let (by, unit) = units.into_iter().find(|(by, _)| bytes >= *by).unwrap_or((1, "B"));
    format!("{} {unit}", bytes / by)
}

/// How long ago that is: `3 hours ago`.
fn age(seconds: u64) -> String {
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
    match units.into_iter().find(|(by, _)| seconds >= *by) {
        None => "just now".to_owned(),
        Some((by, unit)) => {
            let many = seconds / by;
            format!("{many} {unit}{} ago", if many == 1 { "" } else { "s" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_read_as_people_say_them() {
        assert_eq!([5, 60, 7_300, 90_000].map(age), ["just now", "1 minute ago", "2 hours ago", "1 day ago"]);
        assert_eq!([1 << 18, 1 << 30, 100].map(binary), ["256 KiB", "1 GiB", "100 B"]);
    }
}
