//! How long a frame takes while the drawing is moved: controls, shapes and triangles, without the card that draws them.
//!
//! What is seen is far away, so that as much as can be is in sight.
#[path = "../tests/generated/mod.rs"]
mod generated;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use eframe::egui::{
    Context, Event, Modifiers, MouseWheelSource, MouseWheelUnit, RawInput, Rect, TouchPhase, pos2, vec2,
};
use std::hint::black_box;
use viewer::document::Document;
use viewer::panels::{Viewer, dress};

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

criterion_group!(benches, pan);
criterion_main!(benches);
