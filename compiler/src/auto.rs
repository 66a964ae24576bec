//! `--partition auto`: every cut that the devices allow is planned and simulated, and the best that fits is taken.
use crate::compile::{Compiled, Source, compile_from};
use crate::error::CompileError;
use crate::import::Checkpoint;
use ir::plan::{Device, Instead, Options, Partition, Why};
use ir::topology::Topology;
use passes::partition::{CutError, check_devices, devices_for};
use passes::simulate::{Load, Predicted};

/// What a cut is chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objective {
    /// One sequence is answered as soon as can be.
    Latency,
    /// As many sequences as the plan has room for are answered as soon as can be.
    Throughput,
}

/// By what a cut is chosen.
#[derive(Clone, Copy)]
pub struct Aim<'a> {
    /// What the devices were measured to do.
    pub topology: &'a Topology,
    /// What for.
    pub objective: Objective,
}

/// The answer that the objectives are about: a prompt and so many tokens behind it.
const PROMPT: u32 = 512;
const ANSWER: f64 = 128.0;
/// How many of the cuts that were not taken a plan tells of.
const TOLD: usize = 6;

impl Aim<'_> {
    /// How many sequences are answered together.
    fn sequences(&self, options: &Options) -> u32 {
        match self.objective {
            Objective::Latency => 1,
            Objective::Throughput => options.max_batch,
        }
    }

    /// What an answer takes by a plan, in nanoseconds.
    fn predict(&self, compiled: &Compiled) -> Result<f64, CompileError> {
        let options = &compiled.plan.options;
        let sequences = self.sequences(options);
        let load = Load { sequences, prompt: PROMPT.min(options.context / 2) };
        let Predicted { prefill_ns, token_ns, .. } = load.predict(&compiled.plan, self.topology)?;
        Ok(prefill_ns + ANSWER * token_ns)
    }
}

/// Compiles a checkpoint by the cut that answers soonest, over as many of the devices as pay, the first of them.
/// The plan says what the others would have taken.
pub fn compile_auto(
    checkpoint: &Checkpoint,
    options: &Options,
    devices: &[Device],
    aim: Aim<'_>,
) -> Result<Compiled, CompileError> {
    let source = Source::of(checkpoint)?;
    let mut best: Option<(f64, Compiled)> = None;
    let mut looked_at: Vec<(Partition, Result<f64, CompileError>)> = vec![];
    check_devices(&options.hints, devices).map_err(CutError::from)?;
    for partition in cuts(devices.len() as u32, aim.sequences(options)) {
        let own = Options { partition, micro_batches: partition.pipeline, ..options.clone() };
        let of = compile_from(&source, own, &devices_for(partition, &options.hints, devices));
        let predicted = of.and_then(|compiled| {
            let ns = aim.predict(&compiled)?;
            if best.as_ref().is_none_or(|(least, _)| ns < *least) {
                best = Some((ns, compiled));
            }
            Ok(ns)
        });
        looked_at.push((partition, predicted));
    }
    let Some((ns, mut compiled)) = best else {
        // Nothing fits: what the whole says is what the user asked for without knowing; of hints that no cut can
        // honour, what the cut of most devices says.
        let mut reasons: Vec<CompileError> =
            looked_at.into_iter().filter_map(|(_, predicted)| predicted.err()).collect();
        let whole = reasons.iter().position(|reason| reason.hint().is_none());
        let reason = if let Some(at) = whole { Some(reasons.swap_remove(at)) } else { reasons.pop() };
        return Err(reason.unwrap_or(CompileError::NoDevice));
    };
    compiled.plan.why.push(why(aim, compiled.plan.options.partition, ns, looked_at));
    Ok(compiled)
}

/// Every cut over the first devices, with no more replicas than there are sequences.
fn cuts(devices: u32, sequences: u32) -> Vec<Partition> {
    let mut cuts = vec![];
    for data in 1..=devices.min(sequences) {
        for pipeline in 1..=devices / data {
            for tensor in 1..=devices / data / pipeline {
                cuts.push(Partition { data, pipeline, tensor, experts: false });
            }
        }
    }
    cuts.sort_by_key(Partition::devices);
    cuts
}

fn why(
    aim: Aim<'_>,
    chosen: Partition,
    ns: f64,
    looked_at: Vec<(Partition, Result<f64, CompileError>)>,
) -> Why {
    let told = |(partition, predicted): (Partition, Result<f64, CompileError>)| match predicted {
        Ok(ns) => {
            Instead { what: partition.to_string(), predicted_ns: Some(ns as u64), reason: String::new() }
        }
        Err(error) => Instead { what: partition.to_string(), predicted_ns: None, reason: error.to_string() },
    };
    let mut instead: Vec<Instead> =
        looked_at.into_iter().filter(|(partition, _)| *partition != chosen).map(told).collect();
    instead.sort_by_key(|other| other.predicted_ns.unwrap_or(u64::MAX));
    instead.truncate(TOLD);
    let objective = match aim.objective {
        Objective::Latency => "one sequence",
        Objective::Throughput => "all sequences",
    };
    Why {
        about: "partition".into(),
        chosen: chosen.to_string(),
        predicted_ns: ns as u64,
        measure: format!(
            "a prompt of {PROMPT} tokens or half the context and {ANSWER} tokens of answer, {objective}"
        ),
        instead,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_of_a_few_devices_is_looked_at_once() {
        let all = |devices, sequences| {
            cuts(devices, sequences).iter().map(Partition::to_string).collect::<Vec<_>>()
        };
        assert_eq!(all(1, 8), ["none"]);
        assert_eq!(all(2, 1), ["none", "tensor:2", "pipeline:2"]);
        assert_eq!(all(2, 8), ["none", "tensor:2", "pipeline:2", "data:2"]);
        assert_eq!(all(4, 8).len(), 13);
    }
}
