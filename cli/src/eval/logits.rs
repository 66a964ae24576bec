//! `heddle eval logits`: the logits behind every token of a prompt, as a safetensors file.
use crate::choices::{Compilation, Steps};
use crate::load::{self, Loaded};
use crate::prompt;
use anyhow::{Context, bail};
use clap::Args;
use compiler::tokenizer::SpecialTokens;
use runtime::Sequence;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Logits behind every token of a prompt
///
/// The file holds `ids`, i32 [T], and `logits`, f32 [T, V]. The prompt stands as it is, without a chat
/// template, behind the beginning of text that the model wants.
#[derive(Args)]
#[command(after_help = "\
Examples:
  heddle eval logits smollm2 --prompt 'The capital of France is' -o logits.safetensors")]
pub(super) struct Options {
    /// A bundle, a model file or folder, or a name as `heddle pull` takes it
    model: String,
    /// The prompt
    #[arg(long, short, value_name = "TEXT", conflicts_with = "file", required_unless_present = "file")]
    prompt: Option<OsString>,
    /// Read the prompt from a file
    #[arg(long, short, value_name = "PATH")]
    file: Option<PathBuf>,
    /// The file to write
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    compilation: Compilation,
}

pub(super) fn run(options: Options) -> anyhow::Result<()> {
    let bytes = match (&options.prompt, &options.file) {
        (None, Some(path)) => fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
        (prompt, _) => prompt.clone().unwrap_or_default().into_encoded_bytes(),
    };
    let text = prompt::text(bytes)?;
    let mut loaded = load::model(Some(&options.model), &options.compilation, Steps::EVALUATION, &|_| Ok(()))?;
    let ids = loaded.tokenizer.encode(&text, SpecialTokens::Parsed)?;
    let ids: Vec<i32> = prompt::begun(&loaded.tokenizer, ids).into_iter().map(|id| id as i32).collect();
    let context = loaded.session.plan().options.context as usize;
    if ids.len() > context {
        bail!(
            "the prompt has {} tokens, the context holds {context}: shorten it, or raise --context",
            ids.len()
        );
    }
    let mut partial = options.output.clone().into_os_string();
    partial.push(format!(".partial-{}", std::process::id()));
    let partial = PathBuf::from(partial);
    let written =
        write(&mut loaded, &ids, &partial).and_then(|()| Ok(fs::rename(&partial, &options.output)?));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written.with_context(|| format!("cannot write {}", options.output.display()))?;
    note!("{}: logits behind {} tokens", options.output.display(), ids.len());
    Ok(())
}

/// Writes the file as the logits come: together they can be larger than everything else.
fn write(loaded: &mut Loaded, ids: &[i32], path: &Path) -> anyhow::Result<()> {
    let session = &mut loaded.session;
    let mut out = BufWriter::new(File::create(path)?);
    let mut header = header(ids.len(), session.vocabulary());
    // The format wants its data aligned.
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for id in ids {
        out.write_all(&id.to_le_bytes())?;
    }
    super::tell_if_slow(session);
    let mut sequence = Sequence::new(session, 0);
    let mut written: io::Result<()> = Ok(());
    sequence.extend_all(session, ids, |_, row| {
        if written.is_ok() {
            written = row.iter().try_for_each(|logit| out.write_all(&logit.to_le_bytes()));
        }
    })?;
    written?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(())
}

fn header(tokens: usize, vocabulary: usize) -> String {
    let (ids, logits) = (4 * tokens, 4 * tokens * vocabulary);
    serde_json::json!({
        "ids": {"dtype": "I32", "shape": [tokens], "data_offsets": [0, ids]},
        "logits": {"dtype": "F32", "shape": [tokens, vocabulary], "data_offsets": [ids, ids + logits]},
    })
    .to_string()
}
