//! `heddle explain`: the graph after each pass that changed it.
use crate::choices::{Compilation, Steps};
use crate::diff::{NamedNode, named_nodes};
use crate::{load, output};
use anyhow::bail;
use clap::Args;
use compiler::codegen::cpu;
use compiler::import::Checkpoint;
use compiler::models::step_graph;
use ir::Graph;
use passes::{Cx, PASSES, run_all};
use similar::TextDiff;
use std::collections::HashSet;

/// Show what the passes make of a model's graph
#[derive(Args)]
#[command(after_help = "\
Examples:
  heddle explain smollm2 --diff
  heddle explain smollm2 --pass import
  heddle explain smollm2 --node blk.0.ffn_up
  heddle explain gemma3-270m --pass siblings --node blk.3.attn --diff")]
pub struct Options {
    /// A model file or folder, or a name as `heddle pull` takes it
    model: String,
    /// Only behind this pass; `import` is the graph before the first
    #[arg(long, value_name = "NAME")]
    pass: Option<String>,
    /// Only this node, those beneath it on its path, and what passes made of them
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
    let wanted = options.node.as_deref().map(|node| reference_ids(&graph, node)).transpose()?;
    let shown = |graph: &Graph| match options.diff || wanted.is_some() {
        // Numbers of values shift with every pass.
        true => nodes(graph, wanted.as_ref()),
        false => graph.to_string(),
    };
    let is_asked = |pass: &str| options.pass.as_deref().is_none_or(|asked| asked == pass);
    let mut before = shown(&graph);
    if is_asked(IMPORT) && !(options.diff && options.pass.is_none()) {
        output::write(&format!("// {IMPORT}\n{before}\n"))?;
    }
    let cx = Cx { activations: plan.activations, target: cpu::target() };
    for stage in run_all(&cx, &mut graph)? {
        let after = stage.graph.as_ref().map_or_else(|| before.clone(), &shown);
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
    Ok(())
}

fn diff(before: &str, after: &str) -> String {
    TextDiff::from_lines(before, after).unified_diff().context_radius(2).to_string()
}

/// What a name means in the graph before the first pass: the node of this path or own name, and those
/// beneath it.
fn reference_ids(graph: &Graph, name: &str) -> anyhow::Result<HashSet<u32>> {
    let is_meant = |found: &str| {
        found.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '_']))
    };
    let meant = graph
        .nodes()
        .filter(|id| is_meant(&graph[*id].path) || graph[*id].op.given_name().is_some_and(is_meant));
    let ids: HashSet<u32> = meant.flat_map(|id| graph[id].stands_for.iter().copied()).collect();
    if ids.is_empty() {
        bail!("no node is called {name}, nor lies beneath it: `--pass {IMPORT}` shows them all");
    }
    Ok(ids)
}

/// The lines of all nodes, or of those that stand for any of the wanted ones.
fn nodes(graph: &Graph, wanted: Option<&HashSet<u32>>) -> String {
    let is_wanted = |node: &NamedNode| {
        wanted.is_none_or(|wanted| graph[node.id].stands_for.iter().any(|id| wanted.contains(id)))
    };
    let lines = named_nodes(graph).into_iter().filter(is_wanted);
    lines.map(|node| format!("{} = {}\n", node.name, node.value)).collect()
}
