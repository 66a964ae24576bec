//! Graph to text.
use super::is_bare;
use crate::{Graph, NodeId, Op};
use std::collections::HashMap;
use std::fmt::{self, Write};

/// What the values of one graph are called in its text.
#[derive(Clone, Debug)]
pub struct Names(HashMap<NodeId, String>);

impl Names {
    /// The names of a graph's values. They change when the graph does.
    pub fn of(g: &Graph) -> Names {
        let mut next = 0;
        let name = |n: NodeId| match g[n].op.given_name() {
            Some(name) => (n, given(name, g[n].place)),
            None => {
                next += 1;
                (n, format!("%{}", next - 1))
            }
        };
        Names(lines(g).into_iter().map(name).collect())
    }

    /// A value's name; `%?` for one that the graph has not.
    pub fn get(&self, id: NodeId) -> &str {
        self.0.get(&id).map_or("%?", String::as_str)
    }

    /// The value of that name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.0.iter().find(|(_, n)| *n == name).map(|(id, _)| *id)
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self, |_| vec![])
    }
}

/// Writes a graph with remarks beneath the lines of its nodes, and beneath the last one for `None`.
pub(crate) fn write(
    f: &mut impl Write,
    g: &Graph,
    beneath: impl Fn(Option<NodeId>) -> Vec<String>,
) -> fmt::Result {
    let names = Names::of(g);
    let list = |nodes: &[NodeId]| nodes.iter().map(|n| names.get(*n)).collect::<Vec<_>>().join(", ");
    writeln!(f, "graph {} {{", word(&g.name))?;
    for n in lines(g) {
        let node = &g[n];
        write!(f, "  {} = {}({})", names.get(n), keyword(&node.op), list(&g.inputs(n)))?;
        let attributes = node.op.written_attributes();
        if !attributes.is_empty() {
            write!(f, " {{{attributes}}}")?;
        }
        write!(f, ": {}", node.ty)?;
        if node.place > 0 && node.op.given_name().is_none() {
            write!(f, " on {}", node.place)?;
        }
        if !node.path.is_empty() {
            write!(f, " @{}", word(&node.path))?;
        }
        if !node.stands_for.is_empty() {
            let ids: Vec<String> = node.stands_for.iter().map(u32::to_string).collect();
            write!(f, " <- {}", ids.join(", "))?;
        }
        writeln!(f)?;
        for remark in beneath(Some(n)) {
            writeln!(f, "  // ^ {remark}")?;
        }
    }
    if !g.outputs.is_empty() {
        writeln!(f, "  return {}", list(&g.outputs))?;
    }
    for remark in beneath(None) {
        writeln!(f, "  // ^ {remark}")?;
    }
    writeln!(f, "}}")
}

/// Nodes in the order of their lines. A broken graph can have a cycle and must still be shown.
fn lines(g: &Graph) -> Vec<NodeId> {
    g.order_if_acyclic().unwrap_or_else(|| g.nodes().collect())
}

fn keyword(op: &Op) -> &'static str {
    match op {
        Op::Input(input) if input.state => "state",
        other => other.name(),
    }
}

/// The name of an input, a state or a weight, and on which device it is.
fn given(name: &str, place: u32) -> String {
    if place == 0 { word(name) } else { format!("{}~{place}", word(name)) }
}

fn word(name: &str) -> String {
    if is_bare(name) { name.to_owned() } else { ron::to_string(name).expect("a string is plain data") }
}
