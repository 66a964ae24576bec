//! `compile`: from a checkpoint to a plan.
use crate::codegen;
use crate::error::CompileError;
use crate::import::Checkpoint;
use crate::models::{self, Derived, StepGraph};
use crate::verify::{self, explain};
use ir::Graph;
use ir::plan::{Device, Model, Options, Plan};
use passes::partition::Cut;
use passes::{Cx, PlanStage, Stage, schedule};

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
}

/// Compiles a checkpoint for devices of this machine, cut as the options say.
///
/// A plan that does not fit `options.memory` is refused before a weight is read.
pub fn compile(
    checkpoint: &Checkpoint,
    options: Options,
    devices: &[Device],
) -> Result<Compiled, CompileError> {
    check_context(checkpoint, &options)?;
    let model = Model {
        name: checkpoint.config.name.clone().unwrap_or_default(),
        architecture: checkpoint.config.architecture.clone(),
        file: checkpoint.source.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        sha256: crate::bundle::hash(&checkpoint.files())?,
        packed_bytes: 0,
    };
    let plan_for = |options| planned(checkpoint, options, devices, model.clone());
    let compiled = plan_for(options)?;
    check_budget(&compiled.plan, plan_for)?;
    let plan = &compiled.plan;
    verify::plan(plan).map_err(|faults| CompileError::Broke { plan: explain(&plan.to_text(), &faults) })?;
    Ok(compiled)
}

fn planned(
    checkpoint: &Checkpoint,
    options: Options,
    devices: &[Device],
    model: Model,
) -> Result<Compiled, CompileError> {
    let StepGraph { graph: reference, derived, symbols } = models::step_graph(checkpoint, &options)?;
    let cut = Cut::of(&reference, options.partition, devices)?;
    let cx = Cx { activations: options.activations, target: codegen::cpu::target(), cut };
    let mut graph = reference.clone();
    let stages = passes::run_all(&cx, &mut graph)?;
    let request = schedule::Request { model, options, symbols, devices: devices.to_vec() };
    let (plan, plan_stages) = passes::plan(&cx, &graph, request, crate::process::bytes(checkpoint))?;
    Ok(Compiled { plan, reference, stages, plan_stages, derived })
}

pub(crate) fn check_context(checkpoint: &Checkpoint, options: &Options) -> Result<(), CompileError> {
    let limit = checkpoint.config.context_length;
    if u64::from(options.context) > limit {
        return Err(CompileError::Context { asked: options.context, limit });
    }
    Ok(())
}

/// Refuses a plan over its budget, and says the largest context that would fit.
fn check_budget(
    plan: &Plan,
    plan_for: impl Fn(Options) -> Result<Compiled, CompileError>,
) -> Result<(), CompileError> {
    let Some(budget) = plan.options.memory else { return Ok(()) };
    let Some(over) = plan.memory.iter().filter(|m| m.total > budget).max_by_key(|m| m.total) else {
        return Ok(());
    };
    // Plans grow with the context, and by more than the cache alone: so they are made, and halved between.
    let (mut fitting, mut too_large) = (0, plan.options.context);
    while too_large - fitting > 1 {
        let context = fitting + (too_large - fitting) / 2;
        let smaller = plan_for(Options { context, ..plan.options.clone() })?.plan;
        match smaller.memory.iter().all(|m| m.total <= budget) {
            true => fitting = context,
            false => too_large = context,
        }
    }
    Err(CompileError::Budget {
        phase: over.phase,
        needed: over.total,
        budget,
        weights: over.weights,
        states: over.states,
        context: plan.options.context,
        advice: match fitting {
            0 => "no context fits: the weights and the largest step alone take more".to_owned(),
            tokens => format!("the largest context that fits is {tokens} tokens: --context {tokens}"),
        },
    })
}
