//! Pre-tokenisers: how text is cut before byte-pair merging, by the name that GGUF gives the way.
use super::TokenizerError;
use std::ops::Range;
use tokenizers::utils::SysRegex;

/// One way of cutting, as the publishers of a family of models define it.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    names: &'static [&'static str],
    /// Each cuts the pieces that the one before it left; what lies between matches is a piece too.
    patterns: &'static [&'static str],
    /// Text is normalised to composed characters first.
    pub(super) nfc: bool,
    /// A piece that is a token is that token, even where merging would not lead there.
    pub(super) whole_pieces: bool,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const PRE_TOKENIZERS: &[PreTokenizer] = &[
    PreTokenizer { names: &["default", "gpt-2"], patterns: &[GPT2], nfc: false, whole_pieces: false },
    PreTokenizer {
        names: &["smollm", "starcoder", "refact", "command-r"],
        patterns: &[r"\p{N}", GPT2],
        nfc: false,
        whole_pieces: false,
    },
    PreTokenizer {
        names: &["llama-bpe", "llama3", "llama-v3"],
        patterns: &[LLAMA3],
        nfc: false,
        whole_pieces: true,
    },
    PreTokenizer { names: &["qwen2"], patterns: &[QWEN2], nfc: true, whole_pieces: false },
    PreTokenizer { names: &["tekken"], patterns: &[TEKKEN], nfc: false, whole_pieces: true },
];

impl PreTokenizer {
    pub(super) fn named(name: &str) -> Result<&'static Self, TokenizerError> {
        PRE_TOKENIZERS.iter().find(|pre| pre.names.contains(&name)).ok_or_else(|| {
            let known: Vec<_> = PRE_TOKENIZERS.iter().flat_map(|pre| pre.names).copied().collect();
            TokenizerError::UnknownPreTokenizer { found: name.into(), known: known.join(", ") }
        })
    }

    pub(super) fn splitter(&self) -> Result<Splitter, TokenizerError> {
        let regexes = self.patterns.iter().map(|pattern| SysRegex::new(pattern));
        Ok(Splitter { regexes: regexes.collect::<Result<_, _>>()? })
    }
}

/// The compiled patterns of a pre-tokeniser.
#[derive(Debug)]
pub(super) struct Splitter {
    regexes: Vec<SysRegex>,
}

impl Splitter {
    /// Cuts `text` into pieces that tile it, and hands each over in order.
    pub(super) fn split<E>(&self, text: &str, each: &mut impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
        cut(&self.regexes, text, each)
    }
}

fn cut<E>(regexes: &[SysRegex], text: &str, each: &mut impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
    let Some((regex, rest)) = regexes.split_first() else {
        return if text.is_empty() { Ok(()) } else { each(text) };
    };
    let mut done = 0;
    for (start, end) in regex.find_iter(text) {
        for piece in [done..start, start..end] {
            let piece: Range<usize> = piece;
            cut(rest, &text[piece], each)?;
        }
        done = end;
    }
    cut(rest, &text[done..], each)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(name: &str, text: &str) -> Vec<String> {
        let mut pieces = Vec::new();
        let mut each = |piece: &str| -> Result<(), TokenizerError> {
            pieces.push(piece.to_owned());
            Ok(())
        };
        PreTokenizer::named(name).unwrap().splitter().unwrap().split(text, &mut each).unwrap();
        pieces
    }

    #[test]
    fn each_family_cuts_numbers_its_own_way() {
        let text = "In 12345 a's";
        assert_eq!(pieces("gpt-2", text), ["In", " 12345", " a", "'s"]);
        assert_eq!(pieces("smollm", text), ["In", " ", "1", "2", "3", "4", "5", " a", "'s"]);
        assert_eq!(pieces("llama-bpe", text), ["In", " ", "123", "45", " a", "'s"]);
        assert_eq!(pieces("qwen2", text), ["In", " ", "1", "2", "3", "4", "5", " a", "'s"]);
        assert_eq!(pieces("tekken", text), ["In", " ", "1", "2", "3", "4", "5", " a", "'s"]);
    }

    #[test]
    fn the_last_blank_of_a_run_goes_to_the_word_behind_it() {
        assert_eq!(pieces("gpt-2", "a   b\n\n"), ["a", "  ", " b", "\n\n"]);
        assert_eq!(pieces("llama3", "a   b\n\nc"), ["a", "  ", " b", "\n\n", "c"]);
    }

    #[test]
    fn an_unknown_name_is_refused_with_those_known() {
        let error = PreTokenizer::named("runes").unwrap_err().to_string();
        assert!(error.contains("runes") && error.contains("smollm"), "{error}");
    }
}
