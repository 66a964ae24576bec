//! Plans beside the reference interpreter: what is compiled means what the model means, however it is cut, and
//! what a pass breaks is found, with the node and the pass.

use compiler::codegen::target;
use compiler::import::Checkpoint;
use compiler::models::{StepGraph, step_graph};
use compiler::numerics::{Blame, Finding, Report, numerics};
use compiler::{Bundle, Compiled, Draft, compile};
use ir::expr::Body;
use ir::ops::{Fused, Slice};
use ir::plan::{Activations, Device, Model, Options, Partition, Step};
use ir::{DType, Graph, NodeId, Op};
use passes::partition::Cut;
use passes::{Cx, PASSES, run_one, schedule};
use tests::fixtures;
use tests::running::exact;

const TOKENS: [i32; 9] = [5, 9, 2, 40, 17, 3, 8, 8, 30];

fn fail(e: &dyn std::fmt::Display) -> ! {
    panic!("{e}")
}

fn open(model: &str) -> Checkpoint {
    Checkpoint::open(&fixtures::path(model)).unwrap_or_else(|e| fail(&e))
}

fn options(cut: &str) -> Options {
    let partition: Partition = cut.parse().unwrap_or_else(|e: String| fail(&e));
    Options { partition, micro_batches: partition.pipeline, max_batch: 4, ..exact(64) }
}

fn devices(options: &Options) -> Vec<Device> {
    (0..options.partition.devices()).map(|number| Device::cpu(number, 1)).collect()
}

/// The bundle of what was compiled, with another plan's text if there is one, beside the interpreter.
fn report(checkpoint: &Checkpoint, compiled: &Compiled, edit: impl FnOnce(&str) -> Option<String>) -> Report {
    report_on(&TOKENS, checkpoint, compiled, edit)
}

fn report_on(
    tokens: &[i32],
    checkpoint: &Checkpoint,
    compiled: &Compiled,
    edit: impl FnOnce(&str) -> Option<String>,
) -> Report {
    let dir = tempfile::tempdir().unwrap_or_else(|e| fail(&e));
    let path = dir.path().join("bundle.heddle");
    let draft = Draft::begin(&path).unwrap_or_else(|e| fail(&e));
    draft.finish(compiled, checkpoint, None, &|_| {}).unwrap_or_else(|e| fail(&e));
    if let Some(text) = edit(&compiled.plan.to_text()) {
        std::fs::write(path.join("plan.ron"), text).unwrap_or_else(|e| fail(&e));
    }
    let bundle = Bundle::open(&path).unwrap_or_else(|e| fail(&e));
    numerics(&bundle, tokens).unwrap_or_else(|e| fail(&e))
}

fn is_clean(model: &str, options: Options) -> Report {
    let checkpoint = open(model);
    let compiled = compile(&checkpoint, options.clone(), &devices(&options)).unwrap_or_else(|e| fail(&e));
    let report = report(&checkpoint, &compiled, |_| None);
    assert_eq!(report.first, None, "{model} cut by {}", options.partition);
    assert_eq!(report.nodes.len(), report.compared);
    for layer in &report.layers {
        let worst = report.nodes.iter().filter(|node| node.node == layer.node).map(|node| node.error);
        assert_eq!(worst.fold(0.0, f64::max), layer.error, "{model}: {}", layer.node);
    }
    report
}

fn has_experts(model: &str) -> bool {
    open(model).config.experts.is_some()
}

macro_rules! models {
    ($($name:ident: $model:literal;)*) => { $(
        #[test]
        fn $name() {
            let layers = open($model).config.layers;
            let cuts = ["none", "pipeline:2", "tensor:2", "data:2", "pipeline:2,tensor:2"];
            let cuts = cuts.into_iter().chain(has_experts($model).then_some("expert:2"));
            for cut in cuts.filter(|cut| u64::from(options(cut).partition.pipeline) <= layers) {
                let found = is_clean($model, options(cut));
                assert!(found.compared > 2 * found.apart, "{cut}: {} values, {} apart", found.compared, found.apart);
                assert!(found.logits.is_some_and(|error| error < 1e-4), "{cut}: {:?}", found.logits);
            }
            let rounded = Options { activations: Activations::Int8, kv: DType::F16, ..options("none") };
            is_clean($model, rounded.clone());
            is_clean($model, Options { partition: options("tensor:2").partition, ..rounded });
        }
    )* };
}

models! {
    plans_of_llama_mean_what_it_means: "tiny/gguf/llama.gguf";
    plans_of_k_quants_mean_what_the_model_means: "tiny/gguf/llama_k.gguf";
    plans_of_qwen3_mean_what_it_means: "tiny/gguf/qwen3.gguf";
    plans_of_gemma3_mean_what_it_means: "tiny/gguf/gemma3.gguf";
    plans_of_mixtral_mean_what_it_means: "tiny/gguf/mixtral.gguf";
}

/// Compiles with a bug in a pass: behind it the graph is rewritten by `plant`.
fn planted(
    checkpoint: &Checkpoint,
    options: Options,
    pass: &str,
    plant: impl Fn(&mut Graph, NodeId) -> bool,
) -> Compiled {
    let devices = devices(&options);
    let StepGraph { graph: reference, derived, symbols } =
        step_graph(checkpoint, &options).unwrap_or_else(|e| fail(&e));
    let cut = Cut::of(&reference, options.partition, &devices).unwrap_or_else(|e| fail(&e));
    let cx = Cx { activations: options.activations, exact: vec![], target: target(&devices), cut };
    let (mut graph, mut stages) = (reference.clone(), vec![]);
    for own in PASSES {
        let mut stage = run_one(&cx, own.name, &mut graph).unwrap_or_else(|e| fail(&e));
        if own.name == pass {
            let order = graph.order();
            assert!(order.into_iter().any(|n| plant(&mut graph, n)), "nothing to break behind {pass}");
            stage.graph = Some(graph.clone());
        }
        stages.push(stage);
    }
    let model = Model {
        name: String::new(),
        architecture: checkpoint.config.architecture.clone(),
        file: String::new(),
        sha256: compiler::hash(&checkpoint.files()).unwrap_or_else(|e| fail(&e)),
        packed_bytes: 0,
    };
    let request = schedule::Request { model, options, symbols, devices };
    let (plan, plan_stages) = passes::plan(&cx, &graph, request, 0).unwrap_or_else(|e| fail(&e));
    Compiled { plan, reference, stages, plan_stages, derived, cut: cx.cut }
}

/// What is found of a bug in a pass.
fn found(cut: &str, pass: &str, plant: impl Fn(&mut Graph, NodeId) -> bool) -> Finding {
    found_with(options(cut), pass, plant)
}

fn found_with(options: Options, pass: &str, plant: impl Fn(&mut Graph, NodeId) -> bool) -> Finding {
    let checkpoint = open("tiny/gguf/llama.gguf");
    let compiled = planted(&checkpoint, options, pass, plant);
    report(&checkpoint, &compiled, |_| None).first.unwrap_or_else(|| panic!("the bug in {pass} is not found"))
}

/// The pass that is blamed, and the node that it broke.
fn blamed(finding: &Finding) -> (&str, &str) {
    match &finding.blame {
        Blame::Pass { pass, node, .. } => (pass, node),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wrong_constant_is_found_with_its_pass() {
    let finding = found("none", "rms_norm", |g, n| match g[n].op {
        Op::RmsNorm(_) if g[n].path == "blk.1.ffn_norm" => {
            g.set_op(n, ir::ops::RmsNorm { eps: 0.5 });
            true
        }
        _ => false,
    });
    assert_eq!((finding.node.as_str(), finding.operator.as_str()), ("blk.1.ffn_norm", "rms_norm"));
    assert_eq!((finding.made_by.as_str(), blamed(&finding)), ("rms_norm", ("rms_norm", "blk.1.ffn_norm")));
    assert!(finding.inputs.iter().all(|input| input.error.is_some_and(|error| error < 1e-5)), "{finding:?}");
}

#[test]
fn swapped_parts_of_joined_products_are_found_beneath_the_noise_of_int8_too() {
    let rounded = Options { activations: Activations::Int8, kv: DType::F16, ..options("none") };
    for options in [options("none"), rounded] {
        // Keys for values: both are as wide.
        let finding = found_with(options, "siblings", |g, n| match g[n].op {
            Op::Slice(Slice { axis, start, len }) if g[n].path == "blk.1.attn_v" => {
                g.set_op(n, Slice { axis, start: start - len, len });
                true
            }
            _ => false,
        });
        assert_eq!(blamed(&finding), ("siblings", "blk.1.attn_v"));
        assert!(finding.inputs[0].error.is_some_and(|error| error < 0.1), "{finding:?}");
    }
}

#[test]
fn a_wrong_stretch_of_a_cut_is_found() {
    let finding = found("tensor:2", "partition", |g, n| match g[n].op.clone() {
        Op::Weight(weight) if g[n].place == 1 && weight.name == "blk.0.ffn_up.weight" => {
            let part = weight.part.map(|part| ir::Part { start: 0, ..part });
            g.set_op(n, ir::ops::Weight { part, ..weight });
            true
        }
        _ => false,
    });
    assert_eq!((blamed(&finding).0, finding.device.as_str()), ("partition", "cpu:1"));
}

#[test]
fn a_wrong_body_is_found_far_down_and_named_with_its_pass() {
    let finding = found("pipeline:2", "chains", |g, n| match g[n].op.clone() {
        Op::Fused(fused) if g[n].path.starts_with("blk.1.ffn") => {
            let text = fused.body.to_string();
            let other = text.replacen(" * ", " + ", 1);
            let Ok(body) = Body::parse(&other) else { return false };
            g.set_op(n, Fused { body, ..*fused });
            other != text
        }
        _ => false,
    });
    assert_eq!(blamed(&finding).0, "chains");
    assert!(finding.node.starts_with("blk.1.ffn") && finding.device == "cpu:1", "{finding:?}");
}

#[test]
fn an_edit_that_swaps_weights_is_no_fault_of_a_pass() {
    let checkpoint = open("tiny/gguf/llama.gguf");
    let rounded = Options { activations: Activations::Int8, kv: DType::F16, ..options("none") };
    for options in [options("none"), rounded] {
        let compiled = compile(&checkpoint, options.clone(), &devices(&options)).unwrap_or_else(|e| fail(&e));
        let mut plan = compiled.plan.clone();
        // The second norm of the layer takes the weight of the first.
        let mut norms = plan.threads[0].steps.iter_mut().filter_map(|step| match step {
            Step::Run { node, args, .. } if node.ends_with("_norm") => Some((node, args)),
            _ => None,
        });
        let first = norms.next().map(|(_, args)| args[1]);
        let (node, args) = norms.next().unwrap_or_else(|| fail(&"no second norm"));
        args[1] = first.unwrap_or(args[1]);
        let node = node.clone();
        let finding = report(&checkpoint, &compiled, |_| Some(plan.to_text())).first;
        let finding = finding.unwrap_or_else(|| fail(&"the edit is not found"));
        assert_eq!((finding.node, finding.blame), (node, Blame::Steps { is_edited: true }));
    }
}

/// In SmolLM2's third layer few elements make up a gated row: a product of two such rows has ten times the error of each.
#[test]
fn a_great_error_of_small_ones_is_excused_where_the_operator_makes_it_so() {
    const SKY: [i32; 6] = [4898, 314, 260, 6376, 4461, 47];
    const GATED: &str = "blk.2.ffn_mul";
    let checkpoint = Checkpoint::open(&fixtures::model("smollm2")).unwrap_or_else(|e| fail(&e));
    let rounded = Options { activations: Activations::Int8, kv: DType::F16, ..exact(64) };
    let compiled = compile(&checkpoint, rounded.clone(), &devices(&rounded)).unwrap_or_else(|e| fail(&e));
    let right = report_on(&SKY, &checkpoint, &compiled, |_| None);
    let error = |node: &str| right.nodes.iter().find(|own| own.node == node).map(|own| own.error);
    let (of_inputs, own) = (error("blk.2.ffn_gate+ffn_up"), error(GATED));
    assert!(own > Some(0.1) && own > of_inputs.map(|error| 8.0 * error), "{own:?} of {of_inputs:?}");
    assert_eq!(right.first, None);
    // No bug is excused there, though its error is no greater.
    let wrong = planted(&checkpoint, rounded, "chains", |g, n| match g[n].op.clone() {
        Op::Fused(fused) if g[n].path == GATED => {
            let body = Body::parse(&fused.body.to_string().replacen("1.0f +", "1.4f +", 1));
            g.set_op(n, Fused { body: body.unwrap_or_else(|e| fail(&e)), ..*fused });
            true
        }
        _ => false,
    });
    let wrong = report_on(&SKY, &checkpoint, &wrong, |_| None).first;
    let wrong = wrong.unwrap_or_else(|| fail(&"the bug is not found"));
    assert_eq!((wrong.node.as_str(), blamed(&wrong)), (GATED, ("chains", GATED)));
    assert!(wrong.error < 0.6, "{wrong:?}");
}
