//! Patterns of nodes, written as the text form has them: `mul(x, sigmoid(x))`.
//!
//! - A word such as `x` stands for any value, and everywhere in the pattern for the same one.
//! - `sum:add(x, 1)` also gives the node itself a name.
//! - A number stands for a constant all of whose elements are that number.
//! - `op(…)` stands for a node of that operator with such operands, whatever its attributes; the operands of
//!   `add`, `mul`, `minimum` and `maximum` may stand in either order.
use ir::{Graph, NodeId};
use std::collections::BTreeMap;

const COMMUTATIVE: &[&str] = &["add", "mul", "minimum", "maximum"];

/// A pattern, read once and tried on every node.
pub(crate) enum Pattern {
    Any(&'static str),
    Number(f32),
    Node { name: Option<&'static str>, operator: &'static str, operands: Vec<Pattern> },
}

/// What the names of a pattern stand for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Match(BTreeMap<&'static str, NodeId>);

impl std::ops::Index<&str> for Match {
    type Output = NodeId;
    fn index(&self, name: &str) -> &NodeId {
        self.0.get(name).unwrap_or_else(|| panic!("the pattern names {name}"))
    }
}

impl Pattern {
    /// Reads a pattern of our own; a wrong one is a bug and panics.
    pub(crate) fn new(text: &'static str) -> Pattern {
        let mut rest = text;
        let pattern = parse(&mut rest);
        assert!(rest.is_empty(), "the pattern {text} ends before {rest}");
        pattern
    }

    /// What the names stand for if the pattern fits the node.
    pub(crate) fn find(&self, g: &Graph, n: NodeId) -> Option<Match> {
        self.all(g, n, &Match::default()).into_iter().next()
    }

    /// Every way in which the pattern fits, given what its names stand for so far.
    fn all(&self, g: &Graph, n: NodeId, so_far: &Match) -> Vec<Match> {
        match self {
            Pattern::Any(name) => so_far.with(name, n).into_iter().collect(),
            Pattern::Number(value) if number(g, n) == Some(*value) => vec![so_far.clone()],
            Pattern::Number(_) => vec![],
            Pattern::Node { name, operator, operands } => {
                let inputs = g.inputs(n);
                if g[n].op.name() != *operator || inputs.len() != operands.len() {
                    return vec![];
                }
                let named = name.map_or(Some(so_far.clone()), |name| so_far.with(name, n));
                let Some(named) = named else { return vec![] };
                let mut found = in_order(g, operands.iter().zip(inputs.iter().copied()), &named);
                if COMMUTATIVE.contains(operator) {
                    found.extend(in_order(g, operands.iter().zip(inputs.into_iter().rev()), &named));
                }
                found
            }
        }
    }
}

fn in_order<'a>(
    g: &Graph,
    pairs: impl Iterator<Item = (&'a Pattern, NodeId)>,
    so_far: &Match,
) -> Vec<Match> {
    pairs.fold(vec![so_far.clone()], |ways, (pattern, n)| {
        ways.iter().flat_map(|way| pattern.all(g, n, way)).collect()
    })
}

impl Match {
    /// With one more name; `None` if it stands for another value already.
    fn with(&self, name: &'static str, n: NodeId) -> Option<Match> {
        let mut more = self.clone();
        (*more.0.entry(name).or_insert(n) == n).then_some(more)
    }
}

/// The number that every element of a constant is.
pub(crate) fn number(g: &Graph, n: NodeId) -> Option<f32> {
    let Op::Constant(constant) = &g[n].op else { return None };
    let values = constant.value.to_f32();
    let first = *values.first()?;
    values.iter().all(|v| *v == first).then_some(first)
}

fn parse(rest: &mut &'static str) -> Pattern {
    let mut word = take_word(rest);
    let mut name = None;
    if let Some(after) = rest.strip_prefix(':') {
        *rest = after;
        name = Some(word);
        word = take_word(rest);
    }
    let Some(after) = rest.strip_prefix('(') else {
        assert!(name.is_none(), "only an operator has a name before it, found {word}");
        return word.parse().map_or(Pattern::Any(word), Pattern::Number);
    };
    *rest = after;
    let mut operands = vec![];
    while !rest.starts_with(')') {
        operands.push(parse(rest));
        *rest = rest.trim_start_matches([',', ' ']);
        assert!(!rest.is_empty(), "a parenthesis after {word} is not closed");
    }
    *rest = &rest[1..];
    Pattern::Node { name, operator: word, operands }
}

fn take_word(rest: &mut &'static str) -> &'static str {
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"_.-".contains(c)).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    assert!(!word.is_empty(), "expected a word before {rest}");
    *rest = after;
    word
}
