//! Patterns of nodes, written as the text form has them: `mul(x, sigmoid(x))`.
//!
//! - A word such as `x` stands for any value, and everywhere in the pattern for the same one.
//! - `top:add(x, 1)` also gives the node itself a name.
//! - A number stands for a constant all of whose elements are that number.
//! - `op(…)` stands for a node of that operator with such operands, whatever its attributes. Operands of `add`,
//!   `mul`, `minimum` and `maximum` may stand in either order, and `mul(p, 2)` is `scale(p) {by:2.0}` too.
//! - `{p | q}` stands for what either stands for.
use ir::{Graph, NodeId, Op};
use std::collections::BTreeMap;

const COMMUTATIVE: &[&str] = &["add", "mul", "minimum", "maximum"];

/// A pattern, read once and tried on every node.
#[derive(Debug, PartialEq)]
pub(crate) enum Pattern<'p> {
    Any(&'p str),
    Number(f32),
    Node { name: Option<&'p str>, operator: &'p str, operands: Vec<Pattern<'p>> },
    Either(Vec<Pattern<'p>>),
}

/// What the names of a pattern stand for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Match<'p>(BTreeMap<&'p str, NodeId>);

impl<'p> Pattern<'p> {
    /// Reads a pattern of our own; a wrong one is a bug and panics.
    pub(crate) fn new(text: &'p str) -> Pattern<'p> {
        let mut rest = text;
        let pattern = parse(&mut rest);
        assert!(rest.is_empty(), "the pattern {text} ends before {rest}");
        pattern
    }

    /// What the names stand for, for every way in which the pattern fits the node.
    pub(crate) fn find(&self, g: &Graph, n: NodeId) -> Vec<Match<'p>> {
        self.all(g, n, &Match::default())
    }

    /// Every way in which the pattern fits, given what its names stand for so far.
    fn all(&self, g: &Graph, n: NodeId, so_far: &Match<'p>) -> Vec<Match<'p>> {
        match self {
            Pattern::Any(name) => so_far.with(name, n).into_iter().collect(),
            Pattern::Number(value) if number(g, n) == Some(*value) => vec![so_far.clone()],
            Pattern::Number(_) => vec![],
            Pattern::Either(patterns) => patterns.iter().flat_map(|p| p.all(g, n, so_far)).collect(),
            Pattern::Node { name, operator, operands } => {
                let named = name.map_or(Some(so_far.clone()), |name| so_far.with(name, n));
                named.map_or(vec![], |named| operands_of(g, n, operator, operands, &named))
            }
        }
    }
}

/// Every way in which a node is one of that operator with such operands.
fn operands_of<'p>(
    g: &Graph,
    n: NodeId,
    operator: &str,
    operands: &[Pattern<'p>],
    so_far: &Match<'p>,
) -> Vec<Match<'p>> {
    let inputs = g.inputs(n);
    if let (Op::Scale(scale), "mul") = (&g[n].op, operator) {
        let factor = |p: &&Pattern<'_>| **p == Pattern::Number(scale.by);
        let rest = operands.iter().position(|p| factor(&p)).map(|at| &operands[1 - at]);
        return rest.map_or(vec![], |p| p.all(g, inputs[0], so_far));
    }
    if g[n].op.name() != operator || inputs.len() != operands.len() {
        return vec![];
    }
    let in_order = |inputs: &mut dyn Iterator<Item = NodeId>| {
        operands.iter().zip(inputs).fold(vec![so_far.clone()], |ways, (pattern, n)| {
            ways.iter().flat_map(|way| pattern.all(g, n, way)).collect()
        })
    };
    let mut found = in_order(&mut inputs.iter().copied());
    if COMMUTATIVE.contains(&operator) {
        found.extend(in_order(&mut inputs.iter().rev().copied()));
    }
    found
}

impl<'p> Match<'p> {
    /// With one more name; `None` if it stands for another value already.
    fn with(&self, name: &'p str, n: NodeId) -> Option<Match<'p>> {
        let mut more = self.clone();
        (*more.0.entry(name).or_insert(n) == n).then_some(more)
    }

    /// What a name stands for, where the way that fits has it.
    pub(crate) fn get(&self, name: &str) -> Option<NodeId> {
        self.0.get(name).copied()
    }
}

impl std::ops::Index<&str> for Match<'_> {
    type Output = NodeId;
    fn index(&self, name: &str) -> &NodeId {
        self.0.get(name).unwrap_or_else(|| panic!("the pattern names {name}"))
    }
}

/// The number that every element of a constant is.
pub(crate) fn number(g: &Graph, n: NodeId) -> Option<f32> {
    let Op::Constant(constant) = &g[n].op else { return None };
    let first = *constant.values.first()?;
    constant.values.iter().all(|v| *v == first).then_some(first)
}

/// Puts `new` in the place of `old`, and removes what nobody needs any more; `new` stands for all of that too.
pub(crate) fn put(g: &mut Graph, old: NodeId, new: NodeId) {
    g.replace(old, new);
    let mut idle = vec![old];
    while let Some(n) = idle.pop() {
        if n != new && is_idle(g, n) {
            g.inherit(new, &[n]);
            idle.extend(g.inputs(n));
            g.remove(n);
        }
    }
}

/// Removes a node that was made in vain, and what was made for it.
pub(crate) fn discard(g: &mut Graph, made: NodeId) {
    let mut idle = vec![made];
    while let Some(n) = idle.pop() {
        if is_idle(g, n) {
            idle.extend(g.inputs(n));
            g.remove(n);
        }
    }
}

fn is_idle(g: &Graph, n: NodeId) -> bool {
    g.contains(n) && !g.is_used(n) && g[n].op.given_name().is_none()
}

fn parse<'p>(rest: &mut &'p str) -> Pattern<'p> {
    if let Some(after) = rest.strip_prefix('{') {
        *rest = after;
        return Pattern::Either(list(rest, '}', '|'));
    }
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
    Pattern::Node { name, operator: word, operands: list(rest, ')', ',') }
}

fn list<'p>(rest: &mut &'p str, end: char, between: char) -> Vec<Pattern<'p>> {
    let mut patterns = vec![];
    loop {
        *rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == between);
        assert!(!rest.is_empty(), "expected {end} before the end of the pattern");
        if let Some(after) = rest.strip_prefix(end) {
            *rest = after;
            return patterns;
        }
        patterns.push(parse(rest));
    }
}

fn take_word<'p>(rest: &mut &'p str) -> &'p str {
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"_.-".contains(c)).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    assert!(!word.is_empty(), "expected a word before {rest}");
    *rest = after;
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str) -> Option<String> {
        let text = "graph g {
            x = input(): f32[4]
            y = input(): f32[4]
            %half = constant() {ty:\"f32[]\",values:[0.5]}: f32[]
            %0 = mul(x, %half): f32[4]
            %1 = scale(y) {by:2.0}: f32[4]
            %2 = add(%0, %1): f32[4]
            return %2
        }";
        let g = ir::text::read(text).expect("the text is one of a graph").graph;
        let names = ir::text::Names::of(&g);
        let found = Pattern::new(pattern).find(&g, g.outputs[0]).into_iter().next()?;
        let shown = found.0.iter().map(|(name, n)| format!("{name}={}", names.get(*n)));
        Some(shown.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn operands_of_a_sum_stand_in_either_order() {
        assert_eq!(found("add(mul(a, 2), b)").as_deref(), Some("a=y b=%1"));
        assert_eq!(found("sub(a, b)"), None);
    }

    #[test]
    fn a_number_is_a_constant_or_a_scale() {
        assert_eq!(found("top:add(mul(0.5, a), mul(2, b))").as_deref(), Some("a=x b=y top=%3"));
        assert_eq!(found("add(mul(0.5, a), mul(3, b))"), None);
    }

    #[test]
    fn a_name_stands_for_one_value() {
        assert_eq!(found("add(mul(a, 0.5), mul(a, 2))"), None);
        assert_eq!(found("add({exp(a) | mul(a, 0.5)}, b)").as_deref(), Some("a=x b=%2"));
    }
}
