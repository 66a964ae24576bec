//! Tiny models of every architecture, compiled and run, against logits of an independent implementation.
use compiler::codegen::reference;
use compiler::import::Checkpoint;
use compiler::{Bundle, codegen};
use ir::DType;
use ir::plan::{Activations, Options};
use runtime::{Sequence, Session};
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny")
}

/// The reference's prompt and its logits, [tokens, vocabulary].
fn reference(path: &Path) -> (Vec<i32>, Vec<f32>) {
    let bytes = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let ids = tensors.tensor("ids").unwrap();
    let width = ids.data().len() / ids.shape().iter().product::<usize>();
    let ids =
        ids.data().chunks_exact(width).map(|b| i32::from_le_bytes(b[..4].try_into().unwrap())).collect();
    let logits = tensors.tensor("logits").unwrap();
    let logits = logits.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    (ids, logits)
}

fn options(context: u32) -> Options {
    Options {
        context,
        max_batch: 1,
        chunk: 16,
        rows: 16,
        page: 8,
        kv: DType::F32,
        activations: Activations::F32,
        memory: None,
    }
}

/// The largest difference from the reference, relative to the largest logit.
fn error(model: &Path, reference_file: &Path, threads: u32, by_meaning: bool) -> f32 {
    let checkpoint = Checkpoint::open(model).unwrap();
    let (ids, expected) = reference(reference_file);
    let compiled = compiler::compile(&checkpoint, options(64), threads).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("bundle");
    Bundle::write(&dir, &compiled, &checkpoint, &|_| {}).unwrap();
    let bundle = Bundle::open(&dir).unwrap();
    let symbols: Vec<String> = bundle.plan.symbols.iter().map(|s| s.name.clone()).collect();
    let code = match by_meaning {
        true => reference::lower(&bundle.plan.kernels, &symbols).unwrap(),
        false => codegen::lower(&bundle.plan).unwrap(),
    };
    let mut session = Session::start(&bundle.plan, &code, Arc::new(bundle.weights)).unwrap();
    let mut sequence = Sequence::new(&session, 0);
    let scale = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    let width = session.vocabulary();
    let mut worst = 0f32;
    let compare = |at: usize, row: &[f32]| {
        let expected = &expected[at * width..][..width];
        worst = row.iter().zip(expected).fold(worst, |m, (a, b)| m.max((a - b).abs() / scale));
    };
    sequence.extend_all(&mut session, &ids, compare).unwrap();
    worst
}

#[test]
fn tiny_models_agree_with_transformers() {
    let mut faults = vec![];
    for model in
        ["llama", "llama_tied", "llama3_rope", "mistral", "mistral_window", "qwen2", "qwen3", "gemma3"]
    {
        let folder = fixtures().join(model);
        let error = error(&folder, &folder.join("reference.safetensors"), 2, false);
        if error.is_nan() || error > 1e-4 {
            faults.push(format!("{model}: logits differ by {error}"));
        }
    }
    for model in ["llama", "llama_k", "qwen2", "qwen3", "gemma3"] {
        let file = fixtures().join("gguf").join(model);
        let error = error(&file.with_extension("gguf"), &file.with_extension("safetensors"), 1, false);
        if error.is_nan() || error > 1e-4 {
            faults.push(format!("{model}.gguf: logits differ by {error}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
