//! Merging neighbours, best first: the loop that byte-pair encoding and SentencePiece share.
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A stretch of the text that is one symbol so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Its token, where it is one.
    pub(super) id: Option<u32>,
}

/// What two neighbours would become.
pub(super) struct Merge {
    /// Lower goes first; the leftmost first among equals.
    pub(super) rank: u32,
    pub(super) id: u32,
}

const NONE: usize = usize::MAX;

/// Merges `symbols`, which tile a text from left to right, for as long as `rank` knows a merge.
pub(super) fn merge(
    mut symbols: Vec<Symbol>,
    rank: impl Fn(&Symbol, &Symbol) -> Option<Merge>,
) -> Vec<Symbol> {
    // A linked list over the vector; a symbol that was merged into its left neighbour becomes empty.
    let count = symbols.len();
    let mut next: Vec<usize> = (1..count).chain([NONE]).take(count).collect();
    let mut previous: Vec<usize> = [NONE].into_iter().chain(0..count).take(count).collect();
    let mut queue = BinaryHeap::new();
    let offer = |queue: &mut BinaryHeap<_>, symbols: &[Symbol], left: usize, right: usize| {
        if left != NONE
            && right != NONE
            && let Some(merge) = rank(&symbols[left], &symbols[right])
        {
            queue.push(Reverse((merge.rank, left, symbols[right].end, right, merge.id)));
        }
    };
    for left in 1..count {
        offer(&mut queue, &symbols, left - 1, left);
    }
    while let Some(Reverse((_, left, end, right, id))) = queue.pop() {
        // The offer stands only while both sides are what they were: a symbol grows to the right alone,
        // which its end shows, and one that was merged away is empty.
        if next[left] != right || symbols[right].end != end || is_empty(&symbols[left]) {
            continue;
        }
        symbols[left].end = end;
        symbols[left].id = Some(id);
        symbols[right].start = end;
        next[left] = next[right];
        if next[right] != NONE {
            previous[next[right]] = left;
        }
        offer(&mut queue, &symbols, previous[left], left);
        offer(&mut queue, &symbols, left, next[left]);
    }
    symbols.retain(|symbol| !is_empty(symbol));
    symbols
}

fn is_empty(symbol: &Symbol) -> bool {
    symbol.start == symbol.end
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Merges letters by a list of results, the first in the list first, and shows the pieces.
    fn pieces(text: &str, results: &[&str]) -> Vec<String> {
        let symbols = (0..text.len()).map(|i| Symbol { start: i, end: i + 1, id: None }).collect();
        let rank = |left: &Symbol, right: &Symbol| {
            let rank = results.iter().position(|r| *r == &text[left.start..right.end])? as u32;
            Some(Merge { rank, id: rank })
        };
        merge(symbols, rank).iter().map(|s| text[s.start..s.end].to_owned()).collect()
    }

    #[test]
    fn the_best_rank_goes_first_wherever_it_stands() {
        assert_eq!(pieces("abcd", &["cd", "bc", "ab"]), ["ab", "cd"]);
        assert_eq!(pieces("abcd", &["bc", "abc", "cd"]), ["abc", "d"]);
    }

    #[test]
    fn the_leftmost_goes_first_among_equals() {
        assert_eq!(pieces("aaaaa", &["aa"]), ["aa", "aa", "a"]);
        assert_eq!(pieces("aaaaa", &["aa", "aaaa"]), ["aaaa", "a"]);
    }

    #[test]
    fn nothing_comes_of_nothing() {
        assert!(pieces("", &["a"]).is_empty());
        assert_eq!(pieces("a", &["a"]), ["a"]);
    }
}
