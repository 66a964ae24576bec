//! `heddle eval`: what a compiled model computes, as numbers to compare.
mod logits;
mod perplexity;

use clap::{Args, Subcommand};

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
