//! `heddle models`: lists the models that are kept.
use crate::cache::Cache;
use crate::output;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

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
        vec![row.name.clone(), output::bytes(row.bytes), row.sha256[..12.min(row.sha256.len())].into(), path]
    };
    output::write_table(&["NAME", " SIZE", "SHA256", "FILE"], &rows.iter().map(cells).collect::<Vec<_>>())
}
