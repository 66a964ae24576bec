//! Messages across an edge: one at a time there and back, and many in a row.
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ir::plan::{DEADLINE_MS, DeviceId, Edge, EdgeId, End};
use ir::{DType, TensorType};
use runtime::{Reader, Writer, edge};

fn bytes_edge(bytes: i64) -> (Writer, Reader) {
    let ty = TensorType::known(DType::U8, &[bytes]);
    let (from, to) = (End::Host, End::Device(DeviceId(0)));
    let bytes = bytes as u64;
    let (name, deadline_ms) = ("row".into(), DEADLINE_MS);
    edge(&Edge { id: EdgeId(0), name, from, to, ty, bytes, capacity: 4, deadline_ms })
}

fn edges(c: &mut Criterion) {
    // 2,304 bytes are one f32 row of a model of width 576.
    for bytes in [8, 2304, 1 << 20] {
        let (mut there, mut inbox) = bytes_edge(bytes);
        let (mut reply, mut back) = bytes_edge(bytes);
        let echo = std::thread::spawn(move || {
            while let Ok(Ok(_)) = inbox.recv(|m| {
                reply.send(|slot| {
                    slot.copy_from_slice(m);
                    m.len()
                })
            }) {}
        });
        c.bench_function(&format!("there_and_back/{bytes}"), |b| {
            b.iter(|| {
                there.send(|slot| slot.len()).unwrap();
                back.recv(|m| m.len()).unwrap()
            })
        });
        drop(there);
        echo.join().unwrap();
    }

    let (mut tx, mut rx) = bytes_edge(64);
    let drain = std::thread::spawn(move || while rx.recv(|_| ()).is_ok() {});
    let mut group = c.benchmark_group("in_a_row");
    group.throughput(Throughput::Elements(1));
    group.bench_function("64", |b| b.iter(|| tx.send(|slot| slot.len()).unwrap()));
    group.finish();
    drop(tx);
    drain.join().unwrap();
}

criterion_group!(benches, edges);
criterion_main!(benches);
