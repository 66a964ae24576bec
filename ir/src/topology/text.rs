//! The topology's text form: RON, one item a line, in an order and spelling that are always the same.
use super::{Device, Team, Topology, TopologyFault, VERSION};
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
    #[error(
        "the topology is of version {found}, this heddle reads version {VERSION}: calibrate again, or write it in the form of today"
    )]
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
        for device in &self.devices {
            text += &device_text(device);
        }
        let _ = writeln!(text, "    ],\n    switches: {},\n    links: [", ron(&self.switches));
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
            message: match e.code {
                ron::Error::IntegerOutOfBounds => {
                    "found a number below 0 or too large, expected one from 0".into()
                }
                code => code.to_string(),
            },
        };
        let topology: Topology = match ron::from_str::<Versioned>(text).map_err(syntax)?.version {
            VERSION => ron::from_str(text).map_err(syntax)?,
            found => return Err(TopologyError::Version { found }),
        };
        match topology.faults(text) {
            faults if faults.is_empty() => Ok(topology),
            faults => Err(TopologyError::Unsound(faults)),
        }
    }
}

fn device_text(device: &Device) -> String {
    let Device { name, kind, model, kernels, memory_bytes, driver, threads, teams } = device;
    let [name, model, kernels] = [name, model, kernels].map(ron);
    let mut text =
        format!("        (name: {name}, kind: {}, model: {model}, kernels: {kernels}, ", ron(kind));
    let driver = if driver.is_none() { String::new() } else { format!(" driver: {},", ron(driver)) };
    let _ = writeln!(text, "memory_bytes: {memory_bytes},{driver} threads: {threads}, teams: [");
    for team in teams {
        let Team { threads, launch_ns, operations, reads, rates } = team;
        let (operations, reads) = (ron(operations), ron(reads));
        let _ = write!(
            text,
            "            (threads: {threads}, launch_ns: {launch_ns}, operations: {operations}, "
        );
        let _ = write!(text, "reads: {reads}");
        if !rates.is_empty() {
            text += ", rates: [\n";
            lines(&mut text, "                ", rates);
            text += "            ]";
        }
        text += "),\n";
    }
    text + "        ]),\n"
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
            ("version: 2", "version: 7", "is of version 7, this heddle reads version 2"),
            ("version: 2", "version: -1", "line 2"),
            ("kind: cpu", "kind: toaster", "line 4"),
            ("threads: 4, ", "threads: 4, mood: 3, ", "line 4"),
            ("launch_ns: 10", "launch_ns: 1e3", "line 5"),
            ("latency_ns:150", "latency_ns:-150", "line 18, column 46: found a number below 0"),
            (
                "8000000000,wake",
                "0,wake",
                "line 18: link from \"cpu:0\" to \"cpu:0\": found 0 bytes_per_second",
            ),
            (
                "to:\"cpu:0\"",
                "to:\"cpu:7\"",
                "line 18: link from \"cpu:0\" to \"cpu:7\": found the end \"cpu:7\"",
            ),
            ("links: [", "links: [[", "line 20"),
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
