//! A window without a screen, and the bundles that are shown in it; `tests/bundles/README.md` says what they are.
use eframe::egui::{self, Theme, vec2};
use egui_kittest::kittest::Queryable;
use egui_kittest::{Harness, Node};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use viewer::document::Document;
use viewer::panels::{Viewer, dress};

pub(crate) type Window = Harness<'static, Viewer>;

/// Two stages on two devices.
pub(crate) const TWO: &str = "tests/bundles/two.heddle";
/// The same with a layer on the other device.
pub(crate) const MOVED: &str = "tests/bundles/moved.heddle";

pub(crate) fn open(path: &str) -> Document {
    Document::open(Path::new(path)).unwrap_or_else(|fault| panic!("{fault}"))
}

/// A window of 1000 by 680 points.
pub(crate) fn window(theme: Theme, scale: f32, viewer: impl FnOnce(&egui::Context) -> Viewer + 'static) -> Window {
    // A bare window in it would have a margin, which the real one has not.
    let mut make = Some(viewer);
    let mut window = Harness::builder()
        .with_size(vec2(1000.0, 680.0))
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
    window.run();
    window
}

pub(crate) fn showing(document: Document) -> Window {
    window(Theme::Dark, 1.0, |_| Viewer::showing(document, None))
}

/// Clicks a control, and lets the window answer.
pub(crate) fn click(window: &mut Window, name: &str) {
    window.get_by_label(name).click();
    window.run();
}

/// Clicks a control by how its name begins.
pub(crate) fn click_first(window: &mut Window, name: &str) {
    first(window, name).click();
    window.run();
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

/// A trace of a plan as `heddle trace` writes it: steps one behind the other, the second device behind the first, of
/// a prompt and of two tokens.
pub(crate) fn trace(document: &Document, folder: &Path) -> PathBuf {
    let plan = &document.plan.as_ref().expect("a plan").plan;
    let mut events = vec![];
    for (group, factor) in [(1, 1.3), (2, 1.0)] {
        let mut at = 0.0;
        for (name, each) in [("prefill of 36 tokens", 20.0), ("decode of token 36", 5.0), ("decode of token 37", 5.0)] {
            for (index, thread) in plan.threads.iter().enumerate() {
                let row = index + 1;
                let device = &plan.devices[index].name;
                let begin = at;
                let mut inner = vec![];
                for (step, what) in thread.steps.iter().enumerate() {
                    let (kind, name) = match what {
                        ir::plan::Step::Run { node, .. } => ("kernel", node.clone()),
                        ir::plan::Step::Send { edge, .. } => ("send", format!("send {}", plan.edges[edge.0 as usize].name)),
                        ir::plan::Step::Recv { edge, .. } => ("receive", format!("receive {}", plan.edges[edge.0 as usize].name)),
                    };
                    // Some steps miss more than others.
                    let us = each * if group == 1 { factor * (0.5 + (step % 5) as f64 * 0.4) } else { factor };
                    inner.push(format!(
                        r#"{{"ph":"X","pid":{group},"tid":{row},"ts":{at},"dur":{us},"name":"{name}","cat":"{kind}","args":{{"step":{step},"predicted_us":{each}}}}}"#
                    ));
                    at += us;
                }
                events.push(format!(
                    r#"{{"ph":"M","pid":{group},"tid":{row},"name":"thread_name","args":{{"name":"{device}"}}}}"#
                ));
                let us = at - begin;
                events.push(format!(
                    r#"{{"ph":"X","pid":{group},"tid":{row},"ts":{begin},"dur":{us},"name":"{name}","cat":"round","args":{{}}}}"#
                ));
                events.extend(inner);
            }
        }
    }
    let path = folder.join("trace.json");
    std::fs::write(&path, format!(r#"{{"traceEvents":[{}],"otherData":{{}}}}"#, events.join(","))).expect("room");
    path
}

/// A bundle with a trace of it.
pub(crate) fn traced() -> Document {
    let folder = tempfile::tempdir().expect("a folder");
    let mut document = open(TWO);
    let path = trace(&document, folder.path());
    document.add_trace(&path).unwrap_or_else(|fault| panic!("{fault}"));
    document
}
