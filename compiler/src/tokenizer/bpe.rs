//! Byte-pair encoding over bytes, as GPT-2 does it: cut, then merge by the order of a list.
use super::TokenizerError;
use super::merge::{Merge, Symbol, merge};
use super::pre::{PreTokenizer, Splitter};
use super::vocab::Vocab;
use std::borrow::Cow;
use std::collections::HashMap;
use tokenizers::NormalizedString;

#[derive(Debug)]
pub(super) struct Bpe {
    /// A pair of tokens to its place in the list and the token it becomes.
    merges: HashMap<(u32, u32), (u32, u32)>,
    splitter: Splitter,
    nfc: bool,
    whole_pieces: bool,
    unknown: Option<u32>,
}

impl Bpe {
    /// `merges` are as files hold them: two tokens, in GPT-2's letters for bytes, with a blank between.
    pub(super) fn new<'a>(
        vocab: &Vocab,
        pre: &PreTokenizer,
        merges: impl ExactSizeIterator<Item = &'a [u8]>,
        unknown: Option<u32>,
    ) -> Result<Self, TokenizerError> {
        let mut table = HashMap::with_capacity(merges.len());
        let mut text = Vec::new();
        for (i, pair) in merges.enumerate() {
            let known = (|| {
                let blank = pair.iter().skip(1).position(|b| *b == b' ')? + 1;
                let mut side = |part: &[u8]| {
                    let start = text.len();
                    bytes_of_letters(part, &mut text);
                    vocab.id(&text[start..])
                };
                let (left, right) = (side(&pair[..blank])?, side(&pair[blank + 1..])?);
                Some(((left, right), vocab.id(&text)?))
            })();
            text.clear();
            let Some((pair, id)) = known else {
                return Err(TokenizerError::Merge {
                    index: i,
                    found: String::from_utf8_lossy(pair).into_owned(),
                });
            };
            table.entry(pair).or_insert((i as u32, id));
        }
        Ok(Self {
            merges: table,
            splitter: pre.splitter()?,
            nfc: pre.nfc,
            whole_pieces: pre.whole_pieces,
            unknown,
        })
    }

    pub(super) fn encode(&self, vocab: &Vocab, text: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let text = if self.nfc && !text.is_ascii() {
            let mut normalized = NormalizedString::from(text);
            normalized.nfc();
            Cow::Owned(normalized.get().to_owned())
        } else {
            Cow::Borrowed(text)
        };
        self.splitter.split(&text, &mut |piece| self.encode_piece(vocab, piece.as_bytes(), ids))
    }

    fn encode_piece(&self, vocab: &Vocab, piece: &[u8], ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        if self.whole_pieces
            && let Some(id) = vocab.id(piece)
        {
            ids.push(id);
            return Ok(());
        }
        let symbols = (0..piece.len()).map(|i| {
            let id = vocab.id(&piece[i..i + 1]);
            Symbol { start: i, end: i + 1, id }
        });
        let rank = |left: &Symbol, right: &Symbol| {
            let &(rank, id) = self.merges.get(&(left.id?, right.id?))?;
            Some(Merge { rank, id })
        };
        for symbol in merge(symbols.collect(), rank) {
            let byte = piece[symbol.start];
            ids.push(symbol.id.or(self.unknown).ok_or(TokenizerError::NoToken { byte })?);
        }
        Ok(())
    }
}

/// Appends the bytes that a token's letters stand for; a letter that stands for none is itself.
pub(super) fn bytes_of_letters(letters: &[u8], bytes: &mut Vec<u8>) {
    // Nearly every token is made of letters that stand for themselves.
    if letters.iter().all(|b| (b'!'..=b'~').contains(b)) {
        return bytes.extend_from_slice(letters);
    }
    let text = std::str::from_utf8(letters).unwrap_or_default();
    let decoded: Option<Vec<u8>> = text.chars().map(byte_of_letter).collect();
    match decoded {
        Some(decoded) if !text.is_empty() => bytes.extend(decoded),
        _ => bytes.extend_from_slice(letters),
    }
}

/// GPT-2 writes bytes that are no visible Latin-1 letter as the letters from U+0100 on, in order.
fn byte_of_letter(letter: char) -> Option<u8> {
    let code = u32::from(letter);
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => Some(code as u8),
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::vocab::Kind;
    use super::*;

    #[test]
    fn every_byte_has_one_letter() {
        let mut bytes: Vec<u8> = (0..0x200).filter_map(char::from_u32).filter_map(byte_of_letter).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        let decoded = |letters: &str| {
            let mut bytes = Vec::new();
            bytes_of_letters(letters.as_bytes(), &mut bytes);
            bytes
        };
        assert_eq!(decoded("ĠtheĊ"), b" the\n");
        assert_eq!(decoded("Ã©"), "é".as_bytes());
        assert_eq!(decoded("<｜end｜>"), "<｜end｜>".as_bytes(), "no letter of the table: as it stands");
    }

    fn vocab(tokens: &[&str]) -> Vocab {
        let mut vocab = Vocab::with_capacity(tokens.len());
        for token in tokens {
            vocab.push(token.as_bytes(), Kind::Normal).unwrap();
        }
        vocab
    }

    #[test]
    fn merges_go_by_their_order_in_the_list() {
        let vocab = vocab(&["a", "b", "c", "ab", "bc", "abc"]);
        let encode = |merges: &[&str]| {
            let pre = PreTokenizer::named("gpt-2").unwrap();
            let bpe = Bpe::new(&vocab, pre, merges.iter().map(|m| m.as_bytes()), None).unwrap();
            let mut ids = Vec::new();
            bpe.encode(&vocab, "abc", &mut ids).unwrap();
            ids
        };
        assert_eq!(encode(&["a b", "b c"]), [3, 2]);
        assert_eq!(encode(&["b c", "a b"]), [0, 4]);
        assert_eq!(encode(&["b c", "a b", "a bc"]), [5]);
    }

    #[test]
    fn what_no_token_covers_is_unknown_or_an_error() {
        let vocab = vocab(&["a", "?"]);
        let pre = PreTokenizer::named("gpt-2").unwrap();
        let encode = |unknown| {
            let mut ids = Vec::new();
            let bpe = Bpe::new(&vocab, pre, [].into_iter(), unknown).unwrap();
            bpe.encode(&vocab, "aba", &mut ids).map(|()| ids)
        };
        assert_eq!(encode(Some(1)).unwrap(), [0, 1, 0]);
        assert!(matches!(encode(None), Err(TokenizerError::NoToken { byte: b'b' })));
    }

    #[test]
    fn a_merge_of_what_is_no_token_is_refused() {
        let vocab = vocab(&["a", "b"]);
        let pre = PreTokenizer::named("gpt-2").unwrap();
        for merge in ["a b", "a x", "ab", " ", "", "a "] {
            let error = Bpe::new(&vocab, pre, [merge.as_bytes()].into_iter(), None).unwrap_err();
            assert!(matches!(error, TokenizerError::Merge { index: 0, .. }), "{merge:?}: {error}");
        }
    }
}
