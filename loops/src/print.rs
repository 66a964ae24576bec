//! The text of a loop tree: what golden files hold.
use super::terms::{Id, Node, Source, Terms};
use super::{Loop, Step, Tree, Value};
use ir::expr::{Binary, Compare, Fold};
use std::collections::HashMap;
use std::fmt::{self, Write};

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printer = Printer { tree: self, names: HashMap::new(), text: String::new() };
        printer.steps(&self.steps, 0)?;
        f.write_str(&printer.text)
    }
}

struct Printer<'a> {
    tree: &'a Tree,
    /// Numbers of the terms that have a line of their own, in order of first mention.
    names: HashMap<Id, usize>,
    text: String,
}

impl Printer<'_> {
    fn steps(&mut self, steps: &[Step], depth: usize) -> fmt::Result {
        let indent = "  ".repeat(depth);
        for step in steps {
            match step {
                Step::Let(id) => {
                    let value = self.expanded(*id);
                    let name = self.name(*id);
                    writeln!(self.text, "{indent}{name} = {value}")?;
                }
                Step::Store(id) => {
                    let (at, value) = (self.term(self.tree.offset), self.term(*id));
                    writeln!(self.text, "{indent}out[{at}] = {value}")?;
                }
                Step::Keep(id, row) => {
                    let value = self.term(*id);
                    writeln!(self.text, "{indent}keep {value} in row {row}")?;
                }
                Step::Recall(id, row) => {
                    let name = self.name(*id);
                    writeln!(self.text, "{indent}{name} = row {row}")?;
                }
                Step::Finish => {
                    let at = self.term(self.tree.offset);
                    writeln!(self.text, "{indent}quantise row 0 to out[{at}]")?;
                }
                Step::Row { name, args, .. } => {
                    let at = self.term(self.tree.offset);
                    let args: Vec<_> = args.iter().map(|&a| self.expanded(a)).collect();
                    writeln!(self.text, "{indent}out[{at}], its row = {name}({})", args.join(", "))?;
                }
                Step::Loop(l) => self.one_loop(l, depth)?,
            }
        }
        Ok(())
    }

    fn one_loop(&mut self, l: &Loop, depth: usize) -> fmt::Result {
        let indent = "  ".repeat(depth);
        let extent = self.tree.terms.axes[l.axis as usize].extent;
        for (index, span) in l.spans.iter().enumerate() {
            let to = span.to.map_or_else(|| self.term(extent), |to| to.to_string());
            let vectors = l.vectors.map_or(String::new(), |v| format!(", {v} vectors"));
            writeln!(self.text, "{indent}for i{} in {}..{to}{vectors}", l.axis, span.from)?;
            self.steps(&span.steps, depth + 1)?;
            for (folded, value) in l.folds.iter().zip(&span.values) {
                let value = match *value {
                    Value::Term(id) => self.term(id),
                    Value::Product(a, b) => format!("{} * {}", self.term(a), self.term(b)),
                };
                let word = if folded.fold == Fold::Sum { "add" } else { "max" };
                let name = self.name(folded.result);
                let more = if index == 0 { "" } else { " too" };
                writeln!(self.text, "{indent}  {word} {value} to {name}{more}")?;
            }
        }
        Ok(())
    }

    fn name(&mut self, id: Id) -> String {
        let next = self.names.len();
        format!("t{}", self.names.entry(id).or_insert(next))
    }

    /// A term as others mention it: its name if it has a line, else what it is.
    fn term(&mut self, id: Id) -> String {
        match self.tree.terms.node(id) {
            _ if self.names.contains_key(&id) => self.name(id),
            Node::Sum(_)
            | Node::F32(_)
            | Node::Bool(_)
            | Node::Axis(_)
            | Node::Symbol(_)
            | Node::Param(_) => self.expanded(id),
            _ => self.name(id),
        }
    }

    fn expanded(&mut self, id: Id) -> String {
        let terms: &Terms = &self.tree.terms;
        match terms.node(id).clone() {
            Node::F32(bits) => format!("{:?}", f32::from_bits(bits)),
            Node::Bool(value) => value.to_string(),
            Node::Axis(axis) => format!("i{axis}"),
            Node::Symbol(place) => format!("s{place}"),
            Node::Param(param) => format!("{param:?}").to_lowercase(),
            Node::Sum(linear) => {
                let mut parts: Vec<String> = vec![];
                for (atom, coefficient) in linear.terms {
                    let atom = self.term(atom);
                    parts.push(if coefficient == 1 { atom } else { format!("{coefficient}*{atom}") });
                }
                if linear.constant != 0 || parts.is_empty() {
                    parts.push(linear.constant.to_string());
                }
                parts.join(" + ")
            }
            Node::Product(factors) => {
                let factors: Vec<_> = factors.into_iter().map(|f| self.term(f)).collect();
                factors.join(" * ")
            }
            Node::FloorDiv(a, by) => format!("({}) / {by}", self.term(a)),
            Node::Load { from, elem, offset, guard, .. } => {
                let from = match from {
                    Source::Input(input) => format!("x{input}"),
                    Source::Tile => "tile".to_owned(),
                };
                let guard = guard.map_or(String::new(), |g| format!(" if {}", self.term(g)));
                format!("{elem:?} {from}[{}]{guard}", self.term(offset)).to_lowercase()
            }
            Node::Unary(op, a) => format!("{op:?}({})", self.term(a)).to_lowercase(),
            Node::Cast(to, a) => format!("{to:?}({})", self.term(a)).to_lowercase(),
            Node::Fma(a, b, c) => format!("{} * {} + {}", self.term(a), self.term(b), self.term(c)),
            Node::Both(a, b) => format!("{} and {}", self.term(a), self.term(b)),
            Node::Select(c, a, b) => {
                format!("if {} then {} else {}", self.term(c), self.term(a), self.term(b))
            }
            Node::Compare(op, a, b) => {
                let sign = match op {
                    Compare::Lt => "<",
                    Compare::Le => "<=",
                    Compare::Eq => "==",
                };
                format!("{} {sign} {}", self.term(a), self.term(b))
            }
            Node::Binary(op, a, b) => {
                let (a, b) = (self.term(a), self.term(b));
                match op {
                    Binary::Add => format!("{a} + {b}"),
                    Binary::Sub => format!("{a} - {b}"),
                    Binary::Mul => format!("{a} * {b}"),
                    Binary::Div => format!("{a} / {b}"),
                    other => format!("{other:?}({a}, {b})").to_lowercase(),
                }
            }
            Node::Reduce { .. } => self.name(id),
        }
    }
}
