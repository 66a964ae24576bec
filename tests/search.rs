//! What auto chooses beside the best of everything that there is to choose, planned and simulated one by one.
use compiler::import::Checkpoint;
use compiler::{Aim, Objective, compile_auto, compile_over};
use ir::plan::{AllReduce, Device, DeviceId, Hint, Options, Partition, Plan};
use ir::topology::{Kind, Link, Read, Team, Topology};
use ir::work::Operations;
use passes::simulate::Load;
use tests::fixtures;
use tests::running::exact;

/// Devices that read and compute so many gigabytes and operations a second, in so much memory each; any two joined.
fn machine(speeds: &[u64], memory: Option<u64>, latency_ns: u64) -> (Vec<Device>, Topology) {
    let device = |(number, speed): (u32, &u64)| {
        let rate = speed * 1_000_000_000;
        let team = Team {
            threads: 1,
            launch_ns: 200,
            operations: Operations { int8: 8 * rate, f16: 4 * rate, f32: 4 * rate, exp: rate },
            reads: vec![Read { bytes: 1, bytes_per_second: rate }],
            rates: vec![],
        };
        ir::topology::Device {
            name: format!("cpu:{number}"),
            kind: Kind::Cpu,
            model: String::new(),
            kernels: String::new(),
            memory_bytes: 1 << 30,
            driver: Default::default(),
            threads: 1,
            teams: vec![team],
        }
    };
    let devices: Vec<Device> =
        (0..).zip(speeds).map(|(n, _)| Device { memory, ..Device::cpu(n, 1) }).collect();
    let mut links = vec![];
    for (at, from) in devices.iter().enumerate() {
        links.extend(devices[at..].iter().map(|to| Link {
            from: from.name.clone(),
            to: to.name.clone(),
            latency_ns,
            bytes_per_second: 10_000_000_000,
            wake_ns: 0,
        }));
    }
    let topology = Topology {
        version: ir::topology::VERSION,
        devices: (0..).zip(speeds).map(device).collect(),
        switches: vec![],
        links,
    };
    (devices, topology)
}

fn options() -> Options {
    Options { max_batch: 4, ..exact(64) }
}

/// As auto's measure: a prompt of half the context, and 128 tokens behind it.
fn answer_ns(plan: &Plan, topology: &Topology, sequences: u32) -> f64 {
    let load = Load { sequences, prompt: 32 };
    let predicted = load.predict(plan, topology).unwrap_or_else(|e| panic!("{e}"));
    predicted.prefill_ns + 128.0 * predicted.token_ns
}

/// Every way to begin so many stages in so many layers.
fn stages(layers: u64, count: u64) -> Vec<Vec<Hint>> {
    let mut all: Vec<Vec<u64>> = vec![vec![]];
    for stage in 1..count {
        let longer = |firsts: &Vec<u64>| {
            let from = firsts.last().copied().unwrap_or(0) + 1;
            (from..=layers - (count - stage))
                .map(|first| [&firsts[..], &[first]].concat())
                .collect::<Vec<_>>()
        };
        all = all.iter().flat_map(longer).collect();
    }
    let hint = |(stage, first_layer): (u32, u64)| Hint::Stage { stage, first_layer };
    all.into_iter().map(|firsts| (1..).zip(firsts).map(hint).collect()).collect()
}

/// The least that any choice of devices, degrees, ways to add up and first layers takes, and which.
fn least(checkpoint: &Checkpoint, devices: &[Device], topology: &Topology, sequences: u32) -> (f64, String) {
    let mut best = (f64::INFINITY, String::new());
    for mask in 1..1u32 << devices.len() {
        let own: Vec<Device> = devices.iter().filter(|d| mask >> d.id.0 & 1 == 1).cloned().collect();
        let own: Vec<Device> = (0..).zip(own).map(|(id, d)| Device { id: DeviceId(id), ..d }).collect();
        let count = own.len() as u32;
        for (data, pipeline) in (1..=count).flat_map(|data| (1..=count).map(move |pipeline| (data, pipeline)))
        {
            let tensor = count / (data * pipeline).max(1);
            let partition = Partition { data, pipeline, tensor, experts: false };
            if partition.devices() != count
                || data > sequences
                || u64::from(pipeline) > checkpoint.config.layers
            {
                continue;
            }
            for all_reduce in AllReduce::ALL.into_iter().filter(|way| tensor > 1 || way.is_direct()) {
                for hints in stages(checkpoint.config.layers, pipeline.into()) {
                    let told = format!("{partition} {} {hints:?} on {mask:b}", all_reduce.name());
                    let options =
                        Options { partition, all_reduce, micro_batches: pipeline, hints, ..options() };
                    let Ok(compiled) = compile_over(checkpoint, options, &own, topology) else { continue };
                    let ns = answer_ns(&compiled.plan, topology, sequences);
                    if ns < best.0 {
                        best = (ns, told);
                    }
                }
            }
        }
    }
    best
}

#[test]
fn auto_is_within_a_twentieth_of_the_best_there_is() {
    let path = fixtures::path("tiny/llama");
    let checkpoint = Checkpoint::open(&path).unwrap_or_else(|e| panic!("{e}"));
    let whole =
        compiler::compile(&checkpoint, options(), &[Device::cpu(0, 1)]).unwrap_or_else(|e| panic!("{e}"));
    let needed = whole.plan.memory.iter().map(|proof| proof.total).max().unwrap_or(0);
    let process = whole.plan.memory[0].process;
    // No device alone has room for all.
    let tight = process + (needed - process) * 4 / 5;
    for (speeds, memory, latency_ns) in [
        (&[1, 1][..], None, 100),
        (&[1, 1, 1], None, 2_000),
        (&[1, 4], None, 500),
        (&[1, 2, 8], None, 100),
        (&[4, 1, 4], None, 5_000),
        (&[1, 1, 1], Some(tight), 1_000),
    ] {
        let (devices, topology) = machine(speeds, memory, latency_ns);
        for (objective, sequences) in [(Objective::Latency, 1), (Objective::Throughput, 4)] {
            let aim = Aim { topology: &topology, objective };
            let auto = compile_auto(&checkpoint, &options(), &devices, aim).unwrap_or_else(|e| panic!("{e}"));
            let found = answer_ns(&auto.plan, &topology, sequences);
            let (best, told) = least(&checkpoint, &devices, &topology, sequences);
            let why = &auto.plan.why[0];
            assert!(
                found <= best * 1.05,
                "{speeds:?}, {memory:?}, {latency_ns} ns, {objective:?}: auto takes {} with {found}, the best {told} with {best}",
                why.chosen
            );
        }
    }
}
