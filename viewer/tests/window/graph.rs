//! The canvas: groups, search, details, passes, and files that cannot be shown.
use crate::stage::{click, click_first, expect, first, picture, says, showing, two, until, window};
use crate::{bundle, generated};
use eframe::egui::{Key, Theme};
use egui_kittest::kittest::{NodeT, Queryable};
use std::fs;
use viewer::document::Document;
use viewer::panels::{Request, Viewer};

#[test]
fn a_graph_is_seen_whole_with_its_groups_closed() {
    let mut window = showing(two(false));
    first(&window, "Group blk.0,");
    assert!(!says(&window, "blk.0.ffn_down, "));
    picture(&mut window, "graph_dark");
}

#[test]
fn a_graph_is_as_legible_in_the_light() {
    picture(&mut window(Theme::Light, 1.0, |_| Viewer::showing(two(false), None)), "graph_light");
}

#[test]
fn a_graph_is_as_sharp_on_a_screen_of_twice_the_dots() {
    picture(&mut window(Theme::Dark, 2.0, |_| Viewer::showing(two(false), None)), "graph_twice");
}

#[test]
fn groups_open_and_close_and_say_what_they_hold() {
    let mut window = showing(two(false));
    click_first(&mut window, "Group blk.0,");
    expect(&window, "paged_attention");
    click(&mut window, "Open or close the group");
    click_first(&mut window, "Group blk.0.ffn,");
    click(&mut window, "Open or close the group");
    click(&mut window, "Show all");
    click_first(&mut window, "blk.0.ffn_down, ");
    expect(&window, "blk.0.ffn_down.weight");
    picture(&mut window, "details");
    click(&mut window, "Show all");
    for _ in 0..6 {
        click(&mut window, "Farther");
    }
    picture(&mut window, "far");
    click(&mut window, "Show all");
    for _ in 0..5 {
        click(&mut window, "Closer");
    }
    picture(&mut window, "close");
    click(&mut window, "Show all");
    click_first(&mut window, "Group blk.0,");
    click(&mut window, "Open or close the group");
    assert!(!says(&window, "Group blk.0.ffn,"));
}

#[test]
fn what_is_searched_is_found_in_closed_groups_and_gone_to() {
    let mut window = showing(two(false));
    window.get_by_label("Search").focus();
    window.run();
    window.get_by_label("Search").type_text("ffn_down");
    window.run();
    click_first(&mut window, "Result 1: ");
    first(&window, "blk.0.ffn_down, ");
    picture(&mut window, "search");
    click(&mut window, "Next result");
    expect(&window, "blk.1.ffn_down");
}

#[test]
fn keys_go_from_box_to_box_and_through_the_passes() {
    let mut window = showing(two(false));
    click_first(&mut window, "embed, gather");
    for _ in 0..8 {
        if window.query_by_label("Open or close the group").is_some() {
            break;
        }
        window.key_press(Key::ArrowDown);
        window.run();
    }
    window.key_press(Key::Enter);
    window.run();
    first(&window, "Group blk.0.attn,");
    expect(&window, "Open or close the group");
    window.key_press(Key::OpenBracket);
    window.run();
    window.key_press(Key::Escape);
    window.run();
    assert!(window.query_by_label("Open or close the group").is_none());
    expect(&window, "5 of 6: epilogues");
    // The drawing has the focus as before.
    window.key_press(Key::CloseBracket);
    window.run();
    expect(&window, "6 of 6: layout");
}

#[test]
fn keys_that_come_in_one_frame_go_where_they_were_pressed() {
    let mut window = showing(two(false));
    click_first(&mut window, "embed, gather");
    click(&mut window, "Pass import");
    click_first(&mut window, "embed, gather");
    for key in [Key::CloseBracket, Key::ArrowDown] {
        window.key_press(key);
    }
    window.run();
    expect(&window, "Open or close the group");
    for key in [Key::CloseBracket, Key::Enter] {
        window.key_press(key);
    }
    window.run();
    first(&window, "Group blk.0.attn,");
}

#[test]
fn names_of_any_length_are_cut_before_they_are_drawn() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, long) = (folder.path().join("graph.ir"), "a".repeat(4 << 20));
    let text = format!(
        "graph {long} {{\n  {long} = input(): f32[{long}]\n  %0 = neg({long}): f32[{long}] @{long}\n  return %0\n}}\n"
    );
    for (text, expected) in [(text.clone(), "neg"), (text.replace("neg(", "neg(b"), "unknown value")] {
        fs::write(&file, text).expect("room");
        let own = file.clone();
        let mut window = window(Theme::Dark, 1.0, |context| {
            Viewer::new(context, Request { file: Some(own), ..Request::default() })
        });
        until(&mut window, |window| !window.state().is_opening());
        window.run();
        expect(&window, expected);
        if expected == "neg" {
            click_first(&mut window, expected);
        }
        let letters = |text: Option<String>| text.map_or(0, |text| text.len());
        let longest = window
            .query_all_by(|_| true)
            .map(|node| letters(node.value()).max(letters(node.accesskit_node().label())));
        assert!(longest.max() < Some(4_000), "a text of any length is laid out");
    }
}

#[test]
fn a_pass_shows_what_it_did_and_a_fused_node_what_it_came_of() {
    let mut window = showing(two(false));
    click(&mut window, "Pass chains");
    click_first(&mut window, "Group blk.0,");
    click(&mut window, "Open or close the group");
    click_first(&mut window, "Group blk.0.ffn,");
    click(&mut window, "Open or close the group");
    click_first(&mut window, "blk.0.ffn_mul, fused");
    click(&mut window, "Show all");
    picture(&mut window, "pass");
    click_first(&mut window, "Made of, before chains: blk.0.ffn_act");
    expect(&window, "Became, by chains: blk.0.ffn_mul");
    click_first(&mut window, "Became, by chains: blk.0.ffn_mul");
    expect(&window, "Made of, before chains: blk.0.ffn_act");
}

#[test]
fn what_cannot_be_shown_is_said_in_the_window() {
    let folder = tempfile::tempdir().expect("a folder");
    let plan = fs::read_to_string(bundle::two_devices().path().join("plan.ron")).expect("a plan");
    let cycle = "graph g {\n  %0 = neg(%1): f32[2]\n  %1 = neg(%0): f32[2]\n  return %1\n}\n";
    for (name, text, expected) in [
        ("notes.txt", "hello", "is neither a plan nor a graph"),
        ("cut.ron", &plan[..plan.len() / 2], "cut.ron"),
        ("cycle.ir", cycle, "%1 is computed from itself: %1 needs %0, %0 needs %1"),
    ] {
        let file = folder.path().join(name);
        fs::write(&file, text).expect("room");
        let mut window = window(Theme::Dark, 1.0, |context| {
            Viewer::new(context, Request { file: Some(file), ..Request::default() })
        });
        until(&mut window, |window| !window.state().is_opening());
        expect(&window, expected);
        expect(&window, "Nothing is open");
        click(&mut window, "Close message 1");
        assert!(!says(&window, expected));
    }
}

#[test]
fn names_of_any_writing_are_drawn() {
    let text = "graph \"模型\" {\n  \"词 元\" = input(): f32[2]\n  %0 = neg(\"词 元\"): f32[2] @\"块.0.注意力\"\n  return %0\n}\n";
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("graph.ir");
    fs::write(&file, text).expect("room");
    let document = Document::open(&file).unwrap_or_else(|fault| panic!("{fault}"));
    let window = showing(document);
    expect(&window, "词 元");
}

#[test]
fn a_graph_of_a_hundred_thousand_nodes_is_drawn_and_found_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("graph.ir");
    fs::write(&file, generated::graph(100_000)).expect("room");
    let mut window = showing(Document::open(&file).unwrap_or_else(|fault| panic!("{fault}")));
    window.get_by_label("Search").focus();
    window.run();
    window.get_by_label("Search").type_text("blk.2999.ffn_down");
    window.run();
    click_first(&mut window, "Result 1: ");
    expect(&window, "blk.2999.ffn_down");
}
