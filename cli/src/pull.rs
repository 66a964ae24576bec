//! `heddle pull`: brings a model into the cache.
use crate::cache::{Cache, Pulled, Source, local::Way};
use crate::output;
use clap::Args;

/// Fetch a model, check it, and keep it; prints where it is kept
#[derive(Args)]
#[command(after_help = "\
Models:
  smollm2              SmolLM2-135M-Instruct, 98 MB, Apache-2.0
  gemma3-270m          Gemma 3 270M, 253 MB, Gemma Terms of Use
  hf:ORG/REPO          the one GGUF file, or the safetensors folder, of a Hugging Face repository
  hf:ORG/REPO/FILE     one file of it
  PATH                 a GGUF file, or a folder with config.json and safetensors

Examples:
  heddle pull smollm2
  heddle pull hf:Qwen/Qwen3-0.6B-GGUF/Qwen3-0.6B-Q8_0.gguf
  heddle pull ./my-model.gguf

Models are kept in $HEDDLE_CACHE, else $XDG_CACHE_HOME/heddle, else ~/.cache/heddle.
HF_TOKEN is shown to the hub, HF_ENDPOINT replaces its address.")]
pub struct Options {
    /// What to fetch
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
}

pub fn run(options: Options) -> anyhow::Result<()> {
    let cache = Cache::from_env()?;
    for model in &options.models {
        let (kept, pulled) = cache.pull(&Source::parse(model)?)?;
        let how = match pulled {
            Pulled::Fetched => "fetched and checked",
            Pulled::AlreadyKept => "already kept, checked",
            Pulled::Local(Way::HardLink) => "kept by hard link",
            Pulled::Local(Way::Copy) => "kept as a copy",
        };
        note!("{}: {how}, {}, sha256 {}", kept.name, output::bytes(kept.bytes()), kept.sha256());
        output::write(&format!("{}\n", cache.path_of(&kept).display()))?;
    }
    Ok(())
}
