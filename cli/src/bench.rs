//! `heddle bench`: how fast a compiled model reads and writes.
use crate::answer::per_second;
use crate::choices::{Batched, Steps};
use crate::load::{self, Loaded};
use crate::output;
use anyhow::bail;
use clap::Args;
use runtime::{Sampler, SamplerOptions, Sequence};
use serde::Serialize;
use std::time::{Duration, Instant};

/// Measure tokens a second, of a prompt and of an answer; medians, after a warm-up
#[derive(Args)]
#[command(after_help = "\
Examples:
  heddle bench smollm2
  heddle bench gemma3-270m --prompt-tokens 512 --gen-tokens 128 --threads 1 --json")]
pub struct Options {
    /// A bundle, a model file or folder, or a name as `heddle pull` takes it [default: smollm2]
    model: Option<String>,
    /// Tokens of the prompt
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    prompt_tokens: u32,
    /// Tokens of the answer, one a step
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    gen_tokens: u32,
    /// How often to measure
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: u32,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compilation: Batched,
}

#[derive(Serialize)]
struct Report {
    model: String,
    plan_hash: String,
    threads: u32,
    prompt_tokens: u32,
    gen_tokens: u32,
    repetitions: u32,
    prefill_tokens_per_second: f64,
    decode_tokens_per_second: f64,
}

pub fn run(options: Options) -> anyhow::Result<()> {
    let (prompt, answer) = (options.prompt_tokens as usize, options.gen_tokens as usize);
    let compilation = options.compilation.compilation();
    let mut loaded = load::model(options.model.as_deref(), &compilation, Steps::GENERATION, &|_| Ok(()))?;
    let context = loaded.session.plan().options.context as usize;
    if prompt + answer > context {
        bail!("{prompt} and {answer} tokens were asked for, the context holds {context}: raise --context");
    }
    // Tokens from all over the vocabulary, the same each time: what they say does not matter.
    let vocabulary = loaded.session.vocabulary();
    let tokens: Vec<i32> = (1..=prompt).map(|i| (i * 7919 % vocabulary) as i32).collect();
    measure(&mut loaded, &tokens, answer)?;
    let mut times = vec![];
    for _ in 0..options.repetitions {
        times.push(measure(&mut loaded, &tokens, answer)?);
    }
    let plan = loaded.session.plan();
    let report = Report {
        model: plan.model.file.clone(),
        threads: plan.devices.iter().map(|device| device.threads).sum(),
        plan_hash: loaded.hash,
        prompt_tokens: options.prompt_tokens,
        gen_tokens: options.gen_tokens,
        repetitions: options.repetitions,
        prefill_tokens_per_second: per_second(prompt, median(times.iter().map(|t| t.0))),
        decode_tokens_per_second: per_second(answer, median(times.iter().map(|t| t.1))),
    };
    if options.json {
        return output::write_json(&report);
    }
    output::write(&format!(
        "{}, {} threads, plan {}\n{prompt} tokens read at {:.1} a second\n{answer} tokens written at {:.1} a second\n",
        report.model,
        report.threads,
        &report.plan_hash[..12],
        report.prefill_tokens_per_second,
        report.decode_tokens_per_second,
    ))
}

/// How long the prompt takes, and how long the steps behind it.
fn measure(loaded: &mut Loaded, tokens: &[i32], answer: usize) -> anyhow::Result<(Duration, Duration)> {
    let session = &mut loaded.session;
    let mut sequence = Sequence::new(session, 0);
    sequence.truncate(session, 0);
    let mut sampler = Sampler::new(SamplerOptions::greedy());
    let start = Instant::now();
    let logits = sequence.extend(session, tokens, &|| false)?;
    let mut next = logits.map_or(Ok(0), |logits| sampler.sample(logits))?;
    let prefill = start.elapsed();
    let start = Instant::now();
    for _ in 0..answer {
        let logits = sequence.extend(session, &[next as i32], &|| false)?;
        next = logits.map_or(Ok(0), |logits| sampler.sample(logits))?;
    }
    Ok((prefill, start.elapsed()))
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<_> = times.collect();
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
