//! How a plan's numbers compare with the model's.
use super::DocumentError;
use super::lanes::json;
use serde::{Deserialize, Deserializer};
use std::collections::HashMap;
use std::path::Path;

/// What `heddle verify --numerics --json` says.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Numbers {
    /// Tokens of the prompt, in one step.
    pub tokens: u64,
    /// Values that were compared.
    pub compared: u64,
    /// An error above this must come of the inputs' errors.
    pub jump: f64,
    /// No error may be above this.
    pub drift: f64,
    /// The greatest error of a logit.
    pub logits: Option<f64>,
    /// The worst value of each layer, in order of the first step.
    pub layers: Vec<WorstOf>,
    /// Every value that was compared, in order of the steps.
    #[serde(default)]
    pub nodes: Vec<ErrorOf>,
    /// The first value beyond tolerance; none where the plan means what the model means.
    pub first: Option<Offender>,
}

/// The error of one value.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ErrorOf {
    /// The path of the node that has it; the ranks of a tensor-parallel plan have nodes of one path.
    pub node: String,
    /// As of [`WorstOf`].
    #[serde(deserialize_with = "or_infinite")]
    pub error: f64,
}

/// The worst value of a layer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct WorstOf {
    /// `blk.3`, or the first word of a path outside layers.
    pub name: String,
    /// Its greatest error, relative to the greatest magnitude of its row; infinite where it is no number.
    #[serde(deserialize_with = "or_infinite")]
    pub error: f64,
    /// The node that has it, by its path.
    pub node: String,
}

/// A value beyond tolerance.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Offender {
    /// The node's path.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// The device that computes it.
    pub device: String,
    /// Which of the device's steps, from 0.
    pub step: u32,
    /// The kernel's name.
    pub kernel: String,
    /// Its error; infinite where it is no number.
    #[serde(deserialize_with = "or_infinite")]
    pub error: f64,
    /// Where in the value the error is greatest.
    pub at: Vec<u64>,
    /// What is there.
    pub found: Option<f32>,
    /// What the reference has there.
    pub expected: Option<f32>,
    /// The last pass that changed the node.
    pub made_by: String,
}

/// JSON has no infinity: an error that is none is written as nothing.
fn or_infinite<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::INFINITY))
}

impl Numbers {
    /// Every error that is known, by path.
    fn errors(&self) -> impl Iterator<Item = (&str, f64)> {
        let worst = self.layers.iter().map(|worst| (worst.node.as_str(), worst.error));
        self.nodes.iter().map(|of| (of.node.as_str(), of.error)).chain(worst)
    }

    /// The greatest error of the values of a path.
    pub fn at(&self, path: &str) -> Option<f64> {
        self.errors().filter(|(of, _)| *of == path).map(|(_, error)| error).reduce(f64::max)
    }

    /// The same of every path.
    pub fn by_path(&self) -> HashMap<&str, f64> {
        let mut by_path = HashMap::new();
        for (path, error) in self.errors() {
            by_path.entry(path).and_modify(|most: &mut f64| *most = most.max(error)).or_insert(error);
        }
        by_path
    }

    /// The error of the worst value of a layer.
    pub fn of(&self, layer: &str) -> Option<&WorstOf> {
        self.layers.iter().find(|worst| worst.name == layer)
    }
}

/// Reads what `heddle verify --numerics --json` wrote.
pub(super) fn read(path: &Path, text: &str) -> Result<Numbers, DocumentError> {
    json(path, text, "answer of `heddle verify --numerics --json`")
}
