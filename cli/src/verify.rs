//! `heddle verify`: whether a bundle is sound, as it stands.
use crate::diff::{Change, Times};
use crate::numerics::Numerics;
use crate::{load, output};
use clap::Args;
use compiler::{CompileError, Outline};
use std::path::PathBuf;

/// Check a bundle: its plan line by line, its weights if it has any, its model, the code of its kernels; of a plan that
/// was edited, say what the edit costs
#[derive(Args)]
#[command(after_help = "\
Examples:
  heddle verify smollm2.heddle
  heddle verify edited.heddle --topology machine.ron
  heddle verify smollm2.heddle --numerics --prompt 'The sky is blue.'")]
pub struct Options {
    /// The bundle
    dir: PathBuf,
    /// The machine's topology, for the predicted times of a plan that was edited [default: as this machine was
    /// measured, if it was]
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
    #[command(flatten)]
    numerics: Numerics,
}

pub fn run(options: Options) -> anyhow::Result<()> {
    let outline = Outline::open(&options.dir)?;
    let found = compiler::hash(&outline.checkpoint.files())?;
    if found != outline.plan.model.sha256 {
        let (path, expected) = (outline.checkpoint.source.clone(), outline.plan.model.sha256.clone());
        return Err(CompileError::ModelChanged { path, found, expected }.into());
    }
    outline.verify_names()?;
    // Of other devices a plan can be made, and no code.
    if compiler::codegen::has_code(&outline.plan.devices) {
        outline.check_code()?;
    }
    if !outline.has_weights() && !options.numerics.are_asked() {
        output::write(&summary(&outline, &found))?;
        return say_edit(&outline, &options);
    }
    let bundle = outline.with_weights()?;
    bundle.verify_weights()?;
    if !options.numerics.json() {
        output::write(&summary(&bundle, &found))?;
        say_edit(&bundle, &options)?;
    }
    if options.numerics.are_asked() { options.numerics.run(&bundle) } else { Ok(()) }
}

/// Says of a plan that was edited what that costs.
fn say_edit(outline: &Outline, options: &Options) -> anyhow::Result<()> {
    let Some(original) = &outline.original else { return Ok(()) };
    let times = Times::of(options.topology.as_deref(), &[&options.dir])?;
    let change = Change::between(original, &outline.plan, &times);
    let nothing = "the edit changes nothing that is predicted\n".to_owned();
    output::write(&format!("\n{}", change.table().unwrap_or(nothing)))?;
    change.explain();
    Ok(())
}

fn summary(outline: &Outline, sha256: &str) -> String {
    let plan = &outline.plan;
    let steps: usize = plan.threads.iter().map(|thread| thread.steps.len()).sum();
    let none = "there are no packed weights to check: it was compiled from a config alone, or for devices that there \
                is no code for\n";
    format!(
        "sound: plan {}{}\n{steps} steps, {} kernels, {} buffers, {} edges, {} weights; at most {} of memory\n{}model {} {sha256}\n",
        plan.hash(),
        if outline.is_edited { ", edited since it was compiled" } else { "" },
        plan.kernels.len(),
        plan.buffers.len(),
        plan.edges.len(),
        plan.weights.len(),
        output::bytes(load::predicted_peak(plan)),
        if outline.has_weights() { "" } else { none },
        outline.checkpoint.source.display(),
    )
}
