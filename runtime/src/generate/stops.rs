//! Ends an answer at a stop string or at an end-of-sequence token.
//!
//! Text arrives in pieces, and a stop string may begin in one and end in a later one. So text that could
//! still become a stop string is held back until the next pieces decide.

/// What ends an answer.
#[derive(Clone, Debug, Default)]
pub struct Stops {
    strings: Vec<String>,
    end_tokens: Vec<u32>,
    held: String,
    reached: bool,
}

impl Stops {
    /// Ends at any of `strings`, of which empty ones are ignored, or at any of the tokens `end_tokens`.
    pub fn new(strings: impl IntoIterator<Item = String>, end_tokens: Vec<u32>) -> Stops {
        let strings = strings.into_iter().filter(|s| !s.is_empty()).collect();
        Stops { strings, end_tokens, held: String::new(), reached: false }
    }

    /// Whether `token` ends a sequence.
    pub fn is_end(&self, token: u32) -> bool {
        self.end_tokens.contains(&token)
    }

    /// Takes the next piece and appends to `out` what is certain to come before any stop string.
    /// True once a stop string has been reached; it and what follows are dropped.
    pub fn push(&mut self, piece: &str, out: &mut String) -> bool {
        if self.reached {
            return true;
        }
        self.held.push_str(piece);
        // Where two begin at one place, both cut there.
        if let Some(at) = self.strings.iter().filter_map(|s| self.held.find(s.as_str())).min() {
            out.push_str(&self.held[..at]);
            self.held.clear();
            self.reached = true;
            return true;
        }
        let certain = self.held.len() - self.beginning_of_a_stop();
        out.push_str(&self.held[..certain]);
        self.held.drain(..certain);
        false
    }

    /// Appends what was held back, when no more text will come, and is ready for another answer.
    pub fn finish(&mut self, out: &mut String) {
        out.push_str(&self.held);
        self.held.clear();
        self.reached = false;
    }

    /// Bytes of the longest tail of the held text that is the beginning of a stop string.
    fn beginning_of_a_stop(&self) -> usize {
        let held = self.held.as_bytes();
        let longest = |stop: &String| {
            let most = held.len().min(stop.len() - 1);
            (1..=most).rev().find(|n| held.ends_with(&stop.as_bytes()[..*n])).unwrap_or(0)
        };
        self.strings.iter().map(longest).max().unwrap_or(0)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    fn streamed(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let mut stops = Stops::new(stops.iter().map(|s| s.to_string()), vec![]);
        let mut shown = Vec::new();
        for piece in pieces {
            let mut out = String::new();
            let stopped = stops.push(piece, &mut out);
            shown.push(out);
            if stopped {
                return (shown, true);
            }
        }
        let mut out = String::new();
        stops.finish(&mut out);
        shown.push(out);
        (shown, false)
    }

    #[test]
    fn a_possible_beginning_is_held_until_decided() {
        let (shown, stopped) = streamed(&["</s>"], &["a<", "/", "b</", "s>c"]);
        assert_eq!((shown, stopped), (vec!["a".into(), "".into(), "</b".into(), "".into()], true));
        let (shown, stopped) = streamed(&["</s>"], &["a</"]);
        assert_eq!((shown, stopped), (vec!["a".into(), "</".into()], false));
    }

    #[test]
    fn the_earliest_stop_wins_and_empty_ones_never_do() {
        assert_eq!(streamed(&["", "cd", "b"], &["abcd"]), (vec!["a".into()], true));
    }

    #[test]
    fn characters_of_several_bytes_are_not_split() {
        // é and è begin with the same byte.
        assert_eq!(streamed(&["é!"], &["aé", "è"]), (vec!["a".into(), "éè".into(), "".into()], false));
        assert_eq!(streamed(&["é"], &["è", "é"]), (vec!["è".into(), "".into()], true));
    }

    #[test]
    fn end_tokens_end() {
        let stops = Stops::new([], vec![2, 7]);
        assert!(stops.is_end(7) && !stops.is_end(3));
    }

    proptest! {
        #[test]
        fn pieces_give_what_the_whole_gives(
            text in "[abé]{0,12}",
            stops in proptest::collection::vec("[abé]{1,3}", 0..3),
            cut in proptest::collection::vec(0usize..12, 0..4),
        ) {
            let mut cuts: Vec<usize> = cut.into_iter().filter(|c| text.is_char_boundary(*c)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort();
            let pieces: Vec<&str> = cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let (shown, stopped) = streamed(&stops, &pieces);
            let begins = stops.iter().filter_map(|s| text.find(s)).min();
            prop_assert_eq!(stopped, begins.is_some());
            let shown = shown.concat();
            prop_assert!(text.starts_with(&shown));
            if !stopped {
                prop_assert_eq!(shown, text);
            } else {
                prop_assert!(stops.iter().all(|s| !shown.contains(s)));
            }
        }
    }
}
