//! What must hold of a topology, so that a cost model can count with it.
use super::{Device, Link, Rate, Team, Topology, lines};
use std::fmt;

/// One thing that is wrong with a topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyFault {
    /// Of which item.
    pub at: String,
    /// On which line of the text it begins, from 1; none where there is no text.
    pub line: Option<usize>,
    /// What was found and what was expected.
    pub message: String,
}

impl fmt::Display for TopologyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}: {}", self.at, self.message)
    }
}

/// Most threads of a device, as in plans.
const THREADS_MAX: u64 = 4096;
/// Most nanoseconds that starting a team takes: a second, so that sums over a plan's steps stay sums.
const LAUNCH_NS_MAX: u64 = 1_000_000_000;
/// Most nanoseconds of a latency: an hour.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// Most bytes a second, of a memory or a link, and bytes of a memory: a thousand times what there is.
const BYTES_MAX: u64 = 1_000_000_000_000_000;
/// Most operations a second of a device.
const OPERATIONS_MAX: u64 = 1_000_000_000_000_000_000;

/// Takes messages about one item.
type Say<'a> = &'a mut dyn FnMut(String);

impl Topology {
    /// Every fault, in the order of the text.
    pub fn verify(&self) -> Vec<TopologyFault> {
        self.faults("")
    }

    /// The same with lines of the text that this was read from.
    pub(super) fn faults(&self, text: &str) -> Vec<TopologyFault> {
        let mut faults = vec![];
        if self.devices.is_empty() {
            let message = "found none, expected at least one".into();
            faults.push(TopologyFault { at: "devices".into(), line: None, message });
        }
        let [devices, switches, links] = ["devices", "switches", "links"].map(|key| lines::of(text, key));
        for (index, device) in self.devices.iter().enumerate() {
            let (at, line) = (format!("device {:?}", device.name), devices.get(index).copied());
            let mut say = |message| faults.push(TopologyFault { at: at.clone(), line, message });
            if self.devices[..index].iter().any(|other| other.name == device.name) {
                say("found a second one of this name, expected another name".into());
            }
            verify_device(device, &mut say);
        }
        for (index, switch) in self.switches.iter().enumerate() {
            let is_taken = self.switches[..index].contains(switch) || self.device(switch).is_some();
            if is_taken || switch.is_empty() {
                let (at, line) = (format!("switch {switch:?}"), switches.get(index).copied());
                let message = "expected a name that no device and no other switch has".into();
                faults.push(TopologyFault { at, line, message });
            }
        }
        for (index, link) in self.links.iter().enumerate() {
            let at = format!("link from {:?} to {:?}", link.from, link.to);
            let line = links.get(index).copied();
            let mut say = |message| faults.push(TopologyFault { at: at.clone(), line, message });
            if self.links[..index].iter().any(|other| ends(other) == ends(link)) {
                say("found a second one between these two, expected one, which goes both ways".into());
            }
            self.verify_link(link, &mut say);
        }
        faults
    }

    fn verify_link(&self, link: &Link, say: Say<'_>) {
        let is_known = |end: &str| self.device(end).is_some() || self.switches.iter().any(|name| name == end);
        for end in [&link.from, &link.to] {
            if !is_known(end) {
                say(format!("found the end {end:?}, expected the name of a device or a switch"));
            }
        }
        if link.from == link.to && self.switches.contains(&link.from) {
            say("found a switch at both ends, expected a device at one of them, or two switches".into());
        }
        within("latency_ns", link.latency_ns, 0, LATENCY_NS_MAX, say);
        within("wake_ns", link.wake_ns, 0, LATENCY_NS_MAX, say);
        within("bytes_per_second", link.bytes_per_second, 1, BYTES_MAX, say);
    }
}

/// Both ends, in one order: a link goes both ways.
fn ends(link: &Link) -> [&str; 2] {
    let mut ends = [link.from.as_str(), link.to.as_str()];
    ends.sort_unstable();
    ends
}

fn verify_device(device: &Device, say: Say<'_>) {
    if device.name.is_empty() {
        say("found no name, expected one, as in \"cpu:0\"".into());
    }
    within("memory_bytes", device.memory_bytes, 1, BYTES_MAX, say);
    within("driver's device_bytes", device.driver.device_bytes, 0, BYTES_MAX, say);
    within("driver's host_bytes", device.driver.host_bytes, 0, BYTES_MAX, say);
    within("threads", device.threads.into(), 1, THREADS_MAX, say);
    let sizes: Vec<u32> = device.teams.iter().map(|team| team.threads).collect();
    let ends = (sizes.first(), sizes.last());
    if ends != (Some(&1), Some(&device.threads)) || !sizes.is_sorted_by(|a, b| a < b) {
        let all = device.threads;
        say(format!("found teams of {sizes:?} threads, expected some from 1 to {all}, in order"));
    }
    for team in &device.teams {
        verify_team(team, &mut |message| say(format!("the team of {}: {message}", team.threads)));
    }
}

fn verify_team(team: &Team, say: Say<'_>) {
    let of = team.operations;
    for (kind, rate) in [("int8", of.int8), ("f16", of.f16), ("f32", of.f32), ("exp", of.exp)] {
        within(&format!("{kind} operations a second"), rate, 1, OPERATIONS_MAX, say);
    }
    within("launch_ns", team.launch_ns, 0, LAUNCH_NS_MAX, say);
    if team.reads.is_empty() || !team.reads.is_sorted_by(|a, b| a.bytes < b.bytes) {
        let sizes: Vec<u64> = team.reads.iter().map(|read| read.bytes).collect();
        say(format!("found reads of {sizes:?} bytes, expected at least one, in order"));
    }
    for read in &team.reads {
        within("bytes", read.bytes, 1, BYTES_MAX, say);
        within("bytes_per_second", read.bytes_per_second, 1, BYTES_MAX, say);
    }
    for (index, rate) in team.rates.iter().enumerate() {
        let mut say = |message| say(format!("the rate of {:?}: {message}", rate.kernel));
        if team.rates[..index].iter().any(|other| other.kernel == rate.kernel) {
            say("found a second one, expected one".into());
        }
        verify_rate(rate, &mut say);
    }
}

fn verify_rate(rate: &Rate, say: Say<'_>) {
    if rate.at.is_empty() || !rate.at.is_sorted_by(|a, b| a.rows < b.rows) {
        let rows: Vec<u32> = rate.at.iter().map(|at| at.rows).collect();
        say(format!("found it at {rows:?} rows, expected at least one number of rows, in order"));
    }
    for at in &rate.at {
        within("rows", at.rows.into(), 1, u32::MAX.into(), say);
        within("operations_per_second", at.operations_per_second, 1, OPERATIONS_MAX, say);
        within("exposed_percent", at.exposed_percent, 0, 100, say);
    }
    within("start_ns", rate.start_ns, 0, LAUNCH_NS_MAX, say);
    within("queries_per_second", rate.queries_per_second, 0, OPERATIONS_MAX, say);
}

fn within(what: &str, found: u64, least: u64, most: u64, say: Say<'_>) {
    if !(least..=most).contains(&found) {
        say(format!("found {found} {what}, expected {least} to {most}"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn every_fault_is_found_and_says_where() {
        let mut topology = sample();
        topology.devices.push(topology.devices[0].clone());
        let device = &mut topology.devices[0];
        device.memory_bytes = 0;
        device.teams.swap(0, 1);
        device.teams[1].operations.exp = 0;
        device.teams[1].reads.clear();
        device.teams[1].launch_ns = u64::MAX;
        device.teams[1].rates[0].at[0].exposed_percent = 101;
        topology.switches.push("cpu:0".into());
        let link = topology.links[0].clone();
        topology.links.push(Link { to: "gpu:3".into(), bytes_per_second: 0, ..link.clone() });
        topology.links.push(link.clone());
        topology.links.push(Link { from: "bus".into(), bytes_per_second: u64::MAX, ..link.clone() });
        topology.links.push(Link { to: "bus".into(), latency_ns: LATENCY_NS_MAX + 1, ..link });
        let found: Vec<String> =
            topology.faults(&topology.to_text()).iter().map(ToString::to_string).collect();
        expect_test::expect![[r#"
            line 4: device "cpu:0": found 0 memory_bytes, expected 1 to 1000000000000000
            line 4: device "cpu:0": found teams of [2, 1, 4] threads, expected some from 1 to 4, in order
            line 4: device "cpu:0": the team of 1: found 0 exp operations a second, expected 1 to 1000000000000000000
            line 4: device "cpu:0": the team of 1: found 18446744073709551615 launch_ns, expected 0 to 1000000000
            line 4: device "cpu:0": the team of 1: found reads of [] bytes, expected at least one, in order
            line 4: device "cpu:0": the team of 1: the rate of "bodies": found 101 exposed_percent, expected 0 to 100
            line 15: device "cpu:0": found a second one of this name, expected another name
            line 27: switch "cpu:0": expected a name that no device and no other switch has
            line 29: link from "cpu:0" to "cpu:0": found a switch at both ends, expected a device at one of them, or two switches
            line 30: link from "cpu:0" to "gpu:3": found the end "gpu:3", expected the name of a device or a switch
            line 30: link from "cpu:0" to "gpu:3": found 0 bytes_per_second, expected 1 to 1000000000000000
            line 31: link from "cpu:0" to "cpu:0": found a second one between these two, expected one, which goes both ways
            line 31: link from "cpu:0" to "cpu:0": found a switch at both ends, expected a device at one of them, or two switches
            line 32: link from "bus" to "cpu:0": found 18446744073709551615 bytes_per_second, expected 1 to 1000000000000000
            line 33: link from "cpu:0" to "bus": found a second one between these two, expected one, which goes both ways
            line 33: link from "cpu:0" to "bus": found 3600000000001 latency_ns, expected 0 to 3600000000000"#]]
        .assert_eq(&found.join("\n"));
        assert!(topology.verify().iter().all(|fault| fault.line.is_none()));
    }
}
