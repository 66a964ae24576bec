//! The steps that a path means: where they run, what they cost, what they are made of.
use super::{Decided, Subject};
use crate::why::answer::{Answer, devices};
use ir::plan::{Arg, DeviceId, Hint, Kernel, Pattern, Step, WeightId};
use ir::{Class, Op};
use passes::cost::Cost;

impl<'a> Decided<'a> {
    /// The steps that run a node, or what is beneath a path.
    pub(super) fn nodes(&self, what: &str) -> anyhow::Result<Vec<Found>> {
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
                let answer = Answer {
                    about: node.clone(),
                    decision: format!(
                        "{node} runs on {device} as {}{of}, giving {}{}",
                        kernel.name,
                        kernel.output,
                        self.by_hand(node, args)
                    ),
                    cost_ns: Some(cost.predicted_ns() as u64),
                    limit: Some(cost.limit().name().to_owned()),
                    ..Answer::default()
                };
                let multiplies = self.multiplies(kernel, args);
                found.push(Found { device: thread.device, cost, multiplies, answer });
            }
        }
        Ok(found)
    }

    /// Where several steps were meant, an answer about all of them behind theirs.
    pub(super) fn together(&self, what: &str, found: Vec<Found>) -> (Vec<Answer>, Subject<'a>) {
        let mut on: Vec<DeviceId> = found.iter().map(|step| step.device).collect();
        on.dedup();
        let multiply = found.iter().flat_map(|step| step.multiplies.clone()).collect();
        let sum = |device: &DeviceId| {
            let mut sum = Cost::default();
            found.iter().filter(|step| step.device == *device).for_each(|step| sum += step.cost);
            sum
        };
        let mut sums: Vec<(DeviceId, Cost)> = on.iter().map(|device| (*device, sum(device))).collect();
        sums.sort_by(|a, b| b.1.predicted_ns().total_cmp(&a.1.predicted_ns()));
        let busiest = sums.first().map_or(Cost::default(), |(_, cost)| *cost);
        let is_most = |cost: &Cost| cost.predicted_ns() < busiest.predicted_ns();
        // Where all do as much, nobody does most.
        let most = sums.last().filter(|(_, least)| is_most(least)).and(sums.first()).map(|(id, _)| *id);
        let mut answers: Vec<Answer> = found.into_iter().map(|step| step.answer).collect();
        if answers.len() > 1 {
            let name = |id: &DeviceId| self.plan.devices[id.0 as usize].name.as_str();
            let names: Vec<&str> = on.iter().map(name).collect();
            let most = most.map_or(String::new(), |id| format!(", most of it on {}", name(&id)));
            answers.push(Answer {
                about: what.to_owned(),
                decision: format!("{what} is {} steps on {}{most}", answers.len(), devices(&names)),
                cost_ns: Some(busiest.predicted_ns() as u64),
                limit: Some(busiest.limit().name().to_owned()),
                ..Answer::default()
            });
        }
        (answers, Subject::Nodes { path: what.to_owned(), on, multiply })
    }

    /// The weights that a kernel multiplies with.
    fn multiplies(&self, kernel: &Kernel, args: &[Arg]) -> Vec<WeightId> {
        let is_product =
            Op::parse(&kernel.op.0, &kernel.op.1).is_ok_and(|op| op.class() == Class::Contraction);
        let weights = args.iter().filter(|_| is_product).filter_map(|arg| match arg {
            Arg::W(id) => self.plan.weights.get(id.0 as usize),
            _ => None,
        });
        weights.filter(|weight| weight.ty.rank() > 1).map(|weight| weight.id).collect()
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
    pub(super) fn nearest(&self, what: &str) -> Vec<&str> {
        let steps = self.plan.threads.iter().flat_map(|thread| &thread.steps);
        let paths = steps.filter_map(|step| match step {
            Step::Run { node, .. } => Some(node.as_str()),
            _ => None,
        });
        ir::near::nearest(what, paths)
    }
}

/// A step that was asked about.
pub(super) struct Found {
    device: DeviceId,
    cost: Cost,
    /// The weights that it multiplies with.
    multiplies: Vec<WeightId>,
    answer: Answer,
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
