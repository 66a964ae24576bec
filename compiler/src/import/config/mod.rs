//! The config of a model under one set of names, whichever file it came from.
mod check;
mod gguf;
mod json;
mod keys;
mod rope;

pub(super) use json::Json;
pub use rope::{Pairing, Rope, RopeScaling};

use crate::ImportError;
use std::path::Path;

/// What distinguishes one model from another of its architecture, and what an architecture file needs to
/// know of how its weights are stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The architecture as GGUF names it: `llama` for Mistral and Mixtral too.
    pub architecture: String,
    /// What the publisher calls the model, where the file says it.
    pub name: Option<String>,
    pub layers: u64,
    pub hidden: u64,
    pub heads: u64,
    pub kv_heads: u64,
    pub head_dim: u64,
    /// The width of the MLP; where there are experts, each has its own.
    pub ffn: u64,
    /// Set where the MLP of every layer is a mixture of experts.
    pub experts: Option<Experts>,
    pub vocab: u64,
    /// Tokens that the model was made for.
    pub context_length: u64,
    pub rms_eps: f32,
    /// The rotary embedding of layers that attend to everything before them.
    pub rope: Rope,
    /// Set where some layers attend to a window only.
    pub window: Option<Window>,
    /// What embeddings are multiplied by.
    pub embedding_scale: f32,
    /// What a query's product with a key is multiplied by.
    pub attention_scale: f32,
    /// The output matrix is the embedding.
    pub tied_embeddings: bool,
    /// Queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// Queries and keys are normalised head by head.
    pub qk_norm: bool,
    pub activation: Activation,
    /// What to add to the weights of norms as stored: GGUF has Gemma's with the 1 added, Hugging Face without.
    pub norm_weight_offset: f32,
    pub attention_softcap: Option<f32>,
    pub final_softcap: Option<f32>,
}

/// Layers that attend to the last few tokens only.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// How many tokens are attended to, the token itself included.
    pub tokens: u64,
    /// Which layers have the window.
    pub local: Vec<bool>,
    /// The rotary embedding of those layers.
    pub rope: Rope,
}

/// The experts of a layer, of which a token goes to some.
#[derive(Clone, Debug, PartialEq)]
pub struct Experts {
    pub count: u64,
    /// How many a token goes to.
    pub used: u64,
    /// The width of each one's MLP.
    pub ffn: u64,
    /// Whether the weights of those that a token goes to add up to 1; else those of all would.
    pub normalise: bool,
}

/// What the gate of an MLP goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    Silu,
    GeluTanh,
}

impl Config {
    /// How many tokens a layer attends to, if not all; the token itself included.
    pub fn window_of(&self, layer: u64) -> Option<u64> {
        self.local(layer).map(|window| window.tokens)
    }

    /// The rotary embedding of a layer.
    pub fn rope_of(&self, layer: u64) -> &Rope {
        self.local(layer).map_or(&self.rope, |window| &window.rope)
    }

    fn local(&self, layer: u64) -> Option<&Window> {
        let is_local = |window: &&Window| window.local.get(layer as usize).copied().unwrap_or(false);
        self.window.as_ref().filter(is_local)
    }
}

/// Layers beyond this many are absurd.
const LAYERS_MAX: u64 = 1 << 12;

/// What is the same for all models of an architecture.
struct Family {
    /// As GGUF names it.
    name: &'static str,
    /// Names of `model_type` in a config.json.
    model_types: &'static [&'static str],
    /// How GGUF has the rows of queries and keys ordered; Hugging Face has halves everywhere.
    gguf_pairing: Pairing,
}

const FAMILIES: &[Family] = &[
    Family { name: "llama", model_types: &["llama", "mistral", "mixtral"], gguf_pairing: Pairing::Adjacent },
    Family { name: "qwen2", model_types: &["qwen2"], gguf_pairing: Pairing::Halves },
    Family { name: "qwen3", model_types: &["qwen3"], gguf_pairing: Pairing::Halves },
    Family { name: "qwen3moe", model_types: &["qwen3_moe"], gguf_pairing: Pairing::Halves },
    Family { name: GEMMA3, model_types: &["gemma3", "gemma3_text"], gguf_pairing: Pairing::Halves },
];

const GEMMA3: &str = "gemma3";
/// Every sixth layer of Gemma 3 attends to everything, the others to a window.
const GEMMA3_PATTERN: u64 = 6;
const GEMMA3_LOCAL_THETA: f32 = 10_000.0;

impl Family {
    /// The architecture for which `is_named` holds; `found` is for the error.
    fn find(
        path: &Path,
        found: &str,
        is_named: impl Fn(&Family) -> bool,
    ) -> Result<&'static Family, ImportError> {
        FAMILIES.iter().find(|family| is_named(family)).ok_or_else(|| {
            let names = |family: &Family| [&[family.name], family.model_types].concat();
            let mut known: Vec<_> = FAMILIES.iter().flat_map(names).collect();
            known.dedup();
            ImportError::UnknownArchitecture {
                path: path.into(),
                found: found.into(),
                known: known.join(", "),
            }
        })
    }
}

/// Which layers have a window when every `period`-th has none.
fn local_layers(layers: u64, period: u64) -> Vec<bool> {
    (1..=layers.min(LAYERS_MAX)).map(|layer| period == 0 || layer % period != 0).collect()
}
