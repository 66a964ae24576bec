//! Kernels that go over rows between the products, at SmolLM2-135M's shapes, on one thread: values a second for the 64
//! rows of a piece of a prompt, which stay in the core's caches.
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ir::ops::Pairing;
use ir::quant::Format;
use kernels::gated::{GELU, SILU};
use kernels::kv_append::KvAppend;
use kernels::paged::{Cache, Element};
use kernels::quantise;
use kernels::rope::Rope;
use kernels::simd::Isa;
use runtime::device::{Executable, Extent};

const ROWS: usize = 64;
const HIDDEN: usize = 1536;
const HEADS: usize = 9;
const KV_HEADS: usize = 3;
const WIDTH: usize = 64;
const PAGE: usize = 32;

fn constant(constant: usize) -> Extent {
    Extent { constant: constant as i64, terms: vec![] }
}

fn rows(c: &mut Criterion) {
    let mut x: Vec<f32> = (0..ROWS * HIDDEN).map(|i| (i as f32 * 0.7).sin()).collect();
    let gate = x.clone();
    let mut out = x.clone();
    let mut blocks = vec![0u8; ROWS * HIDDEN / Format::Q8A.block_len() * Format::Q8A.block_bytes()];
    let mut positions: Vec<i32> = (0..ROWS as i32).collect();
    let mut group = c.benchmark_group("rows");

    group.throughput(Throughput::Elements((ROWS * HIDDEN) as u64));
    group.bench_function("quantise to q8_a", |b| {
        b.iter(|| unsafe { quantise::row(x.as_ptr(), blocks.as_mut_ptr(), x.len()) });
    });
    for (name, code) in [("SiLU times a gate", SILU), ("GELU times a gate", GELU)] {
        group.bench_function(name, |b| {
            b.iter(|| unsafe { code(x.as_ptr(), gate.as_ptr(), out.as_mut_ptr(), x.len()) });
        });
    }

    group.throughput(Throughput::Elements((ROWS * HEADS * WIDTH) as u64));
    let mut angles = [vec![0.6f32; ROWS * WIDTH / 2], vec![0.8f32; ROWS * WIDTH / 2]];
    for (name, pairing) in [("rope of halves", Pairing::Halves), ("rope of adjacent", Pairing::Adjacent)] {
        let rope = Rope {
            isa: Isa::detect(),
            n: constant(ROWS),
            heads: HEADS,
            width: WIDTH,
            pairing,
            positions: ROWS,
            row: HEADS * WIDTH,
            offset: 0,
            args: [0, 1, 2, 3],
        };
        let [cos, sin] = &mut angles;
        let args = [
            x.as_mut_ptr().cast(),
            cos.as_mut_ptr().cast(),
            sin.as_mut_ptr().cast(),
            positions.as_mut_ptr().cast(),
            out.as_mut_ptr().cast(),
        ];
        group.bench_function(name, |b| {
            b.iter(|| unsafe { rope.run(&args, &[], 0..ROWS, std::ptr::null_mut()) });
        });
    }

    group.throughput(Throughput::Elements((ROWS * KV_HEADS * WIDTH) as u64));
    let pages = ROWS / PAGE;
    let mut cache = vec![0u16; ROWS * KV_HEADS * WIDTH];
    let (mut slots, mut table) = (vec![0i32; ROWS], (0..pages as i32).collect::<Vec<_>>());
    for (name, transposed) in [("keys into the cache", true), ("values into the cache", false)] {
        let append = KvAppend {
            isa: Isa::detect(),
            n: constant(ROWS),
            cache: Cache { element: Element::F16, heads: KV_HEADS, page: PAGE, width: WIDTH },
            transposed,
            pages_per_slot: constant(pages),
        };
        let args = [
            cache.as_mut_ptr().cast(),
            x.as_mut_ptr().cast(),
            positions.as_mut_ptr().cast(),
            slots.as_mut_ptr().cast(),
            table.as_mut_ptr().cast(),
            cache.as_mut_ptr().cast(),
        ];
        group.bench_function(name, |b| {
            b.iter(|| unsafe { append.run(&args, &[], 0..ROWS, std::ptr::null_mut()) });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(100))
        .measurement_time(std::time::Duration::from_millis(500));
    targets = rows
}
criterion_main!(benches);
