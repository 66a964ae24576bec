//! Which devices compute which layers, and in what shares.
use ir::plan::{Device, Partition};
use ir::shard::Shares;
use ir::{Class, Graph, Op};

/// How a model is cut: replicas for different sequences, each a pipeline of stages, each a group of devices
/// that divide its tensors among themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The stages of each replica, in order; every replica has the same first layers.
    pub replicas: Vec<Vec<Stage>>,
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
        Cut { replicas: vec![vec![stage]] }
    }
}

impl Cut {
    /// Whether nothing is cut.
    pub fn is_whole(&self) -> bool {
        self.devices() == 1
    }

    /// How many devices take part.
    pub fn devices(&self) -> usize {
        self.replicas.iter().flatten().map(|stage| stage.places.len()).sum()
    }
}

/// The layer that a path lies in: 3 of `blk.3.attn_q`.
pub(super) fn layer_of(path: &str) -> Option<u64> {
    path.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

impl Cut {
    /// The cut that a [`Partition`] names: devices in order of replica, stage and rank; layers so divided that the
    /// stage that has most to read for its threads has least.
    pub fn of(g: &Graph, partition: Partition, devices: &[Device]) -> Result<Cut, CutError> {
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
        // Replicas have the same layers at the same stage: the slowest device of a stage in any of them counts.
        let threads = (0..stages).map(|stage| {
            let of =
                |replica: &[Device]| replica[stage * group..][..group].iter().map(|d| d.threads).sum::<u32>();
            f64::from(each.clone().map(of).min().unwrap_or(1).max(1))
        });
        let firsts = balance(&loads, &threads.collect::<Vec<_>>());
        let stage = |(first, group): (&usize, &[Device])| Stage {
            first_layer: *first as u64,
            places: group.iter().map(|device| device.id.0).collect(),
            shares: Shares::new(group.iter().map(|device| device.threads)).by_experts(partition.experts),
        };
        let replica = |own: &[Device]| firsts.iter().zip(own.chunks(group)).map(stage).collect();
        Ok(Cut { replicas: each.map(replica).collect() })
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
    /// More stages than layers.
    #[error("a model of {layers} layers cannot be cut into {stages} stages")]
    Layers {
        /// How many layers the model has.
        layers: usize,
        /// How many stages were asked for.
        stages: usize,
    },
}

/// Bytes of the matrices that each layer multiplies with; what is behind the last layer counts there.
fn layer_loads(g: &Graph) -> Vec<u64> {
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

/// The first layer of each stage, so that the longest stage is as short as can be, and no stage is empty.
fn balance(loads: &[u64], speeds: &[f64]) -> Vec<usize> {
    let (layers, stages) = (loads.len(), speeds.len());
    let mut sums = vec![0.0];
    loads.iter().for_each(|load| sums.push(sums[sums.len() - 1] + *load as f64));
    // The least longest stage of the first layers on the first stages, and where the last of these stages begins.
    let mut best = vec![vec![(f64::INFINITY, 0); layers + 1]; stages + 1];
    best[0][0] = (0.0, 0);
    for stage in 1..=stages {
        for end in stage..=layers {
            for begin in stage - 1..end {
                let longest = best[stage - 1][begin].0.max((sums[end] - sums[begin]) / speeds[stage - 1]);
                if longest < best[stage][end].0 {
                    best[stage][end] = (longest, begin);
                }
            }
        }
    }
    let mut firsts = vec![];
    let mut end = layers;
    for stage in (1..=stages).rev() {
        end = best[stage][end].1;
        firsts.push(end);
    }
    firsts.reverse();
    firsts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_as_even_as_layers_allow() {
        assert_eq!(balance(&[1; 10], &[1.0, 1.0]), [0, 5]);
        // The last layer bears the output product.
        assert_eq!(balance(&[1, 1, 1, 1, 1, 4], &[1.0, 1.0]), [0, 4]);
        assert_eq!(balance(&[1; 9], &[2.0, 1.0]), [0, 6]);
        assert_eq!(balance(&[5, 1, 1], &[1.0, 1.0, 1.0]), [0, 1, 2]);
    }
}
