//! Attention of SmolLM2-135M's shape, on one thread: bytes of keys and values a second for a token behind a long
//! context, operations a second for a prompt.
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kernels::attention::PagedAttention;
use kernels::paged::{Cache, Element};
use kernels::simd::Isa;
use runtime::Arena;
use runtime::device::{Executable, Extent};

const CACHE: Cache = Cache { element: Element::F16, heads: 3, page: 32, width: 64 };
const HEADS: usize = 9;
/// Layers whose caches are read in turn, as a model's are.
const LAYERS: usize = 30;

fn attention(c: &mut Criterion) {
    for context in [512, 2048, 7900] {
        of(c, &format!("decode behind {context}"), context, 1, LAYERS);
    }
    for n in [512, 2048] {
        of(c, &format!("prefill of {n}"), 0, n, 1);
    }
}

fn of(c: &mut Criterion, name: &str, context: usize, n: usize, layers: usize) {
    let pages = (context + n).div_ceil(CACHE.page);
    let constant = |constant: usize| Extent { constant: constant as i64, terms: vec![] };
    let op = PagedAttention {
        isa: Isa::detect(),
        n: constant(n),
        heads: HEADS,
        shared: (HEADS / CACHE.heads, 0),
        cache: CACHE,
        pages_per_slot: constant(pages),
        scale: 0.125,
        window: None,
        softcap: None,
    };
    let bytes = pages * CACHE.page * CACHE.heads * CACHE.width * 2;
    let mut arena = Arena::new(2 * bytes * layers).expect("memory for the caches");
    arena.prefault().expect("memory for the caches");
    let caches = arena.at(0, 2 * bytes * layers).expect("the arena is as long");
    let mut queries = vec![0.5f32; n * HEADS * CACHE.width];
    let mut positions: Vec<i32> = (context as i32..(context + n) as i32).collect();
    let mut slots = vec![0i32; n];
    let mut table: Vec<i32> = (0..pages as i32).collect();
    let mut out = queries.clone();
    let mut shared = vec![0u64; op.shared_bytes() / 8];
    let mut scratch = vec![0u64; op.scratch_bytes() / 8 + 1];

    let mut group = c.benchmark_group("attention");
    let seen: usize = positions.iter().map(|position| *position as usize + 1).sum();
    group.throughput(match n {
        1 => Throughput::Bytes((seen * CACHE.heads * CACHE.width * 2 * 2) as u64),
        _ => Throughput::Elements((seen * HEADS * CACHE.width * 2 * 2) as u64),
    });
    let mut turn = 0;
    group.bench_function(name, |b| {
        b.iter(|| {
            let keys = caches.wrapping_add(turn % layers * 2 * bytes);
            turn += 1;
            let args = [
                queries.as_mut_ptr().cast(),
                keys,
                keys.wrapping_add(bytes),
                positions.as_mut_ptr().cast(),
                slots.as_mut_ptr().cast(),
                table.as_mut_ptr().cast(),
                out.as_mut_ptr().cast(),
                shared.as_mut_ptr().cast(),
            ];
            unsafe { op.run(&args, &[], 0..op.units(&[]), scratch.as_mut_ptr().cast()) };
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = attention
}
criterion_main!(benches);
