//! `heddle diff`: how two plans or two graphs differ, by the names of what is in them; of plans also what moved
//! between devices, which weights changed format, what then crosses edges, and what that costs.
mod costs;
mod edges;
mod formats;
mod items;
mod moves;

pub(crate) use costs::{Change, Times, prompt_in};
pub(crate) use edges::{per_token, traffic};

use crate::output;
use anyhow::{Context, bail};
use clap::Args;
use compiler::Bundle;
use edges::Edges;
use formats::Reformat;
use ir::plan::Plan;
use ir::{Graph, NodeId};
use items::{Items, Unique};
use moves::Move;
use serde::Serialize;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Compare two plans or two graphs by node name; numbers that merely shifted do not count
#[derive(Args)]
#[command(after_help = "\
Examples:
  heddle diff a.heddle b.heddle
  heddle diff a.heddle b.heddle --topology machine.ron --json
  heddle diff m.heddle/graphs/00-import.ir m.heddle/graphs/05-chains.ir")]
pub struct Options {
    /// A bundle, a plan, or a graph's text
    a: PathBuf,
    /// What to compare it with, of the same kind
    b: PathBuf,
    /// The machine's topology, for predicted times [default: as this machine was measured, if it was]
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// Print one line of JSON instead of text
    #[arg(long)]
    json: bool,
}

/// How two plans or two graphs differ.
#[derive(Serialize)]
pub(crate) struct Difference {
    is_equal: bool,
    /// Of plans, what differs in what runs where.
    #[serde(flatten)]
    plans: Option<OfPlans>,
    /// What differs by name, `-` as it was and `+` as it is.
    items: Vec<String>,
}

/// How two plans differ in what runs where.
#[derive(Serialize)]
struct OfPlans {
    moved: Vec<Move>,
    formats: Vec<Reformat>,
    edges: Edges,
    #[serde(flatten)]
    costs: Change,
}

pub fn run(options: Options) -> anyhow::Result<()> {
    let difference = match (read(&options.a)?, read(&options.b)?) {
        (Read::Plan(a), Read::Plan(b)) => {
            let times = Times::of(options.topology.as_deref(), &[&options.b, &options.a])?;
            Difference::of_plans(sound(&a, &options.a)?, sound(&b, &options.b)?, &times)
        }
        (Read::Graph(a), Read::Graph(b)) => Difference {
            is_equal: a.to_string() == b.to_string(),
            plans: None,
            items: items::difference(&graph_items(&a), &graph_items(&b)),
        },
        _ => bail!("one is a plan and the other a graph, expected two of a kind"),
    };
    difference.write_as(options.json)
}

/// A plan of which it can be said what it takes.
fn sound<'a>(plan: &'a Plan, path: &Path) -> anyhow::Result<&'a Plan> {
    match plan.verify() {
        Ok(()) => Ok(plan),
        Err(faults) => bail!("{} is refused: {}", path.display(), faults[0].explain(&plan.to_text())),
    }
}

impl Difference {
    /// Of two plans, which must have passed [`Plan::verify`].
    pub(crate) fn of_plans(a: &Plan, b: &Plan, times: &Times) -> Difference {
        Difference {
            is_equal: a.hash() == b.hash(),
            plans: Some(OfPlans {
                moved: moves::between(a, b),
                formats: formats::between(a, b),
                edges: edges::between(a, b),
                costs: Change::between(a, b, times),
            }),
            items: items::difference_by_layers(&items::of(a), &items::of(b)),
        }
    }

    /// Writes it as one line of JSON, or as text.
    pub(crate) fn write_as(&self, json: bool) -> anyhow::Result<()> {
        if json {
            return output::write_json(self);
        }
        let mut parts = vec![];
        if let Some(OfPlans { moved, formats, edges, costs }) = self.plans.as_ref().filter(|_| !self.is_equal)
        {
            parts.push(moved.iter().map(|moved| format!("{moved}\n")).collect());
            parts.push(formats.iter().map(|formats| format!("{formats}\n")).collect());
            parts.push(edges.to_string());
            parts.extend(costs.table());
            costs.explain();
        }
        parts.push(self.items.iter().map(|line| format!("{line}\n")).collect());
        parts.retain(|part: &String| !part.is_empty());
        match (self.is_equal, parts.is_empty()) {
            (true, _) => note!("they are equal"),
            (false, true) => note!("no difference but in numbers and offsets"),
            (false, false) => {}
        }
        output::write(&parts.join("\n"))
    }
}

/// What stands in a file.
pub(crate) enum Read {
    Plan(Box<Plan>),
    Graph(Graph),
}

/// Reads a plan, of a bundle or alone, or a graph's text.
pub(crate) fn read(path: &Path) -> anyhow::Result<Read> {
    let path = if Bundle::is_at(path) { path.join("plan.ron") } else { path.to_path_buf() };
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let name = || path.display().to_string();
    if text.trim_start().starts_with('(') {
        return Ok(Read::Plan(Box::new(Plan::from_text(&text).with_context(name)?)));
    }
    Ok(Read::Graph(ir::text::read(&text).with_context(name)?.graph))
}

/// A node as a line that does not change when others come and go: it and its operands go by their own names
/// or their paths, not by numbers.
pub(crate) struct NamedNode {
    pub(crate) id: NodeId,
    pub(crate) name: String,
    /// Operator, operands, attributes, type.
    pub(crate) value: String,
}

/// The nodes of a graph, operands first.
pub(crate) fn named_nodes(g: &Graph) -> Vec<NamedNode> {
    let mut unique = Unique::default();
    let mut names: HashMap<NodeId, String> = HashMap::new();
    let mut nodes = vec![];
    for id in g.order() {
        let node = &g[id];
        let own = node.op.given_name();
        let path = Some(node.path.as_str()).filter(|path| !path.is_empty());
        let name = unique.name(own.or(path).unwrap_or(node.op.name()));
        let operands: Vec<&str> = g.inputs(id).iter().map(|operand| names[operand].as_str()).collect();
        let attributes = node.op.written_attributes();
        let attributes = if attributes.is_empty() { attributes } else { format!(" {{{attributes}}}") };
        let value = format!("{}({}){attributes}: {}", node.op.name(), operands.join(", "), node.ty);
        nodes.push(NamedNode { id, name: name.clone(), value });
        names.insert(id, name);
    }
    nodes
}

fn graph_items(g: &Graph) -> Items {
    named_nodes(g).into_iter().map(|node| (node.name, node.value)).collect()
}
