//! `heddle tokenize`: the token ids of standard input.
use crate::cache::Cache;
use crate::output;
use anyhow::Context;
use clap::Args;
use compiler::import::Checkpoint;
use compiler::tokenizer::SpecialTokens;
use serde::Serialize;
use std::io::{self, Read};

/// Print the tokens that a model makes of standard input, which is taken byte for byte
#[derive(Args)]
#[command(after_help = "\
Examples:
  printf 'Why is the sky blue?' | heddle tokenize smollm2
  heddle tokenize gemma3-270m --special --json < prompt.txt | jq -c .ids

Names of control tokens that stand in the text, such as <|im_end|>, become those tokens.")]
pub struct Options {
    /// A model file or folder, or a name as `heddle pull` takes it [default: smollm2]
    model: Option<String>,
    /// Add the beginning and the end of text that the model wants
    #[arg(long)]
    special: bool,
    /// Print {"ids":[…]} instead of a token a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Tokens {
    ids: Vec<u32>,
}

pub fn run(options: Options) -> anyhow::Result<()> {
    let path = Cache::from_env()?.resolve(options.model.as_deref())?;
    let tokenizer = Checkpoint::open(&path)?.tokenizer()?;
    let mut text = Vec::new();
    io::stdin().lock().read_to_end(&mut text).context("cannot read standard input")?;
    let mut ids = tokenizer.encode_bytes(&text, SpecialTokens::Parsed)?;
    if options.special {
        ids = tokenizer.framed(ids);
    }
    if options.json {
        return output::write_json(&Tokens { ids });
    }
    let mut lines = String::new();
    for id in ids {
        lines += &format!("{id:>7}  {:?}\n", String::from_utf8_lossy(tokenizer.token_bytes(id)));
    }
    output::write(&lines)
}
