//! `compile`: from a checkpoint to a plan.
use crate::codegen;
use crate::error::CompileError;
use crate::import::{Checkpoint, Config};
use crate::models::{self, Derived, StepGraph};
use crate::verify::{self, explain};
use ir::Graph;
use ir::plan::{Device, DeviceId, MemoryProof, Model, Options, Partition, Plan};
use ir::topology::Topology;
use passes::partition::{Cut, Means};
use passes::{Cx, PlanStage, Stage, schedule};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What a compile made.
pub struct Compiled {
    /// The plan.
    pub plan: Plan,
    /// The graph as the architecture wrote it: what every later node stands for.
    pub reference: Graph,
    /// What each pass over the graph did.
    pub stages: Vec<Stage>,
    /// What each pass did that makes the plan.
    pub plan_stages: Vec<PlanStage>,
    /// Weights that the checkpoint does not hold as they are.
    pub derived: Derived,
    /// Which devices compute what.
    pub cut: Cut,
}

impl Compiled {
    /// Whether its weights can be packed and its plan run: the checkpoint has them, and there is code for the devices.
    pub fn is_runnable(&self, checkpoint: &Checkpoint) -> bool {
        checkpoint.has_weights() && codegen::has_code(&self.plan.devices)
    }
}

/// A checkpoint and what every plan says of it, which takes a while to find out.
pub struct Source<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) config: Cow<'a, Config>,
    pub(crate) model: Model,
    /// Whether to look for what would fit, where something does not: that takes many plans.
    pub(crate) advises: bool,
}

impl<'a> Source<'a> {
    /// Reads all of the checkpoint's files for their hash.
    pub(crate) fn of(checkpoint: &'a Checkpoint) -> Result<Source<'a>, CompileError> {
        let model = Model {
            name: checkpoint.config.name.clone().unwrap_or_default(),
            architecture: checkpoint.config.architecture.clone(),
            file: checkpoint.source.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            sha256: crate::bundle::hash(&checkpoint.files())?,
            packed_bytes: 0,
        };
        Ok(Source { checkpoint, config: Cow::Borrowed(&checkpoint.config), model, advises: true })
    }

    /// Of the checkpoint that a plan was made of, for others to compare it with: its files are not read again, and what
    /// does not fit is refused without advice.
    pub fn of_plan(checkpoint: &'a Checkpoint, plan: &Plan) -> Source<'a> {
        let model = Model { packed_bytes: 0, ..plan.model.clone() };
        Source { checkpoint, config: Cow::Borrowed(&checkpoint.config), model, advises: false }
    }

    /// The same, and where something does not fit it is said what would.
    pub fn with_advice(self) -> Source<'a> {
        Source { advises: true, ..self }
    }

    /// The first layers of the model alone.
    pub(crate) fn of_layers(&self, layers: u64) -> Source<'a> {
        let config = Config { layers, ..self.checkpoint.config.clone() };
        let Source { checkpoint, advises, .. } = *self;
        Source { checkpoint, config: Cow::Owned(config), model: self.model.clone(), advises }
    }
}

/// Compiles a checkpoint for devices, cut as the options say.
///
/// A plan that does not fit `options.memory` or its devices is refused before a weight is read.
pub fn compile(
    checkpoint: &Checkpoint,
    options: Options,
    devices: &[Device],
) -> Result<Compiled, CompileError> {
    compile_from(&Source::of(checkpoint)?, options, devices, None)
}

/// The same with shares by what a topology says of the devices.
pub fn compile_over(
    checkpoint: &Checkpoint,
    options: Options,
    devices: &[Device],
    topology: &Topology,
) -> Result<Compiled, CompileError> {
    compile_from(&Source::of(checkpoint)?, options, devices, Some(topology))
}

/// The same of a source, of which several plans are made; shares are by the topology where one is given.
pub fn compile_from(
    source: &Source<'_>,
    options: Options,
    devices: &[Device],
    topology: Option<&Topology>,
) -> Result<Compiled, CompileError> {
    check_context(source.checkpoint, &options)?;
    let compiled = fitted(source, &options, devices, means(&options, devices, topology))?;
    let plan = &compiled.plan;
    verify::plan(plan).map_err(|faults| CompileError::Broke { plan: explain(&plan.to_text(), &faults) })?;
    Ok(compiled)
}

/// What is known of the devices: how fast they read, in megabytes a second, for decode is bound by that; where no
/// topology says it, how many threads they have.
fn means(options: &Options, devices: &[Device], topology: Option<&Topology>) -> Means {
    let read = |device: &Device| {
        let team = topology?.device(&device.name)?.team(device.threads)?;
        u32::try_from(team.reads.last()?.bytes_per_second / 1_000_000).ok()
    };
    let known: Option<Vec<u32>> = devices.iter().map(read).collect();
    let threads = || devices.iter().map(|device| device.threads).collect();
    let means = Means::new(known.clone().unwrap_or_else(threads));
    if devices.iter().all(|d| d.kind.is_cpu()) || devices.iter().all(|d| !d.kind.is_cpu()) {
        return means;
    }
    let guessed = |device: &Device| if device.kind.is_cpu() { device.threads } else { UNMEASURED };
    let stages = known.unwrap_or_else(|| devices.iter().map(guessed).collect());
    means.with_stages(stages, options.max_batch == 1)
}

/// As how many threads of a processor beside it a GPU counts that nobody measured: it gets the layers that it has room
/// for.
const UNMEASURED: u32 = 1024;

/// How often a cut is moved for the sake of memory.
const MOVES: usize = 6;

/// The plan, with layers moved away from stages that have no memory for them.
fn fitted(
    source: &Source<'_>,
    options: &Options,
    devices: &[Device],
    means: Means,
) -> Result<Compiled, CompileError> {
    let ample = means.clone();
    let mut means = means;
    for _ in 0..MOVES {
        let compiled = planned(source, options.clone(), devices, &means)?;
        let lacks = excess(&compiled.plan);
        if lacks.is_empty() || !means.shrink(&compiled.reference, &compiled.cut, &lacks) {
            return check_budget(source, compiled, devices, &ample);
        }
        // Where no other cut leaves everybody room, what the first lacks is what to say.
        if Cut::by(&compiled.reference, options.partition, &options.hints, devices, &means).is_err() {
            break;
        }
    }
    check_budget(source, planned(source, options.clone(), devices, &ample)?, devices, &ample)
}

/// The devices that have too little memory, with the bytes that they lack.
fn excess(plan: &Plan) -> Vec<(DeviceId, u64)> {
    let over = |proof: &MemoryProof| {
        let over = plan.on_device(proof).checked_sub(plan.budget(proof.device)?).filter(|over| *over > 0)?;
        Some((proof.device, over))
    };
    let mut most: BTreeMap<DeviceId, u64> = BTreeMap::new();
    for (device, over) in plan.memory.iter().filter_map(over) {
        most.entry(device).and_modify(|most| *most = over.max(*most)).or_insert(over);
    }
    most.into_iter().collect()
}

fn planned(
    source: &Source<'_>,
    options: Options,
    devices: &[Device],
    means: &Means,
) -> Result<Compiled, CompileError> {
    let checkpoint = source.checkpoint;
    let StepGraph { graph: reference, derived, symbols } =
        models::step_graph_of(checkpoint, &source.config, &options)?;
    let cut = Cut::by(&reference, options.partition, &options.hints, devices, means)?;
    let cut = cut.with_all_reduce(options.all_reduce);
    let target = codegen::target(devices);
    let exact =
        devices.iter().filter(|device| !codegen::takes_int8(device)).map(|device| device.id.0).collect();
    let cx = Cx { activations: options.activations, exact, target, cut };
    let mut graph = reference.clone();
    let stages = passes::run_all(&cx, &mut graph)?;
    let model = source.model.clone();
    let request = schedule::Request { model, options, symbols, devices: devices.to_vec() };
    let (plan, plan_stages) = passes::plan(&cx, &graph, request, crate::process::bytes(checkpoint))?;
    Ok(Compiled { plan, reference, stages, plan_stages, derived, cut: cx.cut })
}

pub(crate) fn check_context(checkpoint: &Checkpoint, options: &Options) -> Result<(), CompileError> {
    let limit = checkpoint.config.context_length;
    if u64::from(options.context) > limit {
        return Err(CompileError::Context { asked: options.context, limit });
    }
    Ok(())
}

/// Refuses a plan over its budget, and says what would fit.
fn check_budget(
    source: &Source<'_>,
    compiled: Compiled,
    devices: &[Device],
    means: &Means,
) -> Result<Compiled, CompileError> {
    let plan = &compiled.plan;
    let lacks = excess(plan);
    let Some(&(device, lacks)) = lacks.iter().max_by_key(|(_, lacks)| lacks) else { return Ok(compiled) };
    let budget = plan.budget(device).unwrap_or_default();
    let proofs = plan.memory.iter().filter(|proof| proof.device == device);
    let Some(proof) = proofs.max_by_key(|proof| proof.total) else { return Ok(compiled) };
    Err(CompileError::Budget {
        device: plan.devices[device.0 as usize].name.clone(),
        phase: proof.phase,
        needed: budget + lacks,
        budget,
        weights: proof.weights,
        states: proof.states,
        context: plan.options.context,
        advice: match source.advises {
            true => Some(advice(source, plan, proof, (devices, means))?),
            false => None,
        },
    })
}

/// What would fit: the largest context by halves between what fits and what does not; else more devices.
fn advice(
    source: &Source<'_>,
    plan: &Plan,
    proof: &MemoryProof,
    (devices, means): (&[Device], &Means),
) -> Result<String, CompileError> {
    let (mut fitting, mut too_large) = (0, plan.options.context);
    // A plan of no context to speak of tells at once whether any fits.
    let fits = |context| -> Result<bool, CompileError> {
        let smaller = Options { context, ..plan.options.clone() };
        Ok(excess(&planned(source, smaller, devices, means)?.plan).is_empty())
    };
    if fits(1)? {
        fitting = 1;
    }
    while fitting > 0 && too_large - fitting > 1 {
        let context = fitting + (too_large - fitting) / 2;
        match fits(context)? {
            true => fitting = context,
            false => too_large = context,
        }
    }
    if fitting > 0 {
        return Ok(format!("the largest context that fits is {fitting} tokens: --context {fitting}"));
    }
    more_devices(source, plan, proof)
}

/// Most devices of which a plan is made, for the sake of advice.
const ADVISED: u32 = 64;

/// Which cut over more devices like the one that lacks memory fits.
fn more_devices(source: &Source<'_>, plan: &Plan, proof: &MemoryProof) -> Result<String, CompileError> {
    let none = "no context fits: the weights and the largest step alone take more";
    let own = plan.options.partition;
    let like = &plan.devices[proof.device.0 as usize];
    let memory = plan.budget(proof.device);
    // Weights and caches are divided at best, the rest is there on each.
    let [held, all] = [proof.weights.saturating_add(proof.states), plan.on_device(proof)];
    let room = memory.unwrap_or_default().saturating_sub(all.saturating_sub(held));
    let growing = |of: fn(Partition, u32) -> Partition| {
        let times = (1..).map(|power| 2u32.pow(power));
        let cuts = times.map(move |times| (u64::from(times), of(own, times)));
        cuts.take_while(|(_, cut)| cut.devices() <= ADVISED).collect::<Vec<_>>()
    };
    let tensor = growing(|own, times| Partition { tensor: own.tensor * times, ..own });
    let pipeline = growing(|own, times| Partition { pipeline: own.pipeline * times, ..own });
    let mut fitting = vec![];
    for cuts in [tensor, pipeline] {
        for (times, partition) in cuts {
            if held.div_ceil(times) > room {
                continue;
            }
            let devices: Vec<Device> = (0..partition.devices())
                .map(|id| Device { id: DeviceId(id), memory, ..like.clone() })
                .map(|device| Device { name: format!("{}~{}", like.name, device.id.0), ..device })
                .collect();
            let options = Options {
                partition,
                micro_batches: partition.pipeline,
                hints: vec![],
                ..plan.options.clone()
            };
            let means = Means::new(devices.iter().map(|device| device.threads).collect());
            // A cut that cannot be is none to advise.
            let fits =
                planned(source, options, &devices, &means).is_ok_and(|made| excess(&made.plan).is_empty());
            if fits {
                fitting.push(format!("--partition {partition}"));
                break;
            }
        }
    }
    Ok(match fitting.is_empty() {
        false => format!("{none}; over more such devices {} would fit", fitting.join(" or ")),
        true => format!("{none}, and no cut into stages or parts over up to {ADVISED} such devices fits"),
    })
}
