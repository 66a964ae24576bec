//! The files under `tests/fixtures`.
use safetensors::{Dtype, SafeTensors};
use std::path::{Path, PathBuf};

/// A file or folder of the fixtures.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// A published model by the name that `heddle pull` has for it: fetched on first use and kept, as a user's is.
pub fn model(name: &str) -> PathBuf {
    let cache = cli::cache::Cache::from_env();
    cache.and_then(|cache| cache.resolve(Some(name))).unwrap_or_else(|e| panic!("{name}: {e:#}"))
}

/// What transformers says of a tiny model; `fixtures/tiny/make.py` says what is in it.
pub struct Reference {
    /// The prompt.
    pub ids: Vec<u32>,
    /// After every token of the prompt, row by row.
    pub logits: Vec<f32>,
    /// The greedy continuation.
    pub greedy: Vec<u32>,
}

impl Reference {
    /// Reads one of the reference files.
    pub fn read(name: &str) -> Reference {
        let bytes = std::fs::read(path(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let tensors = SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        let words = |tensor: &str, dtype: Dtype| -> Vec<[u8; 4]> {
            let tensor = tensors.tensor(tensor).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(tensor.dtype(), dtype, "{name}");
            tensor.data().as_chunks::<4>().0.to_vec()
        };
        let ids = |tensor| words(tensor, Dtype::I32).into_iter().map(u32::from_le_bytes).collect();
        let logits = words("logits", Dtype::F32).into_iter().map(f32::from_le_bytes).collect();
        Reference { ids: ids("ids"), logits, greedy: ids("greedy") }
    }

    /// How many tokens the model knows.
    pub fn vocabulary(&self) -> usize {
        self.logits.len() / self.ids.len()
    }
}
