//! A tokeniser from a `tokenizer.json`, run by the `tokenizers` crate.
use super::bpe::bytes_of_letters;
use super::gguf::{TOKENS_MAX, blanks};
use super::spm::byte_of_name;
use super::vocab::{Kind, Vocab};
use super::{Engine, Tokenizer, TokenizerError, ends};
use std::sync::{Mutex, PoisonError};

/// What a folder says of its tokeniser outside `tokenizer.json`.
#[derive(Clone, Debug, Default)]
pub struct Roles {
    /// The token that begins a text, by name.
    pub bos: Option<String>,
    /// The token that ends a text, by name.
    pub eos: Option<String>,
    /// All tokens that end a generation.
    pub eos_ids: Vec<u32>,
    /// Whether the beginning and end go around a prompt, where the folder says so itself.
    pub add_bos: Option<bool>,
    pub add_eos: Option<bool>,
}

/// The crate's tokeniser; behind a lock, for whether it parses control tokens is its state.
#[derive(Debug)]
pub(super) struct Library(Mutex<tokenizers::Tokenizer>);

impl Library {
    pub(super) fn encode(&self, text: &str, control: bool) -> Result<Vec<u32>, TokenizerError> {
        let mut tokenizer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokenizer.set_encode_special_tokens(!control);
        Ok(tokenizer.encode_fast(text, false)?.get_ids().to_vec())
    }
}

impl Tokenizer {
    /// The tokeniser of a `tokenizer.json` and what stands beside it.
    pub fn from_json(json: &[u8], roles: &Roles) -> Result<Self, TokenizerError> {
        let mut library = tokenizers::Tokenizer::from_bytes(json)?;
        library.with_truncation(None)?.with_padding(None);
        let vocab = vocab(&library)?;
        let id = |name: &Option<String>| name.as_ref().and_then(|name| library.token_to_id(name));
        let (bos, eos) = (id(&roles.bos), id(&roles.eos));
        // What the post-processor puts around nothing is what the model wants around a text.
        let around = library.encode_fast("", true)?;
        let wants = |id: Option<u32>| id.is_some_and(|id| around.get_ids().contains(&id));
        Ok(Self {
            bos,
            ends: ends(&vocab, eos.into_iter().chain(roles.eos_ids.iter().copied())),
            add_bos: roles.add_bos.unwrap_or_else(|| wants(bos)),
            add_eos: roles.add_eos.unwrap_or_else(|| wants(eos) && eos != bos),
            engine: Engine::Library(Box::new(Library(Mutex::new(library)))),
            vocab,
        })
    }
}

/// The bytes of every token, for decoding one at a time.
fn vocab(library: &tokenizers::Tokenizer) -> Result<Vocab, TokenizerError> {
    let decoder =
        serde_json::to_string(&library.get_decoder()).map_err(|e| TokenizerError::Library(e.into()))?;
    let is_byte_level = decoder.contains("\"ByteLevel\"");
    let names = library.get_vocab(true);
    let count = names.values().max().map_or(0, |id| *id as usize + 1);
    if count > TOKENS_MAX {
        return Err(TokenizerError::TooLarge { tokens: count });
    }
    let mut by_id = vec![""; count];
    for (name, id) in &names {
        by_id[*id as usize] = name;
    }
    let added = library.get_added_tokens_decoder();
    let mut vocab = Vocab::with_capacity(count);
    let mut bytes = Vec::new();
    for (id, name) in by_id.into_iter().enumerate() {
        bytes.clear();
        let kind = match added.get(&(id as u32)) {
            Some(token) if token.special => Kind::Control,
            Some(_) => Kind::UserDefined,
            None => Kind::Normal,
        };
        match (kind, byte_of_name(name.as_bytes())) {
            (Kind::Normal, _) if is_byte_level => bytes_of_letters(name.as_bytes(), &mut bytes),
            (Kind::Normal, Some(byte)) => bytes.push(byte),
            (Kind::Normal, None) => blanks(name.as_bytes(), &mut bytes),
            _ => bytes.extend_from_slice(name.as_bytes()),
        }
        vocab.push(&bytes, kind)?;
    }
    Ok(vocab)
}
