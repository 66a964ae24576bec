//! Weights in other formats than their file's, as hints say: packed, cut and computed with as what they then are.

use compiler::import::Checkpoint;
use compiler::numerics::{Report, numerics};
use compiler::{Bundle, Draft, compile};
use ir::plan::{Activations, Device, Hint, Options, Partition, Plan};
use std::fs;
use tests::fixtures::{self, Reference};
use tests::running::{Running, exact};

const TOKENS: [i32; 9] = [5, 9, 2, 40, 17, 3, 8, 8, 30];

fn fail(e: &dyn std::fmt::Display) -> ! {
    panic!("{e}")
}

fn open(model: &str) -> Checkpoint {
    Checkpoint::open(&fixtures::path(model)).unwrap_or_else(|e| fail(&e))
}

/// Patterns with the formats that the weights they mean are to be in.
fn options(cut: &str, formats: &[(&str, &str)]) -> Options {
    let partition: Partition = cut.parse().unwrap_or_else(|e: String| fail(&e));
    let hint =
        |(weights, format): &(&str, &str)| format!("Format(weights: {weights:?}, format: {format:?}),");
    let hints = Hint::read(&format!("(hints: [{}])", formats.iter().map(hint).collect::<String>()));
    let hints = hints.unwrap_or_else(|e| fail(&e)).into_iter().map(|(_, hint)| hint).collect();
    Options { partition, micro_batches: partition.pipeline, max_batch: 4, hints, ..exact(64) }
}

fn devices(options: &Options) -> Vec<Device> {
    (0..options.partition.devices()).map(|number| Device::cpu(number, 1)).collect()
}

fn plan(model: &str, options: Options) -> Plan {
    let devices = devices(&options);
    compile(&open(model), options, &devices).unwrap_or_else(|e| fail(&e)).plan
}

/// The plan beside the interpreter, which has the same weights in the same formats.
fn report(model: &str, options: Options) -> Report {
    let (checkpoint, dir) = (open(model), tempfile::tempdir().unwrap_or_else(|e| fail(&e)));
    let compiled = compile(&checkpoint, options.clone(), &devices(&options)).unwrap_or_else(|e| fail(&e));
    let path = dir.path().join("bundle.heddle");
    let draft = Draft::begin(&path).unwrap_or_else(|e| fail(&e));
    draft.finish(&compiled, &checkpoint, None, &|_| {}).unwrap_or_else(|e| fail(&e));
    let bundle = Bundle::open(&path).unwrap_or_else(|e| fail(&e));
    numerics(&bundle, &TOKENS).unwrap_or_else(|e| fail(&e))
}

#[test]
fn plans_compute_with_weights_as_they_were_rounded_however_they_are_cut() {
    for (model, formats) in [
        ("tiny/llama_tied", &[("*", "q8_0")][..]),
        (
            "tiny/gguf/llama.gguf",
            &[("blk.*.ffn_down", "q5_1"), ("blk.*.attn_*", "iq4_nl"), ("output", "f16")],
        ),
        ("tiny/gguf/llama_k.gguf", &[("blk.0", "q6_k"), ("token_embd", "bf16")]),
        ("tiny/gguf/gemma3.gguf", &[("token_embd", "q4_1"), ("blk.*.ffn_*", "q8_0")]),
        ("tiny/gguf/mixtral.gguf", &[("blk.*.ffn_*_exps", "q4_1"), ("blk.*.attn_k", "f32")]),
        ("tiny/qwen3_moe", &[("blk.*", "q8_0")]),
    ] {
        for cut in ["none", "tensor:2", "pipeline:2", "expert:2"] {
            let is_possible = match cut {
                "pipeline:2" => open(model).config.layers > 1,
                "expert:2" => open(model).config.experts.is_some(),
                _ => true,
            };
            if !is_possible {
                continue;
            }
            let found = report(model, options(cut, formats));
            assert_eq!(found.first, None, "{model} {cut}");
            assert!(found.reformatted > 0 && found.compared > 2 * found.apart, "{model} {cut}: {found:?}");
            assert!(found.logits.is_some_and(|error| error < 1e-4), "{model} {cut}: {:?}", found.logits);
        }
        let rounded = Options { activations: Activations::Int8, ..options("none", formats) };
        assert_eq!(report(model, rounded).first, None, "{model} with int8 activations");
    }
}

/// The logits of the reference's prompt.
fn logits(model: &str, options: Options) -> Vec<f32> {
    let reference = Reference::read("tiny/llama/reference.safetensors");
    let prompt: Vec<i32> = reference.ids.iter().map(|id| *id as i32).collect();
    let devices = devices(&options);
    Running::on(&open(model), options, &devices).step(0, 0, &prompt).to_vec()
}

/// The error's mean square, relative to that of what is expected.
fn error(found: &[f32], expected: &[f32]) -> f32 {
    let squares = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>();
    let far = squares(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    (far / squares(&mut expected.iter().copied())).sqrt()
}

#[test]
fn a_format_that_holds_all_that_was_there_changes_no_answer_and_one_that_does_not_a_little() {
    let model = "tiny/gguf/llama.gguf";
    let plain = logits(model, options("none", &[]));
    let as_format = |format| error(&logits(model, options("none", &[("*", format)])), &plain);
    let [f32, f16, q8, q4] = ["f32", "f16", "q8_0", "q4_0"].map(as_format);
    assert!(f32 < 1e-6, "{f32}");
    assert!(f16 < 2e-3 && f16 < q8 && q8 < 0.03 && q8 < q4 && q4 < 0.5, "{f16} {q8} {q4}");
}

#[test]
fn a_plan_has_layouts_kernels_and_memory_of_the_formats_that_were_asked_for() {
    let formats = [("blk.*.ffn_down", "q8_0"), ("blk.1.attn_{q,k,v}", "q4_0")];
    let (before, after) =
        (plan("tiny/llama", options("none", &[])), plan("tiny/llama", options("none", &formats)));
    let changed = after
        .weights
        .iter()
        .filter(|w| before.weights.iter().all(|own| own.name != w.name || own.ty != w.ty));
    let shown: Vec<String> =
        changed.map(|w| format!("{} {} {} {}", w.name, w.ty, w.layout, w.bytes)).collect();
    let expected = [
        "blk.0.ffn_down.weight q8_0[64, 96] t16.q8 6656",
        "blk.1.attn_q.weight q4_0[64, 64] t16.q4 2304",
        "blk.1.attn_k.weight q4_0[32, 64] t16.q4 1152",
        "blk.1.attn_v.weight q4_0[32, 64] t16.q4 1152",
        "blk.1.ffn_down.weight q8_0[64, 96] t16.q8 6656",
    ];
    assert_eq!(shown, expected);
    let packed = |plan: &Plan| plan.weights.iter().map(|w| w.bytes.next_multiple_of(64)).sum::<u64>();
    assert_eq!([&before, &after].map(|plan| plan.memory[0].weights), [&before, &after].map(packed));
    let has = |kernel: &str| after.kernels.iter().any(|own| own.name.contains(kernel));
    assert!(
        has("t16.q8") && has("t16.q4"),
        "{:?}",
        after.kernels.iter().map(|k| &k.name).collect::<Vec<_>>()
    );
    assert_eq!(Plan::from_text(&after.to_text()).as_ref(), Ok(&after));
}

#[test]
fn stages_are_as_even_as_the_bytes_that_layers_have_then() {
    let first_of_last = |formats: &[(&str, &str)]| {
        let plan = plan("tiny/gemma3", options("pipeline:2", formats));
        let of_last = plan.weights.iter().filter(|w| w.device.0 == 1);
        of_last.filter_map(|w| passes::partition::layer_of(&w.name)).min()
    };
    let even = first_of_last(&[]);
    assert!(first_of_last(&[("blk.{0..2}", "f32"), ("blk.{3..6}", "q4_0")]) < even, "{even:?}");
    assert!(first_of_last(&[("blk.{0..2}", "q4_0"), ("blk.{3..6}", "f32")]) > even, "{even:?}");
}

#[test]
fn a_model_without_weights_has_formats_too() {
    let home = tempfile::tempdir().unwrap_or_else(|e| fail(&e));
    let path = home.path().join("tiny.json");
    fs::copy(fixtures::path("tiny/llama/config.json"), &path).unwrap_or_else(|e| fail(&e));
    let checkpoint = Checkpoint::open(&path).unwrap_or_else(|e| fail(&e));
    let bytes = |formats: &[(&str, &str)]| {
        let options = options("none", formats);
        compile(&checkpoint, options, &[Device::cpu(0, 1)]).unwrap_or_else(|e| fail(&e)).plan.memory[0]
            .weights
    };
    assert!(bytes(&[("*", "q4_0")]) * 3 < bytes(&[]));
}
