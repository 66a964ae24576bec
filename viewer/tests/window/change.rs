//! A plan that is changed by hand: hints, their price, their file, and runs before and after.
use crate::stage::{
    Window, asking, click, click_first, expect, first, picture, program, says, two, until, window,
};
use crate::{bundle, stage};
use eframe::egui::Theme;
use egui_kittest::kittest::Queryable;
use std::fs;
use std::path::Path;
use viewer::document::Document;
use viewer::heddle::Heddle;
use viewer::panels::Viewer;

/// As `heddle edit --dry-run --json` answers.
const SOUND: &str = r#"{"is_equal":false,"moved":[{"from":["cpu:0"],"to":["cpu:1"],"nodes":["blk.1"],"count":16}],"formats":[],"edges":{"gone":[],"new":[]},"prompt_tokens":256,"before":{"prefill_ms":87.8,"decode_ms":4.687,"edge_bytes":2304,"devices":[{"name":"cpu:0","peak_bytes":110177696},{"name":"cpu:1","peak_bytes":71735824}]},"after":{"prefill_ms":88.2,"decode_ms":4.851,"edge_bytes":6912,"devices":[{"name":"cpu:0","peak_bytes":103881696},{"name":"cpu:1","peak_bytes":79262800}]},"untimed":null,"items":[]}"#;

#[test]
fn a_layer_is_dragged_onto_a_device_and_its_price_is_said_and_saved() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut window = asking(folder.path(), &format!("cat <<'END'\n{SOUND}\nEND"));
    click(&mut window, "Change the plan");
    let from = first(&window, "Group blk.1,").rect().center();
    let to = first(&window, "Device cpu:1").rect().center();
    stage::drag(&mut window, from, to);
    expect(&window, "Place(nodes: \"blk.1\", device: \"cpu:1\")");
    until(&mut window, |window| says(window, "The verifier accepts it"));
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
    window.get_by_label("q8_0").click();
    until(&mut window, |window| says(window, "no room on cpu:1"));
    expect(&window, "Format(weights: \"blk.0.attn_k\", format: \"q8_0\")");
    click(&mut window, "Forget hint 1");
    until(&mut window, |window| !says(window, "Format(weights: \"blk.0.attn_k\","));
}

/// Puts what is selected on the second device, and waits for the verdict.
fn put(window: &mut Window) {
    window.get_by_label("Put the selected on cpu:1").click();
    until(window, |window| says(window, "The verifier accepts it"));
}

/// A `heddle` that accepts every edit, and does as told when it is to trace.
fn tracing(trace: &str) -> String {
    format!("case $1 in edit) cat <<'END'\n{SOUND}\nEND\n;; trace) {trace};; esac")
}

#[test]
fn a_node_that_reads_a_weight_offers_formats() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut window = asking(folder.path(), &tracing("exit 1"));
    for group in ["Group blk.0,", "Group blk.0.ffn,"] {
        click_first(&mut window, group);
        click(&mut window, "Open or close the group");
    }
    click_first(&mut window, "blk.0.ffn_down, ");
    click(&mut window, "Change the plan");
    click(&mut window, "Weights in another format");
    window.get_by_label("q8_0").click();
    until(&mut window, |window| says(window, "The verifier accepts it"));
    expect(&window, "Format(weights: \"blk.0.ffn_down\", format: \"q8_0\")");
    assert!(!says(&window, "Forget hint 2"));
}

#[test]
fn a_plan_without_graphs_is_changed_by_the_names_of_its_steps_and_what_means_nothing_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = program(folder.path(), &tracing("exit 1"));
    let text = fs::read_to_string(bundle::two_devices().path().join("plan.ron")).expect("a plan");
    let document =
        Document::of_plan_text(Path::new("socket"), &text).unwrap_or_else(|fault| panic!("{fault}"));
    let mut window = window(Theme::Dark, 1.0, |_| {
        let mut viewer = Viewer::showing(document, None);
        viewer.ask(Heddle::at(program));
        viewer
    });
    click(&mut window, "Change the plan");
    click_first(&mut window, "tokens, input");
    click(&mut window, "Put the selected on cpu:1");
    expect(&window, "there is nothing to put");
    click_first(&mut window, "embed, gather");
    put(&mut window);
    expect(&window, "Place(nodes: \"embed\", device: \"cpu:1\")");
    assert!(!says(&window, "there is nothing to put"));
    click(&mut window, "Save hints.ron");
    expect(&window, "came through a socket");
}

#[test]
fn a_file_of_hints_that_is_there_is_not_replaced_unasked() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut window = asking(folder.path(), &tracing("exit 1"));
    let file = folder.path().join("m.heddle/hints.ron");
    fs::write(&file, "mine").expect("room");
    click(&mut window, "Change the plan");
    click_first(&mut window, "Group blk.1,");
    put(&mut window);
    click(&mut window, "Save hints.ron");
    expect(&window, "hints.ron is there already");
    assert_eq!(fs::read_to_string(&file).expect("hints"), "mine");
    click(&mut window, "Replace hints.ron");
    expect(&window, "saved");
    assert_ne!(fs::read_to_string(&file).expect("hints"), "mine");
    // What was written here is ours to write again.
    click(&mut window, "Save hints.ron");
    assert!(!says(&window, "Replace hints.ron"));
}

#[test]
fn both_are_run_and_the_hints_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let fixture = bundle::two_devices();
    let trace = fixture.path().join("trace.json");
    let copy = format!(
        "for a; do case $a in --output=*) cp '{}' \"${{a#--output=}}\";; esac; done",
        trace.display()
    );
    let mut window = asking(folder.path(), &tracing(&copy));
    click(&mut window, "Change the plan");
    click_first(&mut window, "Group blk.1,");
    put(&mut window);
    window.get_by_label("Run before and after").click();
    until(&mut window, |window| says(window, "Other graph"));
    window.run();
    expect(&window, "Place(nodes: \"blk.1\", device: \"cpu:1\")");
    expect(&window, "The verifier accepts it");
    expect(&window, "Lanes in time");
}

#[test]
fn running_both_is_stopped_with_all_that_it_began() {
    let folder = tempfile::tempdir().expect("a folder");
    let begun = folder.path().join("begun");
    let wait = format!(
        "for a; do case $a in --output=*) echo $$ \"${{a#--output=}}\" > '{0}.part'; mv '{0}.part' '{0}';; esac; done; exec sleep 1000",
        begun.display()
    );
    for is_closed in [false, true] {
        let mut window = asking(folder.path(), &tracing(&wait));
        click(&mut window, "Change the plan");
        click_first(&mut window, "Group blk.1,");
        put(&mut window);
        window.get_by_label("Run before and after").click();
        until(&mut window, |_| begun.exists());
        let said = fs::read_to_string(&begun).expect("a process and a file");
        let (process, output) = said.trim().split_once(' ').expect("both");
        let (process, left) =
            (Path::new("/proc").join(process), Path::new(output).parent().expect("a folder"));
        assert!(process.exists() && left.exists());
        if is_closed {
            drop(window);
        } else {
            window.get_by_label("Stop running both").click();
            until(&mut window, |window| !says(window, "heddle runs both"));
        }
        assert!(!process.exists() && !left.exists(), "{said} is still there");
        fs::remove_file(&begun).expect("it is there");
    }
}

#[test]
fn comparing_numbers_is_seen_to_go_on_and_can_be_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut window = asking(folder.path(), "exec sleep 1000");
    let check = "Run beside the reference interpreter and compare every value";
    window.get_by_label(check).click();
    window.run_steps(3);
    expect(&window, "comparing every value");
    assert!(window.query_by_label(check).is_none());
    window.get_by_label("Stop comparing").click();
    window.run_steps(3);
    assert!(window.query_by_label(check).is_some());
}

#[test]
fn what_is_dragged_from_the_second_document_is_put_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = program(folder.path(), "exit 1");
    let mut window = window(Theme::Dark, 1.0, |_| {
        let mut viewer = Viewer::showing(two(false), Some(stage::moved()));
        viewer.ask(Heddle::at(program));
        viewer
    });
    click(&mut window, "Change the plan");
    click(&mut window, "Pass import");
    let from = window.get_all_by_label_contains("Group blk.1,").last().expect("two of them").rect().center();
    let to = first(&window, "Device cpu:0").rect().center();
    stage::drag(&mut window, from, to);
    expect(&window, "Place(nodes: \"blk.1\", device: \"cpu:0\")");
}
