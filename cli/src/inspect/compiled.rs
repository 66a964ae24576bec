//! Plans, of a bundle or alone, and graphs as text: what they consist of.
use crate::diff::{self, Read};
use crate::{load, output};
use compiler::Bundle;
use ir::Graph;
use ir::plan::{MemoryProof, Model, Options, Plan, Step};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// The plan or the graph at `path`, if it begins like one.
pub(super) fn read(path: &Path) -> anyhow::Result<Option<Read>> {
    if !Bundle::is_at(path) {
        let mut start = [0; 5];
        let read = match path.is_dir() {
            true => Ok(0),
            false => File::open(path).and_then(|mut file| file.read(&mut start)),
        };
        // A file that cannot be read is refused by whoever reads it next.
        if !matches!(&start[..read.unwrap_or(0)], [b'(', ..] | b"graph" | [b'/', b'/', ..]) {
            return Ok(None);
        }
    }
    diff::read(path).map(Some)
}

pub(super) fn print(found: &Read, json: bool) -> anyhow::Result<()> {
    match (found, json) {
        (Read::Plan(plan), false) => print_plan(&PlanSummary::of(plan)),
        (Read::Plan(plan), true) => output::write_json(&PlanSummary::of(plan)),
        (Read::Graph(graph), false) => print_graph(&GraphSummary::of(graph)),
        (Read::Graph(graph), true) => output::write_json(&GraphSummary::of(graph)),
    }
}

#[derive(Serialize)]
struct PlanSummary<'a> {
    format: &'static str,
    version: u32,
    hash: String,
    model: &'a Model,
    options: &'a Options,
    memory: &'a [MemoryProof],
    predicted_peak_bytes: u64,
    weights: usize,
    states: usize,
    buffers: usize,
    edges: usize,
    kernels: Vec<Kernel<'a>>,
}

/// A kernel, and how many steps run it.
#[derive(Serialize)]
struct Kernel<'a> {
    name: &'a str,
    output: String,
    steps: usize,
}

impl PlanSummary<'_> {
    fn of(plan: &Plan) -> PlanSummary<'_> {
        let runs = |id| {
            let steps = plan.threads.iter().flat_map(|thread| &thread.steps);
            steps.filter(|step| matches!(step, Step::Run { kernel, .. } if *kernel == id)).count()
        };
        let kernel = |kernel: &'_ ir::plan::Kernel| (kernel.output.to_string(), runs(kernel.id));
        let kernels = plan.kernels.iter().map(|k| {
            let (output, steps) = kernel(k);
            Kernel { name: &k.name, output, steps }
        });
        PlanSummary {
            format: "plan",
            version: plan.version,
            hash: plan.hash(),
            model: &plan.model,
            options: &plan.options,
            memory: &plan.memory,
            predicted_peak_bytes: load::predicted_peak(plan),
            weights: plan.weights.len(),
            states: plan.states.len(),
            buffers: plan.buffers.len(),
            edges: plan.edges.len(),
            kernels: kernels.collect(),
        }
    }
}

fn print_plan(plan: &PlanSummary<'_>) -> anyhow::Result<()> {
    let o = plan.options;
    output::write(&format!(
        "plan {}\n{}, {}: context {}, batch {}, steps of {} tokens, KV cache {}\n{} weights, {} states, {} buffers, {} edges; at most {} of memory\n\n",
        plan.hash,
        plan.model.file,
        plan.model.architecture,
        o.context,
        o.max_batch,
        o.chunk,
        o.kv,
        plan.weights,
        plan.states,
        plan.buffers,
        plan.edges,
        output::bytes(plan.predicted_peak_bytes),
    ))?;
    let row = |k: &Kernel<'_>| vec![k.name.to_owned(), k.output.clone(), k.steps.to_string()];
    output::write_table(&["KERNEL", "RESULT", " STEPS"], &plan.kernels.iter().map(row).collect::<Vec<_>>())
}

#[derive(Serialize)]
struct GraphSummary {
    format: &'static str,
    name: String,
    /// Inputs and states with their types.
    inputs: BTreeMap<String, String>,
    /// How many results there are of each type.
    outputs: BTreeMap<String, usize>,
    /// How many nodes there are of each operator.
    operators: BTreeMap<&'static str, usize>,
}

impl GraphSummary {
    fn of(graph: &Graph) -> GraphSummary {
        let (mut inputs, mut operators) = (BTreeMap::new(), BTreeMap::new());
        for id in graph.nodes() {
            let node = &graph[id];
            *operators.entry(node.op.name()).or_default() += 1;
            if let ir::Op::Input(input) = &node.op {
                inputs.insert(input.name.clone(), node.ty.to_string());
            }
        }
        let mut outputs = BTreeMap::new();
        for id in &graph.outputs {
            *outputs.entry(graph[*id].ty.to_string()).or_default() += 1;
        }
        GraphSummary { format: "graph", name: graph.name.clone(), inputs, outputs, operators }
    }
}

fn print_graph(graph: &GraphSummary) -> anyhow::Result<()> {
    let nodes: usize = graph.operators.values().sum();
    let returns: Vec<String> = graph.outputs.iter().map(|(ty, n)| format!("{n} × {ty}")).collect();
    output::write(&format!("graph {}: {nodes} nodes, returns {}\n\n", graph.name, returns.join(", ")))?;
    let rows: Vec<_> = graph.inputs.iter().map(|(name, ty)| vec![name.clone(), ty.clone()]).collect();
    output::write_table(&["INPUT", "TYPE"], &rows)?;
    output::write("\n")?;
    let rows: Vec<_> = graph.operators.iter().map(|(op, n)| vec![(*op).to_owned(), n.to_string()]).collect();
    output::write_table(&["OPERATOR", " NODES"], &rows)
}
