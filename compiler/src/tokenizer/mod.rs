//! Text to tokens and back, as the model's publisher does it.
//!
//! Cutting text into words and everything that a `tokenizer.json` may ask for comes from the `tokenizers`
//! crate. Vocabularies and merges from GGUF go into tables of our own: they are built from the mapped file
//! in a tenth of the time and memory that maps of strings take, and every start pays for them.
mod bpe;
mod gguf;
mod json;
mod merge;
mod pre;
mod spm;
mod stream;
mod vocab;
mod whole;

pub(crate) use json::Roles;
pub use stream::StreamDecoder;

use bpe::Bpe;
use json::Library;
use spm::Spm;
use vocab::{Kind, Vocab};
use whole::{Fragment, Whole};

/// Why text has no tokens, or a file no tokeniser.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    #[error("the text is not UTF-8: bad byte at offset {offset}")]
    NotUtf8 { offset: usize },
    #[error("no token of the model covers byte 0x{byte:02x}, and it has no unknown token")]
    NoToken { byte: u8 },
    #[error("tokeniser model {found:?} is unknown; known are {known}")]
    UnknownModel { found: String, known: &'static str },
    #[error("pre-tokeniser {found:?} is unknown; known are {known}")]
    UnknownPreTokenizer { found: String, known: String },
    #[error("merge {index} is {found:?}, expected two tokens that make a third")]
    Merge { index: usize, found: String },
    #[error("found {tokens} tokens or more, which is beyond what a vocabulary holds")]
    TooLarge { tokens: usize },
    #[error("tokenizers: {0}")]
    Library(#[from] Box<dyn std::error::Error + Send + Sync>),
}

/// What becomes of control tokens' names where they stand in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialTokens {
    /// They are text like any other: nobody can type their way out of a turn.
    AsText,
    /// They become the tokens they name, as a rendered chat template needs it.
    Parsed,
}

/// A model's tokeniser.
#[derive(Debug)]
pub struct Tokenizer {
    vocab: Vocab,
    engine: Engine,
    bos: Option<u32>,
    /// Every token that ends a turn or a text; the first is the model's own end of text.
    ends: Vec<u32>,
    add_bos: bool,
    add_eos: bool,
}

#[derive(Debug)]
enum Engine {
    Bpe(Bpe, Whole),
    Spm(Spm, Whole),
    Library(Box<Library>),
}

/// Names of tokens that end a turn, whether or not a file says so: chat models end with these, and files
/// made from base models name only the end of text.
const ENDS: &[&str] = &[
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<EOT>",
];

impl Tokenizer {
    /// The ids of `text`, without any that the model wants in front or behind.
    pub fn encode(&self, text: &str, special: SpecialTokens) -> Result<Vec<u32>, TokenizerError> {
        let control = special == SpecialTokens::Parsed;
        let mut ids = Vec::new();
        match &self.engine {
            Engine::Library(library) => return library.encode(text, control),
            Engine::Bpe(bpe, whole) => {
                for fragment in whole.split(&self.vocab, text, control) {
                    match fragment {
                        Fragment::Token(id) => ids.push(id),
                        Fragment::Text(text) => bpe.encode(&self.vocab, text, &mut ids)?,
                    }
                }
            }
            Engine::Spm(spm, whole) => {
                for fragment in whole.split(&self.vocab, text, control) {
                    match fragment {
                        Fragment::Token(id) => ids.push(id),
                        Fragment::Text(text) => spm.encode(&self.vocab, text, &mut ids)?,
                    }
                }
            }
        }
        Ok(ids)
    }

    /// As `encode`, of bytes that should be UTF-8.
    pub fn encode_bytes(&self, text: &[u8], special: SpecialTokens) -> Result<Vec<u32>, TokenizerError> {
        let text = std::str::from_utf8(text)
            .map_err(|error| TokenizerError::NotUtf8 { offset: error.valid_up_to() })?;
        self.encode(text, special)
    }

    /// `ids` with the beginning and end of text that the model wants around them; a beginning that a chat
    /// template wrote already stays the only one.
    pub fn framed(&self, mut ids: Vec<u32>) -> Vec<u32> {
        if let Some(bos) = self.bos.filter(|bos| self.add_bos && ids.first() != Some(bos)) {
            ids.insert(0, bos);
        }
        if self.add_eos {
            ids.extend(self.ends.first());
        }
        ids
    }

    /// The bytes of a token, a control token's name included; none for an id beyond the vocabulary.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.vocab.bytes(id)
    }

    /// The bytes of `ids`, without control tokens. They may end within a character.
    pub fn decode(&self, ids: &[u32]) -> Vec<u8> {
        let text = ids.iter().filter(|id| !self.is_control(**id));
        text.flat_map(|id| self.token_bytes(*id)).copied().collect()
    }

    /// Whether a token steers the model and is no text.
    pub fn is_control(&self, id: u32) -> bool {
        self.vocab.kind(id) == Some(Kind::Control)
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.vocab.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// Every token that ends a turn or a text; the first is the one that the model names as its end.
    pub fn eos_ids(&self) -> &[u32] {
        &self.ends
    }

    /// Whether the model wants its beginning of text in front of a prompt.
    pub fn add_bos(&self) -> bool {
        self.add_bos
    }

    /// Whether the model wants its end of text behind a prompt.
    pub fn add_eos(&self) -> bool {
        self.add_eos
    }
}

/// The tokens that end a turn: those that the file names, then those that go by a known name.
fn ends(vocab: &Vocab, named: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut ends = Vec::new();
    let known = vocab.whole().map(|(id, _)| id).filter(|id| {
        let name = vocab.bytes(*id);
        ENDS.iter().any(|end| end.as_bytes() == name)
    });
    for id in named.into_iter().chain(known) {
        if (id as usize) < vocab.len() && !ends.contains(&id) {
            ends.push(id);
        }
    }
    ends
}
