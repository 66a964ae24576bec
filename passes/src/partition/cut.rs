//! Which devices compute which layers, and in what shares.
use super::hints::{ByHand, HintError};
use ir::plan::{AllReduce, Device, DeviceId, Partition};
use ir::shard::Shares;
use ir::{Class, Graph, NodeId, Op};
use std::collections::HashSet;
use std::ops::Range;

/// How a model is cut: replicas for different sequences, each a pipeline of stages, each a group of devices
/// that divide its tensors among themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The stages of each replica, in order; every replica has the same first layers.
    pub replicas: Vec<Vec<Stage>>,
    /// How each stage's group adds up sums.
    pub all_reduce: AllReduce,
    /// What a person said of some nodes.
    pub by_hand: Vec<ByHand>,
}

/// Some layers, and who computes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The first of its layers; the last is before the next stage's first.
    pub first_layer: u64,
    /// The devices by number, in order of rank.
    pub places: Vec<u32>,
    /// How much each should have.
    pub shares: Shares,
}

impl Default for Cut {
    /// All on device 0.
    fn default() -> Cut {
        let stage = Stage { first_layer: 0, places: vec![0], shares: Shares::new([1]) };
        Cut { replicas: vec![vec![stage]], all_reduce: AllReduce::Direct, by_hand: vec![] }
    }
}

impl Cut {
    /// Whether nothing is cut.
    pub fn is_whole(&self) -> bool {
        self.devices() == 1 && self.by_hand.is_empty()
    }

    /// The same, with sums added up so.
    pub fn with_all_reduce(self, all_reduce: AllReduce) -> Cut {
        Cut { all_reduce, ..self }
    }

    /// How many devices take part.
    pub fn devices(&self) -> usize {
        let cut = self.replicas.iter().flatten().map(|stage| stage.places.len()).sum();
        let by_hand = self.by_hand.iter().filter_map(|said| Some(said.place.as_ref()?.1 as usize + 1));
        by_hand.max().unwrap_or(0).max(cut)
    }
}

/// The layer that a path lies in: 3 of `blk.3.attn_q`.
pub fn layer_of(path: &str) -> Option<u64> {
    path.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

impl Cut {
    /// The cut that a [`Partition`] names: devices in order of replica, stage and rank; layers so divided that the
    /// stage that has most to read for its threads has least.
    pub fn of(g: &Graph, partition: Partition, devices: &[Device]) -> Result<Cut, CutError> {
        Cut::within(g, partition, devices, &Means::default())
    }

    /// The same by what is known of the devices.
    pub fn within(
        g: &Graph,
        partition: Partition,
        devices: &[Device],
        means: &Means,
    ) -> Result<Cut, CutError> {
        let (found, expected) = (devices.len(), partition.devices() as usize);
        if found != expected || expected == 0 {
            return Err(CutError::Devices { partition, expected, found });
        }
        let mut loads = layer_loads(g);
        // What has no layers is one.
        loads.resize(loads.len().max(1), 0);
        let stages = partition.pipeline as usize;
        if loads.len() < stages {
            return Err(CutError::Layers { layers: loads.len(), stages });
        }
        let group = partition.tensor as usize;
        let each = devices.chunks(group * stages);
        let speed =
            |device: &Device| means.speeds.get(device.id.0 as usize).copied().unwrap_or(device.threads);
        // Replicas have the same layers at the same stage: the slowest group of a stage in any of them counts.
        let of_stages = (0..stages).map(|stage| {
            let of = |replica: &[Device]| {
                let speed = |d: &Device| means.stage_speeds.get(d.id.0 as usize).copied().unwrap_or(speed(d));
                replica[stage * group..][..group].iter().map(|d| u64::from(speed(d))).sum::<u64>()
            };
            each.clone().map(of).min().unwrap_or(1) as f64
        });
        let mut held = layer_bytes(g);
        held.resize(loads.len(), 0);
        let limits = (0..stages).map(|stage| means.room.get(stage).copied().flatten().unwrap_or(u64::MAX));
        let limits: Vec<u64> = limits.collect();
        let goal = if means.is_serial { Goal::Sum } else { Goal::Longest };
        let firsts = balance(&loads, &of_stages.collect::<Vec<_>>(), &held, &limits, goal)
            .ok_or(CutError::Room { layers: loads.len(), stages })?;
        let stage = |(first, group): (&usize, &[Device])| Stage {
            first_layer: *first as u64,
            places: group.iter().map(|device| device.id.0).collect(),
            shares: Shares::new(group.iter().map(speed)).by_experts(partition.experts),
        };
        let replica = |own: &[Device]| firsts.iter().zip(own.chunks(group)).map(stage).collect();
        let replicas = each.map(replica).collect();
        Ok(Cut { replicas, all_reduce: AllReduce::Direct, by_hand: vec![] })
    }
}

/// Why there is no such cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    /// More or fewer devices than it takes.
    #[error("{partition} takes {expected} devices, found {found}")]
    Devices {
        /// What was asked for.
        partition: Partition,
        /// How many devices it takes.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// No stages that hold the layers have room for them.
    #[error("{layers} layers do not fit {stages} stages, wherever they are cut")]
    Room {
        /// How many layers the model has.
        layers: usize,
        /// How many stages were asked for.
        stages: usize,
    },
    /// More stages than layers.
    #[error("a model of {layers} layers cannot be cut into {stages} stages")]
    Layers {
        /// How many layers the model has.
        layers: usize,
        /// How many stages were asked for.
        stages: usize,
    },
    /// A hint that cannot be honoured.
    #[error(transparent)]
    Hint(#[from] HintError),
}

/// Bytes of the matrices that each layer multiplies with; what is behind the last layer counts there.
pub(super) fn layer_loads(g: &Graph) -> Vec<u64> {
    let mut loads: Vec<u64> = vec![];
    let mut behind = 0;
    for n in g.order().into_iter().filter(|n| g[*n].op.class() == Class::Contraction) {
        let weights = g.inputs(n).into_iter().filter(|i| matches!(g[*i].op, Op::Weight(_)));
        let bytes: u64 = weights.map(|w| g[w].ty.bytes(|_| None).unwrap_or(0)).sum();
        match layer_of(&g[n].path).and_then(|layer| usize::try_from(layer).ok()) {
            Some(layer) if layer < g.len() => {
                loads.resize(loads.len().max(layer + 1), 0);
                loads[layer] += bytes;
            }
            _ => behind += bytes,
        }
    }
    loads.last_mut().into_iter().for_each(|last| *last += behind);
    loads
}

/// What is known of devices when a model is cut over them.
#[derive(Clone, Debug, Default)]
pub struct Means {
    /// How fast each device is beside the others, by number; where nothing is known, as its threads are many.
    speeds: Vec<u32>,
    /// The same where layers are given to stages, if that is another.
    stage_speeds: Vec<u32>,
    /// Whether a stage waits for the one before, as with one sequence: then the fastest has what it has room for.
    is_serial: bool,
    /// Bytes of weights and states that the layers of each stage may have, where somebody found a limit.
    room: Vec<Option<u64>>,
}

impl Means {
    /// Devices that are so fast beside one another, with room for anything.
    pub fn new(speeds: Vec<u32>) -> Means {
        Means { speeds, ..Means::default() }
    }

    /// The same where layers are given to stages by other speeds, which take them one behind the other or at once.
    pub fn with_stages(self, stage_speeds: Vec<u32>, is_serial: bool) -> Means {
        Means { stage_speeds, is_serial, ..self }
    }

    /// Takes from each stage of a cut what its devices have too much. False where that leaves nothing to try: there
    /// is but one stage, or one was left without room for any layer.
    pub fn shrink(&mut self, g: &Graph, cut: &Cut, over: &[(DeviceId, u64)]) -> bool {
        let held = layer_bytes(g);
        for stages in &cut.replicas {
            self.room.resize(self.room.len().max(stages.len()), None);
            for (at, stage) in stages.iter().enumerate() {
                let excess = |place: &u32| over.iter().find(|(device, _)| device.0 == *place).map(|o| o.1);
                let Some(excess) = stage.places.iter().filter_map(excess).max() else { continue };
                let end = stages.get(at + 1).map_or(held.len(), |next| next.first_layer as usize);
                let own: u64 = held.get(stage.first_layer as usize..end).unwrap_or_default().iter().sum();
                // A rank that has too much has it of its share.
                let room = own.checked_sub(excess.saturating_mul(stage.places.len() as u64));
                let Some(room) = room.filter(|_| stages.len() > 1) else { return false };
                self.room[at] = Some(self.room[at].map_or(room, |before| before.min(room)));
            }
        }
        true
    }
}

/// Bytes of the weights and states that each layer has.
fn layer_bytes(g: &Graph) -> Vec<u64> {
    let mut held: Vec<u64> = vec![];
    let mut seen = HashSet::new();
    for n in g.order() {
        let Some(layer) = layer_of(&g[n].path).map(|layer| layer as usize).filter(|l| *l < g.len()) else {
            continue;
        };
        let is_held = |i: &NodeId| match &g[*i].op {
            Op::Weight(_) => true,
            Op::Input(input) => input.state,
            _ => false,
        };
        for source in g.inputs(n).into_iter().filter(is_held) {
            if seen.insert((layer, source)) {
                held.resize(held.len().max(layer + 1), 0);
                held[layer] += g[source].ty.bytes(|_| None).unwrap_or(0);
            }
        }
    }
    held
}

/// What is to be short.
#[derive(Clone, Copy)]
enum Goal {
    /// The longest stage.
    Longest,
    /// All stages together.
    Sum,
}

/// The first layer of each stage, so that the goal is as short as can be, no stage is empty, and none holds more than
/// it may; none where that cannot be.
fn balance(loads: &[u64], speeds: &[f64], held: &[u64], limits: &[u64], goal: Goal) -> Option<Vec<usize>> {
    let (layers, stages) = (loads.len(), speeds.len());
    let mut sums = vec![0.0];
    loads.iter().for_each(|load| sums.push(sums[sums.len() - 1] + *load as f64));
    let holds = |range: Range<usize>| held[range].iter().fold(0u64, |sum, bytes| sum.saturating_add(*bytes));
    // The least that the first layers take on the first stages, and where the last of these stages begins.
    let mut best = vec![vec![(f64::INFINITY, 0); layers + 1]; stages + 1];
    best[0][0] = (0.0, 0);
    for stage in 1..=stages {
        for end in stage..=layers {
            for begin in stage - 1..end {
                let (before, own) = (best[stage - 1][begin].0, (sums[end] - sums[begin]) / speeds[stage - 1]);
                let takes = match goal {
                    Goal::Longest => before.max(own),
                    Goal::Sum => before + own,
                };
                if takes < best[stage][end].0 && holds(begin..end) <= limits[stage - 1] {
                    best[stage][end] = (takes, begin);
                }
            }
        }
    }
    if best[stages][layers].0.is_infinite() {
        return None;
    }
    let mut firsts = vec![];
    let mut end = layers;
    for stage in (1..=stages).rev() {
        end = best[stage][end].1;
        firsts.push(end);
    }
    firsts.reverse();
    Some(firsts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn even(loads: &[u64], speeds: &[f64]) -> Vec<usize> {
        balance(loads, speeds, loads, &vec![u64::MAX; speeds.len()], Goal::Longest).unwrap()
    }

    #[test]
    fn stages_are_as_even_as_layers_allow() {
        assert_eq!(even(&[1; 10], &[1.0, 1.0]), [0, 5]);
        // The last layer bears the output product.
        assert_eq!(even(&[1, 1, 1, 1, 1, 4], &[1.0, 1.0]), [0, 4]);
        assert_eq!(even(&[1; 9], &[2.0, 1.0]), [0, 6]);
        assert_eq!(even(&[5, 1, 1], &[1.0, 1.0, 1.0]), [0, 1, 2]);
    }

    #[test]
    fn no_stage_holds_more_than_it_may() {
        let firsts = |limits: &[u64]| balance(&[1; 10], &[1.0, 1.0], &[10; 10], limits, Goal::Longest);
        assert_eq!(firsts(&[30, 1000]), Some(vec![0, 3]));
        assert_eq!(firsts(&[1000, 20]), Some(vec![0, 8]));
        assert_eq!(firsts(&[30, 60]), None);
    }

    #[test]
    fn what_waits_for_the_stage_before_goes_to_the_fastest_as_far_as_it_has_room() {
        let firsts = |speeds: &[f64], limits: &[u64]| balance(&[1; 10], speeds, &[10; 10], limits, Goal::Sum);
        let ample = u64::MAX;
        // The longest stage would be shortest with six and four.
        assert_eq!(firsts(&[2.0, 1.0], &[ample, ample]), Some(vec![0, 9]));
        assert_eq!(firsts(&[8.0, 1.0], &[70, ample]), Some(vec![0, 7]));
        assert_eq!(firsts(&[1.0, 8.0], &[ample, 45]), Some(vec![0, 6]));
        assert_eq!(firsts(&[8.0, 1.0], &[70, 20]), None);
    }
}
