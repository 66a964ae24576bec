//! Patterns over the paths of nodes, as hints have them.
//!
//! `*` stands for any letters, `{0..11}` for a number from 0 to 11, `{q,k,v}` for one of these words. A pattern that
//! ends where a path goes on with a dot means all that is beneath: `blk.3` is `blk.3.*`.
use serde::{Deserialize, Serialize};

/// A pattern over the paths of nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Piece {
    /// These letters.
    Letters(String),
    /// Any, or none.
    Any,
    /// A number, both ends included.
    Numbers(u64, u64),
    /// One of some words.
    OneOf(Vec<String>),
}

impl Pattern {
    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it means the node of this path.
    pub fn matches(&self, path: &str) -> bool {
        // At which bytes of the path what was read of the pattern can end.
        let mut ends = vec![0];
        for piece in &self.pieces {
            ends = match piece {
                Piece::Any => ends.first().map_or(vec![], |first| (*first..=path.len()).collect()),
                _ => ends.iter().flat_map(|from| piece.ends(path, *from)).collect(),
            };
            ends.sort_unstable();
            ends.dedup();
        }
        ends.into_iter().any(|end| end == path.len() || path.as_bytes()[end] == b'.')
    }
}

impl Piece {
    /// Where it can end that begins at byte `from` of a path.
    fn ends(&self, path: &str, from: usize) -> Vec<usize> {
        let rest = &path.as_bytes()[from..];
        let after = |word: &String| rest.starts_with(word.as_bytes()).then_some(from + word.len());
        match self {
            Piece::Letters(word) => after(word).into_iter().collect(),
            Piece::OneOf(words) => words.iter().filter_map(after).collect(),
            Piece::Any => (from..=path.len()).collect(),
            Piece::Numbers(first, last) => {
                let digits: String =
                    rest.iter().take_while(|c| c.is_ascii_digit()).map(|c| char::from(*c)).collect();
                let number = digits.parse().ok().filter(|n| (*first..=*last).contains(n));
                number.map(|_| from + digits.len()).into_iter().collect()
            }
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Pattern, String> {
        if text.is_empty() {
            return Err("found an empty pattern, expected one of paths, as in blk.3.*".to_owned());
        }
        let (mut pieces, mut rest) = (vec![], text.as_str());
        while let Some(at) = rest.find(['*', '{', '}']) {
            let (letters, from) = rest.split_at(at);
            if !letters.is_empty() {
                pieces.push(Piece::Letters(letters.to_owned()));
            }
            let (inner, after) = match (from.as_bytes()[0], from.split_once('}')) {
                (b'*', _) => {
                    pieces.push(Piece::Any);
                    rest = &from[1..];
                    continue;
                }
                (b'{', Some((inner, after))) => (&inner[1..], after),
                (b'{', None) => return Err(format!("found {{ without }} in {text:?}")),
                _ => return Err(format!("found }} without {{ in {text:?}")),
            };
            pieces.push(
                braced(inner).ok_or_else(|| {
                    format!("found {{{inner}}} in {text:?}, expected {{0..11}} or {{q,k,v}}")
                })?,
            );
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Letters(rest.to_owned()));
        }
        Ok(Pattern { text, pieces })
    }
}

/// What stands between braces.
fn braced(inner: &str) -> Option<Piece> {
    if let Some((first, last)) = inner.split_once("..") {
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        return (first <= last).then_some(Piece::Numbers(first, last));
    }
    let words: Vec<String> = inner.split(',').map(|word| word.trim().to_owned()).collect();
    let is_word = |word: &String| !word.is_empty() && !word.contains(['*', '{']);
    words.iter().all(is_word).then_some(Piece::OneOf(words))
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> String {
        pattern.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Result<Pattern, String> {
        text.to_owned().try_into()
    }

    #[test]
    fn stars_numbers_words_and_what_is_beneath_match() {
        for (text, path, expected) in [
            ("blk.3.ffn_down", "blk.3.ffn_down", true),
            ("blk.3.ffn_down", "blk.3.ffn_down_norm", false),
            ("blk.3", "blk.3.ffn_down", true),
            ("blk.3", "blk.30.ffn_down", false),
            ("blk.3*", "blk.30.ffn_down", true),
            ("blk.*.attn_*", "blk.12.attn_q", true),
            ("blk.*.attn_*", "blk.12.attention", false),
            ("*", "output", true),
            ("*.ffn_up", "blk.0.ffn_up", true),
            ("blk.{0..11}.*", "blk.11.x", true),
            ("blk.{0..11}.*", "blk.12.x", false),
            ("blk.{0..11}", "blk.1.x", true),
            ("blk.{1..3}*", "blk.12.x", false),
            ("blk.{2..2}.{attn,ffn}_*", "blk.2.ffn_up", true),
            ("blk.{2..2}.{attn,ffn}_*", "blk.2.fnn_up", false),
            ("a*a*b", "aab", true),
            ("a*a*b", "ab", false),
            ("{0..9}", "99999999999999999999999", false),
        ] {
            assert_eq!(pattern(text).unwrap().matches(path), expected, "{text} {path}");
        }
    }

    #[test]
    fn many_stars_take_no_longer_than_their_number_times_the_path() {
        let many = pattern(&"a*".repeat(500)).unwrap();
        assert!(!many.matches(&format!("{}b.", "a".repeat(499))));
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_the_reason() {
        for (text, expected) in [
            ("", "found an empty pattern, expected one of paths, as in blk.3.*"),
            ("blk.{1..", "found { without } in \"blk.{1..\""),
            ("blk.3}", "found } without { in \"blk.3}\""),
            ("{3..1}", "found {3..1} in \"{3..1}\", expected {0..11} or {q,k,v}"),
            ("{a..b}", "found {a..b} in \"{a..b}\", expected {0..11} or {q,k,v}"),
            ("{q,}", "found {q,} in \"{q,}\", expected {0..11} or {q,k,v}"),
        ] {
            assert_eq!(pattern(text).unwrap_err(), expected);
        }
    }
}
