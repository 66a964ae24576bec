//! `heddle eval perplexity`: how well a model foresees a text, in windows that do not overlap.
use crate::answer::NO_NUMBERS;
use crate::choices::{Compilation, Steps};
use crate::{load, output, progress};
use anyhow::{Context, bail};
use clap::Args;
use compiler::tokenizer::SpecialTokens;
use runtime::Sequence;
use serde::Serialize;
use std::fs;
use std::path::PathBuf;

/// Perplexity of a text in windows of equal length, each on its own
///
/// A window of N tokens scores N - 1 of them: all but the first. Where the model wants a beginning of text,
/// that is the first of every window. What is left at the end and fills no window is not scored.
#[derive(Args)]
#[command(after_help = "\
Examples:
  heddle eval perplexity smollm2 --file book.txt --window 512 --json")]
pub(super) struct Options {
    /// A bundle, a model file or folder, or a name as `heddle pull` takes it
    model: String,
    /// The text
    #[arg(long, short, value_name = "PATH")]
    file: PathBuf,
    /// Tokens of a window
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(2..))]
    window: u32,
    /// Score only the first N windows [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    windows: Option<u32>,
    /// Print {"nll":…,"perplexity":…,"tokens":…,"nll_per_window":[…]}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compilation: Compilation,
}

#[derive(Serialize)]
struct Report {
    /// Mean of the negative natural logarithms of the tokens' probabilities.
    nll: f64,
    perplexity: f64,
    /// How many tokens were scored.
    tokens: usize,
    /// Sums, not means.
    nll_per_window: Vec<f64>,
}

pub(super) fn run(options: Options) -> anyhow::Result<()> {
    let file = options.file.display();
    let text = fs::read(&options.file).with_context(|| format!("cannot read {file}"))?;
    let load::Loaded { mut session, tokenizer, .. } =
        load::model(Some(&options.model), &options.compilation, Steps::EVALUATION, &|_| Ok(()))?;
    let context = session.plan().options.context;
    if options.window > context {
        let window = options.window;
        bail!("a window of {window} tokens was asked for, the context holds {context}");
    }
    let ids = tokenizer.encode_bytes(&text, SpecialTokens::AsText).with_context(|| format!("in {file}"))?;
    let bos = tokenizer.bos().filter(|_| tokenizer.add_bos());
    let length = options.window as usize - usize::from(bos.is_some());
    let count = (ids.len() / length).min(options.windows.map_or(usize::MAX, |n| n as usize));
    if count == 0 {
        bail!("{file} has {} tokens, expected at least the {length} of one window", ids.len());
    }
    super::tell_if_slow(&session);
    let bar = progress::count("windows", count as u64);
    let mut sequence = Sequence::new(&session, 0);
    let (mut nll_per_window, mut tokens) = (Vec::with_capacity(count), 0);
    for window in ids.chunks_exact(length).take(count) {
        let window: Vec<i32> = bos.iter().chain(window).map(|id| *id as i32).collect();
        let mut sum = 0.0;
        sequence.truncate(&mut session, 0);
        sequence.extend_all(&mut session, &window, |at, logits| {
            if let Some(next) = window.get(at + 1) {
                sum += nll(logits, *next as usize);
                tokens += 1;
            }
        })?;
        if !sum.is_finite() {
            let window = nll_per_window.len() + 1;
            bail!("the nll of window {window} is {sum}, expected a number: {NO_NUMBERS}");
        }
        nll_per_window.push(sum);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let nll = nll_per_window.iter().sum::<f64>() / tokens as f64;
    let report = Report { nll, perplexity: nll.exp(), tokens, nll_per_window };
    if options.json {
        return output::write_json(&report);
    }
    output::write(&format!("perplexity {:.4}, nll {nll:.6}, {tokens} tokens\n", report.perplexity))
}

/// The negative logarithm of the probability that logits give a token.
fn nll(logits: &[f32], token: usize) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - max).exp()).sum();
    sum.ln() - f64::from(logits[token] - max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_logits_share_the_probability() {
        assert!((nll(&[3.0; 8], 5) - 8_f64.ln()).abs() < 1e-12);
        assert!(nll(&[1000.0, 0.0], 0).abs() < 1e-12);
        assert!((nll(&[1000.0, 0.0], 1) - 1000.0).abs() < 1e-9);
    }
}
