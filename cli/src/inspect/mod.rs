//! `heddle inspect`: what is in a model file, without reading its weights, or in what was compiled from one.
mod compiled;
mod gguf;
mod plan;
mod safetensors;

pub use compiled::summary;
pub(crate) use plan::{layers, memory_table, peak_bytes};

use crate::cache::Cache;
use crate::output;
use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Show what is in a file: metadata, every tensor with its type, shape, bytes and offset, and sums
#[derive(Args)]
#[command(after_help = "\
Examples:
  heddle inspect smollm2
  heddle inspect model.safetensors
  heddle inspect smollm2.heddle
  heddle inspect smollm2.heddle/graphs/00-import.ir
  heddle inspect model.gguf --json | jq '.[0].totals'")]
pub struct Options {
    /// A GGUF or safetensors file, a folder of them, a name as `heddle pull` takes it; or a bundle, a plan, a
    /// graph's text
    file: String,
    /// Print a JSON array of files instead of tables; metadata in full
    #[arg(long)]
    json: bool,
}

/// What one file holds.
#[derive(Serialize)]
struct Contents {
    file: PathBuf,
    format: &'static str,
    bytes: u64,
    metadata: BTreeMap<String, String>,
    /// In the order of their bytes in the file.
    tensors: Vec<Tensor>,
    totals: Vec<Total>,
}

#[derive(Serialize)]
struct Tensor {
    name: String,
    #[serde(rename = "type")]
    format: String,
    /// Outermost axis first.
    shape: Vec<u64>,
    bytes: u64,
    offset: u64,
}

/// What the tensors of one type come to.
#[derive(Serialize)]
struct Total {
    #[serde(rename = "type")]
    format: String,
    tensors: usize,
    elements: u64,
    bytes: u64,
}

pub fn run(options: Options) -> anyhow::Result<()> {
    let path = Cache::from_env()?.resolve(Some(&options.file))?;
    if let Some(text) = compiled::read(&path)? {
        return compiled::print(&text, options.json);
    }
    let contents = files(&path)?.iter().map(|file| read(file)).collect::<anyhow::Result<Vec<_>>>()?;
    if options.json {
        return output::write_json(&contents);
    }
    for contents in &contents {
        print(contents)?;
    }
    Ok(())
}

/// The file, or those in the folder that hold weights.
fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in path.read_dir().with_context(|| format!("cannot list {}", path.display()))? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "safetensors" || extension == "gguf") {
            files.push(file);
        }
    }
    if files.is_empty() {
        bail!("{} holds neither GGUF nor safetensors", path.display());
    }
    files.sort();
    Ok(files)
}

fn read(file: &Path) -> anyhow::Result<Contents> {
    let fault = || format!("cannot read {}", file.display());
    let mut magic = [0; 9];
    let mut start = File::open(file).with_context(fault)?;
    let bytes = start.metadata().with_context(fault)?.len();
    let length = start.read(&mut magic).with_context(fault)?;
    let (format, metadata, mut tensors) = match &magic[..length] {
        [b'G', b'G', b'U', b'F', ..] => gguf::read(file)?,
        // Eight bytes of length, then JSON.
        [_, _, _, _, _, _, _, _, b'{'] => safetensors::read(file)?,
        other => bail!(
            "{} begins with \"{}\", expected a GGUF or safetensors file",
            file.display(),
            other.escape_ascii()
        ),
    };
    tensors.sort_by(|a, b| (a.offset, &a.name).cmp(&(b.offset, &b.name)));
    let totals = totals(&tensors);
    Ok(Contents { file: file.to_path_buf(), format, bytes, metadata, tensors, totals })
}

fn totals(tensors: &[Tensor]) -> Vec<Total> {
    let mut totals: Vec<Total> = Vec::new();
    for tensor in tensors {
        let elements = tensor.shape.iter().product::<u64>();
        match totals.iter_mut().find(|total| total.format == tensor.format) {
            Some(total) => {
                total.tensors += 1;
                total.elements = total.elements.saturating_add(elements);
                total.bytes += tensor.bytes;
            }
            None => {
                totals.push(Total {
                    format: tensor.format.clone(),
                    tensors: 1,
                    elements,
                    bytes: tensor.bytes,
                });
            }
        }
    }
    totals.sort_by_key(|total| std::cmp::Reverse(total.bytes));
    totals
}

fn print(contents: &Contents) -> anyhow::Result<()> {
    let elements = contents.totals.iter().fold(0_u64, |sum, total| sum.saturating_add(total.elements));
    output::write(&format!(
        "{}: {}, {}, {} tensors, {elements} parameters\n\nmetadata\n",
        contents.file.display(),
        contents.format,
        output::bytes(contents.bytes),
        contents.tensors.len(),
    ))?;
    let width = contents.metadata.keys().map(|key| key.chars().count()).max().unwrap_or(0);
    for (key, value) in &contents.metadata {
        output::write(&format!("  {key:width$}  {}\n", in_short(value)))?;
    }
    output::write("\n")?;
    let row = |t: &Tensor| {
        vec![
            t.name.clone(),
            t.format.clone(),
            format!("{:?}", t.shape),
            t.bytes.to_string(),
            t.offset.to_string(),
        ]
    };
    let rows: Vec<_> = contents.tensors.iter().map(row).collect();
    output::write_table(&["TENSOR", "TYPE", "SHAPE", " BYTES", " OFFSET"], &rows)?;
    output::write("\n")?;
    let row = |t: &Total| {
        vec![t.format.clone(), t.tensors.to_string(), t.elements.to_string(), t.bytes.to_string()]
    };
    let rows: Vec<_> = contents.totals.iter().map(row).collect();
    output::write_table(&["TYPE", " TENSORS", " PARAMETERS", " BYTES"], &rows)
}

/// A value on one line of a terminal; a chat template is a page.
fn in_short(value: &str) -> String {
    const WIDTH: usize = 80;
    let line: String = value.chars().take(WIDTH).map(|c| if c.is_control() { ' ' } else { c }).collect();
    match value.chars().nth(WIDTH) {
        Some(_) => format!("{line}… ({} bytes)", value.len()),
        None => line,
    }
}
