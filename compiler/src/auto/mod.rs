//! `--partition auto`: of the cuts that the devices allow, all where they are few, else the best by estimate are planned
//! and simulated, and the best that fits is taken.
mod candidates;
mod estimate;

use crate::compile::{Compiled, Source, compile_from};
use crate::error::CompileError;
use crate::import::Checkpoint;
use candidates::{Candidate, choices, partitions};
use estimate::{Asked, Estimate};
use ir::plan::{AllReduce, Device, DeviceId, Hint, Instead, Options, Partition, Why};
use ir::topology::Topology;
use passes::partition::{CutError, check_devices, devices_for};
use passes::simulate::{Load, Predicted};
use std::collections::HashSet;
use std::sync::Mutex;

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

/// Where all candidates together have no more layers than these, one counted for each device, all of them are planned.
const ALL: u64 = 6_000;
/// Of more, so many of the best by estimate are planned with fewer layers.
const SHORT: usize = 12;
/// So many layers for each stage in the one and the other of these plans.
const SHORT_LAYERS: [u64; 2] = [4, 8];
/// How many of the best by that are planned as a whole at most, and at least.
const FINALISTS: std::ops::RangeInclusive<usize> = 2..=5;

/// What was looked at, and what it was predicted to take or why it cannot be.
type LookedAt = Vec<(String, Result<f64, CompileError>)>;

/// Compiles a checkpoint by the cut that answers soonest, over those of the devices that pay. The plan says what the
/// others would have taken.
pub fn compile_auto(
    checkpoint: &Checkpoint,
    options: &Options,
    devices: &[Device],
    aim: Aim<'_>,
) -> Result<Compiled, CompileError> {
    check_devices(&options.hints, devices).map_err(CutError::from)?;
    let source = Source { advises: false, ..Source::of(checkpoint)? };
    let (mut candidates, is_short) = candidates(&source, options, devices, aim)?;
    let mut looked_at: LookedAt = vec![];
    // What each is expected to take by fewer layers, the least first.
    let mut expected = vec![];
    if is_short {
        let (ranked, refused) = by_a_few_layers(&source, options, candidates, aim);
        looked_at.extend(refused.into_iter().map(|(own, error)| (own.told(devices), Err(error))));
        looked_at.extend(ranked.iter().map(|(ns, own)| (own.told(devices), Ok(*ns))));
        (expected, candidates) = ranked.into_iter().unzip();
    }
    let mut best: Option<(f64, String, Compiled)> = None;
    let (mut fitting, mut refused) = (0, vec![]);
    for (at, candidate) in candidates.into_iter().enumerate() {
        let is_beaten =
            expected.get(at).is_some_and(|ns| best.as_ref().is_some_and(|(least, ..)| least < ns));
        if is_short && (fitting >= *FINALISTS.end() || fitting >= *FINALISTS.start() && is_beaten) {
            break;
        }
        let (candidate, compiled) = candidate.with_room(&source, options, aim.topology);
        let told = candidate.told(devices);
        let predicted = compiled.and_then(|compiled| {
            let ns = aim.predict(&compiled)?;
            fitting += 1;
            if best.as_ref().is_none_or(|(least, ..)| ns < *least) {
                best = Some((ns, told.clone(), compiled));
            }
            Ok(ns)
        });
        if predicted.is_err() {
            refused.push(candidate);
        }
        looked_at.retain(|(other, _)| *other != told);
        looked_at.push((told, predicted));
    }
    let Some((ns, chosen, mut compiled)) = best else {
        let (told, error) = least_lacking(looked_at);
        let own = refused.iter().find(|own| own.told(devices) == told);
        let own = own.filter(|_| matches!(error, CompileError::Budget { .. }));
        // Only of this one it is asked what would fit.
        let source = Source { advises: true, ..source };
        return Err(own.and_then(|own| own.compile(&source, options, aim.topology).err()).unwrap_or(error));
    };
    compiled.plan.why.push(why(aim, chosen, ns, looked_at));
    Ok(compiled)
}

/// Where nothing can be, what lacks least says what to do; of hints that no cut can honour, what the cut of most
/// devices says.
fn least_lacking(looked_at: LookedAt) -> (String, CompileError) {
    let lacks = |(_, error): &(String, CompileError)| match error {
        CompileError::Budget { needed, budget, .. } => needed - budget,
        error if error.hint().is_none() => u64::MAX - 1,
        _ => u64::MAX,
    };
    let reasons = looked_at.into_iter().rev().filter_map(|(told, predicted)| Some((told, predicted.err()?)));
    reasons.min_by_key(lacks).unwrap_or((String::new(), CompileError::NoDevice))
}

impl Candidate {
    /// Itself compiled, or by the next way to add up sums for which there is room.
    fn with_room(
        self,
        source: &Source<'_>,
        options: &Options,
        topology: &Topology,
    ) -> (Candidate, Result<Compiled, CompileError>) {
        let refused = match self.compile(source, options, topology) {
            Err(refused @ CompileError::Budget { .. }) => refused,
            compiled => return (self, compiled),
        };
        // Ways differ in the slots of edges, which are little of it all.
        let is_close = match &refused {
            CompileError::Budget { needed, budget, .. } => (needed - budget) <= budget / 8,
            _ => false,
        };
        for &all_reduce in self.spare.iter().filter(|_| is_close) {
            let other = Candidate { all_reduce, spare: vec![], ..self.clone() };
            if let Ok(compiled) = other.compile(source, options, topology) {
                return (other, Ok(compiled));
            }
        }
        (self, Err(refused))
    }

    fn compile(
        &self,
        source: &Source<'_>,
        options: &Options,
        topology: &Topology,
    ) -> Result<Compiled, CompileError> {
        let (partition, all_reduce) = (self.partition, self.all_reduce);
        let own = Options { partition, all_reduce, micro_batches: partition.pipeline, ..options.clone() };
        compile_from(source, own, &self.devices, Some(topology))
    }
}

/// What is to be planned, the best by estimate first, and whether that is a choice of all there are.
fn candidates(
    source: &Source<'_>,
    options: &Options,
    devices: &[Device],
    aim: Aim<'_>,
) -> Result<(Vec<Candidate>, bool), CompileError> {
    let config = &source.checkpoint.config;
    let asked =
        Asked { sequences: aim.sequences(options), prompt: PROMPT.min(options.context / 2), answer: ANSWER };
    let first = devices.first().ok_or(CompileError::NoDevice)?;
    let alone = Device { id: DeviceId(0), memory: None, ..first.clone() };
    // Formats of weights are none of the cut's business.
    let is_cut_free = options.hints.iter().all(|hint| matches!(hint, Hint::Format { .. }));
    let whole = Options {
        partition: Partition::WHOLE,
        micro_batches: 1,
        memory: None,
        hints: if is_cut_free { options.hints.clone() } else { vec![] },
        ..options.clone()
    };
    let whole = compile_from(source, whole, &[alone], None)?.plan;
    let mut estimate = Estimate::new(whole, aim.topology, config.hidden, config.layers);
    let mut all = vec![];
    for partition in partitions(devices.len() as u32, asked.sequences, config.experts.is_some()) {
        let choices = match is_cut_free {
            true => choices(devices, partition.devices() as usize, aim.topology),
            // Hints name devices: these are not to be chosen.
            false => vec![devices_for(partition, &options.hints, devices)],
        };
        for devices in choices {
            let ways = if partition.tensor > 1 { &AllReduce::ALL[..] } else { &[AllReduce::Direct] };
            let mut of_ways = vec![];
            for &all_reduce in ways {
                let candidate = Candidate { partition, all_reduce, spare: vec![], devices: devices.clone() };
                // What no way joins is refused where it is planned, which says which link there should be.
                let ns = estimate.answer_ns(&candidate, asked).unwrap_or(f64::INFINITY);
                of_ways.push((ns, candidate));
            }
            of_ways.sort_by(|a, b| a.0.total_cmp(&b.0));
            let spare = of_ways.iter().skip(1).map(|(_, candidate)| candidate.all_reduce).collect();
            let best = of_ways.into_iter().next();
            all.extend(best.map(|(ns, candidate)| (ns, Candidate { spare, ..candidate })));
        }
    }
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let layers = |candidate: &Candidate| config.layers * candidate.devices.len() as u64;
    let is_little = all.iter().map(|(_, candidate)| layers(candidate)).sum::<u64>() <= ALL;
    if !is_cut_free {
        // Of several that refuse the same, the last is told of.
        all.sort_by_key(|(_, candidate)| candidate.partition.devices());
    }
    // With fewer layers hints of the cut would not find theirs.
    if is_little || !is_cut_free {
        return Ok((all.into_iter().map(|(_, candidate)| candidate).collect(), false));
    }
    let held = estimate.held();
    let may_fit = |candidate: &Candidate| {
        let group = u64::from(candidate.partition.pipeline * candidate.partition.tensor);
        let own = candidate.devices.iter().filter_map(|device| device.memory).chain(options.memory);
        own.min().is_none_or(|least| held / group <= least)
    };
    // One kind over all devices is what somebody would name.
    let is_plain = |candidate: &Candidate| {
        let Partition { data, pipeline, tensor, .. } = candidate.partition;
        let most = devices.len() as u32;
        [data, pipeline, tensor].contains(&most) || candidate.partition == Partition::WHOLE
    };
    let mut seen = HashSet::new();
    all.retain(|(_, candidate)| may_fit(candidate) && seen.insert(candidate.partition));
    let mut at = 0..;
    all.retain(|(_, candidate)| at.next().is_some_and(|at: usize| at < SHORT) || is_plain(candidate));
    Ok((all.into_iter().map(|(_, candidate)| candidate).collect(), true))
}

/// Candidates with what they are predicted to take, the best first; and those that cannot be.
type Ranked = (Vec<(f64, Candidate)>, Vec<(Candidate, CompileError)>);

/// What candidates take by plans of fewer layers: each further layer takes what those take by which the two differ.
fn by_a_few_layers(
    source: &Source<'_>,
    options: &Options,
    candidates: Vec<Candidate>,
    aim: Aim<'_>,
) -> Ranked {
    let options = &Options { memory: None, ..options.clone() };
    let waiting = Mutex::new(candidates.into_iter().enumerate());
    let found = Mutex::new(vec![]);
    let work = || {
        while let Some((at, candidate)) = waiting.lock().ok().and_then(|mut waiting| waiting.next()) {
            let predicted = by_fewer_layers(source, options, &candidate, aim);
            if let Ok(mut found) = found.lock() {
                found.push((at, predicted, candidate));
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let mut found = found.into_inner().unwrap_or_default();
    found.sort_by_key(|(at, ..)| *at);
    let mut ranked: Ranked = (vec![], vec![]);
    for (_, predicted, candidate) in found {
        match predicted {
            Ok(ns) => ranked.0.push((ns, candidate)),
            Err(error) => ranked.1.push((candidate, error)),
        }
    }
    ranked.0.sort_by(|a, b| a.0.total_cmp(&b.0));
    ranked
}

fn by_fewer_layers(
    source: &Source<'_>,
    options: &Options,
    candidate: &Candidate,
    aim: Aim<'_>,
) -> Result<f64, CompileError> {
    let (layers, stages) = (source.config.layers, u64::from(candidate.partition.pipeline));
    let devices = candidate.devices.iter().map(|d| Device { memory: None, ..d.clone() }).collect();
    let ample = Candidate { devices, ..candidate.clone() };
    let of = |layers: u64| aim.predict(&ample.compile(&source.of_layers(layers), options, aim.topology)?);
    let [few, more] = SHORT_LAYERS.map(|each| stages * each);
    if more >= layers {
        return of(layers);
    }
    let (short, long) = (of(few)?, of(more)?);
    Ok(long + (layers - more) as f64 * (long - short).max(0.0) / (more - few) as f64)
}

fn why(aim: Aim<'_>, chosen: String, ns: f64, looked_at: LookedAt) -> Why {
    let told = |(what, predicted): (String, Result<f64, CompileError>)| {
        let (predicted_ns, reason) = match predicted {
            Ok(ns) => (Some(ns as u64), String::new()),
            Err(error) => (None, error.to_string()),
        };
        Instead { what, predicted_ns, reason, needed_bytes: None }
    };
    let mut instead: Vec<Instead> =
        looked_at.into_iter().filter(|(what, _)| *what != chosen).map(told).collect();
    instead.sort_by_key(|other| other.predicted_ns.unwrap_or(u64::MAX));
    instead.truncate(TOLD);
    let objective = match aim.objective {
        Objective::Latency => "one sequence",
        Objective::Throughput => "all sequences",
    };
    Why {
        about: "partition".into(),
        chosen,
        predicted_ns: ns as u64,
        measure: format!(
            "a prompt of {PROMPT} tokens or half the context and {ANSWER} tokens of answer, {objective}"
        ),
        instead,
    }
}
