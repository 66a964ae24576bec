//! How the graphs and plans of two documents differ.
use super::flow::{Node, NodeIx};
use super::matching::Matching;
use super::{Document, Pass};

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
    pub plans: Vec<Difference>,
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
        let differences = between((a, &shown_a.flow[from]), (b, &shown_b.flow[to]));
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

fn of_plans(a: &Document, b: &Document) -> Vec<Difference> {
    let [before, after] = [a, b].map(facts);
    let find = |facts: &[(String, String)], what: &String| {
        facts.iter().find(|(name, _)| name == what).map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let new = after.iter().filter(|(what, _)| before.iter().all(|(name, _)| name != what));
    let mut differences = vec![];
    for (what, _) in before.iter().chain(new) {
        let (before, after) = (find(&before, what), find(&after, what));
        if before != after {
            differences.push(Difference { what: what.clone(), before, after });
        }
    }
    differences
}

/// What a plan says beside its graph, by name.
fn facts(document: &Document) -> Vec<(String, String)> {
    let Some(view) = &document.plan else { return vec![] };
    let options = &view.plan.options;
    let mut facts = vec![
        ("model".to_owned(), view.plan.model.name.clone()),
        ("partition".to_owned(), options.partition.to_string()),
        ("context".to_owned(), options.context.to_string()),
        ("sequences".to_owned(), options.max_batch.to_string()),
        ("cache".to_owned(), options.kv.to_string()),
    ];
    for memory in &view.memory {
        let peak = memory.proof.iter().map(|proof| proof.total).max().unwrap_or(0);
        facts.push((format!("memory of {}", memory.name), format!("{peak} bytes")));
        facts.push((format!("steps of {}", memory.name), memory.steps.to_string()));
    }
    for message in &view.messages {
        let what = format!("message {} from {} to {}", message.name, message.from_name, message.to_name);
        let bytes = message.token_bytes.map_or(String::new(), |bytes| format!(", {bytes} bytes for a token"));
        facts.push((what, format!("{}{bytes}", message.ty)));
    }
    facts
}
