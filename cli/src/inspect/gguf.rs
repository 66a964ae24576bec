//! The keys and tensors of a GGUF file.
use super::Tensor;
use compiler::import::gguf::Gguf;
use std::collections::BTreeMap;
use std::path::Path;

type Found = (&'static str, BTreeMap<String, String>, Vec<Tensor>);

pub(super) fn read(file: &Path) -> anyhow::Result<Found> {
    let gguf = Gguf::open(file)?;
    let metadata = gguf.keys().map(|(key, value)| (key.to_string(), value)).collect();
    let tensors = gguf.tensors().iter().map(|(name, info)| Tensor {
        name: name.clone(),
        format: info.dtype.to_string(),
        shape: info.shape.clone(),
        bytes: info.byte_len(),
        offset: info.offset(),
    });
    Ok(("GGUF", metadata, tensors.collect()))
}
