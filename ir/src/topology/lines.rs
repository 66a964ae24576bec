//! On which lines of a text written by a person, as a topology is, the items of its lists begin, however they are
//! laid out.

/// The lines, from 1, on which the items of the list `key` begin, in a text whose outermost parentheses
/// hold that list.
pub(crate) fn of(text: &str, key: &str) -> Vec<usize> {
    let mut lines = vec![];
    let (mut line, mut depth) = (1, 0u32);
    // The last word at the depth of the topology's own fields, and whether its list is the one asked for.
    let (mut word, mut is_inside, mut is_item_next) = (String::new(), false, false);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let is_list = is_inside && depth == 2;
        match c {
            '\n' => line += 1,
            '/' if rest.peek() == Some(&'/') => while rest.next_if(|c| *c != '\n').is_some() {},
            c if c.is_whitespace() => {}
            ',' if is_list => is_item_next = true,
            _ if is_list && is_item_next && c != ']' => {
                lines.push(line);
                is_item_next = false;
            }
            _ => {}
        }
        match c {
            '"' => {
                while let Some(c) = rest.next() {
                    match c {
                        '\\' => _ = rest.next(),
                        '\n' => line += 1,
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '(' | '[' | '{' => {
                depth += 1;
                if depth == 2 {
                    is_inside = word == key;
                    is_item_next = is_inside;
                }
            }
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 1 => word.clear(),
            c if depth == 1 && (c.is_alphanumeric() || c == '_') => word.push(c),
            _ => {}
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_found_in_any_layout() {
        let text = "(version: 2, // links: [\n devices: [ (name: \"a, (\\\"\", teams: [(x: 1), (x: 2)]),\n\n\
                    (\nname: \"links: [\"\n), ], links:\n[\n\n(from: \"a\"), (to: \"b\"),\n(),], switches: [\n\"s\", \"t\"])";
        assert_eq!(of(text, "devices"), [2, 4]);
        assert_eq!(of(text, "links"), [9, 9, 10]);
        assert_eq!(of(text, "switches"), [11, 11]);
        assert!(of(text, "teams").is_empty());
        assert!(of("(devices: [", "devices").is_empty());
    }
}
