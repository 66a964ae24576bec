//! A model of which only the config is there: its weights have shapes and one dtype, and no bytes.
use super::config::Json;
use super::safetensors::json;
use super::{Config, TensorInfo};
use crate::ImportError;
use ir::DType;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A `config.json` alone, as Hugging Face publishes it.
#[derive(Debug)]
pub(super) struct Outline {
    path: PathBuf,
    config: Map<String, Value>,
    dtype: DType,
}

impl Outline {
    /// Whether a path is one of a config.
    pub(super) fn is_at(path: &Path) -> bool {
        path.extension().is_some_and(|end| end == "json")
    }

    pub(super) fn open(path: &Path) -> Result<Self, ImportError> {
        let missing = || ImportError::Io { path: path.into(), cause: std::io::ErrorKind::NotFound.into() };
        let config = json(path)?.ok_or_else(missing)?;
        let stated = ["dtype", "torch_dtype"].into_iter().find_map(|key| Some((key, config.get(key)?)));
        let dtype = match stated {
            // What transformers takes for a config that says nothing.
            None => DType::F32,
            Some((key, found)) => dtype(found).ok_or_else(|| ImportError::Key {
                path: path.into(),
                key: key.into(),
                found: found.to_string().chars().take(80).collect(),
                expected: "bfloat16, float16 or float32".into(),
            })?,
        };
        Ok(Self { path: path.into(), config, dtype })
    }

    /// The config. What a checkpoint's tensors would say of it follows from the architecture.
    pub(super) fn config(&self) -> Result<Config, ImportError> {
        let json = Json::new(&self.path, &self.config)?;
        let mut names = vec![];
        if !json.is_tied()? {
            names.push("output.weight");
        }
        match json.architecture() {
            "qwen2" => names.extend(["blk.0.attn_q.bias", "blk.0.attn_k.bias", "blk.0.attn_v.bias"]),
            "qwen3" | "qwen3moe" | "gemma3" => names.push("blk.0.attn_q_norm.weight"),
            _ => {}
        }
        let known =
            |name: &str| (name.to_owned(), TensorInfo { dtype: self.dtype, shape: vec![], spans: vec![] });
        let tensors: BTreeMap<_, _> = names.into_iter().map(known).collect();
        let folder = self.path.parent().and_then(Path::file_name);
        let name = match self.path.file_stem() {
            Some(stem) if stem != "config" => Some(stem),
            _ => folder,
        };
        json.config(name.map(|name| name.to_string_lossy().into_owned()), &tensors)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Vectors are kept exact, as files have them or as a compile converts them.
    pub(super) fn dtype(&self, shape: &[u64]) -> DType {
        if shape.len() < 2 { DType::F32 } else { self.dtype }
    }

    pub(super) fn keys(&self) -> Vec<(String, String)> {
        self.config.iter().map(|(key, value)| (key.clone(), value.to_string())).collect()
    }
}

fn dtype(value: &Value) -> Option<DType> {
    match value.as_str()? {
        "bfloat16" => Some(DType::BF16),
        "float16" => Some(DType::F16),
        "float32" => Some(DType::F32),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::Checkpoint;
    use std::fs;

    fn open(text: &str) -> Result<Checkpoint, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.json");
        fs::write(&path, text).unwrap();
        Checkpoint::open(&path).map_err(|e| e.to_string())
    }

    const QWEN: &str = r#"{"model_type": "qwen2", "hidden_size": 64, "num_attention_heads": 2, "torch_dtype": "bfloat16",
        "num_hidden_layers": 1, "intermediate_size": 8, "vocab_size": 3}"#;

    #[test]
    fn a_config_alone_has_the_tensors_that_its_architecture_has() {
        let found = open(QWEN).unwrap();
        assert!(!found.has_weights() && found.config.qkv_bias && !found.config.qk_norm);
        assert!(!found.config.tied_embeddings);
        assert_eq!(found.config.name.as_deref(), Some("tiny"));
        assert_eq!(found.weight("blk.0.attn_q.weight", &[64, 64]).unwrap(), DType::BF16);
        assert_eq!(found.weight("blk.0.attn_norm.weight", &[64]).unwrap(), DType::F32);
        assert!(found.pieces("blk.0.attn_q.weight").is_err());
    }

    #[test]
    fn a_config_that_is_none_is_refused_with_the_key() {
        let refused = |text: &str| open(text).unwrap_err();
        assert!(refused("[").contains("tiny.json: "));
        assert!(
            refused(&QWEN.replace("bfloat16", "float8"))
                .contains("key `torch_dtype` is \"float8\", expected bfloat16")
        );
        assert!(refused("{}").contains("`model_type` is missing"));
    }
}
