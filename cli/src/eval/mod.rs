//! `heddle eval`: what a compiled model computes, as numbers to compare.
mod logits;
mod perplexity;

use crate::choices::Steps;
use clap::{Args, Subcommand};
use runtime::Session;

/// Measure what a compiled model computes: perplexity of a text, logits of a prompt
#[derive(Args)]
#[command(after_help = "\
Examples:
  heddle eval perplexity smollm2 --file book.txt --window 512 --json
  heddle eval logits gemma3-270m --prompt 'The capital of France is' -o logits.safetensors --activations f32")]
pub struct Options {
    #[command(subcommand)]
    measure: Measure,
}

#[derive(Subcommand)]
enum Measure {
    Perplexity(perplexity::Options),
    Logits(logits::Options),
}

pub fn run(options: Options) -> anyhow::Result<()> {
    match options.measure {
        Measure::Perplexity(options) => perplexity::run(options),
        Measure::Logits(options) => logits::run(options),
    }
}

/// Says why it will take long, if the plan gives the logits of few tokens a step.
fn tell_if_slow(session: &Session) {
    let rows = session.max("m");
    if rows < Steps::EVALUATION.rows as usize / 4 {
        note!(
            "the bundle gives the logits of {rows} in a step, so a step reads no more tokens, which takes long: compile it with --rows {}, or name the model instead",
            Steps::EVALUATION.rows
        );
    }
}
