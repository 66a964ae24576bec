//! The text form of a body: `Display` and `Body::parse` are inverse.
//!
//! `i0` is an axis of the output, `k16` one of a reduction, `x0[i0, k16]` an element of an input,
//! `h0` a hole, `|n|` a dimension, `7` an int, `1.5f` an f32, `(a + b)` and `exp(a)` what they look
//! like, `sum(k16 < |n|: a)` a fold. A term used twice is named where its axes are bound:
//! `let t0 = x0[i0]; (t0 * t0)`.
use super::{
    Axis, Binary, Body, Cast, Compare, Expr, FIRST_BOUND_AXIS, Fold, Term, TermId, Tree, Unary, fresh_axis,
    tree,
};
use crate::Dim;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::collections::HashMap;
use std::fmt;

const UNARY: [(Unary, &str); 7] = [
    (Unary::Neg, "neg"),
    (Unary::Abs, "abs"),
    (Unary::Sqrt, "sqrt"),
    (Unary::Exp, "exp"),
    (Unary::Log, "log"),
    (Unary::Round, "round"),
    (Unary::Not, "not"),
];
const CASTS: [(Cast, &str); 5] = [
    (Cast::ToF32, "f32"),
    (Cast::ToInt, "int"),
    (Cast::F16Bits, "f16_bits"),
    (Cast::BF16Bits, "bf16_bits"),
    (Cast::F32Bits, "f32_bits"),
];
const BINARY: [(Binary, &str); 11] = [
    (Binary::Add, "+"),
    (Binary::Sub, "-"),
    (Binary::Mul, "*"),
    (Binary::Div, "/"),
    (Binary::Min, "min"),
    (Binary::Max, "max"),
    (Binary::Rem, "%"),
    (Binary::And, "&"),
    (Binary::Or, "|"),
    (Binary::Shl, "<<"),
    (Binary::Shr, ">>"),
];
const COMPARE: [(Compare, &str); 3] = [(Compare::Lt, "<"), (Compare::Le, "<="), (Compare::Eq, "==")];
const FOLDS: [(Fold, &str); 2] = [(Fold::Sum, "sum"), (Fold::Max, "max")];

/// Bodies nest no deeper than this when read; deeper ones are refused rather than overflow the stack.
const DEPTH_MAX: usize = 200;
/// The same for the height of an expression with its names put in: each `let` can build on the one before.
const HEIGHT_MAX: u32 = 1000;
/// Reductions nest no deeper than this: a term has its free axes in 64 bits.
const FOLDS_MAX: u32 = 64 - FIRST_BOUND_AXIS;

/// How high an expression is: in terms, and in reductions.
#[derive(Clone, Copy, Default)]
struct Height {
    terms: u32,
    folds: u32,
}

impl Height {
    fn max(self, other: Height) -> Height {
        Height { terms: self.terms.max(other.terms), folds: self.folds.max(other.folds) }
    }
}

fn word<T: PartialEq + Copy>(table: &[(T, &'static str)], op: T) -> &'static str {
    table.iter().find(|row| row.0 == op).expect("every operation has a word").1
}

fn named<T: Copy>(table: &[(T, &'static str)], word: &str) -> Option<T> {
    table.iter().find(|row| row.1 == word).map(|row| row.0)
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut uses = vec![0u32; self.terms().len()];
        self.terms().iter().flat_map(Term::operands).for_each(|t| uses[t.0 as usize] += 1);
        let mut writer = Writer { body: self, uses, scopes: vec![Scope::default()], next: 0 };
        let value = writer.term(self.root());
        f.write_str(&writer.scopes.pop().expect("the outermost scope is open").lets)?;
        f.write_str(&value)
    }
}

#[derive(Default)]
struct Scope {
    axis: Option<Axis>,
    lets: String,
    names: HashMap<TermId, String>,
}

struct Writer<'a> {
    body: &'a Body,
    uses: Vec<u32>,
    scopes: Vec<Scope>,
    next: u32,
}

impl Writer<'_> {
    fn term(&mut self, id: TermId) -> String {
        let term = self.body.term(id);
        let leaf =
            matches!(term, Term::F32(_) | Term::Int(_) | Term::Axis(_) | Term::Size(_) | Term::Hole(_));
        if leaf || self.uses[id.0 as usize] < 2 {
            return self.plain(id);
        }
        let free = self.body.free_axes(id);
        let home =
            self.scopes.iter().rposition(|s| s.axis.is_some_and(|a| free & (1 << a) != 0)).unwrap_or(0);
        if let Some(name) = self.scopes[home].names.get(&id) {
            return name.clone();
        }
        let text = self.plain(id);
        let name = format!("t{}", self.next);
        self.next += 1;
        self.scopes[home].lets += &format!("let {name} = {text}; ");
        self.scopes[home].names.insert(id, name.clone());
        name
    }

    fn plain(&mut self, id: TermId) -> String {
        match self.body.term(id).clone() {
            Term::F32(bits) => format!("{:?}f", f32::from_bits(bits)).to_lowercase(),
            Term::Int(v) => v.to_string(),
            Term::Axis(a) if a < FIRST_BOUND_AXIS => format!("i{a}"),
            Term::Axis(a) => format!("k{a}"),
            Term::Size(d) => format!("|{d}|"),
            Term::Hole(h) => format!("h{h}"),
            Term::Load { input, at } => {
                let at: Vec<_> = at.into_iter().map(|t| self.term(t)).collect();
                format!("x{input}[{}]", at.join(", "))
            }
            Term::Unary(op, a) => format!("{}({})", word(&UNARY, op), self.term(a)),
            Term::Cast(to, a) => format!("{}({})", word(&CASTS, to), self.term(a)),
            Term::Binary(op, a, b) => {
                let (a, b) = (self.term(a), self.term(b));
                format!("({a} {} {b})", word(&BINARY, op))
            }
            Term::Compare(op, a, b) => {
                let (a, b) = (self.term(a), self.term(b));
                format!("({a} {} {b})", word(&COMPARE, op))
            }
            Term::Select(c, a, b) => {
                let (c, a, b) = (self.term(c), self.term(a), self.term(b));
                format!("select({c}, {a}, {b})")
            }
            Term::Reduce { fold, axis, over, body } => {
                let over = self.term(over);
                self.scopes.push(Scope { axis: Some(axis), ..Scope::default() });
                let body = self.term(body);
                let lets = self.scopes.pop().expect("the reduction's scope is open").lets;
                format!("{}(k{axis} < {over}: {lets}{body})", word(&FOLDS, fold))
            }
        }
    }
}

impl Body {
    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Result<Body, String> {
        let mut parser =
            Parser { text, at: 0, axes: vec![], names: HashMap::new(), depth: 0, height: Height::default() };
        let expr = parser.block()?;
        match parser.rest().trim() {
            "" => Ok(Body::new(&expr)),
            rest => Err(format!("expected the end of the body, found {:?}", shorten(rest))),
        }
    }
}

fn shorten(text: &str) -> &str {
    let end = text.char_indices().nth(20).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    axes: Vec<(&'a str, Axis)>,
    names: HashMap<&'a str, (Expr, Height)>,
    depth: usize,
    /// Of the highest expression so far among those that the one being read is made of.
    height: Height,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn eat(&mut self, token: &str) -> bool {
        let rest = self.rest().trim_start();
        let found = rest.starts_with(token);
        if found {
            self.at = self.text.len() - rest.len() + token.len();
        }
        found
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        let rest = self.rest().trim_start();
        if self.eat(token) { Ok(()) } else { Err(format!("expected {token:?}, found {:?}", shorten(rest))) }
    }

    /// The longest run of characters that `part` takes.
    fn take(&mut self, part: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest().trim_start();
        let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
        self.at = self.text.len() - rest.len() + end;
        &rest[..end]
    }

    fn word(&mut self) -> &'a str {
        self.take(|c| c.is_ascii_alphanumeric() || c == '_')
    }

    /// Names and an expression that uses them. Behind it they mean what they did before: what an axis of a
    /// reduction went into means nothing outside of it.
    fn block(&mut self) -> Result<Expr, String> {
        let mut hidden = vec![];
        while self.eat("let ") {
            let name = self.word();
            self.expect("=")?;
            let outside = std::mem::take(&mut self.height);
            let value = self.expr()?;
            self.expect(";")?;
            hidden.push((name, self.names.insert(name, (value, self.height))));
            self.height = outside;
        }
        let expr = self.expr()?;
        for (name, before) in hidden.into_iter().rev() {
            match before {
                Some(before) => self.names.insert(name, before),
                None => self.names.remove(name),
            };
        }
        Ok(expr)
    }

    fn expr(&mut self) -> Result<Expr, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("a body nests deeper than {DEPTH_MAX}"));
        }
        let siblings = std::mem::take(&mut self.height);
        let expr = self.one()?;
        self.height.terms += 1;
        if self.height.terms > HEIGHT_MAX || self.height.folds > FOLDS_MAX {
            return Err(format!("a body is higher than {HEIGHT_MAX} terms or {FOLDS_MAX} reductions"));
        }
        self.height = self.height.max(siblings);
        self.depth -= 1;
        Ok(expr)
    }

    fn one(&mut self) -> Result<Expr, String> {
        if self.eat("(") {
            return self.infix();
        }
        if self.eat("|") {
            let dim = Dim::parse(self.take(|c| c != '|'))?;
            self.expect("|")?;
            return Ok(super::size(&dim));
        }
        let rest = self.rest().trim_start();
        if rest.starts_with(|c: char| c.is_ascii_digit() || c == '-')
            || rest.starts_with("inff")
            || rest.starts_with("nanf")
        {
            return self.number();
        }
        let word = self.word();
        if let Some((expr, height)) = self.names.get(word) {
            self.height = self.height.max(*height);
            return Ok(expr.clone());
        }
        if let Some((_, axis)) = self.axes.iter().rev().find(|a| a.0 == word) {
            return Ok(tree(Tree::Axis(*axis)));
        }
        if self.eat("(") {
            return self.call(word);
        }
        let number = word.get(1..).and_then(|n| n.parse::<u32>().ok());
        match (word.get(..1), number) {
            (Some("i"), Some(axis)) if axis < FIRST_BOUND_AXIS => Ok(tree(Tree::Axis(axis))),
            (Some("h"), Some(hole)) => Ok(tree(Tree::Hole(hole))),
            (Some("x"), Some(input)) => {
                self.expect("[")?;
                let at = self.list("]")?;
                Ok(tree(Tree::Load { input, at }))
            }
            _ => Err(format!("expected an expression, found {:?}", shorten(rest))),
        }
    }

    fn infix(&mut self) -> Result<Expr, String> {
        let a = self.expr()?;
        let op = self.take(|c| !c.is_whitespace());
        let b = self.expr()?;
        self.expect(")")?;
        match (named(&BINARY, op), named(&COMPARE, op)) {
            (Some(op), _) => Ok(tree(Tree::Binary(op, a, b))),
            (_, Some(op)) => Ok(tree(Tree::Compare(op, a, b))),
            _ => Err(format!("unknown operation {op:?}")),
        }
    }

    fn number(&mut self) -> Result<Expr, String> {
        let text = self.take(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-');
        let bad = |_| format!("not a number: {text:?}");
        match text.strip_suffix('f') {
            Some(real) => Ok(super::f32(real.parse().map_err(|_| format!("not a number: {text:?}"))?)),
            None => Ok(super::int(text.parse().map_err(bad)?)),
        }
    }

    fn call(&mut self, function: &'a str) -> Result<Expr, String> {
        if let Some(fold) = named(&FOLDS, function) {
            return self.reduction(fold);
        }
        let arguments = self.list(")")?;
        let wrong = || format!("{function} does not take {} arguments", arguments.len());
        match (named(&UNARY, function), named(&CASTS, function), &arguments[..]) {
            (Some(op), _, [a]) => Ok(tree(Tree::Unary(op, a.clone()))),
            (_, Some(to), [a]) => Ok(tree(Tree::Cast(to, a.clone()))),
            (None, None, [c, a, b]) if function == "select" => {
                Ok(tree(Tree::Select(c.clone(), a.clone(), b.clone())))
            }
            (None, None, _) if function != "select" => Err(format!("unknown function {function:?}")),
            _ => Err(wrong()),
        }
    }

    fn reduction(&mut self, fold: Fold) -> Result<Expr, String> {
        let name = self.word();
        self.expect("<")?;
        let over = self.expr()?;
        self.expect(":")?;
        let axis = fresh_axis();
        self.axes.push((name, axis));
        let body = self.block();
        self.axes.pop();
        self.expect(")")?;
        self.height.folds += 1;
        Ok(tree(Tree::Reduce { fold, axis, over, body: body? }))
    }

    fn list(&mut self, end: &str) -> Result<Vec<Expr>, String> {
        let mut items = vec![];
        while !self.eat(end) {
            if !items.is_empty() {
                self.expect(",")?;
            }
            items.push(self.expr()?);
        }
        Ok(items)
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Body, D::Error> {
        Body::parse(&String::deserialize(d)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_with_its_reduction() {
        let fault = Body::parse("(sum(k16 < 4: let t0 = x0[i0, k16]; (t0 * t0)) * t0)").unwrap_err();
        assert!(fault.contains(r#"found "t0)""#), "{fault}");
        let hiding = Body::parse("let t0 = x0[i0, 0]; (sum(k16 < 4: let t0 = x0[i0, k16]; (t0 * t0)) * t0)");
        let plain = Body::parse("(sum(k16 < 4: (x0[i0, k16] * x0[i0, k16])) * x0[i0, 0])");
        assert_eq!(hiding.unwrap(), plain.unwrap());
    }

    #[test]
    fn what_nests_too_deep_is_refused_before_the_stack_is_gone() {
        let parentheses = "neg(".repeat(100_000);
        let lets: String = (0..100_000).map(|i| format!("let a{} = (a{i} + a{i}); ", i + 1)).collect();
        let folds = format!("{}1.0f{}", "sum(k < 2: ".repeat(60), ")".repeat(60));
        for text in [parentheses, format!("let a0 = x0[i0]; {lets} a9"), folds] {
            let fault = Body::parse(&text).unwrap_err();
            assert!(fault.contains("deeper") || fault.contains("higher"), "{fault}");
        }
    }
}
