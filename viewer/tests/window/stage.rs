//! A window without a screen, and what is shown in it.
use crate::bundle;
use eframe::egui::{self, Key, Modifiers, Pos2, Theme, vec2};
use egui_kittest::kittest::Queryable;
use egui_kittest::{Harness, Node};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use viewer::document::Document;
use viewer::heddle::Heddle;
use viewer::panels::{Viewer, dress};

pub(crate) type Window = Harness<'static, Viewer>;

/// A window of 960 by 600 points.
pub(crate) fn window(
    theme: Theme,
    scale: f32,
    viewer: impl FnOnce(&egui::Context) -> Viewer + 'static,
) -> Window {
    let mut make = Some(viewer);
    let mut window = Harness::builder()
        .with_size(vec2(960.0, 600.0))
        .with_pixels_per_point(scale)
        .with_theme(theme)
        .with_max_steps(40)
        .with_context_setup(dress)
        .build_ui_state(
            move |ui: &mut egui::Ui, viewer: &mut Viewer| {
                if let Some(make) = make.take() {
                    *viewer = make(ui.ctx());
                }
                viewer.draw(ui);
            },
            Viewer::default(),
        );
    // What waits for a thread goes on drawing.
    window.run_steps(4);
    window
}

pub(crate) fn showing(document: Document) -> Window {
    window(Theme::Dark, 1.0, |_| Viewer::showing(document, None))
}

/// Clicks a control, and lets the window answer. Where it asks a program, something turns until that answers.
pub(crate) fn click(window: &mut Window, name: &str) {
    window.get_by_label(name).click();
    window.run_ok();
}

/// Clicks a control by how its name begins.
pub(crate) fn click_first(window: &mut Window, name: &str) {
    first(window, name).click();
    window.run_ok();
}

pub(crate) fn first<'a>(window: &'a Window, name: &'a str) -> Node<'a> {
    window.get_all_by_label_contains(name).next().unwrap_or_else(|| panic!("there is no {name}"))
}

/// Whether there is a text or a control of which this is a part.
pub(crate) fn says(window: &Window, text: &str) -> bool {
    window.query_all_by_label_contains(text).next().is_some()
        || window.query_all_by(|node| node.value().is_some_and(|value| value.contains(text))).next().is_some()
}

#[track_caller]
pub(crate) fn expect(window: &Window, text: &str) {
    assert!(says(window, text), "{text:?} is nowhere in the window");
}

/// Takes a picture, without the pointer.
pub(crate) fn picture(window: &mut Window, name: &str) {
    window.remove_cursor();
    window.run();
    window.snapshot(name);
}

/// Draws frames until something is so.
#[track_caller]
pub(crate) fn until(window: &mut Window, is: impl Fn(&Window) -> bool) {
    let start = Instant::now();
    while !is(window) {
        assert!(start.elapsed() < Duration::from_secs(20), "it never came");
        std::thread::sleep(Duration::from_millis(5));
        window.step();
    }
}

/// The bundle among the fixtures, with or without what was measured of it.
pub(crate) fn two(is_traced: bool) -> Document {
    let folder = bundle::two_devices();
    let mut document = open(folder.path());
    if is_traced {
        document.add_trace(&folder.path().join("trace.json")).unwrap_or_else(|fault| panic!("{fault}"));
    }
    document
}

/// The same with the second layer's last operators on the first device, as far as its last graph goes.
pub(crate) fn moved() -> Document {
    let folder = bundle::two_devices();
    let graph = folder.path().join("graphs/15-layout.ir");
    let text = std::fs::read_to_string(&graph).expect("the fixture's last graph");
    let other = text.replace(" on 1 @blk.1.ffn", " @blk.1.ffn");
    assert_ne!(text, other, "the fixture has other nodes now");
    std::fs::write(&graph, other).expect("room");
    open(folder.path())
}

/// Opens a bundle, of whose path pictures say nothing: it is another every time.
pub(crate) fn open(path: &Path) -> Document {
    let document = Document::open(path).unwrap_or_else(|fault| panic!("{fault}"));
    Document { path: "two-devices".into(), ..document }
}

/// A `heddle` that is a script.
pub(crate) fn program(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("heddle");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("room");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("a file of our own");
    path
}

/// A window with a bundle `m.heddle`, that asks a script, which answers as it is told.
pub(crate) fn asking(folder: &Path, script: &str) -> Window {
    let path = program(folder, script);
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

/// Drags what is at one point to another.
pub(crate) fn drag(window: &mut Window, from: Pos2, to: Pos2) {
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
}

/// Searches for something instead of what was searched before.
pub(crate) fn search(window: &mut Window, text: &str) {
    window.get_by_label("Search").focus();
    window.run();
    window.key_press_modifiers(Modifiers::COMMAND, Key::A);
    window.key_press(Key::Delete);
    window.run();
    window.get_by_label("Search").type_text(text);
    window.run();
}
