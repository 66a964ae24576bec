//! The cost model's counts of a whole plan, beside counts by hand.
#![allow(clippy::single_range_in_vec_init, reason = "a sequence is a range of positions, and may be alone")]
use compiler::compile;
use compiler::import::Checkpoint;
use ir::Symbols;
use ir::plan::Plan;
use ir::topology::{Device, Kind, Read, Team, Topology, VERSION};
use ir::work::{Operations, StepSize};
use passes::cost::{Cost, CostModel};
use tests::fixtures;
use tests::running::exact;

// Of this model: width, width of keys, of the hidden layer, words, layers, query heads, width of a head.
const D: u64 = 64;
const K: u64 = 32;
const F: u64 = 96;
const V: u64 = 112;
const L: u64 = 2;
const H: u64 = 4;
const W: u64 = 16;

fn plan() -> Plan {
    let checkpoint = Checkpoint::open(&fixtures::path("tiny/llama")).unwrap_or_else(|e| panic!("{e}"));
    compile(&checkpoint, exact(128), &[ir::plan::Device::cpu(0, 1)]).unwrap_or_else(|e| panic!("{e}")).plan
}

/// A byte in a nanosecond, wherever it lies, and an operation too.
fn topology() -> Topology {
    let rate = 1_000_000_000;
    let team = Team {
        threads: 1,
        launch_ns: 10,
        operations: Operations { int8: rate, f16: rate, f32: rate, exp: rate },
        reads: vec![Read { bytes: 1, bytes_per_second: rate }],
        rates: vec![],
    };
    let device = Device {
        name: "cpu:0".into(),
        kind: Kind::Cpu,
        model: String::new(),
        kernels: String::new(),
        memory_bytes: 1,
        driver: Default::default(),
        threads: 1,
        teams: vec![team],
    };
    Topology { version: VERSION, devices: vec![device], switches: vec![], links: vec![] }
}

fn step(plan: &Plan, sequences: &[std::ops::Range<u64>]) -> Cost {
    let n: u64 = sequences.iter().map(|new| new.end - new.start).sum();
    let symbols = Symbols::of_step(n as i64, sequences.len() as i64, 0);
    let topology = topology();
    let model = CostModel::new(plan, &topology).unwrap_or_else(|e| panic!("{e}"));
    let size = StepSize { symbols, sequences: sequences.to_vec() };
    let steps = model.steps(&plan.threads[0], &size).unwrap_or_else(|e| panic!("{e}"));
    steps.into_iter().fold(Cost::default(), |mut sum, step| {
        sum += step;
        sum
    })
}

#[test]
fn a_decode_step_reads_every_weight_once_but_of_tables_a_row() {
    let plan = plan();
    let is_table = |name: &str| name.contains("embd") || name.contains("rope");
    let names: Vec<&str> = plan.weights.iter().map(|w| w.name.as_str()).collect();
    assert_eq!(names.iter().filter(|name| is_table(name)).count(), 3, "{names:?}");
    let whole: u64 = plan.weights.iter().filter(|w| !is_table(&w.name)).map(|w| w.bytes).sum();
    // A bf16 row of the embedding; cosines and sines for both halves of a head, of queries and of keys.
    let rows = 2 * D + L * 2 * 2 * W * 4;
    // f32 keys and values: 40 that were cached and a new one are read, and the new one is written.
    let cache = L * 2 * K * 4 * (41 + 1);
    assert_eq!(step(&plan, &[40..41]).memory_ns, (whole + rows + cache) as f64);
}

#[test]
fn products_and_attention_are_counted_as_by_hand() {
    let plan = plan();
    let products = L * (2 * D * D + 2 * D * K + 3 * D * F) + D * V;
    let [near, far] = [40, 90].map(|at| step(&plan, &[at..at + 1]));
    let (near, far) = (near.operations, far.operations);
    // Each of 50 more positions: for each head two products of its width, and four operations around them.
    assert_eq!(far.f32 - near.f32, 50 * L * H * (4 * W + 4));
    assert_eq!(far.exp - near.exp, 50 * L * H);
    // The rest is norms, rotations, activations and residuals: less than 40 for each value of a row.
    assert_eq!(near.f16, 2 * products, "weights are bf16");
    let rest = near.f32 - 41 * L * H * (4 * W + 4);
    assert!((L * 10 * D..L * 40 * D).contains(&rest), "{rest}");
    assert_eq!(near.exp, 41 * L * H + L * F, "the softmax, and a sigmoid for each hidden value");
    assert_eq!(near.int8, 0);
}

#[test]
fn a_batch_shares_weights_and_nothing_else() {
    let plan = plan();
    let (one, two) = (step(&plan, &[40..41]), step(&plan, &[40..41, 40..41]));
    assert_eq!(two.operations, one.operations + one.operations);
    assert!(two.launch_ns > one.launch_ns, "for one row of a norm no team starts");
    assert!(two.bytes < 2 * one.bytes && two.bytes > one.bytes);
}
