//! Where a plan's numbers leave those of the model: its steps are run with its own code beside the reference
//! interpreter, and each value is held to what it stands for.
//!
//! An error is relative to the greatest magnitude of the value's row. Rounding grows along a model, so a node is
//! at fault where its error is far greater than those of its inputs, or beyond any excuse. Which pass is at fault
//! is found by interpreting the graphs that the passes left, which the bundle keeps.
//!
//! Some operators make a great error of a small one: where few elements make up a row, a product of two such rows has
//! ten times the error of either. So an error that looks too great for the inputs' is looked into: no node is at fault
//! whose operator makes the right value of the right inputs, and the value that was found of those that were found.
mod align;
mod blame;
mod compare;
mod given;
mod ledger;

pub use blame::Blame;

use crate::Bundle;
use crate::codegen;
use crate::error::CompileError;
use crate::models::{self, StepGraph};
use align::Alignment;
use compare::{Deviation, Expected, Tolerance, deviation, looked_up, row_axes, values_of};
use given::Given;
use ir::interpret::{interpret_with, part_of};
use ir::{DType, Graph, NodeId, Op, Symbols, Tensor};
use ledger::Ledger;
use runtime::{Engine, walk};
use serde::Serialize;
use std::collections::HashMap;

/// Caches up to here are computed with on the host, several times over.
const STATES_BYTES: u64 = 1 << 30;

/// How a plan's numbers compare with the model's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Tokens of the prompt, in one step.
    pub tokens: usize,
    /// Values of the plan that were compared with the reference's.
    pub compared: usize,
    /// Values that are no value of the reference: sums of which a device has a part, what was rounded between.
    pub apart: usize,
    /// Weights that hints have in another format than the file: the reference has them so, too.
    pub reformatted: usize,
    /// An error above this must come of the inputs' errors.
    pub jump: f64,
    /// No error may be above this.
    pub drift: f64,
    /// The greatest error of a logit; none where the plan gives none that can be compared.
    pub logits: Option<f64>,
    /// The worst of each layer, in order of the first step.
    pub layers: Vec<Layer>,
    /// Every value that was compared, in order of the steps.
    pub nodes: Vec<NodeError>,
    /// The first value beyond tolerance; none where the plan means what the model means.
    pub first: Option<Finding>,
}

/// The worst value of a layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// `blk.3`, or the first word of a path outside layers.
    pub name: String,
    /// Its greatest error.
    pub error: f64,
    /// The node that has it.
    pub node: String,
}

/// The error of one value. One that is not finite, as of a value that is NaN where it should not be, is `null` in JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeError {
    /// The path of the node that has it; the ranks of a tensor-parallel plan have nodes of one path.
    pub node: String,
    /// The device that computes it.
    pub device: String,
    /// Its error.
    pub error: f64,
}

/// A value beyond tolerance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The node's path.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// The device that computes it.
    pub device: String,
    /// Which of the device's steps, from 0.
    pub step: usize,
    /// The kernel's name.
    pub kernel: String,
    /// Its error.
    pub error: f64,
    /// Where in the value the error is greatest.
    pub at: Vec<u64>,
    /// What is there.
    pub found: f32,
    /// What the reference has there.
    pub expected: f32,
    /// What it was computed from.
    pub inputs: Vec<InputError>,
    /// The last pass that changed the node; `import` where none did.
    pub made_by: String,
    /// What made it wrong.
    pub blame: Blame,
}

/// An input of a value beyond tolerance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InputError {
    /// What it is: a node's path, or a name.
    pub name: String,
    /// Its error; none for what is no value of the reference.
    pub error: Option<f64>,
}

/// What everything is held to.
struct Reference {
    graph: Graph,
    /// The values of its nodes, by number.
    values: HashMap<u32, Tensor>,
    /// Its nodes, by number.
    nodes: HashMap<u32, NodeId>,
    symbols: Symbols,
    tolerance: Tolerance,
}

/// Runs a bundle's plan on `tokens`, and holds every value to the reference interpreter's.
pub fn numerics(bundle: &Bundle, tokens: &[i32]) -> Result<Report, CompileError> {
    let plan = &bundle.plan;
    check(bundle, tokens)?;
    let StepGraph { graph, derived, .. } = models::step_graph(&bundle.checkpoint, &plan.options)?;
    let stages = bundle.stages(&graph)?;
    let given = Given::new(plan, &graph, &bundle.checkpoint, &derived, tokens)?;
    let reference = Reference::of(graph, &given, Tolerance::of(&plan.options))?;
    let last = stages.last().map_or(&reference.graph, |(_, graph)| graph);
    let ledger = run(bundle, bundle.engines()?, &reference, &given, last)?;
    let mut report = Report {
        tokens: tokens.len(),
        compared: ledger.compared,
        apart: ledger.apart,
        reformatted: given.reformatted(),
        jump: reference.tolerance.jump,
        drift: reference.tolerance.drift,
        logits: ledger.logits,
        layers: layers(&ledger.errors),
        nodes: ledger.errors,
        first: None,
    };
    if let Some((node, mut finding)) = ledger.first {
        finding.made_by = blame::made_by(&stages, node);
        finding.blame = match blame::broken_by(&stages, plan, &reference, &given)? {
            Some(blame) => blame,
            None => {
                let symbols: Vec<String> = plan.symbols.iter().map(|s| s.name.clone()).collect();
                let meaning = codegen::reference::lower(&plan.kernels, &symbols)?;
                let meaning = plan.threads.iter().map(|_| Engine::team(&meaning)).collect();
                match run(bundle, meaning, &reference, &given, last)?.first {
                    Some(_) => Blame::Steps { is_edited: bundle.is_edited },
                    None => Blame::Code { kernel: finding.kernel.clone() },
                }
            }
        };
        report.first = Some(finding);
    }
    Ok(report)
}

/// The worst of each layer.
fn layers(nodes: &[NodeError]) -> Vec<Layer> {
    let mut layers: Vec<Layer> = vec![];
    for NodeError { node, error, .. } in nodes {
        let mut words = node.split('.');
        let name = match (words.next().unwrap_or_default(), words.next()) {
            ("blk", Some(layer)) => format!("blk.{layer}"),
            (first, _) => first.to_owned(),
        };
        match layers.iter_mut().find(|layer| layer.name == name) {
            Some(layer) if layer.error >= *error => {}
            Some(layer) => (layer.error, layer.node) = (*error, node.clone()),
            None => layers.push(Layer { name, error: *error, node: node.clone() }),
        }
    }
    layers
}

/// Walks the plan with an engine for each thread.
fn run<'a>(
    bundle: &'a Bundle,
    engines: Vec<Engine>,
    reference: &'a Reference,
    given: &'a Given<'a>,
    last: &'a Graph,
) -> Result<Ledger<'a>, CompileError> {
    let weights: runtime::Weights = bundle.weights.clone();
    let mut ledger = Ledger::new(&bundle.plan, last, reference, given);
    let feed = |name: &str| given.bytes(name);
    walk(&bundle.plan, engines, &weights, &given.syms(&bundle.plan), &feed, &mut |seen| ledger.see(&seen))?;
    Ok(ledger)
}

/// Refuses what cannot be computed with, before it is begun.
fn check(bundle: &Bundle, tokens: &[i32]) -> Result<(), CompileError> {
    let refuse = |reason| Err(CompileError::Numerics { bundle: bundle.dir.clone(), reason });
    let plan = &bundle.plan;
    let most =
        plan.symbols.iter().find(|s| s.name == "n").map_or(1, |s| s.max).min(plan.options.context.into());
    if tokens.is_empty() || tokens.len() as i64 > most {
        return refuse(format!("found a prompt of {} tokens, expected 1 to {most}", tokens.len()));
    }
    let states = plan.states.iter().fold(0u64, |all, state| all.saturating_add(state.bytes));
    if states > STATES_BYTES {
        return refuse(format!(
            "its KV caches have {states} bytes, expected at most {STATES_BYTES} to interpret: compile it with a smaller --context or --batch"
        ));
    }
    Ok(())
}

impl Reference {
    fn of(graph: Graph, given: &Given<'_>, tolerance: Tolerance) -> Result<Reference, CompileError> {
        let number = |n: NodeId| graph[n].stands_for.first().copied();
        let mut values = HashMap::new();
        interpret_with(&graph, &|name| given.tensor(name), &given.symbols, &mut |n, inputs, symbols| {
            let value = graph[n].op.eval(inputs, symbols)?;
            values.extend(number(n).map(|number| (number, value.clone())));
            Ok(value)
        })?;
        let computed = graph.nodes().filter(|n| !matches!(graph[*n].op, Op::Input(_) | Op::Weight(_)));
        let nodes = computed.filter_map(|n| Some((number(n)?, n))).collect();
        Ok(Reference { nodes, graph, values, symbols: given.symbols.clone(), tolerance })
    }

    /// How far the value of a node is from what it stands for; none where it stands for nothing that can be found.
    fn deviation(
        &self,
        alignment: &Alignment<'_>,
        (g, n): (&Graph, NodeId),
        found: &Tensor,
    ) -> Option<Deviation> {
        let expected = values_of(&alignment.stretch(n)?, &self.values)?;
        self.apart((g, n), found, expected)
    }

    /// How far two values of a node are apart.
    fn apart(&self, (g, n): (&Graph, NodeId), found: &Tensor, expected: Expected) -> Option<Deviation> {
        match &g[n].op {
            Op::TopK(_) => {
                let own = self.nodes.get(g[n].stands_for.first()?)?;
                let logits = *self.graph.inputs(*own).first()?;
                let logits = self.values.get(self.graph[logits].stands_for.first()?)?;
                deviation(&looked_up(found, logits)?, &expected.looked_up(logits)?, 1, &self.tolerance)
            }
            op => deviation(found, &expected, row_axes(op), &self.tolerance),
        }
    }

    /// What a node's operator makes of the inputs that are given by name and of others, if all are known.
    fn evaluate(
        &self,
        (g, n): (&Graph, NodeId),
        given: &Given<'_>,
        others: &dyn Fn(NodeId) -> Option<Tensor>,
    ) -> Option<Tensor> {
        let inputs = g.inputs(n).into_iter().map(|input| match g[input].op.given_name() {
            Some(name) => part_of(&g[input], given.tensor(name)?).ok(),
            None => others(input),
        });
        let inputs: Vec<Tensor> = inputs.collect::<Option<_>>()?;
        g[n].op.eval(&inputs.iter().collect::<Vec<_>>(), &self.symbols).ok()
    }

    /// Whether a node's operator makes the right value of the right inputs, where an `error` in it may have an excuse at
    /// all; not where the reference does not have these inputs.
    fn means(
        &self,
        alignment: &Alignment<'_>,
        (g, n): (&Graph, NodeId),
        given: &Given<'_>,
        error: f64,
    ) -> bool {
        let right = |input: NodeId| {
            let value = values_of(&alignment.stretch(input)?, &self.values)?;
            (g[input].ty.dtype == DType::F32).then(|| value.to_tensor())
        };
        let made = || self.evaluate((g, n), given, &right);
        let worst = || self.deviation(alignment, (g, n), &made()?);
        error <= self.tolerance.drift && worst().is_some_and(|worst| worst.error <= self.tolerance.jump)
    }

    /// Whether two values of a node are the same but for rounding.
    fn is_same(&self, node: (&Graph, NodeId), found: &Tensor, made: &Tensor) -> bool {
        let worst = self.apart(node, found, Expected::whole(made));
        worst.is_some_and(|worst| worst.error <= self.tolerance.jump)
    }
}
