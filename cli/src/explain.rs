//! `heddle explain`: the graph after each pass that changed it.
use crate::choices::{Compilation, Steps};
use crate::{load, output};
use anyhow::bail;
use clap::Args;
use compiler::codegen::cpu;
use compiler::import::Checkpoint;
use compiler::models::step_graph;
use ir::{Graph, Op};
use passes::{Cx, PASSES, run_all};
use similar::TextDiff;

/// Show what the passes make of a model's graph
#[derive(Args)]
#[command(after_help = "\
Examples:
  heddle explain smollm2 --diff
  heddle explain smollm2 --pass import
  heddle explain smollm2 --node blk.0.ffn
  heddle explain gemma3-270m --pass siblings --node blk.3.attn --diff")]
pub struct Options {
    /// A model file or folder, or a name as `heddle pull` takes it
    model: String,
    /// Only behind this pass; `import` is the graph before the first
    #[arg(long, value_name = "NAME")]
    pass: Option<String>,
    /// Only nodes on this path or beneath it, and sources of this name
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// What each pass changed, as a unified diff
    #[arg(long)]
    diff: bool,
    #[command(flatten)]
    compilation: Compilation,
}

/// The graph before the first pass, as if a pass had made it.
const IMPORT: &str = "import";

pub fn run(options: Options) -> anyhow::Result<()> {
    let names: Vec<&str> = [IMPORT].into_iter().chain(PASSES.iter().map(|pass| pass.name)).collect();
    if let Some(pass) = options.pass.as_deref().filter(|pass| !names.contains(pass)) {
        bail!("there is no pass {pass:?}, expected one of {}", names.join(", "));
    }
    let checkpoint = Checkpoint::open(&load::model_path(&options.model)?)?;
    let plan = options.compilation.options(checkpoint.config.context_length, Steps::GENERATION);
    let mut graph = step_graph(&checkpoint, &plan)?.graph;
    let shown = |graph: &Graph| match &options.node {
        None => graph.to_string(),
        Some(node) => nodes(graph, node),
    };
    let is_asked = |pass: &str| options.pass.as_deref().is_none_or(|asked| asked == pass);
    let mut before = shown(&graph);
    let mut any = !before.is_empty();
    if is_asked(IMPORT) && !(options.diff && options.pass.is_none()) {
        output::write(&format!("// {IMPORT}\n{before}\n"))?;
    }
    let cx = Cx { activations: plan.activations, target: cpu::target() };
    for stage in run_all(&cx, &mut graph)? {
        let after = stage.graph.as_ref().map_or_else(|| before.clone(), &shown);
        any |= !after.is_empty();
        let time = format!("{:.1} ms", stage.time.as_secs_f64() * 1e3);
        if is_asked(stage.pass) && (after != before || options.pass.is_some()) {
            let text = match options.diff {
                true => diff(&before, &after),
                false => after.clone(),
            };
            let nothing = if after == before { ", changed nothing" } else { "" };
            output::write(&format!("// {}, {time}{nothing}\n{text}\n", stage.pass))?;
        }
        before = after;
    }
    match &options.node {
        Some(node) if !any => bail!("no node lies on the path {node}, and no source has this name"),
        _ => Ok(()),
    }
}

fn diff(before: &str, after: &str) -> String {
    TextDiff::from_lines(before, after).unified_diff().context_radius(2).to_string()
}

/// The lines of the nodes on a path or beneath it, of sources of that name, and of what these stand for.
fn nodes(graph: &Graph, wanted: &str) -> String {
    let is_beneath =
        |path: &str| path.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let text = graph.to_string();
    // The writer gives every node its line, in this order, behind the line with the graph's name.
    let lines = graph.order().into_iter().zip(text.lines().skip(1));
    let is_wanted = |id: &ir::NodeId| {
        let node = &graph[*id];
        is_beneath(&node.path) || given_name(&node.op).is_some_and(is_beneath)
    };
    lines.filter(|(id, _)| is_wanted(id)).map(|(_, line)| format!("{}\n", line.trim_start())).collect()
}

fn given_name(op: &Op) -> Option<&str> {
    match op {
        Op::Input(input) => Some(&input.name),
        Op::Weight(weight) => Some(&weight.name),
        _ => None,
    }
}
