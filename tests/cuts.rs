//! Models cut over several devices: the same answers as on one, to the bit where no reduction is reordered.

use compiler::import::Checkpoint;
use compiler::{Aim, Objective, compile, compile_auto};
use ir::plan::{AllReduce, Device, End, Options, Partition, Plan, Step};
use ir::topology::{Kind, Link, Read, Team, Topology};
use ir::work::Operations;
use passes::simulate::Load;
use runtime::Batch;
use tests::fixtures::{self, Reference};
use tests::running::{Running, best, check_candidates, exact};

/// Cuts that reorder no sum.
const EXACT: [&str; 6] = ["pipeline:2", "pipeline:3", "data:2", "data:3", "data:4", "data:2,pipeline:2"];
/// Cuts that add in parts.
const SUMS: [&str; 6] = [
    "tensor:2",
    "tensor:3",
    "tensor:4",
    "pipeline:2,tensor:2",
    "data:2,tensor:2",
    "data:2,pipeline:2,tensor:2",
];

fn open(model: &str) -> Checkpoint {
    Checkpoint::open(&fixtures::path(model)).unwrap_or_else(|e| panic!("{e}"))
}

/// Of a cut, with the way of adding up sums behind a blank: `tensor:2 ring`.
fn options(cut: &str) -> Options {
    let (cut, way) = cut.split_once(' ').unwrap_or((cut, "direct"));
    let partition: Partition = cut.parse().unwrap();
    let all_reduce = AllReduce::ALL.into_iter().find(|known| known.name() == way).unwrap();
    Options { partition, all_reduce, micro_batches: partition.pipeline, max_batch: 4, ..exact(64) }
}

fn devices(cut: &str) -> Vec<Device> {
    (0..options(cut).partition.devices()).map(|number| Device::cpu(number, 1 + number % 2)).collect()
}

fn start(checkpoint: &Checkpoint, cut: &str) -> Running {
    Running::on(checkpoint, options(cut), &devices(cut))
}

/// Cuts of mixtures by whole experts.
const EXPERTS: [&str; 3] = ["expert:2", "expert:4", "data:2,expert:2"];

/// Whether the model has as many layers and heads as a cut takes.
fn allows(checkpoint: &Checkpoint, cut: &str) -> bool {
    let (config, partition) = (&checkpoint.config, options(cut).partition);
    u64::from(partition.pipeline) <= config.layers && u64::from(partition.tensor) <= config.heads
}

/// The prompt in two chunks, then greedy tokens: all logits on the way, of slot 1, which is not the first replica's.
fn answer(checkpoint: &Checkpoint, cut: &str, prompt: &[i32], tokens: usize) -> Vec<Vec<f32>> {
    let mut running = start(checkpoint, cut);
    let width = running.session.vocabulary();
    let (head, tail) = prompt.split_at(prompt.len() / 2);
    let mut all = vec![running.step(1, 0, head).to_vec()];
    let mut logits = running.step(1, head.len(), tail).to_vec();
    for at in (prompt.len()..).take(tokens) {
        let next = best(&logits[logits.len() - width..]);
        all.push(std::mem::take(&mut logits));
        logits = running.step(1, at, &[next]).to_vec();
    }
    all.push(logits);
    all
}

/// Each way of adding up sums, over groups of an even number of devices and of others.
const WAYS: [&str; 7] = [
    "tensor:2 scatter",
    "tensor:3 scatter",
    "tensor:2 ring",
    "tensor:4 ring",
    "tensor:3 tree",
    "tensor:4 tree",
    "data:2,pipeline:2,tensor:2 ring",
];

fn cuts_agree(model: &str, reference: &str) {
    let (checkpoint, reference) = (open(model), Reference::read(reference));
    let prompt: Vec<i32> = reference.ids.iter().map(|id| *id as i32).collect();
    let whole = answer(&checkpoint, "none", &prompt, 8);
    let mut tried = 0;
    let experts = EXPERTS.into_iter().filter(|_| checkpoint.config.experts.is_some());
    for cut in EXACT.into_iter().chain(SUMS).chain(WAYS).chain(experts).filter(|cut| allows(&checkpoint, cut))
    {
        tried += 1;
        let found = answer(&checkpoint, cut, &prompt, 8);
        for (at, (found, expected)) in found.iter().zip(&whole).enumerate() {
            assert_eq!(found.len(), expected.len(), "{model} cut by {cut}");
            let far = |(a, b): &(&f32, &f32)| match EXACT.contains(&cut) {
                true => a.to_bits() != b.to_bits(),
                false => (*a - *b).abs() > 1e-4 * a.abs().max(b.abs()).max(1.0),
            };
            let differ = found.iter().zip(expected).find(far);
            assert_eq!(differ, None, "{model} cut by {cut}: a logit of step {at}");
        }
    }
    assert!(tried > 6, "{model} allows {tried} cuts");
}

macro_rules! models {
    ($($name:ident: $model:literal, $reference:literal;)*) => { $(
        #[test]
        fn $name() {
            cuts_agree($model, $reference);
        }
    )* };
}

models! {
    cuts_of_llama_answer_as_the_whole: "tiny/llama", "tiny/llama/reference.safetensors";
    cuts_of_a_tied_llama_answer_as_the_whole: "tiny/llama_tied", "tiny/llama_tied/reference.safetensors";
    cuts_of_k_quants_answer_as_the_whole: "tiny/gguf/llama_k.gguf", "tiny/gguf/llama_k.safetensors";
    cuts_of_qwen2_answer_as_the_whole: "tiny/gguf/qwen2.gguf", "tiny/gguf/qwen2.safetensors";
    cuts_of_qwen3_answer_as_the_whole: "tiny/gguf/qwen3.gguf", "tiny/gguf/qwen3.safetensors";
    cuts_of_gemma3_answer_as_the_whole: "tiny/gguf/gemma3.gguf", "tiny/gguf/gemma3.safetensors";
    cuts_of_mixtral_answer_as_the_whole: "tiny/gguf/mixtral.gguf", "tiny/gguf/mixtral.safetensors";
    cuts_of_qwen3_moe_answer_as_the_whole: "tiny/gguf/qwen3moe.gguf", "tiny/gguf/qwen3moe.safetensors";
}

#[test]
fn a_batch_of_all_replicas_gives_each_sequence_its_own_logits() {
    let checkpoint = open("tiny/llama");
    let ids: [&[i32]; 3] = [&[5, 9, 2, 40], &[17, 3], &[8, 8, 30]];
    let alone: Vec<Vec<f32>> =
        ids.iter().map(|ids| start(&checkpoint, "none").step(0, 0, ids).to_vec()).collect();
    let [mut tokens, mut positions, mut slots] = [const { Vec::<i32>::new() }; 3];
    for (slot, ids) in ids.iter().enumerate() {
        tokens.extend(*ids);
        positions.extend(0..ids.len() as i32);
        slots.extend(vec![slot as i32; ids.len()]);
    }
    // Rows in another order than the tokens, and none of the second sequence.
    let rows = [8, 0, 3];
    let mut batch = Batch { tokens: &tokens, positions: &positions, slots: &slots, rows: &rows, whole: true };
    for cut in ["none", "data:2", "data:3", "data:4", "data:2,pipeline:2"] {
        let mut running = start(&checkpoint, cut);
        let width = running.session.vocabulary();
        let expected = [&alone[2][2 * width..], &alone[0][..width], &alone[0][3 * width..]];
        batch.whole = true;
        let found = running.session.step(&batch).unwrap_or_else(|e| panic!("{cut}: {e}"));
        assert!(found.logits() == expected.concat(), "{cut}");
        batch.whole = false;
        let found = running.session.step(&batch).unwrap_or_else(|e| panic!("{cut}: {e}"));
        assert!(found.logits().is_empty(), "{cut}");
        check_candidates(found, expected.into_iter());
    }
}

#[test]
fn steps_under_way_at_once_give_what_they_give_alone() {
    let checkpoint = open("tiny/llama");
    let mut running = start(&checkpoint, "pipeline:2");
    assert_eq!(running.session.steps_at_once(), 2);
    let ids: [&[i32]; 3] = [&[5, 9, 2, 40], &[17, 3], &[8, 8, 30]];
    let batch = |slot: usize, positions: &'static [i32], slots: &'static [i32], rows: &'static [i32]| Batch {
        tokens: ids[slot],
        positions: &positions[..ids[slot].len()],
        slots: &slots[..ids[slot].len()],
        rows,
        whole: true,
    };
    let session = &mut running.session;
    assert!(session.collect().unwrap_err().to_string().contains("found 0, expected one"));
    session.submit(&batch(0, &[0, 1, 2, 3], &[0; 4], &[3])).unwrap();
    session.submit(&batch(1, &[0, 1, 2, 3], &[1; 4], &[1])).unwrap();
    let many = session.submit(&batch(2, &[3, 4, 5, 6], &[2; 4], &[0])).unwrap_err().to_string();
    assert!(many.contains("found 2, expected at most 1"), "{many}");
    for ids in &ids[..2] {
        let found = session.collect().unwrap().logits().to_vec();
        let mut alone = start(&checkpoint, "none");
        let width = alone.session.vocabulary();
        let expected = alone.step(0, 0, ids);
        assert!(found == expected[expected.len() - width..]);
    }
}

#[test]
fn a_cut_that_the_model_does_not_allow_says_what_it_allows() {
    let checkpoint = open("tiny/llama");
    let refused = |cut: &str, devices: &[Device]| {
        compile(&checkpoint, options(cut), devices).err().map_or_else(String::new, |e| e.to_string())
    };
    let many = |n| (0..n).map(|number| Device::cpu(number, 1)).collect::<Vec<_>>();
    let heads = refused("tensor:64", &many(64));
    assert!(heads.contains("query heads") && heads.contains("but over 1, 2"), "{heads}");
    let layers = refused("pipeline:9", &many(9));
    assert!(layers.contains("cannot be cut into 9 stages"), "{layers}");
    assert_eq!(refused("tensor:2", &many(3)), "tensor:2 takes 2 devices, found 3");
}

#[test]
fn devices_share_slots_and_files_where_they_can() {
    let checkpoint = open("tiny/llama_tied");
    let plan = compile(&checkpoint, options("tensor:2"), &devices("tensor:2"))
        .unwrap_or_else(|e| panic!("{e}"))
        .plan;
    let between = plan.edges.iter().filter(|e| e.from != End::Host && e.to != End::Host).count();
    let sends = plan.threads.iter().flat_map(|t| &t.steps).filter(|s| matches!(s, Step::Send { .. })).count();
    assert!(between < 8 && sends > 2 * between, "{between} edges for {sends} messages");
    let plan =
        compile(&checkpoint, options("data:2"), &devices("data:2")).unwrap_or_else(|e| panic!("{e}")).plan;
    let alone =
        compile(&checkpoint, options("none"), &devices("none")).unwrap_or_else(|e| panic!("{e}")).plan;
    assert_eq!(plan.model.packed_bytes, alone.model.packed_bytes);
    assert_eq!(plan.weights.len(), 2 * alone.weights.len());
}

/// Devices that read a byte in a nanosecond and compute as fast, each joined to each by links of this latency.
fn topology(devices: &[Device], latency_ns: u64) -> Topology {
    let rate = 1_000_000_000;
    let device = |device: &Device| ir::topology::Device {
        name: device.name.clone(),
        kind: Kind::Cpu,
        model: String::new(),
        kernels: String::new(),
        memory_bytes: 1 << 30,
        driver: Default::default(),
        threads: 1,
        teams: vec![Team {
            threads: 1,
            launch_ns: 10,
            operations: Operations { int8: rate, f16: rate, f32: rate, exp: rate },
            reads: vec![Read { bytes: 1, bytes_per_second: rate }],
            rates: vec![],
        }],
    };
    let link = |from: &Device, to: &Device| Link {
        from: from.name.clone(),
        to: to.name.clone(),
        latency_ns,
        bytes_per_second: 10 * rate,
        wake_ns: 0,
    };
    let pairs =
        devices.iter().enumerate().flat_map(|(at, from)| devices[at..].iter().map(move |to| (from, to)));
    Topology {
        version: ir::topology::VERSION,
        devices: devices.iter().map(device).collect(),
        switches: vec![],
        links: pairs.map(|(from, to)| link(from, to)).collect(),
    }
}

#[test]
fn auto_takes_no_cut_that_is_worse_than_a_named_one() {
    let checkpoint = open("tiny/llama");
    let devices: Vec<Device> = (0..4).map(|number| Device::cpu(number, 1)).collect();
    for (latency_ns, objective, expected) in [
        (100, Objective::Latency, "tensor:3"),
        (10_000_000, Objective::Latency, "none"),
        (10_000_000, Objective::Throughput, "data:4"),
    ] {
        let topology = topology(&devices, latency_ns);
        let aim = Aim { topology: &topology, objective };
        let chosen =
            compile_auto(&checkpoint, &options("none"), &devices, aim).unwrap_or_else(|e| panic!("{e}")).plan;
        let why = &chosen.why[0];
        assert_eq!(
            (why.chosen.as_str(), chosen.options.partition.to_string()),
            (expected, expected.to_owned())
        );
        assert_eq!(Plan::from_text(&chosen.to_text()).as_ref(), Ok(&chosen));
        let sequences = if objective == Objective::Latency { 1 } else { 4 };
        for cut in ["none", "data:4", "data:2", "pipeline:2", "tensor:2", "tensor:4", "pipeline:2,tensor:2"] {
            let partition = options(cut).partition;
            if partition.data > sequences {
                // Replicas without a sequence only have shorter page tables.
                continue;
            }
            let own = &devices[..partition.devices() as usize];
            let plan = compile(&checkpoint, options(cut), own).unwrap_or_else(|e| panic!("{e}")).plan;
            let predicted =
                Load { sequences, prompt: 32 }.predict(&plan, &topology).unwrap_or_else(|e| panic!("{e}"));
            let ns = predicted.prefill_ns + 128.0 * predicted.token_ns;
            assert!(why.predicted_ns as f64 <= ns + 1.0, "{cut} takes {ns}, {why:?}");
        }
    }
}
