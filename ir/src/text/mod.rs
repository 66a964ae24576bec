//! The text form of a graph: `Display` for [`Graph`](crate::Graph) writes it, [`read`] reads it.
//!
//! ```text
//! graph tiny {
//!   tokens = input(): i32[n]
//!   cache.k = state(): f16[p, 16, 3, 64]
//!   blk.0.attn_norm.weight = weight(): f32[64]
//!   %0 = rms_norm(x, blk.0.attn_norm.weight) {eps:1e-5}: f32[n, 64] @blk.0.attn.norm <- 3, 4
//!   return %0
//! }
//! ```
//!
//! - One node a line: name, operator, operands, attributes as [`Op::attributes`](crate::Op::attributes) writes
//!   them, type; then, where it has them, `on` the number of its device, `@` its path and `<-` the reference nodes
//!   that it stands for.
//! - Inputs, states and weights go by their own names, behind which `~` and a number say on which device they are;
//!   every other value by `%` and its number in order. The reader takes any word after the `%`; the writer numbers
//!   anew. Device 0 is not written.
//! - Names and paths are bare words of ASCII letters, digits and `_ . - /`. Other names, those with a `//`
//!   and `return` stand between quotes, with the escapes of a RON string.
//! - Lines that begin with `//` say nothing. The verifier speaks in them.
//!
//! Text that was written is read as the same graph and written as the same text.
mod circle;
mod read;
mod write;

pub use read::{ReadError, Text, read};
pub use write::Names;
pub(crate) use write::write;

/// Whether a name can stand without quotes.
fn is_bare(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_name_char) && !name.contains("//") && name != "return"
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Add, Input, RmsNorm, Weight};
    use crate::{Graph, NodeId, Part, TensorType};
    use expect_test::expect;
    use proptest::prelude::*;

    /// One node that a random graph gets: its kind, its operands, its path, what it stands for.
    type Recipe = (u8, [prop::sample::Index; 2], String, Vec<u32>);

    fn graph(name: &str, given: &[String], recipes: &[Recipe]) -> Graph {
        let mut g = Graph::new(name);
        let mut values: Vec<NodeId> = vec![];
        for (i, name) in given.iter().enumerate() {
            let (name, ty) = (name.clone(), TensorType::f32(&[8]));
            let source = match i % 3 {
                0 => g.add(Weight { name, ty, part: None, layout: None }, &[]),
                kind => {
                    let part = (kind == 1 && i % 2 == 0).then_some(Part { axis: 0, start: 8, of: 24 });
                    g.add(Input { name, ty, state: kind == 1, part }, &[])
                }
            };
            let source = source.unwrap();
            g.set_place(source, i as u32 % 2);
            values.push(source);
        }
        for (kind, operands, path, stands_for) in recipes {
            let [a, b] = operands.map(|i| values[i.index(values.len())]);
            let n = match kind {
                0 => g.add(Add {}, &[a, b]),
                eps => g.add(RmsNorm { eps: f32::from(*eps) * 1e-7 }, &[a, b]),
            };
            let n = n.unwrap();
            g.set_path(n, path);
            g.set_place(n, u32::from(*kind) / 2);
            g.set_stands_for(n, stands_for.clone());
            values.push(n);
        }
        g.outputs = values.iter().rev().step_by(2).copied().collect();
        g
    }

    fn shape(g: &Graph) -> Vec<(crate::Node, Vec<NodeId>)> {
        g.order().into_iter().map(|n| (g[n].clone(), g.inputs(n))).collect()
    }

    proptest! {
        #[test]
        fn text_and_graph_are_inverse(
            name in ".{0,8}",
            given in prop::collection::btree_set("[a-z./%\" {}\\\\-]{0,5}|.{0,6}|return|blk.0.attn_q.weight", 1..6),
            recipes in prop::collection::vec(
                (0u8..4, any::<[prop::sample::Index; 2]>(), "[a-z.]{0,6}|.{0,3}", prop::collection::vec(0u32..99, 0..3)),
                0..12,
            ),
        ) {
            let given: Vec<String> = given.into_iter().collect();
            let before = graph(&name, &given, &recipes);
            let text = before.to_string();
            let after = read(&text).unwrap_or_else(|e| panic!("{e}\n{text}")).graph;
            prop_assert_eq!(after.to_string(), text);
            prop_assert_eq!(shape(&after), shape(&before));
            prop_assert_eq!(&after.outputs, &before.outputs);
            prop_assert_eq!(&after.name, &before.name);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "(graph g \\{\n)?([a-z%0-9 =(),{}:@<\"\\\\\\[\\]-]{0,40}\n){0,4}") {
            let _ = read(&text);
        }
    }

    #[test]
    fn names_are_quoted_where_they_must_be() {
        let names = ["blk.0.attn_q.weight", "a b", "return", "//", "%0", "", "\"\n"];
        let g = graph("g", &names.map(String::from), &[]);
        expect![[r#"
            graph g {
              blk.0.attn_q.weight = weight(): f32[8]
              "a b"~1 = state(): f32[8]
              "return" = input(): f32[8]
              "//"~1 = weight(): f32[8]
              "%0" = state() {part:(axis:0,start:8,of:24)}: f32[8]
              ""~1 = input(): f32[8]
              "\"\n" = weight(): f32[8]
              return "\"\n", "%0", "return", blk.0.attn_q.weight
            }
        "#]]
        .assert_eq(&g.to_string());
    }

    #[test]
    fn errors_say_where_and_what() {
        let faults = [
            ("", "expected `graph`, found the end"),
            ("graph g {\n  x = input(): f32[1]\n  x = input(): f32[1]\n}", "the name x is taken by line 2"),
            ("graph g {\n  %0 = add(x, x): f32[1]\n}", "unknown value x"),
            ("graph g {\n  %0 = ad(): f32[1]\n}", "unknown operator \"ad\""),
            (
                "graph g {\n  y = add(): f32[1]\n}",
                "only inputs, states and weights have a name of their own, expected %y",
            ),
            ("graph g {\n  %0 = input(): f32[1]\n}", "an input has a name of its own, found %0"),
            ("graph g {\n  x = input(): f33[1]\n}", "unknown dtype \"f33\""),
            ("graph g {\n  x = input() {eps:1}: f32[1]\n}", "an input has no attributes, found {eps:1}"),
            ("graph g {\n  x = weight(): f32[1] @\n}", "expected a name, found the end of the line"),
            ("graph g {\n  x = weight(): f32[1] <- -1\n}", "expected a number, found \"-1\""),
            ("graph g {\n  return\n  x = input(): f32[1]\n}", "expected `}`, found \"x = input(): f32[1]\""),
            ("graph g {\n", "expected `}`, found the end"),
            ("graph g {\n}\n}", "expected the end, found \"}\""),
            (
                "graph g {\n  %0 = neg(%1): f32[1]\n  x = input(): f32[1]\n  %1 = neg(x): f32[1]\n}",
                "%1 is made on line 4: a value stands above those that use it",
            ),
            ("graph g {\n  %0 = neg(%0): f32[1]\n}", "%0 is computed from itself: %0 needs %0"),
            (
                "graph g {\n  %0 = neg(%1): f32[1]\n  %1 = neg(%2): f32[1]\n  %2 = neg(%3): f32[1]\n  \
                 %3 = add(%0x, %2): f32[1]\n}",
                "%2 is computed from itself: %2 needs %3, %3 needs %2",
            ),
        ];
        for (text, expected) in faults {
            assert_eq!(read(text).expect_err(text).message, expected, "{text}");
        }
        let long = "a".repeat(1 << 20);
        for line in ["%0 = neg(LONG): f32[1]", "%0 = LONG(): f32[1]", "LONG = weight() {LONG}: f32[1]"] {
            let error = read(&format!("graph g {{\n{}\n}}", line.replace("LONG", &long))).unwrap_err();
            assert!(error.message.len() < 1_000, "{} bytes", error.message.len());
        }
    }

    #[test]
    fn attributes_may_hold_anything_between_quotes() {
        let text = "graph g {\n  x = input(): f32[3, 6]\n  \
            %0 = fused(x) {body:\"(x0[i0, i1] * 2.0f)\",ty:\"f32[3, 6]\"}: f32[3, 6]\n  return %0\n}\n";
        assert_eq!(read(text).unwrap().graph.to_string(), text);
        let odd = text.replace("2.0f", "\\\"})");
        assert!(read(&odd).unwrap_err().message.contains("expected"), "{}", read(&odd).unwrap_err());
    }

    #[test]
    fn lines_are_those_of_the_text() {
        let text = read(
            "\n// a remark\ngraph g {\n\n  x = input(): f32[2]\n  // ^ nothing\n  %a = add(x, x): f32[2]\n}",
        )
        .unwrap();
        assert_eq!(text.lines.values().copied().collect::<Vec<_>>(), [5, 7]);
    }
}
