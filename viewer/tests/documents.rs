//! What is opened, and what is refused and why.
mod generated;

use std::fs;
use std::path::{Path, PathBuf};
use viewer::document::{Document, NodeIx, Query};
use viewer::layout::{Layouts, View};

fn written(folder: &Path, name: &str, text: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).expect("room for a file");
    path
}

#[test]
fn what_is_not_ours_is_refused_with_its_name_and_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let cycle = "graph g {\n  %0 = neg(%1): f32[2]\n  %1 = neg(%0): f32[2]\n  return %1\n}\n";
    let cases: &[(&str, &[u8], &str)] = &[
        ("empty.ir", b"", "is empty"),
        ("picture.png", b"\x89PNG\r\n\xff\xfe", "is no text"),
        ("notes.txt", b"hello", "is neither a plan nor a graph"),
        ("cut.ron", b"(\n    version: 4,\n    model: (name:\"x\"", "line 3"),
        ("old.ron", b"(version: 1)", "of version 1"),
        ("cut.ir", b"graph g {\n  x = input(): f32[2]\n", "line 2: expected `}`"),
        ("cycle.ir", cycle.as_bytes(), "line 2: unknown value %1"),
        ("deep.ron", &[b'('; 100_000], "line 1"),
    ];
    for (name, text, expected) in cases {
        let path = written(at, name, text);
        let error = Document::open(&path).expect_err(name).to_string();
        assert!(error.contains(name) && error.contains(expected), "{error}");
    }
    for path in [at.join("nothing"), at.to_owned()] {
        let error = Document::open(&path).expect_err("nothing to open").to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
    let graph = written(at, "graph.ir", generated::graph(60).as_bytes());
    let mut document = Document::open(&graph).expect("a graph");
    let json = written(at, "x.json", b"{\"traceEvents\":[{\"ph\":\"X\",\"pid\":1,\"tid\":1,\"ts\":1,\"dur\":-3,\"name\":\"a\",\"cat\":\"kernel\"}]}");
    for error in [
        document.add_trace(&json).expect_err("a stretch that ends before it begins"),
        document.add_trace(&graph).expect_err("no JSON"),
        document.add_spans(&json).expect_err("no spans"),
        document.add_numbers(&json).expect_err("no numbers"),
        document.add_hints(&json).expect_err("no hints"),
    ] {
        let error = error.to_string();
        assert!(error.contains("x.json") || error.contains("graph.ir"), "{error}");
    }
    assert!(document.trace.is_none() && document.hints.is_empty());
}

#[test]
fn groups_come_from_names_and_weights_stand_where_they_are_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = written(folder.path(), "g.ir", generated::graph(3 * generated::LAYER).as_bytes());
    let document = Document::open(&path).expect("a graph");
    let pass = document.last();
    let root: Vec<&str> = pass.tree.groups.iter().filter(|g| g.depth == 1).map(|g| g.name.as_str()).collect();
    assert_eq!(root, ["blk.0", "blk.1", "blk.2"]);
    let weight = document.named(0, "blk.1.attn_q.weight")[0];
    assert_eq!(pass.tree[pass.tree.group_of[weight.at()]].path, "blk.1.attn");
    let twins: Vec<_> = pass.tree.groups.iter().filter(|g| g.depth == 1).map(|g| g.shape).collect();
    assert!(twins.windows(2).all(|pair| pair[0] == pair[1]));
    let found = |query: &str| document.search(0, &Query::new(query)).len();
    assert_eq!((found("op:silu"), found("blk.1.attn_q"), found("nothing"), found("")), (3, 3, 0, 0));
    assert_eq!(found("dtype:i32"), 2);
    let first = document.search(0, &Query::new("blk.1.attn_q"))[0].node;
    assert_eq!(pass.flow[first].op, "linear");
    assert!(document.details(0, NodeIx(1 << 30)).is_none() && document.details(9, first).is_none());
}

#[test]
fn a_graph_without_names_is_divided_into_what_can_be_drawn() {
    let mut text = String::from("graph flat {\n  x = input(): f32[2]\n  %0 = neg(x): f32[2]\n");
    for at in 1..5_000 {
        text += &format!("  %{at} = neg(%{}): f32[2]\n", at - 1);
    }
    text += "  return %4999\n}\n";
    let folder = tempfile::tempdir().expect("a folder");
    let document = Document::open(&written(folder.path(), "flat.ir", text.as_bytes())).expect("a graph");
    let picture = Layouts::default().picture(document.last(), &View::default(), None);
    assert!(picture.items.len() <= 400, "{}", picture.items.len());
}
