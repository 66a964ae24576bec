//! `heddle models`: lists the models that are kept.
use crate::cache::Cache;
use crate::output;
use clap::Args;
use compiler::import::Checkpoint;
use compiler::import::gguf::Gguf;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// List the models that are kept on this machine
#[derive(Args)]
#[command(after_help = "\
Examples:
  heddle models
  heddle models --json | jq -r '.[].path'")]
pub struct Options {
    /// Print a JSON array instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    name: String,
    bytes: u64,
    /// None where the file is no model that we can read.
    architecture: Option<String>,
    path: PathBuf,
    sha256: String,
    source: String,
    licence: Option<String>,
    /// What was compiled from it into the cache.
    bundle_bytes: u64,
}

pub fn run(options: Options) -> anyhow::Result<()> {
    let cache = Cache::from_env()?;
    let rows: Vec<Row> = cache
        .list()?
        .into_iter()
        .map(|kept| Row {
            bytes: kept.bytes(),
            bundle_bytes: cache.path_of(&kept).canonicalize().map_or(0, |path| cache.bundle_bytes(&path)),
            architecture: architecture(&cache.path_of(&kept)),
            path: cache.path_of(&kept),
            sha256: kept.sha256(),
            name: kept.name,
            source: kept.source,
            licence: kept.licence,
        })
        .collect();
    if options.json {
        return output::write_json(&rows);
    }
    let own: u64 = rows.iter().map(|row| row.bundle_bytes).sum();
    let others = cache.all_bundle_bytes().saturating_sub(own);
    if others > 0 {
        note!("and {} compiled from models elsewhere", output::bytes(others));
    }
    if rows.is_empty() {
        note!("no model is kept yet: `heddle pull smollm2` fetches one");
        return Ok(());
    }
    let cells = |row: &Row| {
        let path = row.path.display().to_string();
        let sha256 = row.sha256.chars().take(12).collect();
        let architecture = row.architecture.clone().unwrap_or_else(|| "unknown".into());
        let sizes = [row.bytes, row.bundle_bytes].map(output::bytes);
        [vec![row.name.clone()], sizes.to_vec(), vec![architecture, sha256, path]].concat()
    };
    output::write_table(
        &["NAME", " SIZE", " COMPILED", "ARCHITECTURE", "SHA256", "FILE"],
        &rows.iter().map(cells).collect::<Vec<_>>(),
    )
}

/// What the file calls its architecture, be it one that we know or not.
fn architecture(path: &Path) -> Option<String> {
    match Checkpoint::open(path) {
        Ok(checkpoint) => Some(checkpoint.config.architecture),
        Err(_) => Gguf::open(path).ok()?.string("general.architecture").ok()?.map(String::from),
    }
}
