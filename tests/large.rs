//! Models too large for this machine, from their configs alone, on machines that are not this one: they are planned,
//! fit by proof, and are predicted to take about what bytes and bandwidths say.
use compiler::Compiled;
use passes::simulate::Load;
use tests::examples::{machine, planned};

const MACHINE: &str = "8xh100-nvswitch";

/// The most bytes of any device, and what a token takes, in milliseconds.
fn summary(model: &str, cut: &str) -> (u64, f64) {
    let topology = machine(MACHINE);
    let Compiled { plan, .. } = planned(model, &topology, cut, None).unwrap_or_else(|e| panic!("{e}"));
    let predicted = Load { sequences: 1, prompt: 512 }.predict(&plan, &topology).unwrap();
    let most = plan.memory.iter().map(|proof| proof.total).max().unwrap_or(0);
    (most, predicted.token_ns / 1e6)
}

#[test]
fn seventy_billion_parameters_fit_four_large_devices() {
    let (most, token_ms) = summary("llama-3-70b", "tensor:4");
    // 141 GB of weights in four parts; each device reads its own at 3.35 TB/s, and starts kernels.
    assert!((35.3e9..36.5e9).contains(&(most as f64)), "{most}");
    assert!((10.5..15.0).contains(&token_ms), "{token_ms}");
}

#[test]
fn a_mixture_of_235_billion_parameters_fits_eight() {
    let (most, token_ms) = summary("qwen3-235b-a22b", "pipeline:8");
    assert!((58e9..66e9).contains(&(most as f64)), "{most}");
    // 22 billion parameters for a token, of 2 bytes, one device after the other.
    assert!((13.0..25.0).contains(&token_ms), "{token_ms}");
}

/// Why a model does not fit devices of so much memory.
fn refused(model: &str, cut: &str, memory: u64) -> String {
    planned(model, &machine(MACHINE), cut, Some(memory))
        .err()
        .map_or_else(String::new, |error| error.to_string())
}

#[test]
fn what_does_not_fit_says_on_which_device_and_what_would() {
    let said = refused("llama-3-70b", "pipeline:2", 40_000_000_000);
    assert!(said.contains(" of gpu:") && said.contains("over the budget of 40000000000"), "{said}");
    let advice = "over more such devices --partition pipeline:2,tensor:2 or --partition pipeline:4 would fit";
    assert!(said.ends_with(advice), "{said}");
    let said = refused("llama-3-70b", "pipeline:2", 1_000_000_000);
    let advice = "no cut into stages or parts over up to 64 such devices fits";
    assert!(said.ends_with(advice), "{said}");
}
