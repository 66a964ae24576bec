//! `heddle why`: what was decided about a node, an edge or a device, what it costs, and what bounds it.
use crate::calibrate;
use crate::diff::{Read, read};
use crate::output;
use anyhow::bail;
use clap::Args;
use ir::plan::{Arg, Device, Edge, End, Hint, Instead, Pattern, Phase, Plan, Step, Why};
use ir::work::StepSize;
use passes::cost::CostModel;
use serde::Serialize;
use std::path::PathBuf;

/// Say why something in a plan is as it is: its cost, what else there was, and what bounds it
#[derive(Args)]
#[command(after_help = "\
Examples:
  heddle why smollm2.heddle
  heddle why smollm2.heddle blk.3.ffn_down
  heddle why smollm2.heddle edge:7
  heddle why smollm2.heddle cpu:1 --json")]
pub struct Options {
    /// A bundle, or a plan
    plan: PathBuf,
    /// A node by its path, a device by its name, an edge as edge:N; without it, what was decided for the whole plan
    what: Option<String>,
    /// The machine's topology [default: what the bundle was compiled for, else this machine as it was measured, which
    /// is done first if it never was]
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// Print one line of JSON instead of sentences
    #[arg(long)]
    json: bool,
}

/// An answer: sentences, and the numbers in them.
#[derive(Serialize)]
struct Answer {
    about: String,
    /// What was decided.
    decision: String,
    /// What it costs in a decode step of one sequence, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_ns: Option<u64>,
    /// What bounds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<String>,
    /// What else there was, the best first.
    instead: Vec<Instead>,
}

pub fn run(options: Options) -> anyhow::Result<()> {
    let Read::Plan(plan) = read(&options.plan)? else {
        bail!("{} is a graph, expected a plan or a bundle", options.plan.display())
    };
    if let Err(faults) = plan.verify() {
        bail!("{} is refused: {}", options.plan.display(), faults[0].explain(&plan.to_text()));
    }
    let topology = calibrate::asked_or_own(options.topology.as_deref(), Some(&options.plan), &plan.devices)?;
    let topology = calibrate::for_plan(topology, options.topology.as_deref(), &plan)?;
    let model = CostModel::new(&plan, &topology)?;
    let asked = Asked { plan: &plan, model: &model, size: decode_size(&plan) };
    let answers = match &options.what {
        None => asked.whole(),
        Some(what) => asked.about(what)?,
    };
    if options.json {
        return output::write_json(&answers);
    }
    answers.iter().try_for_each(|answer| output::write(&answer.sentences()))
}

/// A token of one sequence, in the middle of the context.
fn decode_size(plan: &Plan) -> StepSize {
    let at = u64::from(plan.options.context / 2);
    StepSize {
        symbols: ir::Symbols::new().with("n", 1).with("m", 1),
        sequences: std::iter::once(at..at + 1).collect(),
    }
}

struct Asked<'a> {
    plan: &'a Plan,
    model: &'a CostModel<'a>,
    size: StepSize,
}

impl Asked<'_> {
    fn about(&self, what: &str) -> anyhow::Result<Vec<Answer>> {
        if let Some(device) = self.plan.devices.iter().find(|device| device.name == what) {
            return Ok(vec![self.device(device)?]);
        }
        if let Some(edge) = what.strip_prefix("edge:") {
            let edge = edge.parse().ok().and_then(|id: usize| self.plan.edges.get(id));
            let Some(edge) = edge else {
                bail!(
                    "there is no {what}, expected edge:0 to edge:{}",
                    self.plan.edges.len().saturating_sub(1)
                )
            };
            return Ok(vec![self.edge(edge)?]);
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
        Ok(found)
    }

    /// What was decided by cost for the whole plan.
    fn whole(&self) -> Vec<Answer> {
        let of = |why: &Why| Answer {
            about: why.about.clone(),
            decision: format!("{} is {}, predicted for {}", why.about, why.chosen, why.measure),
            cost_ns: Some(why.predicted_ns),
            limit: None,
            instead: why.instead.clone(),
        };
        let decided: Vec<Answer> = self.plan.why.iter().map(of).collect();
        match decided.is_empty() {
            false => decided,
            true => vec![Answer {
                about: "partition".into(),
                decision: format!(
                    "partition is {}, as it was asked for: --partition auto compares it with the others",
                    self.plan.options.partition
                ),
                cost_ns: None,
                limit: None,
                instead: vec![],
            }],
        }
    }

    fn device(&self, device: &Device) -> anyhow::Result<Answer> {
        let Some(thread) = self.plan.threads.iter().find(|thread| thread.device == device.id) else {
            bail!("{} has no thread", device.name)
        };
        let costs = self.model.steps(thread, &self.size)?;
        let busy: f64 = costs.iter().map(|cost| cost.predicted_ns()).sum();
        let mut sum = passes::cost::Cost::default();
        costs.into_iter().for_each(|cost| sum += cost);
        let nodes = thread.steps.iter().filter_map(|step| match step {
            Step::Run { node, .. } => Some(node.as_str()),
            _ => None,
        });
        let layers: Vec<u64> = nodes.clone().filter_map(layer).collect();
        let of = match (layers.iter().min(), layers.iter().max()) {
            (Some(first), Some(last)) => format!("layers {first} to {last}"),
            _ => "no layer".to_owned(),
        };
        let partition = self.plan.options.partition;
        let parts = match partition.tensor {
            1 => String::new(),
            n => format!(", of each tensor one part of {n}"),
        };
        let peak = self.plan.memory.iter().filter(|m| m.device == device.id && m.phase != Phase::Load);
        let peak = peak.map(|m| m.total).max().unwrap_or(0);
        Ok(Answer {
            about: device.name.clone(),
            decision: format!(
                "{} ({} {}) has {of}{parts}, in replica {} of {}: {} steps; at most {} of memory",
                device.name,
                device.threads,
                if device.threads == 1 { "thread" } else { "threads" },
                self.plan.replica_of(device.id),
                partition.data,
                thread.steps.len(),
                output::bytes(peak)
            ),
            cost_ns: Some(busy as u64),
            limit: Some(sum.limit().name().to_owned()),
            instead: vec![],
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
        let bytes = output::bytes(message.bytes);
        let limit = if message.latency_ns >= message.transfer_ns { "latency" } else { "bandwidth" };
        Ok(Answer {
            about: format!("edge:{}", edge.id.0),
            decision: format!(
                "edge {} carries {} from {} to {}, {messages} times a step as {}, now {bytes} each; it holds {} at once and is late after {} ms",
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
            instead: vec![],
        })
    }

    /// The steps that run a node, or what is beneath a path.
    fn nodes(&self, what: &str) -> anyhow::Result<Vec<Answer>> {
        let mut found = vec![];
        for thread in &self.plan.threads {
            let costs = self.model.steps(thread, &self.size)?;
            for (step, cost) in thread.steps.iter().zip(costs) {
                let Step::Run { kernel, args, node } = step else { continue };
                if !is_meant(node, what) {
                    continue;
                }
                let kernel = &self.plan.kernels[kernel.0 as usize];
                let device = &self.plan.devices[thread.device.0 as usize].name;
                let weights: Vec<String> = args.iter().filter_map(|arg| self.weight(arg)).collect();
                let of =
                    if weights.is_empty() { String::new() } else { format!(" of {}", weights.join(", ")) };
                found.push(Answer {
                    about: node.clone(),
                    decision: format!(
                        "{node} runs on {device} as {}{of}, giving {}{}",
                        kernel.name,
                        kernel.output,
                        self.by_hand(node, args)
                    ),
                    cost_ns: Some(cost.predicted_ns() as u64),
                    limit: Some(cost.limit().name().to_owned()),
                    instead: vec![],
                });
            }
        }
        Ok(found)
    }

    /// The hints that are about a node, or about one that was joined into it.
    fn by_hand(&self, node: &str, args: &[Arg]) -> String {
        let (stem, leaves) = node.rsplit_once('.').unwrap_or(("", node));
        let is_about = |nodes: &Pattern| {
            leaves.split('+').any(|leaf| match stem {
                "" => nodes.matches(leaf),
                _ => nodes.matches(&format!("{stem}.{leaf}")),
            })
        };
        let hints = self.plan.options.hints.iter().filter(|hint| match hint {
            Hint::Place { nodes, .. } | Hint::Whole { nodes } => is_about(nodes),
            Hint::Stage { .. } => false,
            Hint::Format { weights, .. } => args.iter().any(|arg| match arg {
                Arg::W(id) => self.plan.weights.get(id.0 as usize).is_some_and(|w| weights.matches(&w.name)),
                _ => false,
            }),
        });
        hints.map(|hint| format!(", as a person said: {hint}")).collect()
    }

    fn weight(&self, arg: &Arg) -> Option<String> {
        let Arg::W(id) = arg else { return None };
        let weight = self.plan.weights.get(id.0 as usize)?;
        let part = weight.part.map(|part| {
            let along = if part.axis == 0 { "rows" } else { "columns" };
            let len = weight.ty.shape[part.axis as usize].known().unwrap_or(0);
            format!(" ({along} {} to {} of {})", part.start, part.start + len as u64, part.of)
        });
        Some(format!("{}{}", weight.name, part.unwrap_or_default()))
    }

    /// The paths that have most in common with what was asked for.
    fn nearest(&self, what: &str) -> Vec<&str> {
        let steps = self.plan.threads.iter().flat_map(|thread| &thread.steps);
        let paths = steps.filter_map(|step| match step {
            Step::Run { node, .. } => Some(node.as_str()),
            _ => None,
        });
        ir::near::nearest(what, paths)
    }
}

/// Whether a step's path is the one asked for, a part of one that was joined of several, or beneath it.
fn is_meant(path: &str, what: &str) -> bool {
    let (stem, leaves) = path.rsplit_once('.').unwrap_or(("", path));
    let joined = leaves.split('+').any(|leaf| match stem {
        "" => leaf == what,
        stem => what.strip_prefix(stem).and_then(|rest| rest.strip_prefix('.')) == Some(leaf),
    });
    path == what || joined || path.strip_prefix(what).is_some_and(|rest| rest.starts_with('.'))
}

fn layer(path: &str) -> Option<u64> {
    path.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

impl Answer {
    fn sentences(&self) -> String {
        let mut text = self.decision.clone();
        if let Some(ns) = self.cost_ns {
            let bound = self.limit.as_ref().map_or(String::new(), |limit| format!(", bound by {limit}"));
            text += &format!(".\n  It is predicted to take {}{bound}", time(ns));
        }
        text += ".\n";
        for Instead { what, predicted_ns, reason } in &self.instead {
            text += &match (predicted_ns, self.cost_ns) {
                (Some(other), Some(own)) => {
                    let ratio = *other as f64 / own.max(1) as f64;
                    format!("  Instead, {what} would take {}, {ratio:.2} times as long.\n", time(*other))
                }
                (Some(other), None) => format!("  Instead, {what} would take {}.\n", time(*other)),
                (None, _) => format!("  Instead, {what} cannot be: {reason}.\n"),
            };
        }
        text
    }
}

fn time(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_means_its_node_what_it_was_joined_with_and_what_is_beneath() {
        for (path, what) in [
            ("blk.0.attn_q", "blk.0.attn_q"),
            ("blk.0.attn_q+attn_k+attn_v", "blk.0.attn_k"),
            ("blk.0.attn_output.all_reduce", "blk.0.attn_output"),
            ("blk.0.attn_q", "blk.0"),
            ("embed", "embed"),
        ] {
            assert!(is_meant(path, what), "{path} {what}");
        }
        for (path, what) in [("blk.10.attn_q", "blk.1"), ("blk.0.attn_q", "attn_q"), ("embed_scale", "embed")]
        {
            assert!(!is_meant(path, what), "{path} {what}");
        }
    }
}
