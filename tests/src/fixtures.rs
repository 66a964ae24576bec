//! The files under `tests/fixtures`.
use safetensors::{Dtype, SafeTensorError, SafeTensors};
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
        let arrays = Arrays::read(name);
        let ids = |of| arrays.ints(of).into_iter().map(|id| id as u32).collect();
        Reference { ids: ids("ids"), logits: arrays.floats("logits"), greedy: ids("greedy") }
    }

    /// How many tokens the model knows.
    pub fn vocabulary(&self) -> usize {
        self.logits.len() / self.ids.len()
    }
}

/// The arrays of a safetensors file among the fixtures, by name.
pub struct Arrays {
    name: String,
    bytes: Vec<u8>,
}

impl Arrays {
    /// Reads the file.
    pub fn read(name: &str) -> Arrays {
        let bytes = std::fs::read(path(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        Arrays { name: name.to_owned(), bytes }
    }

    /// An array of i32.
    pub fn ints(&self, array: &str) -> Vec<i32> {
        self.words(array, Dtype::I32).into_iter().map(i32::from_le_bytes).collect()
    }

    /// An array of f32.
    pub fn floats(&self, array: &str) -> Vec<f32> {
        self.words(array, Dtype::F32).into_iter().map(f32::from_le_bytes).collect()
    }

    fn words(&self, array: &str, dtype: Dtype) -> Vec<[u8; 4]> {
        let fail = |e: SafeTensorError| -> ! { panic!("{}: {array}: {e}", self.name) };
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap_or_else(|e| fail(e));
        let tensor = tensors.tensor(array).unwrap_or_else(|e| fail(e));
        assert_eq!(tensor.dtype(), dtype, "{}: {array}", self.name);
        tensor.data().as_chunks::<4>().0.to_vec()
    }
}
