//! The plan's text form: RON, one item a line, in an order and spelling that are always the same.
use super::{Plan, Thread, VERSION};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// Why a text is not a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// It is not RON of a plan's form.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// Where, from 1.
        line: usize,
        /// Where in the line, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// It is of a version that this code does not read.
    #[error("the plan is of version {found}, this heddle reads version {VERSION}: compile the model again")]
    Version {
        /// The version it states.
        found: u32,
    },
}

/// A list of the plan, for saying on which line of its text an item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Section {
    Version,
    Model,
    Options,
    Symbols,
    Devices,
    Memory,
    Edges,
    Weights,
    States,
    Buffers,
    Kernels,
    Thread(usize),
}

impl Section {
    fn key(self) -> &'static str {
        match self {
            Section::Version => "version",
            Section::Model => "model",
            Section::Options => "options",
            Section::Symbols => "symbols",
            Section::Devices => "devices",
            Section::Memory => "memory",
            Section::Edges => "edges",
            Section::Weights => "weights",
            Section::States => "states",
            Section::Buffers => "buffers",
            Section::Kernels => "kernels",
            Section::Thread(_) => "steps",
        }
    }
}

fn ron(value: &impl Serialize) -> String {
    ron::to_string(value).expect("a plan is plain data")
}

fn list<T: Serialize>(text: &mut String, indent: &str, key: &str, items: &[T]) {
    let _ = writeln!(text, "{indent}{key}: [");
    for item in items {
        let _ = writeln!(text, "{indent}    {},", ron(item));
    }
    let _ = writeln!(text, "{indent}],");
}

impl Plan {
    /// The canonical text.
    pub fn to_text(&self) -> String {
        let mut text = String::from("(\n");
        let _ = writeln!(text, "    version: {},", self.version);
        let _ = writeln!(text, "    model: {},", ron(&self.model));
        let _ = writeln!(text, "    options: {},", ron(&self.options));
        list(&mut text, "    ", "symbols", &self.symbols);
        list(&mut text, "    ", "devices", &self.devices);
        list(&mut text, "    ", "memory", &self.memory);
        list(&mut text, "    ", "edges", &self.edges);
        list(&mut text, "    ", "weights", &self.weights);
        list(&mut text, "    ", "states", &self.states);
        list(&mut text, "    ", "buffers", &self.buffers);
        list(&mut text, "    ", "kernels", &self.kernels);
        text += "    threads: [\n";
        for Thread { device, arena_bytes, state_bytes, scratch_bytes, shared_bytes, steps } in &self.threads {
            let shared = match shared_bytes {
                0 => String::new(),
                bytes => format!(" shared_bytes: {bytes},"),
            };
            let _ = writeln!(
                text,
                "        (device: {}, arena_bytes: {arena_bytes}, state_bytes: {state_bytes}, scratch_bytes: {scratch_bytes},{shared}",
                device.0
            );
            list(&mut text, "        ", "steps", steps);
            text += "        ),\n";
        }
        text += "    ],\n";
        if !self.why.is_empty() {
            list(&mut text, "    ", "why", &self.why);
        }
        text += ")\n";
        text
    }

    /// Reads a plan's text. Only its form is checked here; see [`Plan::verify`].
    pub fn from_text(text: &str) -> Result<Plan, PlanError> {
        #[derive(serde::Deserialize)]
        struct Versioned {
            version: u32,
        }
        let syntax = |e: ron::error::SpannedError| PlanError::Syntax {
            line: e.span.start.line,
            column: e.span.start.col,
            message: e.code.to_string(),
        };
        match ron::from_str::<Versioned>(text).map_err(syntax)?.version {
            VERSION => ron::from_str(text).map_err(syntax),
            found => Err(PlanError::Version { found }),
        }
    }

    /// The plan's hash: SHA-256 of its canonical text, in hexadecimal.
    pub fn hash(&self) -> String {
        Sha256::digest(self.to_text()).iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

/// The line, from 1, on which item `index` of a section stands in a plan's text, if it is laid out
/// one item a line as `to_text` does.
pub fn line_of(text: &str, section: Section, index: usize) -> Option<usize> {
    let nth = if let Section::Thread(at) = section { at } else { 0 };
    let starts = |line: &&str| {
        line.trim_start().strip_prefix(section.key()).is_some_and(|rest| rest.trim_start().starts_with(':'))
    };
    let heads = text.lines().enumerate().filter(|(_, line)| starts(line));
    let (head, line) = heads.into_iter().nth(nth)?;
    if !line.trim_end().ends_with('[') {
        return Some(head + 1);
    }
    let items =
        text.lines().enumerate().skip(head + 1).take_while(|(_, line)| !line.trim_start().starts_with(']'));
    let mut items = items.filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with("//"));
    // What is about no item is about the list; a thread's own numbers stand above its steps.
    let own = if let Section::Thread(_) = section { head } else { head + 1 };
    items.nth(index).map_or(Some(own), |(at, _)| Some(at + 1))
}
