//! A tokeniser from the metadata of a GGUF file.
use super::bpe::{Bpe, bytes_of_letters};
use super::pre::PreTokenizer;
use super::spm::{BLANK, Spm, byte_of_name};
use super::vocab::{Kind, Vocab};
use super::whole::Whole;
use super::{Engine, Tokenizer, TokenizerError, ends};
use crate::ImportError;
use crate::import::gguf::Gguf;

/// Eight times the largest vocabulary we know of; bounds what a small file can make us allocate.
pub(super) const TOKENS_MAX: usize = 1 << 21;

/// How the tokens of a vocabulary are written.
#[derive(Clone, Copy, PartialEq)]
enum Writing {
    Gpt2,
    SentencePiece,
}

impl Tokenizer {
    /// The tokeniser that a GGUF file describes under `tokenizer.ggml.`.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, ImportError> {
        let refused = |cause| ImportError::Tokenizer { path: gguf.path().into(), cause };
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        let model = gguf.required(&key("model"), gguf.string(&key("model"))?)?;
        let writing = match model {
            "gpt2" => Writing::Gpt2,
            "llama" => Writing::SentencePiece,
            found => {
                return Err(refused(TokenizerError::UnknownModel {
                    found: found.into(),
                    known: "gpt2 (byte-pair encoding), llama (SentencePiece)",
                }));
            }
        };
        let vocab = vocab(gguf, writing)?;
        let id = |name: &str| -> Result<Option<u32>, ImportError> {
            Ok(gguf.u32(&key(name))?.filter(|id| (*id as usize) < vocab.len()))
        };
        let unknown = id("unknown_token_id")?;
        let whole = Whole::new(&vocab);
        let engine = match writing {
            Writing::Gpt2 => {
                let pre = PreTokenizer::named(gguf.string(&key("pre"))?.unwrap_or("default"));
                let merges = gguf.strings(&key("merges"))?.unwrap_or_default();
                let bpe = pre.and_then(|pre| Bpe::new(&vocab, pre, merges, unknown));
                Engine::Bpe(bpe.map_err(refused)?, whole)
            }
            Writing::SentencePiece => {
                let scores = gguf.required(&key("scores"), gguf.floats(&key("scores"))?)?;
                same_length(gguf, &key("scores"), scores.len(), vocab.len())?;
                let space_prefix = gguf.bool(&key("add_space_prefix"))?.unwrap_or(true);
                Engine::Spm(Spm::new(scores, space_prefix, unknown), whole)
            }
        };
        let named = [id("eos_token_id")?, id("eot_token_id")?, id("eom_token_id")?];
        Ok(Self {
            engine,
            bos: id("bos_token_id")?,
            ends: ends(&vocab, named.into_iter().flatten()),
            add_bos: gguf.bool(&key("add_bos_token"))?.unwrap_or(writing == Writing::SentencePiece),
            add_eos: gguf.bool(&key("add_eos_token"))?.unwrap_or(false),
            vocab,
        })
    }
}

fn vocab(gguf: &Gguf, writing: Writing) -> Result<Vocab, ImportError> {
    let key = "tokenizer.ggml.tokens";
    let tokens = gguf.required(key, gguf.strings(key)?)?;
    let count = tokens.len();
    if count > TOKENS_MAX {
        let (path, limit) = (gguf.path().into(), TOKENS_MAX as u64);
        return Err(ImportError::TooMany { path, what: "tokens", found: count as u64, limit });
    }
    let key = "tokenizer.ggml.token_type";
    let mut kinds = gguf.integers(key)?;
    if let Some(kinds) = &kinds {
        same_length(gguf, key, kinds.len(), count)?;
    }
    let mut vocab = Vocab::with_capacity(count);
    let mut bytes = Vec::new();
    for token in tokens {
        // Without types, or with one of a later day, a token is text.
        let kind = kinds.as_mut().and_then(Iterator::next).and_then(Kind::from_id).unwrap_or(Kind::Normal);
        bytes.clear();
        match (kind, writing) {
            (Kind::Byte, Writing::SentencePiece) if byte_of_name(token).is_some() => {
                bytes.extend(byte_of_name(token));
            }
            (_, Writing::SentencePiece) => blanks(token, &mut bytes),
            (Kind::Normal | Kind::Byte | Kind::Unused, Writing::Gpt2) => bytes_of_letters(token, &mut bytes),
            (_, Writing::Gpt2) => bytes.extend_from_slice(token),
        }
        vocab
            .push(&bytes, kind)
            .map_err(|cause| ImportError::Tokenizer { path: gguf.path().into(), cause })?;
    }
    Ok(vocab)
}

/// Appends `token` with SentencePiece's blanks as blanks.
pub(super) fn blanks(token: &[u8], bytes: &mut Vec<u8>) {
    let mut rest = token;
    while let Some((first, others)) = rest.split_first() {
        if let Some(others) = rest.strip_prefix(BLANK.as_bytes()) {
            bytes.push(b' ');
            rest = others;
        } else {
            bytes.push(*first);
            rest = others;
        }
    }
}

fn same_length(gguf: &Gguf, key: &str, found: usize, tokens: usize) -> Result<(), ImportError> {
    if found == tokens {
        return Ok(());
    }
    Err(ImportError::Key {
        path: gguf.path().into(),
        key: key.into(),
        found: format!("{found} values"),
        expected: format!("one for each of {tokens} tokens"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{SpecialTokens, StreamDecoder};
    use super::*;
    use crate::import::gguf::writer::Writer;

    fn gpt2() -> Writer {
        Writer::default()
            .string("tokenizer.ggml.model", "gpt2")
            .string("tokenizer.ggml.pre", "smollm")
            .strings("tokenizer.ggml.tokens", &["<|im_end|>", "a", "b", "Ġ", "Ġa", "1", "ab", "<tool>"])
            .i32s("tokenizer.ggml.token_type", &[3, 1, 1, 1, 1, 1, 1, 4])
            .u32("tokenizer.ggml.bos_token_id", 5)
    }

    fn gpt2_with_merges() -> Writer {
        gpt2().strings("tokenizer.ggml.merges", &["Ġ a", "a b"])
    }

    fn sentence_piece() -> Writer {
        let tokens = ["<unk>", "<s>", "</s>", "<0xC3>", "<0xA9>", "▁", "a", "▁a", "\n", "▁▁"];
        Writer::default()
            .string("tokenizer.ggml.model", "llama")
            .strings("tokenizer.ggml.tokens", &tokens)
            .f32s("tokenizer.ggml.scores", &[0.0, 0.0, 0.0, 0.0, 0.0, -2.0, -3.0, -1.0, 0.0, 0.0])
            .i32s("tokenizer.ggml.token_type", &[2, 3, 3, 6, 6, 1, 1, 1, 4, 4])
            .u32("tokenizer.ggml.bos_token_id", 1)
            .u32("tokenizer.ggml.eos_token_id", 2)
            .u32("tokenizer.ggml.unknown_token_id", 0)
    }

    fn tokenizer(writer: &Writer) -> Tokenizer {
        Tokenizer::from_gguf(&writer.open().unwrap()).unwrap()
    }

    #[test]
    fn control_tokens_are_text_unless_parsed() {
        let tokenizer = tokenizer(&gpt2_with_merges());
        assert_eq!(tokenizer.encode("ab a11", SpecialTokens::AsText).unwrap(), [6, 4, 5, 5]);
        assert_eq!(tokenizer.encode("a<|im_end|>a", SpecialTokens::Parsed).unwrap(), [1, 0, 1]);
        let as_text = tokenizer.encode("<|im_end|>", SpecialTokens::AsText);
        assert!(matches!(as_text, Err(TokenizerError::NoToken { byte: b'<' })), "{as_text:?}");
        assert_eq!(tokenizer.encode("a<tool>", SpecialTokens::AsText).unwrap(), [1, 7]);
    }

    #[test]
    fn what_the_model_says_of_bos_and_eos_is_kept() {
        let smol = tokenizer(&gpt2_with_merges());
        assert_eq!((smol.bos(), smol.eos_ids(), smol.add_bos()), (Some(5), &[0][..], false));
        assert_eq!(smol.framed(vec![1]), [1]);
        let gemma = tokenizer(&sentence_piece().bool("tokenizer.ggml.add_eos_token", true));
        assert_eq!((gemma.bos(), gemma.eos_ids(), gemma.add_bos()), (Some(1), &[2][..], true));
        assert_eq!(gemma.framed(vec![6]), [1, 6, 2]);
        assert_eq!(gemma.framed(vec![1, 6]), [1, 6, 2], "one beginning is enough");
    }

    #[test]
    fn sentence_piece_goes_there_and_back() {
        let gemma = tokenizer(&sentence_piece().bool("tokenizer.ggml.add_space_prefix", false));
        let ids = gemma.encode("a a\n  é", SpecialTokens::AsText).unwrap();
        assert_eq!(ids, [6, 7, 8, 9, 3, 4]);
        assert_eq!(gemma.decode(&ids), "a a\n  é".as_bytes());
        let mut stream = StreamDecoder::default();
        let text: Vec<String> = [6, 2, 3, 4].iter().map(|id| stream.push(&gemma, *id).to_owned()).collect();
        assert_eq!(text, ["a", "", "", "é"]);
        let llama = tokenizer(&sentence_piece());
        assert_eq!(llama.encode("a<s>a", SpecialTokens::Parsed).unwrap(), [7, 1, 7]);
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let tokenizer = tokenizer(&gpt2_with_merges());
        let error = tokenizer.encode_bytes(b"ab\xff", SpecialTokens::AsText).unwrap_err();
        assert!(matches!(error, TokenizerError::NotUtf8 { offset: 2 }), "{error}");
    }

    #[test]
    fn what_is_no_tokeniser_is_refused() {
        let scores = [0.0; 3];
        for (writer, expected) in [
            (Writer::default(), "key `tokenizer.ggml.model` is missing"),
            (Writer::default().string("tokenizer.ggml.model", "runes"), "\"runes\" is unknown"),
            (Writer::default().u32("tokenizer.ggml.model", 1), "is the integer 1, expected a string"),
            (Writer::default().string("tokenizer.ggml.model", "llama"), "`tokenizer.ggml.tokens` is missing"),
            (gpt2().strings("tokenizer.ggml.merges", &["a x"]), "merge 0 is \"a x\""),
            (gpt2().f32s("tokenizer.ggml.merges", &scores), "is an array of 3 F32"),
            (
                Writer::default()
                    .string("tokenizer.ggml.model", "llama")
                    .strings("tokenizer.ggml.tokens", &["a"])
                    .f32s("tokenizer.ggml.scores", &scores),
                "is 3 values, expected one for each of 1 tokens",
            ),
        ] {
            let error = Tokenizer::from_gguf(&writer.open().unwrap()).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("test.gguf"), "{error}");
        }
    }
}
