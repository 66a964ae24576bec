//! Finds the tokens that are recognised in text as a whole, before any cutting and merging.
use super::vocab::{Kind, Vocab};

/// What a text consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fragment<'t> {
    Text(&'t str),
    Token(u32),
}

/// Tokens in the order of their bytes, which makes searching them a walk down a tree.
#[derive(Debug)]
pub(super) struct Whole {
    sorted: Vec<u32>,
    /// Whether any token begins with this byte.
    begins: [bool; 256],
}

impl Whole {
    pub(super) fn new(vocab: &Vocab) -> Self {
        let mut begins = [false; 256];
        // A token that is not UTF-8 cannot stand in a text.
        let mut sorted: Vec<u32> = vocab
            .whole()
            .map(|(id, _)| id)
            .filter(|id| std::str::from_utf8(vocab.bytes(*id)).is_ok_and(|text| !text.is_empty()))
            .collect();
        sorted.sort_by_key(|id| vocab.bytes(*id));
        for id in &sorted {
            begins[vocab.bytes(*id)[0] as usize] = true;
        }
        Self { sorted, begins }
    }

    /// Cuts `text` at these tokens, the longest first where several begin; at control tokens only where
    /// `control` says so.
    pub(super) fn split<'t>(&self, vocab: &Vocab, text: &'t str, control: bool) -> Vec<Fragment<'t>> {
        let bytes = text.as_bytes();
        let mut fragments = Vec::new();
        let (mut done, mut at) = (0, 0);
        while at < bytes.len() {
            let found = if self.begins[bytes[at] as usize] {
                self.longest(vocab, &bytes[at..], control)
            } else {
                None
            };
            let Some(id) = found else {
                at += 1;
                continue;
            };
            if done < at {
                fragments.push(Fragment::Text(&text[done..at]));
            }
            fragments.push(Fragment::Token(id));
            at += vocab.bytes(id).len();
            done = at;
        }
        if done < bytes.len() {
            fragments.push(Fragment::Text(&text[done..]));
        }
        fragments
    }

    /// The longest token that `bytes` begin with.
    fn longest(&self, vocab: &Vocab, bytes: &[u8], control: bool) -> Option<u32> {
        // Those left begin with the bytes seen so far, and are longer.
        let mut left = &self.sorted[..];
        let mut longest = None;
        for (depth, byte) in bytes.iter().enumerate() {
            let at = |id: &u32| vocab.bytes(*id)[depth];
            left = &left[left.partition_point(|id| at(id) < *byte)..];
            left = &left[..left.partition_point(|id| at(id) == *byte)];
            while let Some((id, longer)) = left.split_first()
                && vocab.bytes(*id).len() == depth + 1
            {
                if control || vocab.kind(*id) == Some(Kind::UserDefined) {
                    longest = Some(*id);
                }
                left = longer;
            }
            if left.is_empty() {
                break;
            }
        }
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Fragment::{Text, Token};

    #[test]
    fn the_leftmost_and_longest_is_found() {
        let mut vocab = Vocab::with_capacity(8);
        for (token, kind) in [
            ("<s>", Kind::Control),
            ("\n", Kind::UserDefined),
            ("\n\n\n", Kind::UserDefined),
            ("<start>", Kind::Control),
            ("word", Kind::Normal),
            ("", Kind::Control),
            ("é", Kind::UserDefined),
        ] {
            vocab.push(token.as_bytes(), kind).unwrap();
        }
        let whole = Whole::new(&vocab);
        assert_eq!(
            whole.split(&vocab, "<s>word<start>\n\n\n\n\nè<start", true),
            [Token(0), Text("word"), Token(3), Token(2), Token(1), Token(1), Text("è<start")]
        );
        assert_eq!(whole.split(&vocab, "<s>é\n", false), [Text("<s>"), Token(6), Token(1)]);
        assert_eq!(whole.split(&vocab, "", true), []);
    }
}
