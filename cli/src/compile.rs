//! `heddle compile`: from a model to a bundle, and what was decided.
use crate::choices::{Batched, Steps};
use crate::inspect::memory_table;
use crate::{chosen, interrupt, load, output, spill};
use clap::Args;
use ir::plan::MemoryProof;
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Compile a model into a bundle: its plan, its graph after every pass, its packed weights
#[derive(Args)]
#[command(after_help = "\
Examples:
  heddle compile smollm2 -o smollm2.heddle
  heddle compile gemma3-270m -o gemma.heddle --context 2048 --threads 4
  heddle compile model.gguf -o m.heddle --memory 512MiB --json | jq .plan_hash")]
pub struct Options {
    /// A model file or folder, or a name as `heddle pull` takes it
    model: String,
    /// The folder to write; a bundle that is there is replaced
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// Rows of logits that a step may be asked for; `heddle eval` reads as many tokens a step, 128 do it well
    /// [default: one for every conversation]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=512))]
    rows: Option<u32>,
    /// Tokens in one step at most; a longer prompt is read in several
    #[arg(
        long, value_name = "N", default_value_t = Steps::GENERATION.chunk,
        value_parser = clap::value_parser!(u32).range(1..=65536)
    )]
    chunk: u32,
    /// The chat template is not looked at: prompts will be given as they stand
    #[arg(long)]
    raw: bool,
    /// Work for another heddle: say nothing but what is wrong, and end when standard input does
    #[arg(long, hide = true)]
    for_parent: bool,
    /// Print one line of JSON instead of tables
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compilation: Batched,
}

#[derive(Serialize)]
struct Summary<'a> {
    bundle: PathBuf,
    plan_hash: String,
    model: &'a ir::plan::Model,
    options: &'a ir::plan::Options,
    devices: &'a [ir::plan::Device],
    memory: &'a [MemoryProof],
    stages: Vec<Stage>,
    total_ms: f64,
}

#[derive(Serialize)]
struct Stage {
    pass: &'static str,
    changed: bool,
    ms: f64,
}

pub fn run(options: Options) -> anyhow::Result<()> {
    let start = Instant::now();
    let path = load::model_path(&options.model)?;
    if options.for_parent {
        interrupt::end_with_standard_input();
    }
    let steps = Steps { rows: options.rows.unwrap_or(Steps::GENERATION.rows), chunk: options.chunk };
    let compilation = options.compilation.compilation();
    let how = (options.raw, options.for_parent);
    let compiled = load::make(&path, &compilation, steps, &options.output, how)?;
    if options.for_parent {
        return Ok(());
    }
    let plan = &compiled.plan;
    chosen::say(plan)?;
    spill::say(plan);
    let stage = |pass, changed, time: Duration| Stage { pass, changed, ms: time.as_secs_f64() * 1e3 };
    let graphs = compiled.stages.iter().map(|done| stage(done.pass, done.graph.is_some(), done.time));
    let plans = compiled.plan_stages.iter().map(|done| stage(done.pass, true, done.time));
    let summary = Summary {
        bundle: options.output,
        plan_hash: plan.hash(),
        model: &plan.model,
        options: &plan.options,
        devices: &plan.devices,
        memory: &plan.memory,
        stages: graphs.chain(plans).collect(),
        total_ms: start.elapsed().as_secs_f64() * 1e3,
    };
    if options.json {
        return output::write_json(&summary);
    }
    print(&summary)
}

fn print(summary: &Summary<'_>) -> anyhow::Result<()> {
    let o = summary.options;
    output::write(&format!(
        "{}: {}, {}, context {}, batch {}, KV cache {}\nplan {}\n\n",
        summary.bundle.display(),
        summary.model.architecture,
        output::devices(summary.devices),
        o.context,
        o.max_batch,
        o.kv,
        summary.plan_hash,
    ))?;
    output::write(&memory_table(summary.devices, summary.memory))?;
    output::write("\n")?;
    let row = |s: &Stage| {
        let changed = if s.changed { "yes" } else { "no" };
        vec![s.pass.to_string(), changed.to_string(), format!("{:.1} ms", s.ms)]
    };
    let rows: Vec<_> = summary.stages.iter().map(row).collect();
    output::write_table(&["PASS", "CHANGED", " TIME"], &rows)?;
    output::write(&format!("\n{:.1} s in all\n", summary.total_ms / 1e3))
}
