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
}

pub fn run(options: Options) -> anyhow::Result<()> {
    let cache = Cache::from_env()?;
    let rows: Vec<Row> = cache
        .list()?
        .into_iter()
        .map(|kept| Row {
            bytes: kept.bytes(),
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
    if rows.is_empty() {
        eprintln!("no model is kept yet: `heddle pull smollm2` fetches one");
        return Ok(());
    }
    let cells = |row: &Row| {
        let path = row.path.display().to_string();
        let sha256 = row.sha256.chars().take(12).collect();
        let architecture = row.architecture.clone().unwrap_or_else(|| "unknown".into());
        vec![row.name.clone(), output::bytes(row.bytes), architecture, sha256, path]
    };
    output::write_table(
        &["NAME", " SIZE", "ARCHITECTURE", "SHA256", "FILE"],
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
