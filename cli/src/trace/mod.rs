//! `heddle trace`: a run as Perfetto and chrome://tracing show it, with what was predicted beside it.
mod events;
mod rounds;
mod rows;

use crate::answer::answer;
use crate::choices::{Compilation, Generation, Steps};
use crate::interrupt::{self, OnInterrupt};
use crate::prompt::{Prompt, Prompter};
use crate::{calibrate, fit, load, output};
use anyhow::Context;
use clap::Args;
use compiler::Bundle;
use compiler::chat::message;
use compiler::import::Checkpoint;
use events::{Group, Writer};
use ir::plan::Plan;
use rounds::{Predicted, Rounds};
use rows::Rows;
use runtime::{Record, Sequence, Times};
use serde::Serialize;
use std::fs::{self, File, OpenOptions};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// Answer a prompt, and write when each device did what, beside when it should have, for Perfetto or chrome://tracing
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  heddle trace smollm2 --prompt 'Why is the sky blue?' -o trace.json
  heddle trace smollm2 --prompt Hello --partition tensor:2 --tokens 8 -o tensor.json
  heddle trace model.heddle --file question.txt --topology machine.ron -o trace.json

A row for the host and for each device; an arrow for each message; beside each step what it took and what
it should have taken; the predicted run in rows of its own. Open it in https://ui.perfetto.dev.")]
pub struct Options {
    /// A bundle, a model file or folder, or a name as `heddle pull` takes it [default: smollm2]
    model: Option<String>,
    #[command(flatten)]
    prompt: Prompt,
    /// Give the model the prompt as it stands, without its chat template
    #[arg(long)]
    raw: bool,
    /// The file to write
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Most tokens of the answer, of which each is the likeliest
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    tokens: u32,
    /// The machine's topology [default: what --devices names or the bundle was compiled for, else this machine as it
    /// was measured, which is done if it never was]
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
    #[command(flatten)]
    compilation: Compilation,
}

/// What is to be known of all of a trace.
#[derive(Serialize)]
struct About<'a> {
    heddle: &'static str,
    model: &'a str,
    plan: &'a str,
    prompt_tokens: usize,
    tokens: usize,
    answer: &'a str,
    /// By which topology, or why there are no predictions.
    predictions: &'a str,
}

pub fn run(options: Options) -> anyhow::Result<()> {
    let text = options.prompt.text()?;
    let target = Target::new(&options.output)?;
    // One that is named can be read, or nothing is begun.
    options.topology.as_deref().map(calibrate::read_written).transpose()?;
    let is_sound = |checkpoint: &Checkpoint| Prompter::new(checkpoint, options.raw).map(drop);
    let times = |plan: &Plan| {
        let chunks = plan.options.context.div_ceil(plan.options.chunk.max(1));
        Times::Steps { rounds: (options.tokens + chunks) as usize }
    };
    let model = options.model.as_deref();
    let mut loaded = load::model_as(model, &options.compilation, Steps::GENERATION, &is_sound, &times)?;
    let prompter = Prompter::new(&loaded.checkpoint, options.raw)?;
    let generation = Generation::greedy(options.tokens);
    let prompt_ids = fit::prompt(&loaded, &prompter, &[message("user", &text)], &generation)?;
    note!("{}", load::decisions(loaded.session.plan(), &loaded.hash, loaded.is_edited));
    let mut sequence = Sequence::new(&loaded.session, 0);
    let answer = answer(&mut loaded, &mut sequence, &prompt_ids, &generation, &|| false, &mut |_| Ok(()))?;
    let (plan, record) = (loaded.session.plan(), loaded.session.record());
    let (predicted, predictions) = match options.predict(plan, &record) {
        Ok((predicted, by)) => (Some(predicted), format!("by {by}")),
        Err(error) => (None, format!("none: {}", output::explain(&error))),
    };
    let about = About {
        heddle: env!("CARGO_PKG_VERSION"),
        model: &plan.model.name,
        plan: &loaded.hash,
        prompt_tokens: prompt_ids.len(),
        tokens: answer.ids.len(),
        answer: &answer.text,
        predictions: &predictions,
    };
    let rounds = Rounds::of(&record, prompt_ids.len() as u64);
    let start_ns = record.host.first().map_or(0, |deed| deed.began_ns);
    let rows = Rows { plan, record: &record, rounds: &rounds, predicted: predicted.as_ref(), start_ns };
    target.write(&rows, &about)?;
    note!("{}", answer.speeds());
    note!("predictions: {}", output::plain(&predictions));
    note!(
        "{}: open it in https://ui.perfetto.dev or in chrome://tracing; click on a step to see what it took",
        output::plain(&options.output.display().to_string())
    );
    Ok(())
}

impl Options {
    /// What the run should have taken, and by what that is said.
    fn predict(&self, plan: &Plan, record: &Record) -> anyhow::Result<(Predicted, String)> {
        let model = self.model.as_deref().map(Path::new);
        let made_for = || "the topology that it was compiled for".to_owned();
        let asked = self.topology.as_deref();
        let (topology, by) = match (asked, self.compilation.own_topology()) {
            (None, Some(own)) => (own.clone(), made_for()),
            (asked, _) => {
                let by = match (asked, model.and_then(Bundle::topology_path)) {
                    (Some(path), _) => path.display().to_string(),
                    (None, Some(_)) => made_for(),
                    (None, None) => "this machine's calibration".to_owned(),
                };
                (calibrate::asked_or_own(asked, model, &plan.devices)?, by)
            }
        };
        Ok((Predicted::of(plan, &topology, record)?, by))
    }
}

/// A file that can be written, which is found out before there is anything to write. One that was not there before is
/// removed again where nothing comes of it.
struct Target<'a> {
    path: &'a Path,
    is_new: bool,
    _tidy: Option<OnInterrupt>,
}

impl Target<'_> {
    fn new(path: &Path) -> anyhow::Result<Target<'_>> {
        let is_new = !path.exists();
        let opened = OpenOptions::new().append(true).create(true).open(path);
        opened.with_context(|| format!("cannot write {}", path.display()))?;
        let name = path.to_owned();
        let tidy = is_new.then(|| interrupt::on_interrupt(move || drop(fs::remove_file(name))));
        Ok(Target { path, is_new, _tidy: tidy })
    }

    fn write(mut self, rows: &Rows<'_>, about: &About<'_>) -> anyhow::Result<()> {
        let write = || -> std::io::Result<()> {
            let mut trace = Writer::begin(BufWriter::new(File::create(self.path)?), about)?;
            trace.group(Group::Measured, "measured", about.plan)?;
            rows.measured(&mut trace)?;
            trace.group(Group::Predicted, "predicted", about.predictions)?;
            rows.predicted(&mut trace)?;
            trace.finish()
        };
        write().with_context(|| format!("cannot write {}", self.path.display()))?;
        self.is_new = false;
        Ok(())
    }
}

impl Drop for Target<'_> {
    fn drop(&mut self) {
        if self.is_new {
            // The error that brought us here says more than that it cannot be removed.
            let _ = fs::remove_file(self.path);
        }
    }
}
