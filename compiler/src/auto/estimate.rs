//! How long an answer takes by a cut, as far as that can be told without planning it: what each layer's steps take on
//! one device, divided, and what devices say to one another beside.
//!
//! It only sorts: the best are planned and simulated.
use super::candidates::Candidate;
use crate::error::CompileError;
use ir::Symbols;
use ir::plan::{AllReduce, Arg, Device, Plan, Step};
use ir::topology::Topology;
use ir::work::StepSize;
use passes::cost::{CostError, CostModel};
use std::collections::HashMap;

/// What is asked for: see [`super::Aim`].
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) sequences: u32,
    pub(super) prompt: u32,
    pub(super) answer: f64,
}

/// A model's layers by what they take.
pub(super) struct Estimate<'a> {
    topology: &'a Topology,
    /// The whole on one device.
    whole: Plan,
    /// Elements of the values between layers, for each token.
    hidden: u64,
    layers: usize,
    known: HashMap<(String, u32, i64, u64), Vec<Layer>>,
}

/// What a layer takes, in nanoseconds.
#[derive(Clone, Copy, Default)]
struct Layer {
    /// Of what a group divides.
    divided: f64,
    /// Of what each of a group does.
    each: f64,
}

impl<'a> Estimate<'a> {
    pub(super) fn new(whole: Plan, topology: &'a Topology, hidden: u64, layers: u64) -> Estimate<'a> {
        Estimate { topology, whole, hidden, layers: layers.max(1) as usize, known: HashMap::new() }
    }

    /// Bytes of weights and caches in all.
    pub(super) fn held(&self) -> u64 {
        let weights = self.whole.weights.iter().map(|weight| weight.bytes);
        weights.chain(self.whole.states.iter().map(|state| state.bytes)).fold(0, u64::saturating_add)
    }

    /// Nanoseconds until the answers are there.
    pub(super) fn answer_ns(&mut self, candidate: &Candidate, asked: Asked) -> Result<f64, CompileError> {
        let cut = candidate.partition;
        let own = asked.sequences.div_ceil(cut.data.max(1)).max(1);
        let groups = cut.pipeline.min(own).max(1);
        let rows = own.div_ceil(groups);
        let (all, longest) = self.stages(candidate, rows, asked.prompt)?;
        let token = all.max(longest * f64::from(groups));
        let tokens = u64::from(own) * u64::from(asked.prompt.max(1));
        let chunk = tokens.min(u64::from(self.whole.options.chunk.max(1)));
        let steps = tokens.div_ceil(chunk) as f64;
        let (all, longest) = self.stages(candidate, chunk as u32, 0)?;
        Ok(all + (steps - 1.0) * longest + asked.answer * token)
    }

    /// A step of so many tokens through all stages of a replica, and through the longest of them.
    fn stages(
        &mut self,
        candidate: &Candidate,
        tokens: u32,
        cached: u32,
    ) -> Result<(f64, f64), CompileError> {
        let cut = candidate.partition;
        let bytes = u64::from(tokens) * self.hidden * 4;
        let replica = &candidate.devices[..(cut.pipeline * cut.tensor) as usize];
        let groups: Vec<&[Device]> = replica.chunks(cut.tensor.max(1) as usize).collect();
        let mut costs = vec![];
        for group in &groups {
            costs.push(self.group(group, tokens, cached)?);
        }
        // Layers by how fast the stages are.
        let speed = |layers: &[Layer]| 1.0 / layers.iter().map(|l| l.divided + l.each).sum::<f64>().max(1.0);
        let speeds: Vec<f64> = costs.iter().map(|layers| speed(layers)).collect();
        let total: f64 = speeds.iter().sum();
        let (mut all, mut longest, mut done, mut passed) = (0.0, 0.0f64, 0, 0.0);
        for (at, (group, layers)) in groups.iter().zip(&costs).enumerate() {
            passed += speeds[at];
            let end = (passed / total * self.layers as f64).round() as usize;
            let own = &layers[done.min(self.layers)..end.clamp(done, self.layers)];
            done = end;
            let sums = 2.0 * own.len() as f64 * sum_ns(self.topology, group, bytes, candidate.all_reduce)?;
            let mut stage = own.iter().map(|layer| layer.divided + layer.each).sum::<f64>() + sums;
            if let Some(before) = at.checked_sub(1) {
                stage += message_ns(self.topology, &groups[before][0], &group[0], bytes)?;
            }
            all += stage;
            longest = longest.max(stage);
        }
        Ok((all, longest))
    }

    /// The layers on a group that divides them.
    fn group(&mut self, group: &[Device], tokens: u32, cached: u32) -> Result<Vec<Layer>, CompileError> {
        let mut sum = vec![(0.0, 0.0f64); self.layers];
        for device in group {
            for ((rate, each), layer) in sum.iter_mut().zip(self.layers_on(device, tokens, cached)?) {
                *rate += 1.0 / layer.divided.max(1.0);
                *each = each.max(layer.each);
            }
        }
        Ok(sum.into_iter().map(|(rate, each)| Layer { divided: 1.0 / rate, each }).collect())
    }

    fn layers_on(&mut self, device: &Device, tokens: u32, cached: u32) -> Result<Vec<Layer>, CompileError> {
        let key = (device.name.clone(), device.threads, i64::from(tokens), u64::from(cached));
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        self.whole.devices[0] = Device { id: self.whole.devices[0].id, ..device.clone() };
        let model = CostModel::new(&self.whole, self.topology)?;
        let (n, cached) = (i64::from(tokens), u64::from(cached));
        // A prompt is one sequence's, tokens behind one are of as many.
        let (rows, sequences) = match cached {
            0 => (1, std::iter::once(0..n as u64).collect()),
            cached => (n, vec![cached..cached + 1; tokens as usize]),
        };
        let size = StepSize { symbols: Symbols::of_step(n, rows, 0), sequences };
        let thread = &self.whole.threads[0];
        let mut layers = vec![Layer::default(); self.layers];
        let mut at = 0;
        for (step, cost) in thread.steps.iter().zip(model.steps(thread, &size)?) {
            let Step::Run { node, args, .. } = step else { continue };
            at = passes::partition::layer_of(node).map_or(at, |l| (l as usize).min(self.layers - 1));
            let divides = args.iter().any(|arg| match arg {
                Arg::W(id) => self.whole.weights[id.0 as usize].ty.rank() > 1,
                Arg::S(_) => true,
                Arg::B(_) => false,
            });
            let own = if divides { &mut layers[at].divided } else { &mut layers[at].each };
            *own += cost.expected_ns;
            layers[at].each += cost.launch_ns;
        }
        self.known.insert(key, layers.clone());
        Ok(layers)
    }
}

/// What a message takes.
fn message_ns(topology: &Topology, from: &Device, to: &Device, bytes: u64) -> Result<f64, CostError> {
    let missing = || CostError::Links { missing: vec![(from.name.clone(), to.name.clone())] };
    Ok(topology.route(&from.name, &to.name).ok_or_else(missing)?.message_ns(bytes))
}

/// What adding up a sum of so many bytes takes a group: messages over its slowest way as a device sends them, one
/// after the other, and the kernels that add, cut and join. The terms are those of Thakur, Rabenseifner and Gropp,
/// "Optimization of Collective Communication Operations in MPICH", 2005.
pub(super) fn sum_ns(
    topology: &Topology,
    group: &[Device],
    bytes: u64,
    way: AllReduce,
) -> Result<f64, CostError> {
    let ranks = group.len();
    if ranks < 2 {
        return Ok(0.0);
    }
    let (mut latency, mut each_byte, mut launch) = (0.0f64, 0.0f64, 0.0f64);
    for (at, from) in group.iter().enumerate() {
        let others: Vec<&Device> = match way {
            AllReduce::Ring => vec![&group[(at + 1) % ranks]],
            _ => group[at + 1..].iter().collect(),
        };
        for to in others {
            let short = message_ns(topology, from, to, 0)?;
            latency = latency.max(short);
            each_byte =
                each_byte.max((message_ns(topology, from, to, 1 << 30)? - short) / f64::from(1 << 30));
        }
        let team = topology.device(&from.name).and_then(|known| known.team(from.threads));
        launch = launch.max(team.map_or(0.0, |team| team.launch_ns as f64));
    }
    let (ranks, all) = (ranks as f64, bytes as f64 * each_byte);
    let hops = (ranks - 1.0).ceil();
    Ok(match way {
        AllReduce::Direct => latency + hops * all + launch,
        AllReduce::Scatter => 2.0 * (latency + hops / ranks * all) + (ranks + 2.0) * launch,
        AllReduce::Ring => 2.0 * hops * (latency + all / ranks) + (3.0 * hops + 2.0) * launch,
        AllReduce::Tree => ranks.log2().ceil() * (latency + all + launch) + latency + hops * all,
    })
}
