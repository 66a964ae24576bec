//! The topology's text form: RON, one item a line, in an order and spelling that are always the same.
use super::{Device, Topology, TopologyFault, VERSION};
use serde::Serialize;
use std::fmt::Write as _;

/// Why a text is no topology.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// It is not RON of a topology's form.
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
    #[error("the topology is of version {found}, this heddle reads version {VERSION}: calibrate again")]
    Version {
        /// The version it states.
        found: u32,
    },
    /// It says what cannot be.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Unsound(Vec<TopologyFault>),
}

impl Topology {
    /// The canonical text.
    pub fn to_text(&self) -> String {
        let mut text = format!("(\n    version: {},\n    devices: [\n", self.version);
        for Device { name, kind, model, kernels, memory_bytes, threads, teams } in &self.devices {
            let [name, model, kernels] = [name, model, kernels].map(ron);
            let kind = ron(kind);
            let _ = write!(text, "        (name: {name}, kind: {kind}, model: {model}, kernels: {kernels}, ");
            let _ = writeln!(text, "memory_bytes: {memory_bytes}, threads: {threads}, teams: [");
            lines(&mut text, "            ", teams);
            text += "        ]),\n";
        }
        text += "    ],\n    links: [\n";
        lines(&mut text, "        ", &self.links);
        text += "    ],\n)\n";
        text
    }

    /// Reads a topology's text, and checks that what it says can be.
    pub fn from_text(text: &str) -> Result<Topology, TopologyError> {
        #[derive(serde::Deserialize)]
        struct Versioned {
            version: u32,
        }
        let syntax = |e: ron::error::SpannedError| TopologyError::Syntax {
            line: e.span.start.line,
            column: e.span.start.col,
            message: e.code.to_string(),
        };
        let topology: Topology = match ron::from_str::<Versioned>(text).map_err(syntax)?.version {
            VERSION => ron::from_str(text).map_err(syntax)?,
            found => return Err(TopologyError::Version { found }),
        };
        match topology.verify() {
            faults if faults.is_empty() => Ok(topology),
            faults => Err(TopologyError::Unsound(faults)),
        }
    }
}

fn lines<T: Serialize>(text: &mut String, indent: &str, items: &[T]) {
    for item in items {
        let _ = writeln!(text, "{indent}{},", ron(item));
    }
}

fn ron<T: Serialize>(value: &T) -> String {
    ron::to_string(value).expect("a topology is plain data")
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn text_and_topology_are_inverse() {
        let topology = sample();
        let text = topology.to_text();
        assert_eq!(Topology::from_text(&text).as_ref(), Ok(&topology), "{text}");
        assert_eq!(text.lines().filter(|line| line.contains("launch_ns")).count(), 3, "{text}");
        let bare = Topology { links: vec![], ..topology };
        assert_eq!(Topology::from_text(&bare.to_text()), Ok(bare));
    }

    #[test]
    fn what_is_no_topology_is_refused_where_it_is_none() {
        let text = sample().to_text();
        let refused = |from: &str, to: &str| {
            assert!(text.contains(from), "{from} is in {text}");
            Topology::from_text(&text.replacen(from, to, 1)).unwrap_err().to_string()
        };
        for (from, to, expected) in [
            ("version: 1", "version: 7", "is of version 7, this heddle reads version 1"),
            ("version: 1", "version: -1", "line 2"),
            ("kind: cpu", "kind: toaster", "line 4"),
            ("threads: 4, ", "threads: 4, mood: 3, ", "line 4"),
            ("launch_ns:10", "launch_ns:1e3", "line 5"),
            ("links: [", "links: [[", "line 13"),
        ] {
            let found = refused(from, to);
            assert!(found.contains(expected), "{to}: {found}");
        }
    }

    #[test]
    fn a_text_with_any_character_gone_is_refused_or_another_topology() {
        let topology = sample();
        let text = topology.to_text();
        for at in 0..text.len() {
            let cut = format!("{}{}", &text[..at], &text[at + 1..]);
            let end = Topology::from_text(&text[..at]);
            assert!(end.is_err() || text[at..].trim().is_empty(), "{at}");
            if let Ok(read) = Topology::from_text(&cut) {
                assert!(read != topology || text[at..].starts_with([' ', '\n', ',']), "{cut}");
                assert_eq!(Topology::from_text(&read.to_text()), Ok(read));
            }
        }
    }
}
