//! Matrix products of SmolLM2-135M's shapes, on one thread: bytes of weights a second for one row of x, operations
//! a second for 512.
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kernels::layout::Layout;
use kernels::linear::{Activations, Linear, Weight};
use kernels::simd::Isa;
use runtime::Arena;
use runtime::device::{Executable, Extent};

/// k and outputs of: q, k and v; attention's output; gate and up; down; logits.
const SHAPES: [(usize, usize); 5] = [(576, 960), (576, 576), (576, 3072), (1536, 576), (576, 49152)];
const LAYOUTS: [(Layout, Activations); 5] = [
    (Layout::Q4, Activations::Int8),
    (Layout::Q4Min, Activations::Int8),
    (Layout::Q8, Activations::Int8),
    (Layout::Q4Min, Activations::F32),
    (Layout::F16, Activations::F32),
];
/// Weights are read in turn from this many bytes, as a model's are.
const MODEL_BYTES: usize = 64 << 20;

fn products(c: &mut Criterion) {
    for (layout, activations) in LAYOUTS {
        for (k, rows) in SHAPES {
            for n in [1, 512] {
                if n == 512 && rows > 4096 {
                    continue;
                }
                product(c, layout, activations, k, rows, n);
            }
        }
    }
}

fn product(c: &mut Criterion, layout: Layout, activations: Activations, k: usize, rows: usize, n: usize) {
    let linear = Linear {
        isa: Isa::detect(),
        activations,
        n: Extent { constant: n as i64, terms: vec![] },
        k,
        weights: vec![Weight::new(layout, rows)],
        epilogue: None,
    };
    let bytes = layout.packed_bytes(rows, k);
    let copies = if n == 1 { MODEL_BYTES.div_ceil(bytes) } else { 1 };
    let mut arena = Arena::new(bytes * copies).expect("memory for a model");
    arena.prefault().expect("memory for a model");
    let weights = arena.at(0, bytes * copies).expect("the arena is as long");
    let mut x = vec![0u8; n * k * 4];
    let mut y = vec![0f32; n * rows];
    let mut scratch = vec![0u8; linear.scratch_bytes()];
    let mut group = c.benchmark_group(format!("{} {activations:?} n={n}", layout.name()));
    group.throughput(match n {
        1 => Throughput::Bytes(bytes as u64),
        _ => Throughput::Elements((2 * n * k * rows) as u64),
    });
    let mut turn = 0;
    group.bench_function(format!("{k}x{rows}"), |b| {
        b.iter(|| {
            let weight = weights.wrapping_add(turn % copies * bytes);
            turn += 1;
            let args = [x.as_mut_ptr(), weight, y.as_mut_ptr().cast()];
            unsafe { linear.run(&args, &[], 0..linear.units(&[]), scratch.as_mut_ptr()) };
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(std::time::Duration::from_millis(100))
        .measurement_time(std::time::Duration::from_millis(400));
    targets = products
}
criterion_main!(benches);
