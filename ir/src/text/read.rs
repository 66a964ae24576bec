//! Text to graph, a line at a time.
use super::{circle, is_bare, is_name_char};
use crate::ops::{Input, Weight};
use crate::{Graph, NodeId, Op, Part, TensorType};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};

/// What a text says.
#[derive(Clone, Debug)]
pub struct Text {
    /// The graph, with the types that the text states: let the verifier see it.
    pub graph: Graph,
    /// The line that each node stands on, from 1.
    pub lines: BTreeMap<NodeId, usize>,
}

/// Why a text is not one of a graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ReadError {
    /// The line at fault, from 1.
    pub line: usize,
    /// What was found, and what was expected.
    pub message: String,
}

/// Reads the text form of one graph.
pub fn read(text: &str) -> Result<Text, ReadError> {
    let mut reader = Reader::default();
    let mut last = 1;
    for (i, line) in text.lines().enumerate() {
        let line_text = line.trim();
        if line_text.is_empty() || line_text.starts_with("//") {
            continue;
        }
        last = i + 1;
        reader.line(Line::new(line_text), last).map_err(|message| {
            let unknown = reader.unknown.take();
            let why = unknown.and_then(|name| circle::explain(text, &name));
            ReadError { line: last, message: cut(why.unwrap_or(message), MESSAGE_MOST) }
        })?;
    }
    let missing = match reader.at {
        At::Head => "graph",
        At::Nodes | At::Foot => "}",
        At::End => return Ok(Text { graph: reader.graph, lines: reader.lines }),
    };
    Err(ReadError { line: last, message: format!("expected `{missing}`, found the end") })
}

/// Characters of a text that a message repeats.
const REPEATED_MOST: usize = 40;
/// Characters of a message: what it repeats can be as long as the file.
const MESSAGE_MOST: usize = 500;

/// As many characters of a text, and `…` for what is left out.
fn cut(mut text: String, most: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Which line comes next.
#[derive(Default)]
enum At {
    #[default]
    Head,
    Nodes,
    Foot,
    End,
}

#[derive(Default)]
struct Reader {
    at: At,
    graph: Graph,
    lines: BTreeMap<NodeId, usize>,
    names: HashMap<Name, NodeId>,
    /// The operand that no line above makes.
    unknown: Option<Name>,
}

/// What a value is called; written for a message, so that a long name is cut.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Name {
    /// An input, a state or a weight, and its place.
    Given(String, u32),
    /// Any other value: the word after its `%`.
    Numbered(String),
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Name::Numbered(word) => write!(f, "%{}", cut(word.clone(), REPEATED_MOST)),
            Name::Given(name, 0) if is_bare(name) => f.write_str(&cut(name.clone(), REPEATED_MOST)),
            Name::Given(name, 0) => write!(f, "{:?}", cut(name.clone(), REPEATED_MOST)),
            Name::Given(name, place) => write!(f, "{}~{place}", Name::Given(name.clone(), 0)),
        }
    }
}

impl Reader {
    fn line(&mut self, mut line: Line<'_>, number: usize) -> Result<(), String> {
        match self.at {
            At::Head => {
                line.expect("graph")?;
                self.graph.name = line.given_name()?;
                line.expect("{")?;
                self.at = At::Nodes;
            }
            At::Nodes if line.rest == "}" => {
                self.at = At::End;
                return Ok(());
            }
            At::Nodes if line.eat_word("return") => {
                if !line.rest.is_empty() {
                    self.graph.outputs = self.operands(&mut line)?;
                }
                self.at = At::Foot;
            }
            At::Nodes => {
                let (name, node) = self.node(&mut line)?;
                if let Some(taken) = self.names.insert(name.clone(), node) {
                    return Err(format!("the name {name} is taken by line {}", self.lines[&taken]));
                }
                self.lines.insert(node, number);
            }
            At::Foot => {
                line.expect("}")?;
                self.at = At::End;
            }
            At::End => {}
        }
        if line.rest.is_empty() { Ok(()) } else { Err(format!("expected the end, found {}", line.found())) }
    }

    fn node(&mut self, line: &mut Line<'_>) -> Result<(Name, NodeId), String> {
        let name = line.name()?;
        line.expect("=")?;
        let operator = line.word();
        line.expect("(")?;
        let inputs = if line.rest.starts_with(')') { vec![] } else { self.operands(line)? };
        line.expect(")")?;
        let attributes = if line.rest.starts_with('{') { line.braces()? } else { "" };
        line.expect(":")?;
        let ty = line.ty()?;
        let op = operator_of(&name, operator, attributes, &ty)?;
        let node = self.graph.add_unchecked(op, ty, &inputs);
        match name {
            Name::Given(_, place) => self.graph.set_place(node, place),
            Name::Numbered(_) if line.eat_word("on") => self.graph.set_place(node, line.number()?),
            Name::Numbered(_) => {}
        }
        if line.eat("@") {
            let path = line.given_name()?;
            self.graph.set_path(node, &path);
        }
        if line.eat("<-") {
            let mut stands_for = vec![line.number()?];
            while line.eat(",") {
                stands_for.push(line.number()?);
            }
            self.graph.set_stands_for(node, stands_for);
        }
        Ok((name, node))
    }

    fn operands(&mut self, line: &mut Line<'_>) -> Result<Vec<NodeId>, String> {
        let mut operands = vec![];
        loop {
            let name = line.name()?;
            let Some(node) = self.names.get(&name) else {
                let message = format!("unknown value {name}");
                self.unknown = Some(name);
                return Err(message);
            };
            operands.push(*node);
            if !line.eat(",") {
                return Ok(operands);
            }
        }
    }
}

fn operator_of(name: &Name, operator: &str, attributes: &str, ty: &TensorType) -> Result<Op, String> {
    let given = matches!(operator, "input" | "state" | "weight");
    match name {
        Name::Given(name, _) if operator == "weight" => {
            let Weighed { part, layout } = attributes_of(operator, attributes)?;
            Ok(Weight { name: name.clone(), ty: ty.clone(), part, layout }.into())
        }
        Name::Given(name, _) if given => {
            let state = operator == "state";
            let Divided { part } = attributes_of(operator, attributes)?;
            if part.is_some() && !state {
                return Err(format!("an input has no attributes, found {{{attributes}}}"));
            }
            Ok(Input { name: name.clone(), ty: ty.clone(), state, part }.into())
        }
        Name::Numbered(_) if given => {
            Err(format!("{} has a name of its own, found {name}", article(operator)))
        }
        Name::Given(..) => {
            Err(format!("only inputs, states and weights have a name of their own, expected %{name}"))
        }
        Name::Numbered(_) => Op::parse(operator, attributes),
    }
}

/// The attributes that a weight can have.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Weighed {
    part: Option<Part>,
    layout: Option<String>,
}

/// Those of a state.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Divided {
    part: Option<Part>,
}

fn attributes_of<T: Default + serde::de::DeserializeOwned>(
    operator: &str,
    attributes: &str,
) -> Result<T, String> {
    if attributes.is_empty() {
        return Ok(T::default());
    }
    let ron = ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
    let text = format!("({attributes})");
    let has = match operator {
        "weight" => "no attributes but part and layout",
        "state" => "no attribute but part",
        _ => "no attributes",
    };
    ron.from_str(&text).map_err(|_| format!("{} has {has}, found {{{attributes}}}", article(operator)))
}

fn article(noun: &str) -> String {
    if noun.starts_with('i') { format!("an {noun}") } else { format!("a {noun}") }
}

/// What is left of a line; never begins with white space.
pub(super) struct Line<'a> {
    rest: &'a str,
}

impl<'a> Line<'a> {
    pub(super) fn new(text: &'a str) -> Line<'a> {
        Line { rest: text.trim() }
    }

    /// Takes the first `bytes` bytes.
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest.trim_start();
        taken
    }

    pub(super) fn eat(&mut self, token: &str) -> bool {
        let found = self.rest.starts_with(token);
        if found {
            self.take(token.len());
        }
        found
    }

    /// Eats a word that no name goes on.
    fn eat_word(&mut self, word: &str) -> bool {
        let after = self.rest.strip_prefix(word);
        after.is_some_and(|a| !a.starts_with(is_name_char)) && self.eat(word)
    }

    pub(super) fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.eat(token) { Ok(()) } else { Err(format!("expected `{token}`, found {}", self.found())) }
    }

    fn found(&self) -> String {
        match self.rest.char_indices().nth(REPEATED_MOST) {
            _ if self.rest.is_empty() => "the end of the line".to_owned(),
            Some((end, _)) => format!("{:?}…", &self.rest[..end]),
            None => format!("{:?}", self.rest),
        }
    }

    /// The longest run of name characters; may be empty.
    pub(super) fn word(&mut self) -> &'a str {
        self.take(self.rest.find(|c| !is_name_char(c)).unwrap_or(self.rest.len()))
    }

    pub(super) fn name(&mut self) -> Result<Name, String> {
        if !self.rest.starts_with('%') {
            let name = self.given_name()?;
            let place = if self.eat("~") { self.number()? } else { 0 };
            return Ok(Name::Given(name, place));
        }
        self.take(1);
        match self.word() {
            "" => Err(format!("expected a number after %, found {}", self.found())),
            word => Ok(Name::Numbered(word.to_owned())),
        }
    }

    fn given_name(&mut self) -> Result<String, String> {
        if self.rest.starts_with('"') {
            let end = string_end(self.rest).ok_or_else(|| format!("no quote ends {}", self.found()))?;
            let quoted = self.take(end);
            return ron::from_str(quoted).map_err(|e| format!("{quoted} is no string: {e}"));
        }
        match self.word() {
            "" => Err(format!("expected a name, found {}", self.found())),
            name => Ok(name.to_owned()),
        }
    }

    fn number(&mut self) -> Result<u32, String> {
        let found = self.found();
        self.word().parse().map_err(|_| format!("expected a number, found {found}"))
    }

    fn ty(&mut self) -> Result<TensorType, String> {
        match self.rest.find(']') {
            Some(end) => TensorType::parse(self.take(end + 1)),
            None => Err(format!("expected a type, found {}", self.found())),
        }
    }

    /// What stands between balanced braces, strings skipped; the line begins with the first.
    fn braces(&mut self) -> Result<&'a str, String> {
        let mut depth = 0;
        let mut at = 0;
        while at < self.rest.len() {
            match self.rest.as_bytes()[at] {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                b'"' => match string_end(&self.rest[at..]) {
                    Some(end) => at += end - 1,
                    None => return Err("no quote ends a string in the attributes".to_owned()),
                },
                _ => {}
            }
            at += 1;
            if depth == 0 {
                let inside = self.take(at);
                return Ok(&inside[1..at - 1]);
            }
        }
        Err("no brace ends the attributes".to_owned())
    }
}

/// Where the string ends that `text` begins with, past its quote.
fn string_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    let quote = text.bytes().skip(1).position(|b| {
        let ends = b == b'"' && !escaped;
        escaped = b == b'\\' && !escaped;
        ends
    })?;
    Some(quote + 2)
}
