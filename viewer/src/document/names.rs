//! Groups from names: model → block → part → operator.
//!
//! A name is words between dots. A number belongs to the word before it, and what stands before the last word are
//! groups: `blk.3.attn_q` is in `blk.3`. Within a layer, operators whose words begin alike are a part: `attn_q` and
//! `attn_k` are in `attn`, and so are those that [`PARTS`] names.

/// First words of operators that belong to the part of another name.
const PARTS: &[(&str, &str)] = &[("attention", "attn"), ("rope", "attn"), ("append", "attn"), ("qk", "attn")];

/// Letters of a name at most. Files may have any; longer ones are cut before anybody draws them.
const LETTERS_MOST: usize = 1_000;

/// A name that can be drawn.
pub(crate) fn cut(mut name: String) -> String {
    if let Some((end, _)) = name.char_indices().nth(LETTERS_MOST) {
        name.truncate(end);
        name.push('…');
    }
    name
}

/// How deep groups nest at most: names of a file can be as they like.
pub(super) const DEPTH_MAX: usize = 12;

/// The groups that a path is in, outermost first, each by the end of its part of the path, and the part of a layer.
pub(super) fn groups(path: &str) -> (Vec<&str>, Option<&str>) {
    let mut groups: Vec<&str> = vec![];
    let (mut at, mut is_layer) = (0, false);
    let words: Vec<&str> = path.split('.').collect();
    let Some((last, before)) = words.split_last() else { return (groups, None) };
    for (index, word) in before.iter().enumerate() {
        at += word.len() + usize::from(index > 0);
        is_layer = is_number(word) && !groups.is_empty();
        if is_layer {
            groups.pop();
        }
        if groups.len() < DEPTH_MAX && at > 0 {
            groups.push(&path[..at]);
        }
    }
    let first = last.split(['_', '+', '-']).next().unwrap_or(last);
    let part = PARTS.iter().find(|(word, _)| *word == first).map_or(first, |(_, part)| part);
    (groups, Some(part).filter(|part| is_layer && !part.is_empty()))
}

/// The number of the innermost layer that a group's path names.
fn layer(path: &str) -> Option<&str> {
    path.rsplit('.').find(|word| is_number(word))
}

/// A name with a mark for the words that are the number of a group's layer, so that names of equal layers are equal.
pub(crate) fn without_layer(name: &str, group: &str, mark: &str) -> String {
    let Some(layer) = layer(group) else { return name.to_owned() };
    let words: Vec<&str> = name.split('.').map(|word| if word == layer { mark } else { word }).collect();
    words.join(".")
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_which_groups_they_are_in() {
        let of = |path| groups(path);
        assert_eq!(of("blk.3.attn_q"), (vec!["blk.3"], Some("attn")));
        assert_eq!(of("blk.3.rope_q"), (vec!["blk.3"], Some("attn")));
        assert_eq!(of("blk.12.ffn_gate+ffn_up"), (vec!["blk.12"], Some("ffn")));
        assert_eq!(
            of("model.layers.0.self.q"),
            (vec!["model", "model.layers.0", "model.layers.0.self"], None)
        );
        assert_eq!(of("output_norm"), (vec![], None));
        assert_eq!(of("3.x"), (vec!["3"], None));
        assert_eq!(of(""), (vec![], None));
        assert_eq!(of("a..b"), (vec!["a", "a."], None));
        assert_eq!(of(".a.b"), (vec![".a"], None));
        assert!(groups(&"a.".repeat(500)).0.len() <= DEPTH_MAX);
    }

    #[test]
    fn a_layers_number_is_left_out_and_no_other() {
        assert_eq!(layer("blk.3.attn"), Some("3"));
        assert_eq!(without_layer("kv.3.k", "blk.3.attn", "#"), "kv.#.k");
        assert_eq!(without_layer("kv.13.k", "blk.3", "#"), "kv.13.k");
        assert_eq!(without_layer("x.3", "a", "#"), "x.3");
    }
}
