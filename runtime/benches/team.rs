//! What it costs to start a team on a job and wait for its end.
use criterion::{Criterion, criterion_group, criterion_main};
use runtime::Team;

fn teams(c: &mut Criterion) {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    for threads in [1, 2, 4, 8, 16].into_iter().filter(|t| *t <= cores) {
        let mut team = Team::new(threads).unwrap();
        c.bench_function(&format!("empty_job/{threads}"), |b| {
            b.iter(|| team.run(threads, |range, _| assert!(std::hint::black_box(range).len() == 1)).unwrap())
        });
    }
}

criterion_group!(benches, teams);
criterion_main!(benches);
