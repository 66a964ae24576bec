//! `heddle bench`: how fast a compiled model reads and writes, and where its time goes.
mod drive;
mod profile;
mod reading;

use crate::cache::Cache;
use crate::choices::{Batched, Compilation, Steps};
use crate::{calibrate, load, output};
use anyhow::bail;
use clap::Args;
use compiler::Bundle;
use compiler::import::Checkpoint;
use drive::{Driver, Measured};
use ir::plan::Plan;
use ir::topology::Topology;
use profile::Profile;
use reading::{Bound, Reading};
use runtime::Times;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// Measure tokens a second, of a prompt and of an answer; medians, after a warm-up
#[derive(Args)]
#[command(after_help = "\
Examples:
  heddle bench smollm2
  heddle bench gemma3-270m --prompt-tokens 512 --gen-tokens 128 --threads 1 --json
  heddle bench smollm2 --profile
  heddle bench smollm2 --reading
  heddle bench smollm2 --depth 2048
  heddle bench smollm2 --batch 8 --prompt-tokens 64 --gen-tokens 32")]
pub struct Options {
    /// A bundle, a model file or folder, or a name as `heddle pull` takes it [default: smollm2]
    model: Option<String>,
    /// Tokens of the prompt
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=MOST))]
    prompt_tokens: u32,
    /// Tokens of the answer, one a step
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=MOST))]
    gen_tokens: u32,
    /// Measure prompt and answer each behind N tokens, whose reading does not count [default: the prompt behind
    /// none, the answer behind the prompt]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=MOST))]
    depth: Option<u32>,
    /// Sequences at once, each with a prompt and an answer of its own; speeds are of all together
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,
    /// How often to measure
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: u32,
    /// Show where the time goes: for each kernel its time, what it must move and compute, and how near it comes
    /// to what this machine can do, which is measured first if it never was
    #[arg(long)]
    profile: bool,
    /// Predict for the machine that this file describes, instead of this one as it was measured
    #[arg(long, value_name = "FILE.ron", requires = "profile")]
    topology: Option<PathBuf>,
    /// Between tokens of the answer read memory with as many threads, and say what part of that speed the answer
    /// reaches; for processors
    #[arg(long)]
    reading: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compilation: Batched,
}

/// More tokens than any context has.
const MOST: i64 = 1 << 24;

#[derive(Serialize)]
struct Report {
    model: String,
    plan_hash: String,
    threads: u32,
    /// Those threads, or where it ran.
    #[serde(skip)]
    on: String,
    batch: u32,
    prompt_tokens: u32,
    gen_tokens: u32,
    depth: Option<u32>,
    repetitions: u32,
    prefill_tokens_per_second: f64,
    decode_tokens_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reading: Option<Bound>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Profile>,
}

pub fn run(options: Options) -> anyhow::Result<()> {
    let topology = match (&options.topology, options.profile) {
        (Some(path), _) => Some(calibrate::read_written(path)?),
        (None, true) => Some(calibrate::kept_or_measured(&Cache::from_env()?)?),
        (None, false) => None,
    };
    let is_bundle = Bundle::is_at(&Cache::from_env()?.resolve(options.model.as_deref())?);
    let compilation = options.compilation(is_bundle);
    // What a model will not have room for is refused before it is packed.
    let check = |model: &Checkpoint| {
        let (plan, ..) = compilation.options(model.config.context_length, Steps::GENERATION);
        options.check_room(&plan, is_bundle)
    };
    let times = |_: &Plan| if options.profile { Times::Kernels } else { Times::None };
    let name = options.model.as_deref();
    let loaded = load::model_as(name, &compilation, Steps::GENERATION, &check, &times)?;
    options.check_room(&loaded.session.plan().options, is_bundle)?;
    let mut driver = Driver::new(loaded.session, options.batch, options.depth)?;
    let (prompt, answer) = (options.prompt_tokens, options.gen_tokens);
    driver.round(prompt, answer)?;
    if options.reading {
        driver.reading = Some(Reading::new(driver.session.plan())?);
    }
    let rounds = (0..options.repetitions).map(|_| driver.round(prompt, answer));
    let (prefills, decodes): (Vec<_>, Vec<_>) =
        rounds.collect::<anyhow::Result<Vec<_>>>()?.into_iter().unzip();
    let turns: Vec<_> = decodes.iter().flat_map(|decode: &Measured| decode.turns.iter().copied()).collect();
    let (prefill, decode) = (middle(prefills), middle(decodes));
    let plan = driver.session.plan();
    let threads = plan.devices.iter().map(|device| device.threads).sum();
    let report = Report {
        model: plan.model.file.clone(),
        threads,
        on: match plan.devices.iter().all(|device| device.kind.is_cpu()) {
            true => format!("{threads} threads"),
            false => format!("on {}", output::devices(&plan.devices)),
        },
        plan_hash: loaded.hash,
        batch: options.batch,
        prompt_tokens: prompt,
        gen_tokens: answer,
        depth: options.depth,
        repetitions: options.repetitions,
        prefill_tokens_per_second: prefill.tokens_per_second(),
        decode_tokens_per_second: decode.tokens_per_second(),
        reading: options.reading.then(|| Bound::of(&turns)),
        profile: topology
            .map(|topology: Topology| {
                let topology = calibrate::for_devices(topology, &plan.devices)?;
                Profile::new(plan, &topology, &prefill, &decode)
            })
            .transpose()?,
    };
    match options.json {
        true => output::write_json(&report),
        false => report.write(),
    }
}

impl Options {
    /// How to compile, with room for what is asked for where the user says nothing of it.
    fn compilation(&self, is_bundle: bool) -> Compilation {
        let mut compilation = self.compilation.compilation();
        if !is_bundle {
            compilation.make_room(self.batch, u32::try_from(self.tokens()).unwrap_or(u32::MAX));
        }
        compilation
    }

    /// Most tokens that one sequence comes to.
    fn tokens(&self) -> u64 {
        let (prompt, answer) = (u64::from(self.prompt_tokens), u64::from(self.gen_tokens));
        self.depth.map_or(prompt + answer, |depth| u64::from(depth) + prompt.max(answer))
    }

    fn check_room(&self, plan: &ir::plan::Options, is_bundle: bool) -> anyhow::Result<()> {
        let raise = if is_bundle { "compile a bundle with a greater" } else { "raise" };
        let (tokens, context) = (self.tokens(), plan.context);
        if tokens > u64::from(context) {
            bail!(
                "{tokens} tokens were asked for, the context holds {context}: ask for fewer with --prompt-tokens and --gen-tokens, or {raise} --context"
            );
        }
        if self.batch > plan.max_batch {
            let (batch, most) = (self.batch, plan.max_batch);
            bail!(
                "{batch} sequences were asked for, the plan holds {most} at once: lower --batch, or {raise} --max-batch"
            );
        }
        Ok(())
    }
}

impl Report {
    fn write(&self) -> anyhow::Result<()> {
        let times = if self.batch > 1 { format!("{} × ", self.batch) } else { String::new() };
        let behind = self.depth.map_or(String::new(), |depth| format!(", each behind {depth}"));
        output::write(&format!(
            "{}, {}, plan {}\n{times}{} tokens read at {:.1} a second\n{times}{} tokens written at {:.1} a second{behind}\n",
            output::plain(&self.model),
            self.on,
            &self.plan_hash[..12],
            self.prompt_tokens,
            self.prefill_tokens_per_second,
            self.gen_tokens,
            self.decode_tokens_per_second,
        ))?;
        if let Some(bound) = &self.reading {
            output::write(&bound.line())?;
        }
        self.profile.as_ref().map_or(Ok(()), Profile::write)
    }
}

/// The repetition in the middle, by time: its numbers add up, as medians of parts would not.
fn middle(mut all: Vec<Measured>) -> Measured {
    all.sort_by_key(|measured: &Measured| measured.wall);
    let at = all.len() / 2;
    match at < all.len() {
        true => all.swap_remove(at),
        false => Measured { wall: Duration::ZERO, ..Measured::default() },
    }
}
