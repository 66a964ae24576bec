//! Every kernel becomes machine code for NVIDIA's architectures, without a device: by NVRTC, which HEDDLE_NVRTC names
//! the folder of. Where there is none, one line says so.
use gpu::cuda::{self, Code};
use ir::expr::Body;
use ir::ops::{Anchor, Fused, Gather, KvAppend, Linear, PagedAttention, Peaks, TopK, samples};
use ir::plan::{Kernel, KernelId, OpText};
use ir::{DType, Op, TensorType};
use kernels::layout::Layout;
use std::time::Instant;

/// Ampere, Hopper and consumers' Blackwell: compute capabilities.
const CAPABILITIES: [(i32, i32); 3] = [(8, 0), (9, 0), (12, 0)];
/// Kernels written by hand that may keep bytes of registers in memory, by how their names end, how many, and why.
const SPILLS: &[(&str, u32, &str)] = &[
    (" t16.q4", 16, ANOTHER_BLOCK),
    (" t16.q4.min", 16, ANOTHER_BLOCK),
    (" t16.q5", 16, ANOTHER_BLOCK),
    (" t16.q5.min", 16, ANOTHER_BLOCK),
    (" t16.q8", 16, ANOTHER_BLOCK),
    (" t16.levels4", 64, ANOTHER_BLOCK),
    (" t16.q4.super16", 16, ANOTHER_BLOCK),
    (" t16.q4.super16.min", 16, ANOTHER_BLOCK),
    (" t16.q4.super32.min", 16, ANOTHER_BLOCK),
    (" t16.q5.super32.min", 16, ANOTHER_BLOCK),
    (" t16.q6.super16", 16, ANOTHER_BLOCK),
];
const ANOTHER_BLOCK: &str =
    "of several rows: the assembler has more registers, and leaves them so that another block has room";

fn kernel(name: String, op: &Op, inputs: &[TensorType], layouts: &[String], output: TensorType) -> Kernel {
    let op = OpText(op.name().to_owned(), op.attributes());
    let (inputs, layouts) = (inputs.to_vec(), layouts.to_vec());
    Kernel { id: KernelId(0), name, op, inputs, layouts, output, scratch: 0, shared: 0 }
}

fn types(texts: &[&str]) -> Vec<TensorType> {
    texts.iter().map(|text| TensorType::parse(text).expect("a type")).collect()
}

/// The operators' own samples, their weights packed.
fn of_samples() -> Vec<Kernel> {
    let one = |(at, (op, types)): (usize, (Op, Vec<TensorType>))| {
        let weights = match &op {
            Op::Linear(_) => 1..types.len(),
            Op::Gather(_) => 0..1,
            _ => 0..0,
        };
        let layout = |(at, ty): (usize, &TensorType)| {
            let packed = Layout::of(ty.dtype).filter(|_| weights.contains(&at));
            packed.map_or("plain", Layout::name).to_owned()
        };
        let layouts: Vec<String> = types.iter().enumerate().map(layout).collect();
        let output = op.infer(&types).expect("infer takes its own sample");
        kernel(format!("sample {at} {}", op.name()), &op, &types, &layouts, output)
    };
    samples().into_iter().enumerate().map(one).collect()
}

/// Products and lookups of every layout, with an epilogue and without, in the sizes of models.
fn of_layouts() -> Vec<Kernel> {
    let body = Body::parse("(x2[i0, i1] + (h0 / (1f + exp((0f - h0)))))").expect("a body");
    let mut all = vec![];
    for layout in Layout::ALL {
        let names =
            ["f32", "f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k"];
        let dtypes =
            names.into_iter().chain(["q6_k", "iq4_nl"]).map(|name| DType::parse(name).expect("a dtype"));
        let dtype =
            dtypes.into_iter().find(|dtype| Layout::of(*dtype) == Some(*layout)).expect("some dtype lies so");
        let weight = TensorType::parse("f32[576, 1536]").expect("a type").with_dtype(dtype);
        let rows = types(&["f32[n, 1536]", "i32[n]", "f32[n, 576]"]);
        let (packed, plain) = (layout.name().to_owned(), "plain".to_owned());
        let anchor = Some(Anchor { op: Op::from(Linear {}), inputs: 2 });
        let fused = Fused { anchor, body: body.clone(), ty: rows[2].clone() };
        for (name, op, inputs, layouts, output) in [
            ("linear", Op::from(Linear {}), vec![&rows[0], &weight], [&plain, &packed, &plain], &rows[2]),
            (
                "fused",
                Op::from(fused),
                vec![&rows[0], &weight, &rows[2]],
                [&plain, &packed, &plain],
                &rows[2],
            ),
            (
                "gather",
                Op::from(Gather::default()),
                vec![&weight, &rows[1]],
                [&packed, &plain, &plain],
                &rows[0],
            ),
        ] {
            let inputs: Vec<TensorType> = inputs.into_iter().cloned().collect();
            let layouts: Vec<String> = layouts[..inputs.len()].iter().map(|l| (*l).clone()).collect();
            all.push(kernel(format!("{name} {packed}"), &op, &inputs, &layouts, output.clone()));
        }
    }
    all
}

/// The cache and attention over it, in the sizes of models.
fn of_caches() -> Vec<Kernel> {
    let mut all = vec![];
    for (dtype, width) in [("f16", 64), ("f32", 64), ("f16", 128), ("f16", 256)] {
        let [keys, values] = [format!("{dtype}[p, 3, {width}, 32]"), format!("{dtype}[p, 3, 32, {width}]")];
        let (x, q) = (format!("f32[n, 3, {width}]"), format!("f32[n, 9, {width}]"));
        for (transposed, cache) in [(true, &keys), (false, &values)] {
            let inputs = types(&[cache, &x, "i32[n]", "i32[n]", "i32[8, c]"]);
            let (op, output) = (Op::from(KvAppend { transposed }), inputs[0].clone());
            let name = format!("kv_append {dtype} {width}{}", if transposed { " transposed" } else { "" });
            all.push(kernel(name, &op, &inputs, &vec!["plain".into(); 5], output));
        }
        for (window, softcap) in [(None, None), (Some(512), Some(50.0))] {
            let inputs = types(&[&q, &keys, &values, "i32[n]", "i32[n]", "i32[8, c]"]);
            let op = Op::from(PagedAttention { scale: 0.125, window, softcap, shared: None });
            let name = format!(
                "paged_attention {dtype} {width}{}",
                if window.is_some() { " window cap" } else { "" }
            );
            all.push(kernel(name, &op, &inputs, &vec!["plain".into(); 6], inputs[0].clone()));
        }
    }
    all
}

/// What finds the most likely tokens, in the sizes of models.
fn of_answers() -> Vec<Kernel> {
    let mut all = vec![];
    for (vocabulary, peaks) in [(49_152, 192), (151_936, 594), (262_144, 1024)] {
        let inputs = types(&[&format!("f32[m, {vocabulary}]"), &format!("f32[m, {peaks}]")]);
        let (k, stretch, plain) = (64, 256, "plain".to_owned());
        let output = TensorType::parse("f32[m, 2, 64]").expect("a type");
        let (name, op) = (format!("peaks {vocabulary}"), Peaks { stretch }.into());
        all.push(kernel(name, &op, &inputs[..1], std::slice::from_ref(&plain), inputs[1].clone()));
        let (name, op) = (format!("top_k {vocabulary}"), TopK { k, stretch }.into());
        all.push(kernel(name, &op, &inputs, &[plain.clone(), plain], output));
    }
    all
}

#[test]
fn every_kernel_becomes_machine_code_and_those_by_hand_keep_their_registers() {
    let symbols = ["n", "m", "c", "p"].map(str::to_owned);
    if let Err(reason) = cuda::compiler() {
        assert!(std::env::var_os("HEDDLE_NVRTC").is_none(), "{reason}");
        println!("nothing was compiled: {reason}");
        return;
    }
    let start = Instant::now();
    let own = of_samples();
    let of_samples_taken = own.iter().filter(|kernel| gpu::check(kernel, &symbols).is_ok()).count();
    assert!(of_samples_taken > 20, "only {of_samples_taken} of {} samples have kernels", own.len());
    let written: Vec<Kernel> = of_layouts().into_iter().chain(of_caches()).chain(of_answers()).collect();
    for kernel in &written {
        gpu::check(kernel, &symbols).unwrap_or_else(|e| panic!("{}: {e}", kernel.name));
    }
    let taken = own.into_iter().filter(|kernel| gpu::check(kernel, &symbols).is_ok());
    let all: Vec<Kernel> = written.into_iter().chain(taken).collect();
    let mut faults = vec![];
    println!("registers/spill bytes by architecture; threads and shared bytes of a block");
    for kernel in &all {
        let made = |(major, minor)| cuda::code(kernel, &symbols, &cuda::target(major, minor));
        let made: Vec<Vec<Code>> = match CAPABILITIES.into_iter().map(made).collect::<Result<Vec<_>, _>>() {
            Ok(made) => made.into_iter().map(|launches| launches.concat()).collect(),
            Err(reason) => {
                faults.push(format!("{}: {reason}", kernel.name));
                continue;
            }
        };
        let is_by_hand = ["linear", "gather", "kv_append", "paged_attention", "top_k"]
            .contains(&&*kernel.op.0)
            || Op::parse(&kernel.op.0, &kernel.op.1)
                .is_ok_and(|op| matches!(op, Op::Fused(f) if f.anchor.is_some()));
        let listed = SPILLS.iter().find(|(name, ..)| kernel.name.ends_with(name));
        let may_spill = listed.map_or(0, |(_, bytes, _)| *bytes);
        for version in 0..made[0].len() {
            let each = made.iter().map(|codes| &codes[version]);
            let numbers: Vec<String> =
                each.clone().map(|c| format!("{:>3}/{}", c.registers, c.spill_bytes)).collect();
            let Code { units, shared_bytes, .. } = made[0][version];
            println!("{:<44} {version} {}  {units:>4} {shared_bytes:>6}", kernel.name, numbers.join(" "));
            let reason = listed.filter(|_| each.clone().any(|code| code.spill_bytes > 0));
            reason.iter().for_each(|(.., reason)| println!("    {reason}"));
            if is_by_hand && each.clone().any(|code| code.spill_bytes > may_spill) {
                faults.push(format!("{} version {version} spills: {}", kernel.name, numbers.join(" ")));
            }
        }
    }
    println!("{} kernels in {:.1} s", all.len(), start.elapsed().as_secs_f64());
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
