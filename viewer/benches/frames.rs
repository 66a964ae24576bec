//! How long a frame takes while the drawing is moved: controls, shapes and triangles, without the card that draws them.
//!
//! What is seen is far away, so that as much as can be is in sight.
#[path = "../tests/bundle/mod.rs"]
mod bundle;
#[path = "../tests/generated/mod.rs"]
mod generated;
#[path = "../tests/long/mod.rs"]
mod long;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use eframe::egui::{
    Context, Event, Modifiers, MouseWheelSource, MouseWheelUnit, RawInput, Rect, TouchPhase, pos2, vec2,
};
use ir::plan::Plan;
use std::hint::black_box;
use viewer::document::Document;
use viewer::panels::{Bottom, Viewer, dress};

/// A frame in which the wheel moved the drawing sideways; how many meshes came of it.
fn frame(context: &Context, viewer: &mut Viewer, by: f32) -> usize {
    let (unit, phase, modifiers) = (MouseWheelUnit::Point, TouchPhase::Move, Modifiers::NONE);
    let input = RawInput {
        screen_rect: Some(Rect::from_min_size(pos2(0.0, 0.0), vec2(1400.0, 900.0))),
        events: vec![
            Event::PointerMoved(pos2(500.0, 450.0)),
            Event::MouseWheel {
                unit,
                delta: vec2(by, 0.0),
                phase,
                modifiers,
                source: MouseWheelSource::Unknown,
            },
        ],
        ..RawInput::default()
    };
    let mut output = context.run_ui(input, |ui| viewer.draw(ui));
    let primitives = context.tessellate(std::mem::take(&mut output.shapes), output.pixels_per_point);
    output.drop_without_applying_deltas();
    primitives.len()
}

fn pan(c: &mut Criterion) {
    let mut group = c.benchmark_group("a frame while the drawing is moved");
    let folder = tempfile::tempdir().expect("a folder");
    for (nodes, opened) in [(2_000, 0), (2_000, 1_000), (100_000, 0), (100_000, 200)] {
        let path = folder.path().join(format!("{nodes}.ir"));
        std::fs::write(&path, generated::graph(nodes)).expect("room for a graph");
        let context = Context::default();
        dress(&context);
        let mut viewer = Viewer::showing(Document::open(&path).expect("a graph"), None);
        viewer.spread(opened);
        for _ in 0..10 {
            frame(&context, &mut viewer, 1.0);
        }
        let mut at = 0;
        group.bench_function(BenchmarkId::new(format!("{opened} groups open"), nodes), |bencher| {
            bencher.iter(|| {
                at += 1;
                black_box(frame(&context, &mut viewer, if at % 20 < 10 { 9.0 } else { -9.0 }))
            });
        });
    }
    group.finish();
}

/// The same of a plan of a few and of many steps, with a node selected and a panel open beneath.
fn look(c: &mut Criterion) {
    let mut group = c.benchmark_group("a frame with a node selected");
    let folder = bundle::two_devices();
    let text = std::fs::read_to_string(folder.path().join("plan.ron")).expect("a plan");
    let short = Plan::from_text(&text).expect("a plan");
    let json = folder.path().join("long.json");
    for (times, rounds) in [(1, 1), (200, 4)] {
        let (plan, trace) = long::plan_and_trace(&short, times, rounds);
        std::fs::write(&json, trace).expect("room for a trace");
        let steps: usize = plan.threads.iter().map(|thread| thread.steps.len()).sum();
        for beneath in [Bottom::Nothing, Bottom::Lanes, Bottom::Memory, Bottom::Messages, Bottom::Misses] {
            let mut document = Document::of_plan_text("plan.ron".as_ref(), &plan.to_text()).expect("a plan");
            document.add_trace(&json).expect("a trace");
            let context = Context::default();
            dress(&context);
            let mut viewer = Viewer::showing(document, None);
            viewer.look_at("blk.1.ffn_down", beneath);
            for _ in 0..10 {
                frame(&context, &mut viewer, 1.0);
            }
            let mut at = 0;
            group.bench_function(BenchmarkId::new(format!("{beneath:?} beneath"), steps), |bencher| {
                bencher.iter(|| {
                    at += 1;
                    black_box(frame(&context, &mut viewer, if at % 20 < 10 { 9.0 } else { -9.0 }))
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, pan, look);
criterion_main!(benches);
