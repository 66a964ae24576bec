//! `heddle rm`: removes a model from the cache, and what was compiled from it.
use crate::cache::Cache;
use crate::output;
use clap::Args;

/// Remove models that are kept, and what was compiled from them
#[derive(Args)]
#[command(after_help = "\
Examples:
  heddle rm gemma3-270m
  heddle rm hf:Qwen/Qwen3-0.6B-GGUF/Qwen3-0.6B-Q8_0.gguf")]
pub struct Options {
    /// Names as `heddle models` lists them
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

pub fn run(options: Options) -> anyhow::Result<()> {
    let cache = Cache::from_env()?;
    for name in &options.names {
        let bytes = cache.remove(name)?;
        note!("removed {name}, {}", output::bytes(bytes));
    }
    Ok(())
}
