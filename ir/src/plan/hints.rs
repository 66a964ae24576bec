//! Hints: what a person says of a plan before it is made. Which nodes go to which device, which are not divided,
//! with which layers stages begin, in which format weights are. Their text is RON:
//!
//! ```ron
//! (hints: [
//!     Place(nodes: "blk.{0..11}.ffn_*", device: "cpu:1"),
//!     Whole(nodes: "blk.*.attn_k"),
//!     Stage(stage: 1, first_layer: 12),
//!     Format(weights: "blk.*.ffn_down", format: "q8_0"),
//! ])
//! ```
use super::Pattern;
use crate::DType;
use crate::quant::Format;
use crate::topology::lines;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use std::fmt;

/// One thing that a person says of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Hint {
    /// These nodes are computed on that device, undivided.
    Place {
        /// Which, by their paths.
        nodes: Pattern,
        /// Where: a device of the first replica; other replicas do the same on theirs.
        device: String,
    },
    /// Each device of a group computes all of these nodes, instead of a part.
    Whole {
        /// Which, by their paths.
        nodes: Pattern,
    },
    /// A stage of a pipeline begins with that layer.
    Stage {
        /// Which, from 0.
        stage: u32,
        /// Its first layer, from 0.
        first_layer: u64,
    },
    /// These matrices are in that format, whatever the file has them in.
    Format {
        /// Which, by their names; a node's path means the weight of that name.
        weights: Pattern,
        /// The format: one of [`Hint::FORMATS`].
        #[serde(deserialize_with = "format")]
        format: DType,
    },
}

/// Why a text is no list of hints.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct HintsError {
    /// Where, from 1.
    pub line: usize,
    /// Where in the line, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// A file of hints.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    hints: Vec<Hint>,
}

/// Reads the name of a format.
fn format<'de, D: Deserializer<'de>>(text: D) -> Result<DType, D::Error> {
    Hint::format_of(&String::deserialize(text)?).map_err(D::Error::custom)
}

impl Hint {
    /// The formats that weights can be in.
    pub const FORMATS: [DType; Format::ALL.len() + 2] = formats();

    /// The format of that name; or what there is instead.
    pub fn format_of(name: &str) -> Result<DType, String> {
        let known = Hint::FORMATS.into_iter().find(|format| format.name() == name.trim());
        known.ok_or_else(|| {
            let all = Hint::FORMATS.map(DType::name).join(", ");
            format!("found format {name:?}, expected one of {all}")
        })
    }

    /// Reads a file's text: the hints, each with the line on which it begins, from 1.
    pub fn read(text: &str) -> Result<Vec<(usize, Hint)>, HintsError> {
        let syntax = |e: ron::error::SpannedError| HintsError {
            line: e.span.start.line,
            column: e.span.start.col,
            message: e.code.to_string(),
        };
        let File { hints } = ron::from_str(text).map_err(syntax)?;
        Ok(lines::of(text, "hints").into_iter().zip(hints).collect())
    }
}

impl fmt::Display for Hint {
    /// As it is written in a file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hint::Place { nodes, device } => {
                write!(f, "Place(nodes: {:?}, device: {device:?})", nodes.text())
            }
            Hint::Whole { nodes } => write!(f, "Whole(nodes: {:?})", nodes.text()),
            Hint::Stage { stage, first_layer } => {
                write!(f, "Stage(stage: {stage}, first_layer: {first_layer})")
            }
            Hint::Format { weights, format } => {
                write!(f, "Format(weights: {:?}, format: \"{format}\")", weights.text())
            }
        }
    }
}

/// Every format but that of activations.
const fn formats() -> [DType; Format::ALL.len() + 2] {
    let mut formats = [DType::F32; Format::ALL.len() + 2];
    (formats[1], formats[2]) = (DType::F16, DType::BF16);
    let (mut from, mut to) = (0, 3);
    while from < Format::ALL.len() {
        if !matches!(Format::ALL[from], Format::Q8A) {
            formats[to] = DType::Quant(Format::ALL[from]);
            to += 1;
        }
        from += 1;
    }
    formats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_read_with_the_lines_on_which_they_stand() {
        let text = "// by hand\n(hints: [\n  Place(nodes: \"blk.3.*\", device: \"cpu:1\"),\n\n  // (\n  \
                    Stage(stage: 1, first_layer: 12), Whole(\n nodes: \"a[\"),\n  \
                    Format(weights: \"*\", format: \"q8_0\")])";
        let read = Hint::read(text).unwrap();
        let written: Vec<String> = read.iter().map(|(line, hint)| format!("{line} {hint}")).collect();
        let expected = [
            "3 Place(nodes: \"blk.3.*\", device: \"cpu:1\")",
            "6 Stage(stage: 1, first_layer: 12)",
            "6 Whole(nodes: \"a[\")",
            "8 Format(weights: \"*\", format: \"q8_0\")",
        ];
        assert_eq!(written, expected);
        for (_, hint) in read {
            assert_eq!(ron::from_str(&ron::to_string(&hint).unwrap()), Ok(hint.clone()));
            assert_eq!(ron::from_str(&hint.to_string()), Ok(hint));
        }
    }

    #[test]
    fn what_is_no_list_of_hints_is_refused_where_it_is_none() {
        let refused = |text: &str| Hint::read(text).unwrap_err().to_string();
        for (text, expected) in [
            ("", "line 1, column 1: "),
            ("(hints: [\n  Put(nodes: \"a\"),\n])", "line 2, column 3: Unexpected variant named `Put`"),
            ("(hints: [\n  Whole(node: \"a\"),\n])", "line 2, column 9: Unexpected field named `node`"),
            ("(hints: [\n  Place(nodes: \"a\"),\n])", "line 2"),
            ("(hints: [\n  Stage(stage: -1, first_layer: 2),\n])", "line 2"),
            (
                "(hints: [\n\n Whole(nodes: \"blk.{3\"),\n])",
                "line 3, column 16: found { without } in \"blk.{3\"",
            ),
            (
                "(hints: [\n Format(weights: \"*\", format: \"q8\"),\n])",
                "line 2, column 32: found format \"q8\", expected one of f32, f16, bf16, q4_0, q4_1, q5_0, q5_1, q8_0, q2_k,",
            ),
            (
                "(hints: [\n Format(weights: \"*\", format: \"q8_a\"),\n])",
                "line 2, column 32: found format \"q8_a\"",
            ),
            ("(hints: [], more: 1)", "line 1, column 13: Unexpected field named `more`"),
        ] {
            let found = refused(text);
            assert!(found.starts_with(expected), "{text}: {found}");
        }
    }
}
