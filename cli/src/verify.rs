//! `heddle verify`: whether a bundle is sound, as it stands.
use crate::diff::{Change, Times};
use crate::numerics::Numerics;
use crate::{load, output};
use clap::Args;
use compiler::{Bundle, CompileError};
use std::path::PathBuf;

/// Check a bundle: its plan line by line, its weights, its model, the code of its kernels; of a plan that was edited,
/// say what the edit costs
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
    let bundle = Bundle::open(&options.dir)?;
    let plan = &bundle.plan;
    let found = compiler::hash(&bundle.checkpoint.files())?;
    if found != plan.model.sha256 {
        let (path, expected) = (bundle.checkpoint.source.clone(), plan.model.sha256.clone());
        return Err(CompileError::ModelChanged { path, found, expected }.into());
    }
    bundle.lower()?;
    bundle.verify_names()?;
    bundle.verify_weights()?;
    if !options.numerics.json() {
        output::write(&summary(&bundle, &found))?;
        if let Some(original) = &bundle.original {
            let change =
                Change::between(original, plan, &Times::of(options.topology.as_deref(), &[&options.dir])?);
            let nothing = "the edit changes nothing that is predicted\n".to_owned();
            output::write(&format!("\n{}", change.table().unwrap_or(nothing)))?;
            change.explain();
        }
    }
    if options.numerics.are_asked() { options.numerics.run(&bundle) } else { Ok(()) }
}

fn summary(bundle: &Bundle, sha256: &str) -> String {
    let plan = &bundle.plan;
    let steps: usize = plan.threads.iter().map(|thread| thread.steps.len()).sum();
    format!(
        "sound: plan {}{}\n{steps} steps, {} kernels, {} buffers, {} edges, {} weights; at most {} of memory\nmodel {} {sha256}\n",
        plan.hash(),
        if bundle.is_edited { ", edited since it was compiled" } else { "" },
        plan.kernels.len(),
        plan.buffers.len(),
        plan.edges.len(),
        plan.weights.len(),
        output::bytes(load::predicted_peak(plan)),
        bundle.checkpoint.source.display(),
    )
}
