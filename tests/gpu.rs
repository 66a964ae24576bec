//! GPUs, as Vulkan finds them: every operator's kernel against its meaning, and whole models against processors.
//!
//! Any driver will do, Mesa's software driver too; where there is none, each test says so and is done.

use compiler::import::Checkpoint;
use compiler::{CompileError, compile};
use gpu::vulkan;
use ir::expr::{Body, axes, f32, hole, inline, load};
use ir::ops::{self, Anchor, Fused, OpDef, samples};
use ir::plan::{Activations, Device, Driver, Options, Partition, Plan, Step, Thread};
use ir::quant::Format;
use ir::topology::Kind;
use ir::{DType, Dim, Op, Symbols, Tensor, TensorType};
use kernels::layout::Layout;
use tests::fixtures::{self, Reference};
use tests::on_gpu::{Case, all};
use tests::running::{Running, best, exact};

/// Whether there is a device to test on.
fn has_vulkan() -> bool {
    match vulkan::devices() {
        Ok(_) => true,
        Err(reason) => {
            println!("nothing was tested: {reason}");
            false
        }
    }
}

fn device(number: u32) -> Device {
    Device { name: "vulkan:0".into(), kind: Kind::Gpu, ..Device::cpu(number, 1) }
}

#[track_caller]
fn none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{} faults:\n{}\n", faults.len(), faults.join("\n"));
}

#[test]
fn every_operator_computes_what_it_means() {
    if !has_vulkan() {
        return;
    }
    let cases: Vec<Case> = samples().into_iter().filter_map(|(op, types)| Case::new(op, types)).collect();
    assert!(cases.len() > 40, "only {} samples have a kernel", cases.len());
    none(all(cases));
}

#[test]
fn every_fused_pair_computes_what_both_mean() {
    if !has_vulkan() {
        return;
    }
    let with_body = samples().into_iter().filter_map(|(op, types)| {
        let (ty, body) = (op.infer(&types).ok()?, op.body(&types)?);
        Some((op, types, ty, body))
    });
    let all_bodies: Vec<_> = with_body.collect();
    let mut cases = vec![];
    for (outer, outer_types, ty, body) in &all_bodies {
        for slot in 0..outer_types.len() {
            for (_, types, _, inner) in all_bodies.iter().filter(|(_, _, ty, _)| *ty == outer_types[slot]) {
                let inputs: Vec<TensorType> = outer_types.iter().chain(types).cloned().collect();
                let own: Vec<u32> = (0..outer_types.len() as u32).collect();
                let moved: Vec<u32> = (0..types.len() as u32).map(|i| i + outer_types.len() as u32).collect();
                let body = inline(body, ty.rank(), slot, inner, &own, &moved);
                let fused = Fused { anchor: None, body, ty: ty.clone() };
                let case = Case::new(fused.into(), inputs);
                // What a cast or a comparison makes of what differs in the last bit may be anything.
                let is_steep = matches!(outer, Op::Compare(_) | Op::Argmax(_)) || !ty.dtype.is_real();
                cases.extend(case.filter(|_| !is_steep));
            }
        }
    }
    println!("{} pairs", cases.len());
    none(all(cases));
}

/// Every layout, alone, beside another weight and with an epilogue, for as many rows as there are versions.
#[test]
fn products_of_every_packed_format_compute_what_they_mean() {
    if !has_vulkan() {
        return;
    }
    let formats = [DType::F32, DType::F16, DType::BF16].into_iter();
    let formats = formats.chain(Format::ALL.iter().map(|format| DType::Quant(*format)));
    let mut cases = vec![];
    for dtype in formats.filter(|dtype| Layout::of(*dtype).is_some()) {
        // Not whole tiles, and not as many blocks as there are parts of k.
        let k = if dtype.block_len() == 256 { 768 } else { 288 };
        for n in [1, 3, 21] {
            let (x, w) = (TensorType::f32(&[n, k]), TensorType::new(dtype, [37, k].map(Dim::from)));
            let two = TensorType::new(dtype, [16, k].map(Dim::from));
            let linear: Op = ops::Linear {}.into();
            cases.extend(Case::packed(linear.clone(), vec![x.clone(), w.clone(), two], &[1, 2]));
            let anchor = Some(Anchor { op: linear, inputs: 2 });
            let residual = load(2, axes(2));
            let body = Body::new(&(hole(0) * f32(0.5) + residual));
            let ty = TensorType::f32(&[n, 37]);
            let fused = Fused { anchor, body, ty: ty.clone() };
            cases.extend(Case::packed(fused.into(), vec![x, w.clone(), ty], &[1]));
            let ids = TensorType::new(DType::I32, [Dim::from(n)]);
            let gather = ops::Gather { first: None };
            cases.extend(Case::packed(gather.into(), vec![w, ids], &[0]));
        }
    }
    assert_eq!(cases.len(), 14 * 9);
    none(all(cases));
}

/// Rows as a model gives them, with their own peaks; rows of equals, of one rise, of what is no number.
#[test]
fn the_greatest_of_any_row_are_found() {
    if !has_vulkan() {
        return;
    }
    let (width, k) = (20_000, 64);
    let drawn = tests::draw::tensor(&TensorType::f32(&[width]), &Symbols::new(), 9, 1).to_f32();
    let each = |of: &dyn Fn(usize) -> f32| (0..width as usize).map(of).collect::<Vec<f32>>();
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN, -0.0, 0.0];
    let rows = [
        each(&|at| drawn[at].powi(3)),
        each(&|_| -0.5),
        each(&|at| at as f32),
        each(&|at| -(at as f32)),
        each(&|at| if at % 7 == 0 { -0.0 } else { 0.0 }),
        each(&|at| drawn[at].round()),
        each(&|at| if at % 997 == 5 { drawn[at] } else { f32::NEG_INFINITY }),
        each(&|at| *odd.get(at % 1009).unwrap_or(&drawn[at])),
    ];
    let x = Tensor::f32(&[rows.len() as u64, width as u64], &rows.concat());
    let mut cases = vec![];
    // Mesa's software driver ends loops after 65,535 turns in all, which longer stretches of equals take.
    for stretch in [1, 256, 700] {
        let peaks = ops::Peaks { stretch }.eval(&[&x], &Symbols::new()).expect("peaks have a meaning");
        let inputs = vec![x.clone(), peaks];
        for k in [1, k] {
            cases.extend(
                Case::given(ops::TopK { k, stretch }.into(), inputs.clone()).map(|case| case.within(0.0)),
            );
        }
    }
    assert_eq!(cases.len(), 6);
    none(all(cases));
}

/// Contexts of more positions than a cube has units, and heads of more elements and of numbers that divide neither.
#[test]
fn attention_sees_contexts_of_any_length_with_heads_of_any_width() {
    if !has_vulkan() {
        return;
    }
    let drawn = |ty: TensorType, seed| tests::draw::tensor(&ty, &Symbols::new(), seed, 1);
    let ints = |shape: &[u64], numbers: &[i64]| Tensor::from_ints(DType::I32, shape, numbers.iter().copied());
    let mut cases = vec![];
    for width in [16, 96, 320] {
        let inputs = vec![
            drawn(TensorType::f32(&[3, 4, width]), 1),
            drawn(TensorType::known(DType::F16, &[20, 2, width, 32]), 2),
            drawn(TensorType::known(DType::F16, &[20, 2, 32, width]), 3),
            ints(&[3], &[319, 255, 256]),
            ints(&[3], &[0, 1, 1]),
            ints(&[2, 10], &(0..20).map(|at| at * 7 % 20).collect::<Vec<_>>()),
        ];
        for window in [None, Some(270)] {
            let op = ops::PagedAttention { scale: 0.2, window, softcap: None, shared: None };
            cases.extend(Case::given(op.into(), inputs.clone()));
        }
    }
    assert_eq!(cases.len(), 6);
    none(all(cases));
}

/// More rows of experts than a grid is wide.
#[test]
fn grids_are_as_long_as_it_takes() {
    if !has_vulkan() {
        return;
    }
    let (n, experts) = (33_000, 3);
    let routing = TensorType::f32(&[n, experts]);
    let wide = vec![TensorType::f32(&[n, 32]), routing.clone(), TensorType::f32(&[experts, 20, 32])];
    let back = vec![TensorType::f32(&[n, 2, 32]), routing, TensorType::f32(&[experts - 1, 20, 32])];
    let linear = Case::packed(ops::ExpertLinear { first: 0, k: 2 }.into(), wide, &[2]);
    let combine = Case::packed(ops::ExpertCombine { first: 1 }.into(), back, &[2]);
    let cases: Vec<Case> = linear.into_iter().chain(combine).collect();
    assert_eq!(cases.len(), 2);
    none(all(cases));
}

/// The prompt in one step and in parts.
#[test]
fn models_of_every_architecture_answer_as_transformers_says() {
    if !has_vulkan() {
        return;
    }
    let names = [
        "llama",
        "llama_tied",
        "llama3_rope",
        "mistral_window",
        "qwen2",
        "qwen3",
        "gemma3",
        "mixtral",
        "qwen3_moe",
    ];
    for name in names {
        let path = format!("tiny/{name}");
        let checkpoint = Checkpoint::open(&fixtures::path(&path)).unwrap_or_else(|e| panic!("{e}"));
        let reference = Reference::read(&format!("{path}/reference.safetensors"));
        let ids: Vec<i32> = reference.ids.iter().map(|id| *id as i32).collect();
        let mut running = Running::on(&checkpoint, exact(64), &[device(0)]);
        let whole = running.step(0, 0, &ids).to_vec();
        let far = |(a, b): &(&f32, &f32)| (*a - *b).abs() > 2e-4 * 1f32.max(b.abs());
        assert_eq!(whole.iter().zip(&reference.logits).find(far), None, "{name}");
        // The other sequence's cache: no bit may depend on who stands beside.
        let parts = ids.chunks(3).enumerate().map(|(at, tokens)| running.step(1, at * 3, tokens).to_vec());
        let parts: Vec<f32> = parts.flatten().collect();
        let differs = |(a, b): &(&f32, &f32)| a.to_bits() != b.to_bits();
        assert_eq!(parts.iter().zip(&whole).find(differs), None, "{name} in parts");
    }
}

/// Two devices on one GPU, and a processor beside it.
#[test]
fn cuts_over_gpus_and_processors_answer_as_the_whole() {
    if !has_vulkan() {
        return;
    }
    let checkpoint = Checkpoint::open(&fixtures::path("tiny/qwen3")).unwrap_or_else(|e| panic!("{e}"));
    let reference = Reference::read("tiny/qwen3/reference.safetensors");
    let ids: Vec<i32> = reference.ids.iter().map(|id| *id as i32).collect();
    let part = |number, name: &str| Device { name: name.into(), ..device(number) };
    let two = [part(0, "vulkan:0[0]"), part(1, "vulkan:0[1]")];
    let beside = [device(0), Device::cpu(1, 1)];
    for devices in [&two, &beside] {
        for cut in ["tensor:2", "pipeline:2", "data:2"] {
            let partition: Partition = cut.parse().expect("a cut");
            let options = Options { partition, micro_batches: partition.pipeline, ..exact(64) };
            let mut running = Running::on(&checkpoint, options, devices);
            let parts =
                ids.chunks(5).enumerate().map(|(at, tokens)| running.step(1, at * 5, tokens).to_vec());
            let logits: Vec<f32> = parts.flatten().collect();
            let far = |(a, b): &(&f32, &f32)| (*a - *b).abs() > 2e-4 * 1f32.max(b.abs());
            let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
            assert_eq!(logits.iter().zip(&reference.logits).find(far), None, "{cut} over {names:?}");
        }
    }
}

/// A plan of a tiny model for a device with this driver, which nobody need have.
fn plan_by(driver: Driver) -> Result<Plan, CompileError> {
    let checkpoint =
        Checkpoint::open(&fixtures::path("tiny/gguf/llama.gguf")).unwrap_or_else(|e| panic!("{e}"));
    Ok(compile(&checkpoint, exact(16), &[Device { driver, ..device(0) }])?.plan)
}

#[test]
fn what_a_driver_takes_is_proved_and_held_to_where_it_is_taken() {
    let own = Driver { device_bytes: 1000, host_bytes: 500, ..Driver::default() };
    let plan = plan_by(own).unwrap_or_else(|e| panic!("{e}"));
    let bare = plan_by(Driver::default()).unwrap_or_else(|e| panic!("{e}"));
    for (proof, bare) in plan.memory.iter().zip(&bare.memory) {
        assert_eq!((proof.driver, proof.total, proof.own()), (1500, bare.total + 1500, bare.own()));
        assert_eq!(plan.on_device(proof), proof.own() - proof.staging + 1000);
        assert_eq!(plan.on_host(proof), proof.staging + proof.process + 500);
    }
    let on_host = plan_by(Driver { is_on_host: true, ..own }).unwrap_or_else(|e| panic!("{e}"));
    assert!(on_host.memory.iter().all(|proof| on_host.on_host(proof) == proof.total));
    let mut edited = plan.clone();
    edited.memory[1].driver = 7;
    let faults = edited.verify().unwrap_err();
    assert!(faults[0].message.contains("driver states 7, it follows 1500"), "{faults:?}");
    // The same budget for less: the context counts, what lies on the host does not.
    let most = plan.memory.iter().map(|proof| plan.on_device(proof)).max().unwrap_or(0);
    let mut bounded = plan;
    bounded.devices[0].memory = Some(most);
    assert_eq!(bounded.verify(), Ok(()));
    bounded.devices[0].memory = Some(most - 1);
    let faults = bounded.verify().unwrap_err();
    assert!(faults[0].message.contains("1 over the budget"), "{faults:?}");
}

#[test]
fn a_value_that_is_too_large_for_a_kernel_is_refused_by_name_with_what_to_do() {
    let most = |bytes| plan_by(Driver { value_bytes: Some(bytes), ..Driver::default() });
    let plan = most(1 << 20).unwrap_or_else(|e| panic!("{e}"));
    let largest = plan.weights.iter().max_by_key(|weight| weight.bytes).expect("it has weights");
    let refused = most(largest.bytes - 1).err().map_or(String::new(), |e| e.to_string());
    let names = format!("vulkan:0: {} takes {} bytes", largest.name, largest.bytes);
    let advice = "--partition tensor:2 --devices \"vulkan:0[0],vulkan:0[1]\"";
    assert!(refused.contains(&names) && refused.contains(advice), "{refused}");
}

#[test]
fn only_processors_take_int8_where_a_plan_has_both() {
    let checkpoint =
        Checkpoint::open(&fixtures::path("tiny/gguf/llama.gguf")).unwrap_or_else(|e| panic!("{e}"));
    let partition: Partition = "pipeline:2".parse().expect("a cut");
    let options = Options { partition, micro_batches: 2, activations: Activations::Int8, ..exact(64) };
    let compiled =
        compile(&checkpoint, options, &[device(0), Device::cpu(1, 1)]).unwrap_or_else(|e| panic!("{e}"));
    let plan = &compiled.plan;
    let takes_int8 = |thread: &Thread| {
        thread.steps.iter().any(|step| match step {
            Step::Run { kernel, .. } => {
                plan.kernels[kernel.0 as usize].inputs.iter().any(|ty| ty.dtype == DType::Quant(Format::Q8A))
            }
            _ => false,
        })
    };
    assert_eq!(plan.threads.iter().map(takes_int8).collect::<Vec<_>>(), [false, true]);
}

/// Eight words behind one prompt, and every logit.
#[test]
fn smollm2_answers_as_on_a_processor() {
    if !has_vulkan() {
        return;
    }
    let checkpoint = Checkpoint::open(&fixtures::model("smollm2")).unwrap_or_else(|e| panic!("{e}"));
    let prompt = [504, 3575, 282, 4649, 314];
    let options = Options { kv: DType::F16, ..exact(64) };
    let answer = |device: Device| {
        let mut running = Running::on(&checkpoint, options.clone(), &[device]);
        let width = running.session.vocabulary();
        let mut logits = running.step(0, 0, &prompt).to_vec();
        let (mut tokens, mut all) = (vec![], logits.clone());
        for at in prompt.len()..prompt.len() + 8 {
            tokens.push(best(&logits[logits.len() - width..]));
            logits = running.step(0, at, &tokens[tokens.len() - 1..]).to_vec();
            all.extend_from_slice(&logits);
        }
        (tokens, all)
    };
    let (expected, cpu) = answer(Device::cpu(0, 1));
    let (found, gpu) = answer(device(0));
    assert_eq!(found, expected);
    let most = cpu.iter().fold(0f32, |most, v| most.max(v.abs()));
    let far = |(a, b): &(&f32, &f32)| (*a - *b).abs() > 1e-3 * most;
    assert_eq!(gpu.iter().zip(&cpu).find(far), None);
}
