//! How long it takes to open a graph: read it, find its groups, and lay out what is visible at first.
#[path = "../tests/generated/mod.rs"]
mod generated;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use viewer::document::{Document, GroupIx};
use viewer::layout::{Layouts, View};

fn open(c: &mut Criterion) {
    let mut group = c.benchmark_group("open");
    group.sample_size(10);
    let folder = tempfile::tempdir().expect("a folder");
    for nodes in [2_000, 100_000] {
        let path = folder.path().join(format!("{nodes}.ir"));
        std::fs::write(&path, generated::graph(nodes)).expect("room for a graph");
        for is_folded in [true, false] {
            let view = View { is_folded, ..View::default() };
            let name = if is_folded { "layers as one" } else { "every layer" };
            group.bench_function(BenchmarkId::new(name, nodes), |bencher| {
                bencher.iter(|| {
                    let document = Document::open(&path).expect("a graph");
                    let picture = Layouts::default().picture(document.last(), &view, None);
                    black_box((document, picture))
                });
            });
        }
    }
    group.finish();
}

fn lay(c: &mut Criterion) {
    let mut group = c.benchmark_group("lay out all groups open");
    group.sample_size(10);
    let folder = tempfile::tempdir().expect("a folder");
    for nodes in [2_000, 20_000] {
        let path = folder.path().join(format!("{nodes}.ir"));
        std::fs::write(&path, generated::graph(nodes)).expect("room for a graph");
        let document = Document::open(&path).expect("a graph");
        let tree = &document.last().tree;
        let open = (0..tree.groups.len() as u32).map(|at| tree[GroupIx(at)].path.clone()).collect();
        let view = View { open, has_weights: true, ..View::default() };
        group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| {
            bencher.iter(|| black_box(Layouts::default().picture(document.last(), &view, None)));
        });
    }
    group.finish();
}

criterion_group!(benches, open, lay);
criterion_main!(benches);
