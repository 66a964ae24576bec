//! Two documents beside each other, and what `heddle` says of one.
use crate::bundle;
use crate::generated;
use crate::stage::{asking, click, click_first, expect, moved, picture, says, search, two, until, window};
use eframe::egui::Theme;
use egui_kittest::kittest::Queryable;
use std::fs;
use viewer::document::Document;
use viewer::heddle::Heddle;
use viewer::panels::Viewer;

#[test]
fn two_plans_are_compared_and_each_difference_is_seen_in_both() {
    let mut window = window(Theme::Dark, 1.0, |_| Viewer::showing(two(false), Some(moved())));
    expect(&window, "nodes differ");
    click_first(&mut window, "Changed: blk.1.ffn_norm");
    expect(&window, "blk.1.ffn_norm");
    picture(&mut window, "compare");
    click(&mut window, "Draw both as one");
    assert!(window.query_by_label("Other graph").is_some() && window.query_by_label("Graph").is_none());
}

/// A document of a graph's text.
fn graph(text: &str) -> Document {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("graph.ir");
    fs::write(&file, text).expect("room");
    let document = Document::open(&file).unwrap_or_else(|fault| panic!("{fault}"));
    Document { path: "graph.ir".into(), ..document }
}

#[test]
fn a_search_is_of_the_document_that_was_pointed_at() {
    let small = "graph g {\n  x = input(): f32[2]\n  %0 = neg(x): f32[2] @lonely\n  return %0\n}\n";
    let (big, small) = (graph(&generated::graph(300)), graph(small));
    let mut window = window(Theme::Dark, 1.0, |_| Viewer::showing(big, Some(small)));
    search(&mut window, "linear");
    assert!(!says(&window, "Nothing found"));
    click(&mut window, "lonely, neg");
    expect(&window, "Nothing found");
    search(&mut window, "");
}

#[test]
fn drawn_as_one_two_graphs_show_what_is_gone_where_it_was() {
    let with = "graph g {\n  x = input(): f32[2] <- 0\n  %0 = exp(x): f32[2] @first <- 1\n  %1 = neg(%0): f32[2] @gone <- 2\n  %2 = exp(%1): f32[2] @last <- 3\n  return %2\n}\n";
    let without = "graph g {\n  x = input(): f32[2] <- 0\n  %0 = exp(x): f32[2] @first <- 1\n  %2 = exp(%0): f32[2] @last <- 3\n  return %2\n}\n";
    let (with, without) = (graph(with), graph(without));
    let mut window = window(Theme::Dark, 1.0, |_| Viewer::showing(with, Some(without)));
    assert!(!says(&window, "Gone: "));
    click(&mut window, "Draw both as one");
    expect(&window, "Gone: gone, neg");
    let far = window.get_by_label("Gone: gone, neg").rect().width();
    for _ in 0..4 {
        click(&mut window, "Farther");
    }
    assert!(window.get_by_label("Gone: gone, neg").rect().width() < far, "keys move what cannot be seen");
    click(&mut window, "Removed: gone");
    assert!(window.get_by_label("Gone: gone, neg").rect().width() > 0.5 * far);
    click(&mut window, "Show all");
    click(&mut window, "last, exp");
    picture(&mut window, "overlay");
}

#[test]
fn what_is_asked_of_the_second_document_is_answered_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = crate::stage::program(folder.path(), "echo \"error: asked of $4\" >&2; exit 2");
    let mut other = moved();
    other.path = "the-second".into();
    let mut window = window(Theme::Dark, 1.0, move |_| {
        let mut viewer = Viewer::showing(two(false), Some(other));
        viewer.ask(Heddle::at(program));
        viewer
    });
    let right = window.get_all_by_label_contains("embed, gather").last().expect("two of them").rect();
    window.hover_at(right.center());
    window.run();
    window.drag_at(right.center());
    window.drop_at(right.center());
    window.run();
    window.get_by_label("Why is it so?").click();
    window.run_steps(2);
    until(&mut window, |window| says(window, "asked of"));
    expect(&window, "asked of the-second");
    window.get_all_by_label_contains("embed, gather").next().expect("two of them").click();
    window.run_steps(4);
    assert!(!says(&window, "asked of"), "an answer about the second is shown at the first");
}

#[test]
fn why_a_node_is_as_it_is_is_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let answer = r#"[{"about":"embed","decision":"embed runs on cpu:0","cost_ns":1500,"limit":"memory","instead":[{"what":"embed on cpu:1","predicted_ns":4724940}]}]"#;
    let mut window = asking(folder.path(), &format!("echo '{answer}'"));
    click_first(&mut window, "embed, gather");
    window.get_by_label("Why is it so?").click();
    until(&mut window, |window| says(window, "embed runs on cpu:0"));
    expect(&window, "It takes 1.5 µs");
    expect(&window, "Instead embed on cpu:1: 4.72 ms");
}

#[test]
fn what_should_be_is_predicted_where_nothing_was_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let spans = bundle::two_devices();
    let answer = spans.path().join("spans.json");
    let mut window = asking(folder.path(), &format!("cat '{}'", answer.display()));
    click(&mut window, "Panel Lanes");
    window.get_by_label("Predict when each step should be").click();
    until(&mut window, |window| says(window, "Lanes in time"));
    expect(&window, "predicted; nothing was measured");
}
