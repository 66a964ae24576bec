//! Plans, of a bundle or alone, and graphs as text: what they consist of.
use super::plan::Summary;
use crate::diff::{self, Read};
use crate::output;
use compiler::Bundle;
use ir::Graph;
use ir::plan::Plan;
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
        (Read::Plan(plan), false) => output::write(&format!("plan {}\n{}", plan.hash(), summary(plan))),
        (Read::Plan(plan), true) => output::write_json(&Summary::of(plan)),
        (Read::Graph(graph), false) => print_graph(&GraphSummary::of(graph)),
        (Read::Graph(graph), true) => output::write_json(&GraphSummary::of(graph)),
    }
}

/// What `heddle inspect` says of a plan behind its hash.
pub fn summary(plan: &Plan) -> String {
    Summary::of(plan).text()
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
