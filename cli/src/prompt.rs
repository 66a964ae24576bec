//! From what a user says to the tokens that a model is given.
use anyhow::{Context, bail};
use clap::Args;
use compiler::chat::{ChatTemplate, Conversation, DateTime};
use compiler::import::Checkpoint;
use compiler::tokenizer::{SpecialTokens, Tokenizer};
use serde_json::Value;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

/// Where a prompt comes from.
#[derive(Args, Debug)]
pub(crate) struct Prompt {
    /// The prompt; without it and --file, standard input is read
    #[arg(long, short, value_name = "TEXT", conflicts_with = "file")]
    prompt: Option<OsString>,
    /// Read the prompt from a file
    #[arg(long, short, value_name = "PATH")]
    file: Option<PathBuf>,
}

impl Prompt {
    pub(crate) fn text(&self) -> anyhow::Result<String> {
        text(self.bytes()?)
    }

    fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        match (&self.prompt, &self.file) {
            (Some(prompt), _) => Ok(prompt.clone().into_encoded_bytes()),
            (None, Some(path)) => fs::read(path).with_context(|| format!("cannot read {}", path.display())),
            (None, None) => {
                let mut bytes = Vec::new();
                io::stdin().lock().read_to_end(&mut bytes).context("cannot read standard input")?;
                Ok(bytes)
            }
        }
    }
}

/// How a model is spoken to.
pub(crate) enum Prompter {
    /// By its chat template.
    Chat(Box<ChatTemplate>),
    /// With text that it continues: it has no template, or the user wants none.
    Raw,
}

impl Prompter {
    pub(crate) fn new(checkpoint: &Checkpoint, raw: bool) -> anyhow::Result<Prompter> {
        match checkpoint.chat_template.as_deref().filter(|_| !raw) {
            None => Ok(Prompter::Raw),
            Some(source) => Ok(Prompter::Chat(Box::new(ChatTemplate::new(source)?))),
        }
    }

    /// The tokens of a conversation, up to where the model is to go on. Without a template there is only
    /// one message, which stands as it is, behind the beginning of text that the model wants.
    pub(crate) fn tokens(&self, tokenizer: &Tokenizer, messages: &[Value]) -> anyhow::Result<Vec<u32>> {
        let name = |id: Option<u32>| {
            String::from_utf8_lossy(id.map_or(&[], |id| tokenizer.token_bytes(id))).into_owned()
        };
        match self {
            Prompter::Chat(template) => {
                let text = template.render(&Conversation {
                    messages,
                    tools: None,
                    add_generation_prompt: true,
                    bos: &name(tokenizer.bos()),
                    eos: &name(tokenizer.eos_ids().first().copied()),
                    now: DateTime::now(),
                })?;
                Ok(tokenizer.encode(&text, SpecialTokens::Parsed)?)
            }
            Prompter::Raw => {
                let [message] = messages else {
                    bail!("the model has no chat template: it takes one prompt, and no --system")
                };
                let text = message["content"].as_str().context("a message is text")?;
                let ids = tokenizer.encode(text, SpecialTokens::Parsed)?;
                Ok(begun(tokenizer, ids))
            }
        }
    }
}

/// `ids` behind the token that begins a text, where the model wants one and it is not there yet.
pub(crate) fn begun(tokenizer: &Tokenizer, mut ids: Vec<u32>) -> Vec<u32> {
    let bos = tokenizer.bos().filter(|bos| tokenizer.add_bos() && ids.first() != Some(bos));
    ids.splice(0..0, bos);
    ids
}

/// A prompt's bytes as text; none and no UTF-8 are refused.
pub(crate) fn text(bytes: Vec<u8>) -> anyhow::Result<String> {
    if bytes.is_empty() {
        bail!("the prompt is empty");
    }
    String::from_utf8(bytes).map_err(|error| {
        anyhow::anyhow!("the prompt is not UTF-8: bad byte at offset {}", error.utf8_error().valid_up_to())
    })
}
