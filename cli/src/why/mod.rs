//! `heddle why`: what was decided about a node, an edge or a device, what it costs, and what bounds it.
mod answer;
mod decided;
mod others;
mod runners_up;

use crate::cache::Cache;
use crate::diff::{Read, prompt_in, read};
use crate::{calibrate, output};
use anyhow::bail;
use clap::Args;
use compiler::{Bundle, Outline};
use decided::{Decided, Subject};
use ir::plan::{Device, Plan};
use ir::topology::Topology;
use others::Choices;
use passes::simulate::Load;
use runners_up::{Instead, Predict, RunnersUp};
use std::path::{Path, PathBuf};

/// Say why something in a plan is as it is: its cost, what else there was, and what bounds it
#[derive(Args)]
#[command(after_help = "\
Examples:
  heddle why smollm2.heddle
  heddle why smollm2.heddle blk.3.ffn_down
  heddle why smollm2.heddle edge:7
  heddle why smollm2.heddle cpu:1 --json")]
pub struct Options {
    /// A bundle, or a plan
    plan: PathBuf,
    /// A node by its path, a device by its name, an edge as edge:N; without it, what was decided for the whole plan
    what: Option<String>,
    /// The machine's topology [default: what the bundle was compiled for, else this machine as it was measured, which
    /// is done first if it never was]
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// Print one line of JSON instead of sentences
    #[arg(long)]
    json: bool,
}

pub fn run(options: Options) -> anyhow::Result<()> {
    let Read::Plan(plan) = read(&options.plan)? else {
        bail!("{} is a graph, expected a plan or a bundle", options.plan.display())
    };
    if let Err(faults) = plan.verify() {
        bail!("{} is refused: {}", options.plan.display(), faults[0].explain(&plan.to_text()));
    }
    let asked = options.topology.as_deref();
    let machine = calibrate::asked_or_kept(asked, Some(&options.plan))?;
    let topology = calibrate::for_plan(machine.clone(), asked, &plan)?;
    let prompt = prompt_in(plan.options.context);
    let answers = match &options.what {
        None => decided::whole(&plan),
        Some(what) => {
            let (mut answers, subject) = Decided::new(&plan, &topology, prompt)?.about(what)?;
            // Of several answers the last is about all that was asked for.
            if let Some(answer) = answers.last_mut() {
                let load = Load { sequences: plan.options.max_batch, prompt };
                let predict = |plan: &Plan| {
                    let topology = calibrate::for_plan(machine.clone(), asked, plan);
                    let topology = topology.map_err(|error| output::explain(&error))?;
                    let predicted = load.predict(plan, &topology);
                    Ok(predicted.map_err(|error| error.to_string())?.token_ns)
                };
                match instead(&options.plan, (&plan, &topology), &subject, &predict) {
                    Ok(others) => {
                        answer.measure = Some(measure(load));
                        answer.whole_ns = Some(predict(&plan).map_err(anyhow::Error::msg)? as u64);
                        answer.instead = others;
                    }
                    Err(reason) => answer.no_alternative = Some(reason),
                }
            }
            answers
        }
    };
    if options.json {
        return output::write_json(&answers);
    }
    answers.iter().try_for_each(|answer| output::write(&answer.sentences()))
}

fn measure(Load { sequences, prompt }: Load) -> String {
    match sequences {
        1 => format!("a token behind {prompt} others"),
        _ => format!("a token of each of {sequences} sequences, behind {prompt} others,"),
    }
}

/// What else there was, or why nothing or nobody can say.
fn instead(
    path: &Path,
    (plan, topology): (&Plan, &Topology),
    subject: &Subject<'_>,
    predict: Predict<'_>,
) -> Result<Vec<Instead>, String> {
    if let Some(reason) = others::settled(plan, subject) {
        return Err(reason.into());
    }
    if !Bundle::is_at(path) {
        return Err("others are made of the model, and a plan alone does not say where that is: \
                    give the bundle"
            .into());
    }
    let outline = Outline::open(path).map_err(|error| error.to_string())?;
    let shares_by = shares_by(path, &outline.plan.devices);
    let runners_up = RunnersUp::of(&outline, shares_by)?;
    let choices = Choices {
        plan: &outline.plan,
        graph: &runners_up.compiled.reference,
        cut: &runners_up.compiled.cut,
        topology,
    };
    let found = runners_up.compare(choices.about(subject), predict);
    match found.is_empty() {
        false => Ok(found),
        true => Err("whatever else could be tried comes to the same plan".into()),
    }
}

/// By which topologies the shares of a bundle's plan may be.
fn shares_by(path: &Path, devices: &[Device]) -> Vec<Option<Topology>> {
    if let Some(own) = Bundle::topology_path(path) {
        return vec![calibrate::read_written(&own).ok(), None];
    }
    let kept = || calibrate::read(&calibrate::place(&Cache::from_env()?));
    let kept = kept().ok().flatten().and_then(|kept| calibrate::for_devices(kept, devices).ok());
    [None].into_iter().chain(kept.map(Some)).collect()
}
