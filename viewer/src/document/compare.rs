//! How the graphs and plans of two documents differ.
use super::flow::{Flow, Node, NodeIx};
use super::matching::Matching;
use super::{Document, Pass};
use std::collections::{HashMap, HashSet};

/// More operands that differ are not named.
const OPERANDS_NAMED: usize = 8;

/// How two graphs differ, and the plans that run them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// By node of the first graph its partner in the second.
    pub to: Vec<Option<NodeIx>>,
    /// By node of the second graph its partner in the first.
    pub from: Vec<Option<NodeIx>>,
    /// Whether nodes were matched by what they stand for, else by name alone: the models' graphs differ.
    pub is_by_provenance: bool,
    /// Nodes that only the first has.
    pub removed: Vec<NodeIx>,
    /// Nodes that only the second has.
    pub added: Vec<NodeIx>,
    /// Partners that differ, with what differs.
    pub changed: Vec<(NodeIx, NodeIx, Vec<Difference>)>,
    /// What differs beside the graphs: options, devices, messages, memory.
    pub plans: Vec<PlanDifference>,
}

/// Something that differs between plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanDifference {
    /// What it is.
    pub about: Difference,
    /// Of a message the node of each last graph whose value it carries.
    pub made_by: [Option<NodeIx>; 2],
}

/// Something that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What: `device`, `type`, `memory of cpu:1`.
    pub what: String,
    /// As it was; empty where it was not.
    pub before: String,
    /// As it is; empty where it is not.
    pub after: String,
}

/// Compares a pass of one document with a pass of another, or of the same; none where there are no such passes.
pub fn compare((a, pass_a): (&Document, usize), (b, pass_b): (&Document, usize)) -> Option<Comparison> {
    let (shown_a, shown_b) = (a.passes.get(pass_a)?, b.passes.get(pass_b)?);
    let is_by_provenance = is_one_model(&a.passes[0], &b.passes[0]);
    let matching = match is_by_provenance {
        true => Matching::between(&shown_a.flow, &shown_b.flow),
        false => Matching::by_names(&shown_a.flow, &shown_b.flow),
    };
    let pairs = shown_a.flow.indices().filter_map(|at| Some((at, matching.to[at.at()]?)));
    let differs = |(from, to): (NodeIx, NodeIx)| {
        let mut differences = between((a, &shown_a.flow[from]), (b, &shown_b.flow[to]));
        differences.extend(of_operands(&matching, (&shown_a.flow, from), (&shown_b.flow, to)));
        (!differences.is_empty()).then_some((from, to, differences))
    };
    Some(Comparison {
        is_by_provenance,
        removed: shown_a.flow.indices().filter(|at| matching.to[at.at()].is_none()).collect(),
        added: shown_b.flow.indices().filter(|at| matching.from[at.at()].is_none()).collect(),
        changed: pairs.filter_map(differs).collect(),
        plans: of_plans(a, b),
        to: matching.to,
        from: matching.from,
    })
}

/// Whether two first graphs number the same nodes alike, so that what stands for a number is the same in both.
fn is_one_model(a: &Pass, b: &Pass) -> bool {
    let is_same =
        |(a, b): (&Node, &Node)| (&a.op, a.title(), &a.stands_for) == (&b.op, b.title(), &b.stands_for);
    a.flow.nodes.len() == b.flow.nodes.len() && a.flow.nodes.iter().zip(&b.flow.nodes).all(is_same)
}

fn between((a, before): (&Document, &Node), (b, after): (&Document, &Node)) -> Vec<Difference> {
    let ty = |node: &Node| node.ty.as_ref().map_or(String::new(), ToString::to_string);
    // What has no path goes by a number, which shifts when others come and go.
    let name = |node: &Node| if node.path.is_empty() { String::new() } else { node.path.clone() };
    let sides = [
        ("operator", before.op.clone(), after.op.clone()),
        ("type", ty(before), ty(after)),
        ("attributes", before.attributes.clone(), after.attributes.clone()),
        ("device", a.device(before.device), b.device(after.device)),
        ("name", name(before), name(after)),
    ];
    let differs = |(what, before, after): (&str, String, String)| {
        (before != after).then(|| Difference { what: what.to_owned(), before, after })
    };
    sides.into_iter().filter_map(differs).collect()
}

/// Where a node has its operands from, if that is elsewhere than where its partner has them from.
fn of_operands(
    matching: &Matching<'_>,
    (before, from): (&Flow, NodeIx),
    (after, to): (&Flow, NodeIx),
) -> Option<Difference> {
    let (own, other) = (&before[from].inputs, &after[to].inputs);
    let pairs = (0..own.len().max(other.len())).map(|at| (own.get(at), other.get(at)));
    let differ = |(own, other): &(Option<&NodeIx>, Option<&NodeIx>)| {
        own.is_none() || own.and_then(|own| matching.to[own.at()]).as_ref() != *other
    };
    let (own, other): (Vec<_>, Vec<_>) = pairs.filter(differ).take(OPERANDS_NAMED).unzip();
    let named = |flow: &Flow, nodes: Vec<Option<&NodeIx>>| {
        let names: Vec<&str> = nodes.into_iter().flatten().map(|node| flow[*node].title()).collect();
        names.join(", ")
    };
    let (before, after) = (named(before, own), named(after, other));
    (!before.is_empty() || !after.is_empty()).then(|| Difference { what: "operands".into(), before, after })
}

fn of_plans(a: &Document, b: &Document) -> Vec<PlanDifference> {
    let [before, after] = [a, b].map(facts);
    let mut names: Vec<&str> = vec![];
    let mut seen: HashSet<&str> = HashSet::new();
    names.extend(before.iter().chain(&after).map(|fact| fact.what.as_str()).filter(|what| seen.insert(what)));
    let [before, after] = [&before, &after].map(|facts| {
        // Of several of one name, the first.
        facts.iter().rev().map(|fact| (fact.what.as_str(), fact)).collect::<HashMap<_, _>>()
    });
    let difference = |what: &str| {
        let sides = [before.get(what), after.get(what)];
        let [was, is] = sides.map(|fact| fact.map(|fact| fact.value.clone()).unwrap_or_default());
        let made_by = sides.map(|fact| fact.and_then(|fact| fact.made_by));
        let about = Difference { what: what.to_owned(), before: was, after: is };
        (about.before != about.after).then_some(PlanDifference { about, made_by })
    };
    names.into_iter().filter_map(difference).collect()
}

/// Something that a plan says.
struct Saying {
    what: String,
    value: String,
    made_by: Option<NodeIx>,
}

/// What a plan says beside its graph, by name.
fn facts(document: &Document) -> Vec<Saying> {
    let Some(view) = &document.plan else { return vec![] };
    let options = &view.plan.options;
    let say = |what: &str, value: String| Saying { what: what.to_owned(), value, made_by: None };
    let mut facts = vec![
        say("model", view.plan.model.name.clone()),
        say("partition", options.partition.to_string()),
        say("context", options.context.to_string()),
        say("sequences", options.max_batch.to_string()),
        say("cache", options.kv.to_string()),
    ];
    for memory in &view.memory {
        let peak = memory.proof.iter().map(|proof| proof.total).max().unwrap_or(0);
        facts.push(say(&format!("memory of {}", memory.name), format!("{peak} bytes")));
        facts.push(say(&format!("steps of {}", memory.name), memory.steps.to_string()));
    }
    for message in &view.messages {
        let what = format!("message {} from {} to {}", message.name, message.from_name, message.to_name);
        let bytes = message.token_bytes.map_or(String::new(), |bytes| format!(", {bytes} bytes for a token"));
        let (value, made_by) = (format!("{}{bytes}", message.ty), message.made_by.first().copied());
        facts.push(Saying { what, value, made_by });
    }
    facts
}
