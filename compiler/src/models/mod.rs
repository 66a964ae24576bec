//! The architectures: one file each, over shared blocks; one line each below.
mod blocks;
mod build;
mod formats;
mod gemma3;
mod llama;

pub use build::{Build, BuildError, Derived, StepGraph};

use crate::import::{Checkpoint, Config};
use ir::NodeId;
use ir::plan::Options;

/// How one kind of model is written as a step graph.
pub struct Architecture {
    /// Its names, as `general.architecture` of GGUF and `model_type` of Hugging Face have them.
    pub names: &'static [&'static str],
    /// Adds the layers between the step's inputs and its logits; gives the logits, f32[m, vocabulary].
    pub(crate) build: fn(&mut Build<'_>, &Config) -> Result<NodeId, BuildError>,
}

/// Every architecture.
pub const ARCHITECTURES: &[Architecture] = &[llama::LLAMA, gemma3::GEMMA3];

/// The step graph of a checkpoint: `n` tokens of any number of sequences in, the most likely next ones of `m` of them
/// out, and all logits of `w` of those.
pub fn step_graph(checkpoint: &Checkpoint, options: &Options) -> Result<StepGraph, BuildError> {
    step_graph_of(checkpoint, &checkpoint.config, options)
}

/// The same of as many layers as a config says, which can be fewer than the checkpoint's.
pub(crate) fn step_graph_of(
    checkpoint: &Checkpoint,
    config: &Config,
    options: &Options,
) -> Result<StepGraph, BuildError> {
    let architecture = ARCHITECTURES.iter().find(|a| a.names.contains(&config.architecture.as_str()));
    let architecture = architecture.ok_or_else(|| BuildError::UnknownArchitecture {
        found: config.architecture.clone(),
        known: ARCHITECTURES.iter().flat_map(|a| a.names).copied().collect::<Vec<_>>().join(", "),
    })?;
    let mut cx = Build::new(checkpoint, options)?;
    let logits = (architecture.build)(&mut cx, config)?;
    let answers = blocks::head::answers(&mut cx, logits, config)?;
    cx.finish(answers, config)
}
