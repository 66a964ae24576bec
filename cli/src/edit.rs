//! `heddle edit`: moves nodes of a bundle's plan or the ends of its stages, or changes formats of its weights, by
//! compiling it with more hints.
use crate::diff::{Difference, Times};
use crate::hints::Hints;
use crate::{calibrate, interrupt, load};
use anyhow::{anyhow, bail};
use clap::Args;
use compiler::{Bundle, CompileError, Draft, Outline, Source};
use ir::plan::{Hint, Pattern};
use std::fs;
use std::path::PathBuf;

/// Move nodes of a bundle to other devices or change the formats of its weights, and say what that costs; hints for a
/// person in a hurry
#[derive(Args)]
#[command(after_help = "\
Examples:
  heddle edit m.heddle --place 'blk.{20..29}=cpu:1' --place 'output*=cpu:1'
  heddle edit m.heddle --stage 1=12
  heddle edit m.heddle --format 'blk.*.ffn_down=q8_0'
  heddle edit m.heddle --dry-run --hints hints.ron --json
  heddle edit m.heddle --forget")]
pub struct Options {
    /// The bundle, which is replaced unless it is a dry run
    dir: PathBuf,
    /// Nodes, and the device that is to compute them
    #[arg(long, value_name = "NODES=DEVICE", value_parser = place)]
    place: Vec<Hint>,
    /// Nodes that each device of a group is to compute whole
    #[arg(long, value_name = "NODES", value_parser = whole)]
    whole: Vec<Hint>,
    /// A stage, and the layer that it is to begin with
    #[arg(long, value_name = "STAGE=LAYER", value_parser = stage)]
    stage: Vec<Hint>,
    /// Weights, and the format that they are to be in: f32, f16, bf16, q8_0, q4_k and so on
    #[arg(long, value_name = "WEIGHTS=FORMAT", value_parser = format)]
    format: Vec<Hint>,
    /// A file of hints, as `heddle compile --hints` takes it
    #[arg(long, value_name = "FILE", value_parser = Hints::read)]
    hints: Option<Hints>,
    /// Forget the hints that the bundle was compiled with
    #[arg(long)]
    forget: bool,
    /// Say what would come of it, and leave the bundle as it is
    #[arg(long)]
    dry_run: bool,
    /// The machine's topology, for predicted times [default: the bundle's own, or as this machine was measured]
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// Print one line of JSON instead of text
    #[arg(long)]
    json: bool,
}

fn place(text: &str) -> Result<Hint, String> {
    let (nodes, device) = text.rsplit_once('=').ok_or("expected nodes and a device, as in blk.3=cpu:1")?;
    Ok(Hint::Place { nodes: Pattern::try_from(nodes.to_owned())?, device: device.to_owned() })
}

fn whole(text: &str) -> Result<Hint, String> {
    Ok(Hint::Whole { nodes: Pattern::try_from(text.to_owned())? })
}

fn stage(text: &str) -> Result<Hint, String> {
    let read = text.split_once('=').and_then(|(stage, layer)| {
        Some(Hint::Stage { stage: stage.trim().parse().ok()?, first_layer: layer.trim().parse().ok()? })
    });
    read.ok_or_else(|| "expected a stage and its first layer, as in 1=12".to_owned())
}

fn format(text: &str) -> Result<Hint, String> {
    let (weights, format) =
        text.rsplit_once('=').ok_or("expected weights and a format, as in blk.*.ffn_down=q8_0")?;
    Ok(Hint::Format { weights: Pattern::try_from(weights.to_owned())?, format: Hint::format_of(format)? })
}

pub fn run(options: Options) -> anyhow::Result<()> {
    let bundle = Outline::open(&options.dir)?;
    if bundle.is_edited {
        bail!(
            "{}: its plan.ron was edited, which would be lost: bring back plan.original.ron first",
            options.dir.display()
        );
    }
    let times = Times::of(options.topology.as_deref(), &[&options.dir])?;
    let topology = match Bundle::topology_path(&options.dir) {
        Some(path) => Some(calibrate::read_written(&path)?),
        None => None,
    };
    let mut own = bundle.plan.options.clone();
    own.hints = hints(own.hints, &options);
    let (checkpoint, said) = (&bundle.checkpoint, own.hints.clone());
    let devices = &bundle.plan.devices;
    // Its model is what it was compiled from, or it would not have been opened.
    let source = Source::of_plan(checkpoint, &bundle.plan);
    let source = if options.dry_run { source } else { source.with_advice() };
    let compiled = compiler::compile_from(&source, own, devices, topology.as_ref());
    let compiled = compiled.map_err(|error| explain(error, &said))?;
    let difference = Difference::of_plans(&bundle.plan, &compiled.plan, &times);
    if options.dry_run {
        return difference.write_as(options.json);
    }
    let draft = Draft::begin(&options.dir)?;
    let partial = draft.partial().to_owned();
    let _tidy = interrupt::on_interrupt(move || drop(fs::remove_dir_all(partial)));
    load::write(draft, &compiled, checkpoint, topology.as_ref())?;
    difference.write_as(options.json)
}

/// What was said before and is not said otherwise now, and what is said now.
fn hints(before: Vec<Hint>, options: &Options) -> Vec<Hint> {
    let listed = options.hints.as_ref().map_or(vec![], Hints::list);
    let lists = [&listed, &options.place, &options.whole, &options.stage, &options.format];
    let now: Vec<&Hint> = lists.into_iter().flatten().collect();
    let about = |a: &Hint, b: &Hint| match (a, b) {
        (Hint::Stage { stage: a, .. }, Hint::Stage { stage: b, .. }) => a == b,
        (Hint::Place { nodes: a, .. }, Hint::Place { nodes: b, .. }) => a == b,
        (Hint::Format { weights: a, .. }, Hint::Format { weights: b, .. }) => a == b,
        _ => a == b,
    };
    let is_kept = |hint: &Hint| !options.forget && !now.iter().any(|other| about(hint, other));
    before.into_iter().filter(is_kept).chain(now.iter().copied().cloned()).collect()
}

/// Why it was not compiled, with the hints that could not be honoured.
fn explain(error: CompileError, hints: &[Hint]) -> anyhow::Error {
    let Some(fault) = error.hint() else { return error.into() };
    let named: Vec<String> =
        fault.hints.iter().filter_map(|at| hints.get(*at)).map(Hint::to_string).collect();
    anyhow!("{}: {}", named.join(" and "), fault.reason)
}
