//! Which of some names are spelled most like another, for who mistyped one.

/// The three names that have most letters in common with `word`, the nearest first.
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_by_key(|name| std::cmp::Reverse((similar(name, word) * 1e6) as u64));
    let mut nearest: Vec<&str> = vec![];
    for name in names {
        if nearest.len() < 3 && !nearest.contains(&name) {
            nearest.push(name);
        }
    }
    nearest
}

/// What part of the pairs of neighbouring letters two words share.
fn similar(a: &str, b: &str) -> f64 {
    let pairs = |text: &str| text.as_bytes().windows(2).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (a, mut b) = (pairs(a), pairs(b));
    let all = (a.len() + b.len()).max(1) as f64;
    let shared = a.iter().filter(|pair| match b.iter().position(|other| other == *pair) {
        Some(at) => {
            b.swap_remove(at);
            true
        }
        None => false,
    });
    2.0 * shared.count() as f64 / all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_near_that_share_letters() {
        assert!(similar("blk.0.ffn_down", "blk.0.fnn_down") > similar("blk.0.attn_output", "blk.0.fnn_down"));
        assert_eq!((similar("", ""), similar("ab", "ab")), (0.0, 1.0));
        let names = ["embed", "blk.0.attn_q", "blk.0.ffn_up", "blk.0.ffn_up", "blk.0.ffn_down", "output"];
        let found = nearest("blk.0.fnn_up", names);
        assert_eq!(found, ["blk.0.ffn_up", "blk.0.ffn_down", "blk.0.attn_q"]);
    }
}
