//! What a plan could be without a device, or with more layers or fewer on it.
use super::{Choices, Other};
use crate::why::answer::{NAMED, devices};
use ir::plan::{Device, Hint, Partition};

impl Choices<'_> {
    /// Of a device: the same kind of cut without it, and one layer more or fewer on it.
    pub(super) fn about_device(&self, device: &Device) -> Vec<Other> {
        [self.without(device), self.other_layers(device)].concat()
    }

    /// The same kinds of cut by one device fewer of each kind.
    fn without(&self, device: &Device) -> Vec<Other> {
        let own = self.plan.options.partition;
        let fewer = [
            (own.tensor, Partition { tensor: own.tensor - 1, experts: own.experts && own.tensor > 2, ..own }),
            (own.pipeline, Partition { pipeline: own.pipeline - 1, ..own }),
            (own.data, Partition { data: own.data - 1, ..own }),
        ];
        let mut cuts: Vec<Partition> =
            fewer.into_iter().filter(|(degree, _)| *degree > 1).map(|(_, cut)| cut).collect();
        if cuts.is_empty() || self.stage_of(device.id).is_none() {
            cuts = vec![own];
        }
        cuts.into_iter().map(|cut| self.by(cut, device)).collect()
    }

    /// The plan by a cut over devices without this one, on which hints put nothing.
    pub(super) fn by(&self, partition: Partition, without: &Device) -> Other {
        let own = self.plan.options.partition;
        let mut other = self.hinted(String::new(), vec![]);
        let is_kept = |hint: &Hint| match hint {
            Hint::Place { device, .. } => *device != without.name,
            Hint::Stage { .. } => partition.pipeline == own.pipeline,
            _ => true,
        };
        other.options.hints.retain(is_kept);
        if other.options.micro_batches == own.pipeline {
            other.options.micro_batches = partition.pipeline;
        }
        other.options.partition = partition;
        let is_left = |device: &&Device| device.id != without.id;
        let rest: Vec<Device> = self.plan.devices.iter().filter(is_left).cloned().collect();
        other.devices = self.devices_for(&other.options, &rest);
        let what = match &other.devices[..] {
            [one] => format!("{} alone", one.name),
            taken if taken.len() > NAMED && taken.len() == rest.len() => {
                format!("{partition} over all but {}", without.name)
            }
            taken => {
                let names: Vec<&str> = taken.iter().map(|device| device.name.as_str()).collect();
                format!("{partition} over {}", devices(&names))
            }
        };
        Other { what, ..other }
    }

    /// A layer more on it, and a layer fewer.
    fn other_layers(&self, device: &Device) -> Vec<Other> {
        let Some((_, stage)) = self.stage_of(device.id).filter(|_| self.cut.replicas[0].len() > 1) else {
            return vec![];
        };
        let firsts = self.firsts();
        let end = |stage: usize| firsts.get(stage + 1).copied().unwrap_or_else(|| self.layers());
        let what = |first: u64, end: u64| match end - first {
            1 => format!("layer {first} alone on {}", device.name),
            _ => format!("layers {first} to {} on {}", end - 1, device.name),
        };
        let (first, last) = (firsts[stage], end(stage));
        let moved = match firsts.get(stage + 1) {
            Some(_) => [last + 1, last - 1].map(|last| (stage + 1, last, first, last)),
            None => [first.wrapping_sub(1), first + 1].map(|first| (stage, first, first, last)),
        };
        let of = |(stage, begin, first, end): (usize, u64, u64, u64)| {
            (first < end).then(|| self.begun(stage, begin, what(first, end)))?
        };
        moved.into_iter().filter_map(of).collect()
    }
}
