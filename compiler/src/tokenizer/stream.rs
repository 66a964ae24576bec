//! Tokens to text as they come, whole characters only.
use super::Tokenizer;

/// Collects the bytes of tokens and gives them out as text, never a part of a character.
#[derive(Debug, Default)]
pub struct StreamDecoder {
    /// Bytes of a character that is not complete.
    pending: Vec<u8>,
    text: String,
}

impl StreamDecoder {
    /// The text that `id` completes; empty while a character is incomplete, and for control tokens.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> &str {
        if tokenizer.is_control(id) {
            self.push_bytes(&[])
        } else {
            self.push_bytes(tokenizer.token_bytes(id))
        }
    }

    /// What is left when no more tokens come: a character that never became complete shows as U+FFFD.
    pub fn finish(&mut self) -> &str {
        self.text.clear();
        if !self.pending.is_empty() {
            self.pending.clear();
            self.text.push(char::REPLACEMENT_CHARACTER);
        }
        &self.text
    }

    fn push_bytes(&mut self, bytes: &[u8]) -> &str {
        self.text.clear();
        self.pending.extend_from_slice(bytes);
        let mut rest = &self.pending[..];
        let incomplete = loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.text.push_str(text);
                    break 0;
                }
                Err(error) => {
                    let (valid, bad) = rest.split_at(error.valid_up_to());
                    self.text.push_str(std::str::from_utf8(valid).unwrap_or_default());
                    // Without a length the character merely lacks its end.
                    let Some(len) = error.error_len() else { break bad.len() };
                    self.text.push(char::REPLACEMENT_CHARACTER);
                    rest = &bad[len..];
                }
            }
        };
        self.pending.drain(..self.pending.len() - incomplete);
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_comes_out_when_its_last_byte_comes_in() {
        let mut decoder = StreamDecoder::default();
        let pieces: Vec<String> = "a😀é".bytes().map(|byte| decoder.push_bytes(&[byte]).to_owned()).collect();
        assert_eq!(pieces, ["a", "", "", "", "😀", "", "é"]);
        assert_eq!(decoder.finish(), "");
    }

    #[test]
    fn bytes_that_are_no_text_show_as_the_replacement_character() {
        let mut decoder = StreamDecoder::default();
        assert_eq!(decoder.push_bytes(b"a\xffb\xf0\x9f"), "a\u{fffd}b");
        assert_eq!(decoder.push_bytes(b"c"), "\u{fffd}c");
        assert_eq!(decoder.push_bytes(b"\xf0\x9f\x98"), "");
        assert_eq!(decoder.finish(), "\u{fffd}");
        assert_eq!(decoder.finish(), "");
    }
}
