//! What stands in a plan about a node, an edge or a device, what it costs by itself, and what bounds it.
mod nodes;

use super::answer::Answer;
use crate::inspect::layers;
use crate::output;
use anyhow::bail;
use ir::Symbols;
use ir::plan::{Device, DeviceId, Edge, End, Plan, Step, WeightId, Why};
use ir::topology::Topology;
use ir::work::StepSize;
use passes::cost::{Cost, CostModel};

/// What was asked about.
pub(super) enum Subject<'a> {
    /// Nodes of a path, or beneath it.
    Nodes {
        path: String,
        /// Who computes them.
        on: Vec<DeviceId>,
        /// The weights that they multiply with.
        multiply: Vec<WeightId>,
    },
    Edge(&'a Edge),
    Device(&'a Device),
}

/// What was decided by cost for the whole plan.
pub(super) fn whole(plan: &Plan) -> Vec<Answer> {
    let of = |why: &Why| Answer {
        about: why.about.clone(),
        decision: match why.measure.is_empty() {
            true => format!("{} is {}, of which nothing is predicted", why.about, why.chosen),
            false => format!("{} is {}, predicted for {}", why.about, why.chosen, why.measure),
        },
        cost_ns: (!why.measure.is_empty()).then_some(why.predicted_ns),
        instead: why.instead.iter().map(Into::into).collect(),
        ..Answer::default()
    };
    let decided: Vec<Answer> = plan.why.iter().map(of).collect();
    match decided.is_empty() {
        false => decided,
        true => vec![Answer {
            about: "partition".into(),
            decision: format!(
                "partition is {}, as it was asked for: --partition auto compares it with the others",
                plan.options.partition
            ),
            ..Answer::default()
        }],
    }
}

/// A plan with what its parts cost.
pub(super) struct Decided<'a> {
    plan: &'a Plan,
    model: CostModel<'a>,
    size: StepSize,
}

impl<'a> Decided<'a> {
    /// With what a token costs behind so many.
    pub(super) fn new(plan: &'a Plan, topology: &Topology, prompt: u32) -> anyhow::Result<Decided<'a>> {
        let (symbols, at) = (Symbols::of_step(1, 1, 0), u64::from(prompt));
        let size = StepSize { symbols, sequences: std::iter::once(at..at + 1).collect() };
        Ok(Decided { plan, model: CostModel::new(plan, topology)?, size })
    }

    /// What was asked about, and what was decided of it; of several answers the last is about all of it.
    pub(super) fn about(&self, what: &str) -> anyhow::Result<(Vec<Answer>, Subject<'a>)> {
        if let Some(device) = self.plan.devices.iter().find(|device| device.name == what) {
            return Ok((vec![self.device(device)?], Subject::Device(device)));
        }
        if let Some(edge) = what.strip_prefix("edge:") {
            let edge = edge.parse().ok().and_then(|id: usize| self.plan.edges.get(id));
            let Some(edge) = edge else {
                bail!(
                    "there is no {what}, expected edge:0 to edge:{}",
                    self.plan.edges.len().saturating_sub(1)
                )
            };
            return Ok((vec![self.edge(edge)?], Subject::Edge(edge)));
        }
        let found = self.nodes(what)?;
        if found.is_empty() {
            let near = self.nearest(what);
            let devices: Vec<&str> = self.plan.devices.iter().map(|device| device.name.as_str()).collect();
            bail!(
                "the plan has no node, device or edge {what:?}; the nearest nodes are {}, the devices {}",
                near.join(", "),
                devices.join(", ")
            );
        }
        Ok(self.together(what, found))
    }

    fn device(&self, device: &Device) -> anyhow::Result<Answer> {
        let Some(thread) = self.plan.threads.iter().find(|thread| thread.device == device.id) else {
            bail!("{} has no thread", device.name)
        };
        let costs = self.model.steps(thread, &self.size)?;
        let busy: f64 = costs.iter().map(|cost| cost.predicted_ns()).sum();
        let mut sum = Cost::default();
        costs.into_iter().for_each(|cost| sum += cost);
        let of = match layers(thread) {
            Some((first, last)) if first < last => format!("layers {first} to {last}"),
            Some((only, _)) => format!("layer {only}"),
            None => "no layer".to_owned(),
        };
        let partition = self.plan.options.partition;
        let parts = match partition.tensor {
            1 => String::new(),
            n => format!(", of each tensor one part of {n}"),
        };
        // Of its own memory, as its budget is: what a GPU takes of the host's counts there.
        let own = self.plan.memory.iter().filter(|proof| proof.device == device.id);
        let budget = self.plan.budget(device.id).map(|budget| format!(" of {}", output::bytes(budget)));
        Ok(Answer {
            about: device.name.clone(),
            decision: format!(
                "{} ({} {}) has {of}{parts}, in replica {} of {}: {} steps; it takes at most {}{} of memory",
                device.name,
                device.threads,
                if device.threads == 1 { "thread" } else { "threads" },
                self.plan.replica_of(device.id),
                partition.data,
                thread.steps.len(),
                output::bytes(own.map(|proof| self.plan.on_device(proof)).max().unwrap_or(0)),
                budget.unwrap_or_default()
            ),
            cost_ns: Some(busy as u64),
            limit: Some(sum.limit().name().to_owned()),
            ..Answer::default()
        })
    }

    fn edge(&self, edge: &Edge) -> anyhow::Result<Answer> {
        let name = |end: End| match end {
            End::Host => "the host".to_owned(),
            End::Device(id) => self.plan.devices[id.0 as usize].name.clone(),
        };
        let message = self.model.message(edge, &self.size)?;
        let steps = || self.plan.threads.iter().flat_map(|thread| &thread.steps);
        let sent = steps().filter(|s| matches!(s, Step::Send { edge: id, .. } if *id == edge.id)).count();
        let taken = steps().filter(|s| matches!(s, Step::Recv { edge: id, .. } if *id == edge.id)).count();
        let messages = sent.max(taken);
        let times = if messages == 1 { "once".to_owned() } else { format!("{messages} times") };
        let bytes = output::bytes(message.bytes);
        let limit = if message.latency_ns >= message.transfer_ns { "latency" } else { "bandwidth" };
        Ok(Answer {
            about: format!("edge:{}", edge.id.0),
            decision: format!(
                "edge {} carries {} from {} to {}, {times} a step as {}, now {bytes} each; it holds {} at once and is late after {} ms",
                edge.id.0,
                edge.name,
                name(edge.from),
                name(edge.to),
                edge.ty,
                edge.capacity,
                edge.deadline_ms
            ),
            cost_ns: Some((message.predicted_ns() * messages as f64) as u64),
            limit: Some(limit.to_owned()),
            ..Answer::default()
        })
    }
}
