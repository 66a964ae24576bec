//! What auto chooses among: degrees of each kind of cut, and the devices that they are over.
use ir::plan::{AllReduce, Device, DeviceId, Partition};
use ir::topology::{Team, Topology};
use std::collections::HashSet;

/// A way to compute a model.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) partition: Partition,
    pub(super) all_reduce: AllReduce,
    /// The other ways to add up sums, the best by estimate first, for where that one has no room.
    pub(super) spare: Vec<AllReduce>,
    /// As many as the partition takes, numbered from 0.
    pub(super) devices: Vec<Device>,
}

impl Candidate {
    /// In words, of `all` devices.
    pub(super) fn told(&self, all: &[Device]) -> String {
        let mut text = self.partition.to_string();
        if !self.all_reduce.is_direct() {
            text += &format!(", sums by {}", self.all_reduce.name());
        }
        let is_first = self.devices.iter().zip(all).all(|(own, device)| own.name == device.name);
        if !is_first {
            let names: Vec<&str> = self.devices.iter().map(|device| device.name.as_str()).collect();
            text += &format!(" on {}", names.join(", "));
        }
        text
    }
}

/// Every partition over at most so many devices, with no more replicas than there are sequences; where the model has
/// experts, those that divide mixtures by whole ones too.
pub(super) fn partitions(devices: u32, sequences: u32, has_experts: bool) -> Vec<Partition> {
    let mut cuts = vec![];
    for data in 1..=devices.min(sequences) {
        for pipeline in 1..=devices / data {
            for tensor in 1..=devices / data / pipeline {
                let plain = Partition { data, pipeline, tensor, experts: false };
                cuts.push(plain);
                if has_experts && tensor > 1 {
                    cuts.push(Partition { experts: true, ..plain });
                }
            }
        }
    }
    cuts.sort_by_key(Partition::devices);
    cuts
}

/// Of more devices than these, only those that stand next to one another are taken together.
const COMBINED: usize = 6;

/// So many of the devices, in every way that makes a difference: two choices of equal devices with equal links between
/// them are one.
pub(super) fn choices(devices: &[Device], count: usize, topology: &Topology) -> Vec<Vec<Device>> {
    let all: Vec<Vec<usize>> = match devices.len() {
        0..=COMBINED => combinations(devices.len(), count),
        many => (count..=many).map(|end| (end - count..end).collect()).collect(),
    };
    let mut seen = HashSet::new();
    let mut choices = vec![];
    for own in all.into_iter().filter(|own| own.len() == count) {
        let own: Vec<&Device> = own.into_iter().map(|at| &devices[at]).collect();
        if seen.insert(signature(&own, topology)) {
            let renumbered = (0..).zip(own).map(|(id, d)| Device { id: DeviceId(id), ..d.clone() });
            choices.push(renumbered.collect());
        }
    }
    choices
}

/// Every `count` of the numbers below `of`, in order.
fn combinations(of: usize, count: usize) -> Vec<Vec<usize>> {
    let chosen = |mask: u32| (0..of).filter(|at| mask >> at & 1 == 1).collect::<Vec<_>>();
    let mut all: Vec<Vec<usize>> = (0..1u32 << of).map(chosen).filter(|own| own.len() == count).collect();
    all.sort();
    all
}

/// What distinguishes a choice of devices: what each reaches and holds, and what joins each two.
fn signature(devices: &[&Device], topology: &Topology) -> String {
    let mut text = String::new();
    for (at, device) in devices.iter().enumerate() {
        let team: Option<Team> = topology.device(&device.name).and_then(|known| known.team(device.threads));
        text += &format!("{:?} {} {team:?};", device.memory, device.threads);
        for other in &devices[..at] {
            let way = topology.route(&other.name, &device.name);
            text += &format!("{:?};", way.map(|way| (way.latency_ns, way.bytes_per_second)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_of_a_few_devices_is_looked_at_once() {
        let all = |devices, sequences| {
            partitions(devices, sequences, false).iter().map(Partition::to_string).collect::<Vec<_>>()
        };
        assert_eq!(all(1, 8), ["none"]);
        assert_eq!(all(2, 1), ["none", "tensor:2", "pipeline:2"]);
        assert_eq!(all(2, 8), ["none", "tensor:2", "pipeline:2", "data:2"]);
        assert_eq!(all(4, 8).len(), 13);
        let experts = partitions(2, 1, true);
        assert_eq!(experts.iter().map(Partition::to_string).collect::<Vec<_>>()[2], "expert:2");
    }

    #[test]
    fn choices_that_differ_in_nothing_are_one() {
        assert_eq!(combinations(3, 2), [[0, 1], [0, 2], [1, 2]]);
        let text = include_str!("../../../examples/topologies/8xh100-nvlink-pairs.ron");
        let topology = Topology::from_text(text).unwrap();
        let device =
            |(id, d): (u32, &ir::topology::Device)| Device { name: d.name.clone(), ..Device::cpu(id, 1) };
        let devices: Vec<Device> = (0..).zip(&topology.devices).map(device).collect();
        let names = |count| {
            let all = choices(&devices, count, &topology);
            let of = |own: &Vec<Device>| own.iter().map(|d| d.name.clone()).collect::<Vec<_>>().join(" ");
            all.iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!(names(1), ["gpu:0"]);
        // Two that are bridged, and two that are not.
        assert_eq!(names(2), ["gpu:0 gpu:1", "gpu:1 gpu:2"]);
        assert_eq!(names(8).len(), 1);
        assert!(names(9).is_empty());
    }
}
