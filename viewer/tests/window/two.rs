//! Two plans beside each other, and one that is changed.
use crate::bundle;
use crate::stage::{Window, click, click_first, expect, first, moved, picture, two, until, window};
use eframe::egui::Theme;
use egui_kittest::kittest::Queryable;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
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

/// As `heddle edit --dry-run --json` answers.
const SOUND: &str = r#"{"is_equal":false,"moved":[{"from":["cpu:0"],"to":["cpu:1"],"nodes":["blk.1"],"count":16}],"formats":[],"edges":{"gone":[],"new":[]},"prompt_tokens":256,"before":{"prefill_ms":87.8,"decode_ms":4.687,"edge_bytes":2304,"devices":[{"name":"cpu:0","peak_bytes":110177696},{"name":"cpu:1","peak_bytes":71735824}]},"after":{"prefill_ms":88.2,"decode_ms":4.851,"edge_bytes":6912,"devices":[{"name":"cpu:0","peak_bytes":103881696},{"name":"cpu:1","peak_bytes":79262800}]},"untimed":null,"items":[]}"#;

/// A window that asks a script, which answers as it is told.
fn asking(folder: &Path, script: &str) -> Window {
    let path = folder.join("heddle");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("room");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("a file of our own");
    let bundle = folder.join("m.heddle");
    fs::create_dir_all(bundle.join("graphs")).expect("room");
    let from = bundle::two_devices();
    for file in ["plan.ron", "graphs/00-import.ir", "graphs/15-layout.ir"] {
        fs::copy(from.path().join(file), bundle.join(file)).expect("room");
    }
    let document = Document::open(&bundle).unwrap_or_else(|fault| panic!("{fault}"));
    window(Theme::Light, 1.0, |_| {
        let mut viewer = Viewer::showing(document, None);
        viewer.ask(Heddle::at(path));
        viewer
    })
}

#[test]
fn a_layer_is_dragged_onto_a_device_and_its_price_is_said_and_saved() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut window = asking(folder.path(), &format!("cat <<'END'\n{SOUND}\nEND"));
    click(&mut window, "Change the plan");
    let from = first(&window, "Group blk.1,").rect().center();
    let to = first(&window, "Device cpu:1").rect().center();
    window.hover_at(from);
    window.run();
    window.drag_at(from);
    window.run_steps(2);
    for part in [0.3, 0.7, 1.0] {
        window.hover_at(from + (to - from) * part);
        window.run_steps(2);
    }
    window.drop_at(to);
    window.run_steps(3);
    expect(&window, "Place(nodes: \"blk.1\", device: \"cpu:1\")");
    until(&mut window, |window| crate::stage::says(window, "The verifier accepts it"));
    expect(&window, "a token: 4.69 ms to 4.85 ms (+3.5%)");
    expect(&window, "memory of cpu:0: 110.18 MB to 103.88 MB");
    picture(&mut window, "change");
    click(&mut window, "Save hints.ron");
    let saved = fs::read_to_string(folder.path().join("m.heddle/hints.ron")).expect("hints");
    assert_eq!(saved, "(hints: [\n    Place(nodes: \"blk.1\", device: \"cpu:1\"),\n])\n");
    assert_eq!(ir::plan::Hint::read(&saved).map(|hints| hints.len()), Ok(1));
}

#[test]
fn a_change_that_is_refused_says_why_and_can_be_taken_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut window = asking(folder.path(), "echo 'error: no room on cpu:1' >&2; exit 2");
    click(&mut window, "Change the plan");
    click_first(&mut window, "Group blk.0,");
    click(&mut window, "Weights in another format");
    click(&mut window, "q8_0");
    until(&mut window, |window| crate::stage::says(window, "no room on cpu:1"));
    expect(&window, "Format(weights: \"blk.0.attn_k\", format: \"q8_0\")");
    click(&mut window, "Forget hint 1");
    until(&mut window, |window| !crate::stage::says(window, "Format(weights: \"blk.0.attn_k\","));
}

#[test]
fn why_a_node_is_as_it_is_is_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let answer = r#"[{"about":"embed","decision":"embed runs on cpu:0","cost_ns":1500,"limit":"memory","instead":[{"what":"embed on cpu:1","predicted_ns":4724940}]}]"#;
    let mut window = asking(folder.path(), &format!("echo '{answer}'"));
    click_first(&mut window, "embed, gather");
    window.get_by_label("Why is it so?").click();
    until(&mut window, |window| crate::stage::says(window, "embed runs on cpu:0"));
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
    until(&mut window, |window| crate::stage::says(window, "Lanes in time"));
    expect(&window, "predicted; nothing was measured");
}
