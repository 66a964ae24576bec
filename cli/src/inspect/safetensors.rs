//! The header of a safetensors file, as it stands: names and types are the publisher's, known to us or not.
use super::Tensor;
use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The format's own bound on its header.
const HEADER_BYTES_MAX: u64 = 100_000_000;

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

type Found = (&'static str, BTreeMap<String, String>, Vec<Tensor>);

pub(super) fn read(file: &Path) -> anyhow::Result<Found> {
    parse(file).with_context(|| format!("{} is no safetensors file", file.display()))
}

fn parse(file: &Path) -> anyhow::Result<Found> {
    let mut bytes = File::open(file)?;
    let size = bytes.metadata()?.len();
    let mut length = [0; 8];
    bytes.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    let data = length.saturating_add(8);
    if length > HEADER_BYTES_MAX || data > size {
        bail!("found a header of {length} bytes in a file of {size}");
    }
    let mut header = vec![0; length as usize];
    bytes.read_exact(&mut header)?;
    let entries: BTreeMap<String, Value> =
        serde_json::from_slice(&header).context("its header is damaged")?;
    let (mut metadata, mut tensors) = (BTreeMap::new(), Vec::new());
    for (name, entry) in entries {
        if name == "__metadata__" {
            metadata = serde_json::from_value(entry).context("its metadata is damaged")?;
            continue;
        }
        let entry: Entry =
            serde_json::from_value(entry).with_context(|| format!("tensor {name} is damaged"))?;
        let [start, end] = entry.data_offsets;
        if start > end || end > size - data {
            bail!("tensor {name} lies from {start} to {end}, expected an end within {} bytes", size - data);
        }
        if entry.shape.iter().try_fold(1_u64, |product, axis| product.checked_mul(*axis)).is_none() {
            bail!("tensor {name} has shape {:?}, which is beyond counting", entry.shape);
        }
        tensors.push(Tensor {
            name,
            format: entry.dtype.to_lowercase(),
            shape: entry.shape,
            bytes: end - start,
            offset: data + start,
        });
    }
    Ok(("safetensors", metadata, tensors))
}
