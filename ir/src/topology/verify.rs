//! What must hold of a topology, so that a cost model can count with it.
use super::{Device, Link, Team, Topology};
use std::fmt;

/// One thing that is wrong with a topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyFault {
    /// Of which item.
    pub at: String,
    /// What was found and what was expected.
    pub message: String,
}

impl fmt::Display for TopologyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)
    }
}

/// Most threads of a device, as in plans.
const THREADS_MAX: u32 = 4096;
/// Most nanoseconds that starting a team takes: a second, so that sums over a plan's steps stay sums.
const LAUNCH_NS_MAX: u64 = 1_000_000_000;

impl Topology {
    /// Every fault, in the order of the text.
    pub fn verify(&self) -> Vec<TopologyFault> {
        let mut faults = vec![];
        if self.devices.is_empty() {
            let message = "found none, expected at least one".into();
            faults.push(TopologyFault { at: "devices".into(), message });
        }
        for (index, device) in self.devices.iter().enumerate() {
            let mut fault =
                |message| faults.push(TopologyFault { at: format!("device {:?}", device.name), message });
            if self.devices[..index].iter().any(|other| other.name == device.name) {
                fault("found a second one of this name, expected another name".into());
            }
            verify_device(device, &mut fault);
        }
        for (index, link) in self.links.iter().enumerate() {
            let at = format!("link from {:?} to {:?}", link.from, link.to);
            let mut fault = |message| faults.push(TopologyFault { at: at.clone(), message });
            let ends = |link: &Link| [link.from.clone(), link.to.clone()];
            if self.links[..index].iter().any(|other| ends(other) == ends(link)) {
                fault("found a second one, expected one".into());
            }
            for end in ends(link).iter().filter(|end| self.device(end).is_none()) {
                fault(format!("found the end {end:?}, expected the name of a device"));
            }
            positive("bytes_per_second", link.bytes_per_second, &mut fault);
        }
        faults
    }
}

fn verify_device(device: &Device, fault: &mut impl FnMut(String)) {
    positive("memory_bytes", device.memory_bytes, fault);
    if !(1..=THREADS_MAX).contains(&device.threads) {
        fault(format!("found {} threads, expected 1 to {THREADS_MAX}", device.threads));
    }
    let sizes: Vec<u32> = device.teams.iter().map(|team| team.threads).collect();
    let ends = (sizes.first(), sizes.last());
    if ends != (Some(&1), Some(&device.threads)) || !sizes.is_sorted_by(|a, b| a < b) {
        let all = device.threads;
        fault(format!("found teams of {sizes:?} threads, expected some from 1 to {all}, in order"));
    }
    for team in &device.teams {
        verify_team(team, &mut |message| fault(format!("the team of {}: {message}", team.threads)));
    }
}

fn verify_team(team: &Team, fault: &mut impl FnMut(String)) {
    positive("int8 operations a second", team.operations.int8, fault);
    positive("f32 operations a second", team.operations.f32, fault);
    positive("exp operations a second", team.operations.exp, fault);
    if team.launch_ns > LAUNCH_NS_MAX {
        fault(format!("found launch_ns {}, expected at most {LAUNCH_NS_MAX}", team.launch_ns));
    }
    if team.reads.is_empty() || !team.reads.is_sorted_by(|a, b| a.bytes < b.bytes) {
        let sizes: Vec<u64> = team.reads.iter().map(|read| read.bytes).collect();
        fault(format!("found reads of {sizes:?} bytes, expected at least one, in order"));
    }
    for read in &team.reads {
        positive("bytes", read.bytes, fault);
        positive("bytes_per_second", read.bytes_per_second, fault);
    }
}

fn positive(what: &str, found: u64, fault: &mut impl FnMut(String)) {
    if found == 0 {
        fault(format!("found 0 {what}, expected at least 1"));
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
        topology.links.push(Link { to: "gpu:3".into(), bytes_per_second: 0, ..topology.links[0].clone() });
        topology.links.push(topology.links[0].clone());
        let found: Vec<String> = topology.verify().iter().map(ToString::to_string).collect();
        expect_test::expect![[r#"
            device "cpu:0": found 0 memory_bytes, expected at least 1
            device "cpu:0": found teams of [2, 1, 4] threads, expected some from 1 to 4, in order
            device "cpu:0": the team of 1: found 0 exp operations a second, expected at least 1
            device "cpu:0": the team of 1: found launch_ns 18446744073709551615, expected at most 1000000000
            device "cpu:0": the team of 1: found reads of [] bytes, expected at least one, in order
            device "cpu:0": found a second one of this name, expected another name
            link from "cpu:0" to "gpu:3": found the end "gpu:3", expected the name of a device
            link from "cpu:0" to "gpu:3": found 0 bytes_per_second, expected at least 1
            link from "cpu:0" to "cpu:0": found a second one, expected one"#]]
        .assert_eq(&found.join("\n"));
    }
}
