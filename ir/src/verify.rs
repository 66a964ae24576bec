//! Checks a graph, and says everything that is wrong with it.
//!
//! What holds of a graph:
//! - It has no cycle.
//! - Every node's type is the one that its operator infers from its operands.
//! - Constant dimensions are not negative, and rows of a quantised type are whole blocks.
//! - Inputs, states and weights of a device have different names, and a weight's shape has no symbols.
//! - What is a part lies inside its whole.
//! - It returns at least one value, and only values that it has.
use crate::ops::{Input, Weight};
use crate::{Graph, NodeId, Op, TensorType, text};
use std::collections::HashMap;
use std::fmt;

/// One thing that is wrong with a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The node at fault; `None` where the fault is in what the graph returns.
    pub node: Option<NodeId>,
    /// What was found, and what was expected.
    pub message: String,
}

/// Every problem of a graph, in order of its lines. None means that the graph is sound.
pub fn verify(g: &Graph) -> Vec<Problem> {
    let order = g.order_if_acyclic();
    let mut problems = vec![];
    let mut report = |node, message| problems.push(Problem { node, message });
    if order.is_none() {
        report(None, "values need one another in a circle, expected an order".to_owned());
    }
    let mut names: HashMap<(&str, u32), TensorType> = HashMap::new();
    for n in order.unwrap_or_else(|| g.nodes().collect()) {
        let node = &g[n];
        match node.op.infer(&g.input_types(n)) {
            Err(fault) => report(Some(n), fault.to_string()),
            Ok(inferred) if inferred != node.ty => {
                report(Some(n), format!("stated type is {}, inferred type is {inferred}", node.ty));
            }
            Ok(_) => {}
        }
        if let Op::Weight(Weight { part: Some(part), .. }) | Op::Input(Input { part: Some(part), .. }) =
            &node.op
            && let Err(fault) = part.whole(&node.ty)
        {
            report(Some(n), fault);
        }
        type_faults(&node.ty).into_iter().for_each(|fault| report(Some(n), fault));
        if matches!(node.op, Op::Weight(_)) && node.ty.shape.iter().any(|d| d.known().is_none()) {
            report(Some(n), format!("a weight has type {}, expected constant dimensions", node.ty));
        }
        if let Some(name) = node.op.given_name()
            && let Some(taken) = names.insert((name, node.place), node.ty.clone())
        {
            report(Some(n), format!("the name is taken by a value of type {taken}, expected another"));
        }
    }
    if g.outputs.is_empty() {
        report(None, "the graph returns nothing, expected at least one value".to_owned());
    }
    for lost in g.outputs.iter().filter(|o| !g.contains(**o)) {
        report(None, format!("the graph returns {lost}, which it has not"));
    }
    problems
}

fn type_faults(ty: &TensorType) -> Vec<String> {
    let known = |at: usize| ty.shape[at].known();
    let mut faults: Vec<String> = (0..ty.rank())
        .filter_map(|at| known(at).filter(|d| *d < 0).map(|d| (at, d)))
        .map(|(at, d)| format!("dimension {at} is {d}, expected at least 0"))
        .collect();
    let block = ty.dtype.block_len();
    let row = ty.shape.last().map_or(Some(1), |d| d.known());
    if block > 1 && row.is_none_or(|row| !row.unsigned_abs().is_multiple_of(block)) {
        let row = ty.shape.last().map_or("1".to_owned(), |d| d.to_string());
        faults.push(format!("a row has {row} elements, expected whole blocks of {block}"));
    }
    faults
}

/// The graph's text with each problem beneath the line that it is about.
pub fn explain(g: &Graph, problems: &[Problem]) -> String {
    let beneath =
        |node| problems.iter().filter(|p| p.node == node).map(|p| format!("error: {}", p.message)).collect();
    let mut shown = String::new();
    text::write(&mut shown, g, beneath).expect("writing to a string succeeds");
    shown
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            Some(node) => write!(f, "{node}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Add, Input};
    use expect_test::expect;

    #[test]
    fn every_fault_stands_beneath_its_line() {
        let g = text::read(
            "graph g {
               x = input(): f32[n, 8]
               w = weight(): f32[4]
               wide = weight(): q8_0[m, 40]
               odd = input(): f32[-1]
               %0 = rms_norm(x, w) {eps: 1e-5}: f32[n, 8]
               %1 = add(%0, x): f16[n, 8]
               %2 = add(x): f32[n, 8]
             }",
        );
        let g = g.unwrap().graph;
        expect![[r#"
            graph g {
              x = input(): f32[n, 8]
              w = weight(): f32[4]
              wide = weight(): q8_0[m, 40]
              // ^ error: a row has 40 elements, expected whole blocks of 32
              // ^ error: a weight has type q8_0[m, 40], expected constant dimensions
              odd = input(): f32[-1]
              // ^ error: dimension 0 is -1, expected at least 0
              %0 = rms_norm(x, w) {eps:1e-5}: f32[n, 8]
              // ^ error: input 1 has type f32[4], expected f32[8]
              %1 = add(%0, x): f16[n, 8]
              // ^ error: stated type is f16[n, 8], inferred type is f32[n, 8]
              %2 = add(x): f32[n, 8]
              // ^ error: expects 2 inputs, got 1
              // ^ error: the graph returns nothing, expected at least one value
            }
        "#]]
        .assert_eq(&explain(&g, &verify(&g)));
    }

    #[test]
    fn what_only_a_pass_can_break_is_found() {
        let mut g = Graph::new("g");
        let input = || Input { name: "x".into(), ty: TensorType::f32(&[2]), state: false, part: None };
        let x = g.add(input(), &[]).unwrap();
        let twin = g.add(input(), &[]).unwrap();
        let first = g.add(Add {}, &[x, x]).unwrap();
        let middle = g.add(Add {}, &[first, x]).unwrap();
        let last = g.add(Add {}, &[middle, x]).unwrap();
        g.replace(first, last);
        g.outputs = vec![last, twin];
        expect![[r#"
            graph g {
              x = input(): f32[2]
              x = input(): f32[2]
              // ^ error: the name is taken by a value of type f32[2], expected another
              %0 = add(x, x): f32[2]
              %1 = add(%2, x): f32[2]
              %2 = add(%1, x): f32[2]
              return %2, x
              // ^ error: values need one another in a circle, expected an order
            }
        "#]]
        .assert_eq(&explain(&g, &verify(&g)));
    }

    #[test]
    fn a_sound_graph_has_no_problems() {
        let g =
            text::read("graph g {\n x = input(): f32[n]\n %0 = add(x, x): f32[n]\n return %0\n}").unwrap();
        assert_eq!(verify(&g.graph), []);
    }
}
