//! SentencePiece's way: characters merge into the piece of the highest score, and what no piece covers
//! falls back to bytes.
use super::TokenizerError;
use super::merge::{Merge, Symbol, merge};
use super::vocab::Vocab;
use std::borrow::Cow;

/// How SentencePiece writes a blank.
pub(super) const BLANK: &str = "\u{2581}";

#[derive(Debug)]
pub(super) struct Spm {
    /// The order in which tokens are merged, from their scores.
    ranks: Vec<u32>,
    /// Text that begins, or follows a token that is no text, gets a blank in front.
    space_prefix: bool,
    unknown: Option<u32>,
}

impl Spm {
    pub(super) fn new(scores: impl Iterator<Item = f32>, space_prefix: bool, unknown: Option<u32>) -> Self {
        Self { ranks: scores.map(rank).collect(), space_prefix, unknown }
    }

    pub(super) fn encode(&self, vocab: &Vocab, text: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        // The vocabulary holds its blanks as blanks, so a blank in SentencePiece's writing is one too.
        let text = match (self.space_prefix, text.contains(BLANK)) {
            (false, false) => Cow::Borrowed(text),
            (true, _) => Cow::Owned(format!(" {}", text.replace(BLANK, " "))),
            (false, true) => Cow::Owned(text.replace(BLANK, " ")),
        };
        let bytes = text.as_bytes();
        let symbols = text.char_indices().map(|(start, letter)| {
            let end = start + letter.len_utf8();
            Symbol { start, end, id: vocab.id(&bytes[start..end]) }
        });
        let rank = |left: &Symbol, right: &Symbol| {
            let id = vocab.id(&bytes[left.start..right.end])?;
            Some(Merge { rank: *self.ranks.get(id as usize)?, id })
        };
        for symbol in merge(symbols.collect(), rank) {
            match symbol.id {
                Some(id) => ids.push(id),
                None => self.fall_back(vocab, &bytes[symbol.start..symbol.end], ids)?,
            }
        }
        Ok(())
    }

    fn fall_back(&self, vocab: &Vocab, bytes: &[u8], ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        if bytes.iter().all(|byte| vocab.byte_id(*byte).is_some()) {
            ids.extend(bytes.iter().filter_map(|byte| vocab.byte_id(*byte)));
        } else {
            ids.push(self.unknown.ok_or(TokenizerError::NoToken { byte: bytes[0] })?);
        }
        Ok(())
    }
}

/// Orders scores from the highest, as numbers that compare as the scores do.
fn rank(score: f32) -> u32 {
    // Adding zero makes the two zeros one.
    let bits = (score + 0.0).to_bits();
    let ascending = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    !ascending
}

/// The byte that a token of the form `<0x0A>` stands for.
pub(super) fn byte_of_name(name: &[u8]) -> Option<u8> {
    let digits = name.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    let [high, low] = digits else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(*high)? << 4 | digit(*low)?) as u8)
}

#[cfg(test)]
mod tests {
    use super::super::vocab::Kind;
    use super::*;

    #[test]
    fn higher_scores_come_first() {
        let scores = [1e9, 3.5, 0.0, -0.0, -1e-9, -2.0, -1e9];
        let ranks: Vec<u32> = scores.into_iter().map(rank).collect();
        assert!(ranks.is_sorted() && ranks[2] == ranks[3], "{ranks:?}");
    }

    #[test]
    fn bytes_have_names() {
        assert_eq!(byte_of_name(b"<0x0A>"), Some(10));
        for name in ["<0x>", "<0x0>", "<0x100>", "<0xzz>", "0x0A", "<0x+1>"] {
            assert_eq!(byte_of_name(name.as_bytes()), None, "{name}");
        }
    }

    fn encode(tokens: &[(&str, f32)], space_prefix: bool, text: &str) -> Vec<u32> {
        let mut vocab = Vocab::with_capacity(tokens.len() + 2);
        for (token, _) in tokens {
            vocab.push(token.as_bytes(), Kind::Normal).unwrap();
        }
        vocab.push(&[0xc3], Kind::Byte).unwrap();
        vocab.push(&[0xa9], Kind::Byte).unwrap();
        let scores = tokens.iter().map(|(_, score)| *score);
        let mut ids = Vec::new();
        Spm::new(scores, space_prefix, Some(99)).encode(&vocab, text, &mut ids).unwrap();
        ids
    }

    #[test]
    fn the_highest_score_merges_first() {
        let tokens = |ab, bc| [("a", 0.0), ("b", 0.0), ("c", 0.0), ("ab", ab), ("bc", bc)];
        assert_eq!(encode(&tokens(-1.0, -2.0), false, "abc"), [3, 2]);
        assert_eq!(encode(&tokens(-2.0, -1.0), false, "abc"), [0, 4]);
        assert_eq!(encode(&tokens(-1.0, -1.0), false, "abc"), [3, 2]);
    }

    #[test]
    fn what_no_piece_covers_falls_back_to_bytes_or_is_unknown() {
        assert_eq!(encode(&[("a", 0.0)], false, "aéa"), [0, 1, 2, 0]);
        assert_eq!(encode(&[("a", 0.0)], false, "aüa"), [0, 99, 0]);
    }

    #[test]
    fn a_blank_goes_in_front_where_the_model_wants_it() {
        let tokens = [("a", 0.0), (" ", 0.0), (" a", -1.0)];
        assert_eq!(encode(&tokens, true, "a"), [2]);
        assert_eq!(encode(&tokens, false, "a"), [0]);
        assert_eq!(encode(&tokens, false, "\u{2581}a"), [2]);
    }
}
