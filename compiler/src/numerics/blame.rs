//! Which pass made a value wrong: found by interpreting the graphs that the passes left.
use super::Reference;
use super::align::Alignment;
use super::given::Given;
use crate::error::CompileError;
use ir::interpret::{InterpretError, interpret_with};
use ir::plan::Plan;
use ir::{Graph, Node, NodeId, OpError};
use serde::Serialize;
use std::collections::HashMap;

/// The graph after each pass that changed it, by the pass's name, the reference graph first.
pub(super) type Stages = [(String, Graph)];

/// What made a value wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Blame {
    /// A pass: its graph does not mean what the one before it means.
    Pass {
        /// Its name.
        pass: String,
        /// The first node beyond tolerance in the graph that it left.
        node: String,
        /// That node's operator.
        operator: String,
        /// Its error.
        error: f64,
    },
    /// The kernel's code: the plan computes the right thing when its kernels do what their operators mean.
    Code {
        /// The kernel's name.
        kernel: String,
    },
    /// The plan's steps: the graphs are right, and the plan does not compute the last of them.
    Steps {
        /// Whether a person edited the plan; else the passes behind the last graph made it so.
        is_edited: bool,
    },
}

/// The last pass that changed a node of the last graph: since then it is there as it is.
pub(super) fn made_by(stages: &Stages, n: NodeId) -> String {
    let Some((_, last)) = stages.last() else { return String::new() };
    let own = &last[n];
    let is_it = |node: &Node| {
        (&node.op, &node.ty, &node.path, node.place) == (&own.op, &own.ty, &own.path, own.place)
            && node.stands_for == own.stands_for
    };
    let has_it = |(_, graph): &&(String, Graph)| graph.nodes().any(|n| is_it(&graph[n]));
    stages.iter().rev().take_while(has_it).last().map(|(pass, _)| pass.clone()).unwrap_or_default()
}

/// The first pass whose graph has a value beyond tolerance; none where all graphs are right.
///
/// What one pass breaks no later one mends, so the stages are halved.
pub(super) fn broken_by(
    stages: &Stages,
    plan: &Plan,
    reference: &Reference,
    given: &Given<'_>,
) -> Result<Option<Blame>, CompileError> {
    let (mut right, mut wrong) = (0, stages.len());
    let mut found = None;
    // The last is looked at first: mostly it is either all right, or what comes of it is wrong.
    let mut at = stages.len() - 1;
    while right + 1 < wrong {
        let (pass, graph) = &stages[at];
        match first_wrong(graph, plan, reference, given)? {
            Some((node, error)) => {
                let (node, operator) = (graph[node].path.clone(), graph[node].op.name().to_owned());
                found = Some(Blame::Pass { pass: pass.clone(), node, operator, error });
                wrong = at;
            }
            None => right = at,
        }
        at = right + (wrong - right) / 2;
    }
    Ok(found)
}

/// The first node of a graph whose value is beyond tolerance, and its error.
fn first_wrong(
    g: &Graph,
    plan: &Plan,
    reference: &Reference,
    given: &Given<'_>,
) -> Result<Option<(NodeId, f64)>, CompileError> {
    let alignment = Alignment::of(g, plan, reference);
    let mut bounds: HashMap<NodeId, f64> = HashMap::new();
    let mut first = None;
    let enough = || OpError::Invalid("the first wrong value is found".into());
    let interpreted =
        interpret_with(g, &|name| given.tensor(name), &given.symbols, &mut |n, inputs, symbols| {
            let excuse =
                g.inputs(n).iter().filter_map(|i| bounds.get(i)).fold(0.0, |most: f64, b| most.max(*b));
            let value = g[n].op.eval(inputs, symbols)?;
            let error = reference.deviation(&alignment, (g, n), &value).map(|worst| worst.error);
            bounds.insert(n, error.unwrap_or(excuse));
            match error {
                Some(error)
                    if reference.tolerance.is_beyond(error, excuse)
                        && !reference.means(&alignment, (g, n), given, error) =>
                {
                    first = Some((n, error));
                    Err(enough())
                }
                _ => Ok(value),
            }
        });
    match interpreted {
        Err(InterpretError::Eval { .. }) if first.is_some() => Ok(first),
        other => other.map(|_| None).map_err(CompileError::from),
    }
}
