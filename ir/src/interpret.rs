//! The reference interpreter: slow, obvious, and what every other way of running a graph is held to.
//!
//! A node's value is what its operator's `eval` makes of its operands' values, node by node in order. A value is
//! dropped after its last use.
use crate::ops::{Input, Weight, evaluate_body};
use crate::text::Names;
use crate::{Graph, Node, NodeId, Op, OpError, Symbols, Tensor, TensorType};
use std::collections::HashMap;

/// Why a graph has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterpretError {
    /// Nobody gave the value of an input, a state or a weight.
    #[error("{name} was not given")]
    Missing {
        /// Its name.
        name: String,
    },
    /// A given value is not of the type that the graph states.
    #[error("{name} was given as {found}, expected {expected}: {reason}")]
    Given {
        /// Its name.
        name: String,
        /// What it is.
        found: TensorType,
        /// What the graph says.
        expected: TensorType,
        /// Where they differ.
        reason: String,
    },
    /// An operator could not compute its value.
    #[error("{node} = {operator}(): {cause}")]
    Eval {
        /// The node's name in the graph's text.
        node: String,
        /// Its operator.
        operator: &'static str,
        /// What went wrong.
        cause: OpError,
    },
    /// An operator made a value of another type than the graph states.
    #[error("{node} = {operator}() has type {found}, expected {expected}")]
    Made {
        /// The node's name in the graph's text.
        node: String,
        /// Its operator.
        operator: &'static str,
        /// The value's type.
        found: TensorType,
        /// The stated type.
        expected: TensorType,
    },
}

/// The values of inputs, states and weights, by name.
pub type Given<'a> = &'a dyn Fn(&str) -> Option<Tensor>;

/// The values that a sound graph returns, for `given` values of its inputs, states and weights by name.
///
/// Symbols are learned from the extents of what is given; `symbols` has those that cannot be.
pub fn interpret(g: &Graph, given: Given<'_>, symbols: &Symbols) -> Result<Vec<Tensor>, InterpretError> {
    interpret_with(g, given, symbols, &mut |n, inputs, symbols| g[n].op.eval(inputs, symbols))
}

/// The same from the operators' bodies, where they have one: what a backend would compute.
pub fn interpret_bodies(
    g: &Graph,
    given: Given<'_>,
    symbols: &Symbols,
) -> Result<Vec<Tensor>, InterpretError> {
    interpret_with(g, given, symbols, &mut |n, inputs, symbols| match g[n].op.body(&g.input_types(n)) {
        Some(body) => evaluate_body(&body, &g[n].ty, inputs, None, symbols),
        None => g[n].op.eval(inputs, symbols),
    })
}

/// How a node's value comes of its operands' values.
pub type Compute<'a> = &'a mut dyn FnMut(NodeId, &[&Tensor], &Symbols) -> Result<Tensor, OpError>;

/// The same with any way of computing the nodes that are not given. Called once a node, in order, so it can also
/// look on: compare each value with another run's, or count.
pub fn interpret_with(
    g: &Graph,
    given: Given<'_>,
    symbols: &Symbols,
    compute: Compute<'_>,
) -> Result<Vec<Tensor>, InterpretError> {
    let order = g.order();
    let (mut values, symbols) = take_given(g, &order, given, symbols)?;
    let mut last_use: HashMap<NodeId, usize> = HashMap::new();
    for (at, &n) in order.iter().enumerate() {
        last_use.extend(g.inputs(n).into_iter().chain([n]).map(|value| (value, at)));
    }
    last_use.extend(g.outputs.iter().map(|&o| (o, order.len())));
    for (at, &n) in order.iter().enumerate() {
        let (node, inputs) = (&g[n], g.inputs(n));
        if node.op.given_name().is_none() {
            let operands: Vec<&Tensor> = inputs.iter().map(|i| &values[i]).collect();
            let name = || Names::of(g).get(n).to_owned();
            let operator = node.op.name();
            let value = compute(n, &operands, &symbols).map_err(|cause| InterpretError::Eval {
                node: name(),
                operator,
                cause,
            })?;
            if value.dtype() != node.ty.dtype || symbols.extents(&node.ty).as_deref() != Some(value.shape()) {
                let (found, expected) = (value.ty(), node.ty.clone());
                return Err(InterpretError::Made { node: name(), operator, found, expected });
            }
            values.insert(n, value);
        }
        values.retain(|value, _| last_use[value] > at);
    }
    Ok(g.outputs.iter().map(|o| values[o].clone()).collect())
}

/// The values of inputs, states and weights, and the symbols that their extents tell.
fn take_given(
    g: &Graph,
    order: &[NodeId],
    given: Given<'_>,
    symbols: &Symbols,
) -> Result<(HashMap<NodeId, Tensor>, Symbols), InterpretError> {
    let mut values = HashMap::new();
    for &n in order {
        if let Some(name) = g[n].op.given_name() {
            let value = given(name).ok_or_else(|| InterpretError::Missing { name: name.to_owned() })?;
            values.insert(n, part_of(&g[n], value)?);
        }
    }
    let mut symbols = symbols.clone();
    let sources: Vec<NodeId> = order.iter().copied().filter(|n| values.contains_key(n)).collect();
    for &n in &sources {
        // A type of `2*n` only checks a symbol that another type tells: what fails here is seen below.
        let _ = symbols.learn(&g[n].ty, values[&n].shape());
    }
    for &n in &sources {
        let (value, expected) = (&values[&n], &g[n].ty);
        let same = match value.dtype() == expected.dtype {
            true => symbols.learn(expected, value.shape()),
            false => Err("another dtype".to_owned()),
        };
        same.map_err(|reason| InterpretError::Given {
            name: g[n].op.given_name().unwrap_or_default().to_owned(),
            found: value.ty(),
            expected: expected.clone(),
            reason,
        })?;
    }
    Ok((values, symbols))
}

/// What an input, a state or a weight has of the value that is given by its name: all of it, or the part that it states.
pub fn part_of(node: &Node, value: Tensor) -> Result<Tensor, InterpretError> {
    let (Op::Weight(Weight { part: Some(part), .. }) | Op::Input(Input { part: Some(part), .. })) = &node.op
    else {
        return Ok(value);
    };
    part.of(&value, &node.ty).map_err(|reason| InterpretError::Given {
        name: node.op.given_name().unwrap_or_default().to_owned(),
        found: value.ty(),
        expected: node.ty.clone(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::read;

    const NORM: &str = "graph g {
        doubled = input(): f32[2*n, 2]
        x = input(): f32[n, 2]
        w = weight(): f32[2]
        %0 = rms_norm(x, w) {eps: 0.0}: f32[n, 2]
        %1 = add(%0, w): f32[n, 2]
        return %1, %0, x
    }";

    fn given(name: &str) -> Option<Tensor> {
        match name {
            "x" => Some(Tensor::f32(&[2, 2], &[1.0, 1.0, 7.0, 1.0])),
            "doubled" => Some(Tensor::f32(&[4, 2], &[0.0; 8])),
            "w" => Some(Tensor::f32(&[2], &[2.0, 10.0])),
            _ => None,
        }
    }

    #[test]
    fn values_follow_the_operators_and_their_bodies() {
        let g = read(NORM).unwrap().graph;
        for way in [interpret, interpret_bodies] {
            let values = way(&g, &given, &Symbols::new()).unwrap();
            let shown: Vec<Vec<f32>> = values.iter().map(Tensor::to_f32).collect();
            assert_eq!(
                shown,
                [vec![4.0, 20.0, 4.8, 12.0], vec![2.0, 10.0, 2.8, 2.0], vec![1.0, 1.0, 7.0, 1.0]]
            );
        }
    }

    #[test]
    fn what_is_missing_or_of_another_type_is_named() {
        let g = read(NORM).unwrap().graph;
        let short = |name: &str| match name {
            "doubled" => Some(Tensor::f32(&[3, 2], &[0.0; 6])),
            name => given(name),
        };
        let whole = |name: &str| match name {
            "w" => Some(Tensor::i32(&[2], &[1, 1])),
            name => given(name),
        };
        let faults: [(Given<'_>, &str); 3] = [
            (&|name| given(name).filter(|_| name != "w"), "w was not given"),
            (&whole, "w was given as i32[2], expected f32[2]: another dtype"),
            (
                &short,
                "doubled was given as f32[3, 2], expected f32[2*n, 2]: dimension 2*n of f32[2*n, 2] is 3, expected 4",
            ),
        ];
        for (given, expected) in faults {
            assert_eq!(interpret(&g, given, &Symbols::new()).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_value_of_another_type_than_stated_is_refused() {
        let text = "graph g {\n x = input(): f32[n]\n %0 = add(x, x): f32[n+1]\n return %0\n}";
        let g = read(text).unwrap().graph;
        let fault = interpret(&g, &|_| Some(Tensor::f32(&[1], &[1.0])), &Symbols::new()).unwrap_err();
        assert_eq!(fault.to_string(), "%0 = add() has type f32[1], expected f32[n+1]");
    }
}
