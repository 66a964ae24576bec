//! `heddle diff`: how two plans or two graphs differ, by the names of what is in them.
use crate::output;
use anyhow::{Context, bail};
use clap::Args;
use compiler::Bundle;
use ir::plan::{Arg, Plan, Step};
use ir::{Graph, NodeId};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

/// Compare two plans or two graphs by node name; numbers that merely shifted do not count
#[derive(Args)]
#[command(after_help = "\
Examples:
  heddle diff a.heddle b.heddle
  heddle diff m.heddle/graphs/00-import.ir m.heddle/graphs/05-chains.ir")]
pub struct Options {
    /// A bundle, a plan, or a graph's text
    a: PathBuf,
    /// What to compare it with, of the same kind
    b: PathBuf,
}

/// Names with what they stand for, in order.
type Items = Vec<(String, String)>;

pub fn run(options: Options) -> anyhow::Result<()> {
    let (is_same, a, b) = match (read(&options.a)?, read(&options.b)?) {
        (Read::Plan(a), Read::Plan(b)) => (a.hash() == b.hash(), plan_items(&a), plan_items(&b)),
        (Read::Graph(a), Read::Graph(b)) => {
            (a.to_string() == b.to_string(), graph_items(&a), graph_items(&b))
        }
        _ => bail!("one is a plan and the other a graph, expected two of a kind"),
    };
    let text = difference(&a, &b);
    match (is_same, text.is_empty()) {
        (true, _) => eprintln!("they are equal"),
        (false, true) => eprintln!("no difference but in numbers and offsets"),
        (false, false) => {}
    }
    output::write(&text)
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

/// Lines with `-`, `+` for what only one side has, both for what both have and differs.
fn difference(a: &Items, b: &Items) -> String {
    let [in_a, in_b] = [a, b].map(|items| items.iter().map(|(k, v)| (k, v)).collect::<HashMap<_, _>>());
    let mut text = String::new();
    for (key, value) in a {
        match in_b.get(key) {
            Some(other) if *other == value => {}
            Some(other) => text += &format!("- {key}: {value}\n+ {key}: {other}\n"),
            None => text += &format!("- {key}: {value}\n"),
        }
    }
    for (key, value) in b.iter().filter(|(key, _)| !in_a.contains_key(key)) {
        text += &format!("+ {key}: {value}\n");
    }
    text
}

/// Tells apart what shares a name, in order: `x`, `x #2`.
#[derive(Default)]
struct Unique(BTreeMap<String, usize>);

impl Unique {
    fn name(&mut self, name: &str) -> String {
        let count = self.0.entry(name.to_owned()).or_default();
        *count += 1;
        if *count == 1 { name.to_owned() } else { format!("{name} #{count}") }
    }
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

fn plan_items(plan: &Plan) -> Items {
    let mut unique = Unique::default();
    let mut items: Items = vec![("model".into(), json(&plan.model)), ("options".into(), json(&plan.options))];
    let mut put = |name: String, value: String| items.push((unique.name(&name), value));
    plan.symbols.iter().for_each(|s| put(format!("symbol {}", s.name), json(s)));
    plan.devices.iter().for_each(|d| put(format!("device {}", d.name), json(d)));
    plan.memory.iter().for_each(|m| put(format!("memory of {} at {}", m.device, m.phase), json(m)));
    for e in &plan.edges {
        let value = format!("{} to {}, {}, {} messages of {} bytes", e.from, e.to, e.ty, e.capacity, e.bytes);
        put(format!("edge {}", e.name), format!("{value}, deadline {} ms", e.deadline_ms));
    }
    for w in &plan.weights {
        put(format!("weight {}", w.name), format!("{}, {}, {}, {} bytes", w.device, w.ty, w.layout, w.bytes));
    }
    for s in &plan.states {
        put(format!("state {}", s.name), format!("{}, {}, {} bytes", s.device, s.ty, s.bytes));
    }
    for thread in &plan.threads {
        let sizes = (thread.arena_bytes, thread.state_bytes, thread.scratch_bytes, thread.shared_bytes);
        put(format!("thread of {}", thread.device), format!("arena, states, scratch, shared {sizes:?}"));
        for step in &thread.steps {
            let (name, value) = step_item(plan, step);
            put(name, value);
        }
    }
    items
}

/// A step by its node, with its kernel and what its arguments are.
fn step_item(plan: &Plan, step: &Step) -> (String, String) {
    let buffer = |id: ir::plan::BufferId| {
        plan.buffers.get(id.0 as usize).map_or_else(|| id.to_string(), |b| b.ty.to_string())
    };
    let edge = |id: ir::plan::EdgeId| {
        plan.edges.get(id.0 as usize).map_or_else(|| id.to_string(), |e| e.name.clone())
    };
    match step {
        Step::Recv { edge: id, to } => (format!("recv {}", edge(*id)), buffer(*to)),
        Step::Send { edge: id, from } => (format!("send {}", edge(*id)), buffer(*from)),
        Step::Run { kernel, args, node } => {
            let argument = |arg: &Arg| match arg {
                Arg::W(id) => {
                    plan.weights.get(id.0 as usize).map_or_else(|| id.to_string(), |w| w.name.clone())
                }
                Arg::S(id) => {
                    plan.states.get(id.0 as usize).map_or_else(|| id.to_string(), |s| s.name.clone())
                }
                Arg::B(id) => buffer(*id),
            };
            let arguments: Vec<String> = args.iter().map(argument).collect();
            let kernel = plan.kernels.get(kernel.0 as usize);
            let kernel = kernel.map_or_else(String::new, |k| format!("{} {{{}}}", k.name, k.op.1));
            (format!("step {node}"), format!("{kernel}({})", arguments.join(", ")))
        }
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
