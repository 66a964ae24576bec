//! `heddle verify`: whether a bundle is sound, as it stands.
use crate::numerics::Numerics;
use crate::{load, output};
use clap::Args;
use compiler::{Bundle, CompileError};
use std::path::PathBuf;

/// Check a bundle: its plan line by line, its weights, its model, the code of its kernels
#[derive(Args)]
#[command(after_help = "\
Examples:
  heddle verify smollm2.heddle
  heddle verify smollm2.heddle --numerics --prompt 'The sky is blue.'")]
pub struct Options {
    /// The bundle
    dir: PathBuf,
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
