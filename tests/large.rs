//! Models too large for this machine, from their configs alone, on machines that are not this one: they are planned,
//! fit by proof, and are predicted to take about what bytes and bandwidths say.
use compiler::import::Checkpoint;
use compiler::{Compiled, compile_over};
use ir::DType;
use ir::plan::{Activations, AllReduce, Device, DeviceId, Options, Partition};
use ir::topology::Topology;
use passes::simulate::Load;
use std::path::{Path, PathBuf};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

fn planned(model: &str, cut: &str, memory: u64) -> Result<(Compiled, Topology), String> {
    let checkpoint = Checkpoint::open(&example(model)).map_err(|e| e.to_string())?;
    let text = std::fs::read_to_string(example("topologies/8xh100-nvswitch.ron")).unwrap();
    let topology = Topology::from_text(&text).unwrap();
    let partition: Partition = cut.parse().unwrap();
    let options = Options {
        context: 4096,
        max_batch: 1,
        chunk: 256,
        rows: 1,
        page: 32,
        kv: DType::F16,
        activations: Activations::Int8,
        partition,
        all_reduce: AllReduce::Direct,
        micro_batches: partition.pipeline,
        memory: None,
        hints: vec![],
    };
    let device = |(id, own): (u32, &ir::topology::Device)| Device {
        id: DeviceId(id),
        name: own.name.clone(),
        kind: own.kind,
        threads: 1,
        memory: Some(memory),
    };
    let devices: Vec<Device> = (0..partition.devices()).zip(&topology.devices).map(device).collect();
    let compiled = compile_over(&checkpoint, options, &devices, &topology).map_err(|e| e.to_string())?;
    Ok((compiled, topology))
}

/// The most bytes of any device, and what a token takes, in milliseconds.
fn summary(model: &str, cut: &str) -> (u64, f64) {
    let (Compiled { plan, .. }, topology) =
        planned(model, cut, 80_000_000_000).unwrap_or_else(|e| panic!("{e}"));
    let predicted = Load { sequences: 1, prompt: 512 }.predict(&plan, &topology).unwrap();
    let most = plan.memory.iter().map(|proof| proof.total).max().unwrap_or(0);
    (most, predicted.token_ns / 1e6)
}

#[test]
fn seventy_billion_parameters_fit_four_large_devices() {
    let (most, token_ms) = summary("models/llama-3-70b.json", "tensor:4");
    // 141 GB of weights in four parts; each device reads its own at 3.35 TB/s, and starts kernels.
    assert!((35.3e9..36.5e9).contains(&(most as f64)), "{most}");
    assert!((10.5..15.0).contains(&token_ms), "{token_ms}");
}

#[test]
fn a_mixture_of_235_billion_parameters_fits_eight() {
    let (most, token_ms) = summary("models/qwen3-235b-a22b.json", "pipeline:8");
    assert!((58e9..66e9).contains(&(most as f64)), "{most}");
    // 22 billion parameters for a token, of 2 bytes, one device after the other.
    assert!((13.0..25.0).contains(&token_ms), "{token_ms}");
}

#[test]
fn what_does_not_fit_says_on_which_device_and_what_would() {
    let refused = planned("models/llama-3-70b.json", "pipeline:2", 40_000_000_000).err().unwrap();
    assert!(refused.contains(" of gpu:") && refused.contains("over the budget of 40000000000"), "{refused}");
    let advice = "over more such devices --partition pipeline:2,tensor:2 or --partition pipeline:4 would fit";
    assert!(refused.ends_with(advice), "{refused}");
    let refused = planned("models/llama-3-70b.json", "pipeline:2", 1_000_000_000).err().unwrap();
    let advice = "no cut into stages or parts over up to 64 such devices fits";
    assert!(refused.ends_with(advice), "{refused}");
}
