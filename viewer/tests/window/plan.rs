//! A plan: lanes, memory, messages, misses, heat, numbers.
use crate::stage::{click, click_first, expect, first, picture, showing, two};
use eframe::egui::{Event, Key, Modifiers, PointerButton};
use egui_kittest::kittest::Queryable;
use std::fs;
use viewer::document::Document;

#[test]
fn lanes_say_when_each_device_did_what_and_lead_to_the_node() {
    let mut window = showing(two(true));
    click(&mut window, "Panel Lanes");
    picture(&mut window, "lanes");
    // The panel takes some frames to find its height.
    window.run_steps(20);
    let lanes = window.get_by_label("Lanes in time").rect();
    // Behind the names of the rows, in the first device's measured row.
    let at = lanes.min + eframe::egui::vec2(330.0, 97.0);
    window.hover_at(at);
    window.run();
    window.drag_at(at);
    window.step();
    let (button, modifiers) = (PointerButton::Primary, Modifiers::NONE);
    window.event(Event::PointerButton { pos: at, button, pressed: false, modifiers });
    window.run();
    expect(&window, "blk.0.attention");
    for name in ["Closer: lanes", "Farther: lanes", "All: lanes"] {
        click(&mut window, name);
    }
}

#[test]
fn memory_is_shown_buffer_by_buffer() {
    let mut window = showing(two(true));
    click(&mut window, "Panel Memory");
    first(&window, "Memory of cpu:0 at prefill");
    first(&window, "Buffers of cpu:1 over its steps");
    picture(&mut window, "memory");
}

#[test]
fn the_greatest_misses_and_messages_lead_to_their_nodes() {
    let mut window = showing(two(true));
    click(&mut window, "Panel Misses");
    click_first(&mut window, "Miss 1: ");
    expect(&window, "Used by");
    click(&mut window, "Panel Messages");
    click_first(&mut window, "ffn_down");
    expect(&window, "256 B");
}

#[test]
fn lists_of_the_plan_lead_to_its_nodes_whatever_pass_is_shown() {
    for (panel, row) in [("Panel Misses", "Miss 1: "), ("Panel Messages", "ffn_down")] {
        let mut window = showing(two(true));
        click(&mut window, panel);
        click(&mut window, "Pass import");
        click_first(&mut window, row);
        expect(&window, "Made of, before layout");
    }
}

#[test]
fn keys_go_from_step_to_step_of_what_runs() {
    let mut window = showing(two(true));
    click(&mut window, "Panel Lanes");
    window.run_steps(20);
    window.get_by_label("Lanes in time").focus();
    window.run();
    for expected in ["embed", "blk.0.attn_norm"] {
        window.key_press(Key::ArrowDown);
        window.run();
        expect(&window, &format!("{expected}, "));
        expect(&window, "Used by");
    }
    // Looked at as closely as before, and still with the focus.
    window.key_press(Key::ArrowRight);
    window.key_press(Key::ArrowUp);
    window.run();
    expect(&window, "Used by");
}

#[test]
fn heat_is_drawn_on_nodes_and_edges() {
    let mut window = showing(two(true));
    click(&mut window, "Colour by");
    click(&mut window, "measured ÷ predicted");
    expect(&window, "four times");
    click(&mut window, "of a prompt");
    picture(&mut window, "heat");
}

#[test]
fn a_closed_group_says_that_edges_are_within() {
    let folder = crate::bundle::two_devices();
    let text = fs::read_to_string(folder.path().join("plan.ron")).expect("a plan");
    let text = text.replace("node:\"blk.", "node:\"m.blk.");
    let document =
        Document::of_plan_text("plan.ron".as_ref(), &text).unwrap_or_else(|fault| panic!("{fault}"));
    let mut window = showing(document);
    first(&window, "Group m,");
    picture(&mut window, "within");
}

#[test]
fn numbers_are_laid_over_the_graph_and_the_first_offender_is_marked() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("numbers.json");
    let text = r#"{"tokens":9,"compared":120,"jump":0.001,"drift":0.01,"logits":0.02,
        "layers":[{"name":"embed","error":0.0,"node":"embed"},{"name":"blk.0","error":1e-6,"node":"blk.0.ffn_down"},
                  {"name":"blk.1","error":0.2,"node":"blk.1.ffn_down"}],
        "first":{"node":"blk.1.ffn_down","operator":"fused","device":"cpu:0","step":40,"kernel":"fused.t16.bf16","error":0.2,
                 "at":[0,3],"found":1.5,"expected":1.25,"made_by":"chains"}}"#;
    fs::write(&path, text).expect("room");
    let mut document = two(false);
    document.add_numbers(&path).unwrap_or_else(|fault| panic!("{fault}"));
    let mut window = showing(document);
    click(&mut window, "Colour by");
    click(&mut window, "error");
    click_first(&mut window, "Group blk.1,");
    expect(&window, "2.00e-1 at blk.1.ffn_down");
    picture(&mut window, "numbers");
    window.get_by_label("Search").focus();
    window.run();
    window.get_by_label("Search").type_text("blk.1.ffn_down");
    window.run();
    click_first(&mut window, "Result 1: ");
    expect(&window, "the first value beyond tolerance");
}
