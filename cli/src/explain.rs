//! `heddle explain`: the graph after each pass that changed it, and the plan that the last passes make.
use crate::choices::{Batched, Steps};
use crate::diff::{NamedNode, named_nodes};
use crate::{chosen, load, output};
use anyhow::bail;
use clap::Args;
use compiler::import::Checkpoint;
use ir::Graph;
use ir::plan::Plan;
use passes::{PASSES, PLAN_PASSES};
use similar::TextDiff;
use std::collections::HashSet;
use std::time::Duration;

/// Show what the passes make of a model: graph after graph, then the plan
#[derive(Args)]
#[command(after_help = "\
Examples:
  heddle explain smollm2 --diff
  heddle explain smollm2 --pass import
  heddle explain smollm2 --node blk.0.ffn_up
  heddle explain gemma3-270m --pass siblings --node blk.3.attn --diff
  heddle explain smollm2 --pass schedule --node blk.0")]
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
    compilation: Batched,
}

/// The graph before the first pass, as if a pass had made it.
const IMPORT: &str = "import";

pub fn run(options: Options) -> anyhow::Result<()> {
    let graph_passes = PASSES.iter().map(|pass| pass.name);
    let names: Vec<&str> =
        [IMPORT].into_iter().chain(graph_passes).chain(PLAN_PASSES.iter().copied()).collect();
    if let Some(pass) = options.pass.as_deref().filter(|pass| !names.contains(pass)) {
        bail!("there is no pass {pass:?}, expected one of {}", names.join(", "));
    }
    let checkpoint = Checkpoint::open(&load::model_path(&options.model)?)?;
    let compilation = options.compilation.compilation();
    let compiled = compilation.compile(&checkpoint, Steps::GENERATION)?;
    chosen::say(&compiled.plan)?;
    let node = options.node.as_deref();
    let wanted = node.map(|node| reference_ids(&compiled.reference, node)).transpose()?;
    let shown = |graph: &Graph| match options.diff || wanted.is_some() {
        // Numbers of values shift with every pass.
        true => nodes(graph, wanted.as_ref()),
        false => graph.to_string(),
    };
    let is_asked = |pass: &str| options.pass.as_deref().is_none_or(|asked| asked == pass);
    let show = |pass: &str, time: Duration, before: &str, after: &str| -> anyhow::Result<()> {
        if !is_asked(pass) || (after == before && options.pass.is_none()) {
            return Ok(());
        }
        let time = format!("{:.1} ms", time.as_secs_f64() * 1e3);
        let nothing = if after == before { ", changed nothing" } else { "" };
        let text = if options.diff { &diff(before, after) } else { after };
        output::write(&format!("// {pass}, {time}{nothing}\n{text}\n"))
    };
    let mut before = shown(&compiled.reference);
    if is_asked(IMPORT) && !(options.diff && options.pass.is_none()) {
        output::write(&format!("// {IMPORT}\n{before}\n"))?;
    }
    for stage in &compiled.stages {
        let after = stage.graph.as_ref().map_or_else(|| before.clone(), &shown);
        show(stage.pass, stage.time, &before, &after)?;
        before = after;
    }
    let mut before = String::new();
    for stage in &compiled.plan_stages {
        let after = steps(&stage.plan, node);
        show(stage.pass, stage.time, &before, &after)?;
        before = after;
    }
    Ok(())
}

/// A plan's text, or of it only the steps that come from a node or from what lies beneath it.
fn steps(plan: &Plan, node: Option<&str>) -> String {
    let Some(node) = node else { return plan.to_text() };
    let text = plan.to_text();
    let lines = text.lines().filter(|line| {
        let path = line.split_once("node:\"").and_then(|(_, rest)| rest.split('"').next());
        path.is_some_and(|path| path.split('+').any(|part| is_beneath(part, node)))
    });
    lines.map(|line| format!("{}\n", line.trim())).collect()
}

/// Whether a name is the one that is meant, or lies beneath it.
fn is_beneath(name: &str, meant: &str) -> bool {
    name.strip_prefix(meant).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '_']))
}

fn diff(before: &str, after: &str) -> String {
    TextDiff::from_lines(before, after).unified_diff().context_radius(2).to_string()
}

/// What a name means in the graph before the first pass: the node of this path or own name, and those
/// beneath it.
fn reference_ids(graph: &Graph, name: &str) -> anyhow::Result<HashSet<u32>> {
    let is_meant = |found: &str| is_beneath(found, name);
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
