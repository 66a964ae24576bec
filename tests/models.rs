//! The tiny models of every architecture against what transformers says of them: as the graph that an
//! architecture writes, after every pass, and compiled and run.

use compiler::compile;
use compiler::import::Checkpoint;
use compiler::models::{StepGraph, step_graph};
use ir::interpret::interpret;
use ir::plan::{Device, Options};
use ir::{DType, Graph, Op, Symbols, Tensor};
use runtime::Batch;
use tests::compare::difference;
use tests::fixtures::{self, Reference};
use tests::running::{Running, best, exact};

/// Logits agree within this, relative above 1 and absolute below.
const TOLERANCE: f32 = 2e-4;

macro_rules! models {
    ($($name:ident: $model:literal, $reference:literal;)*) => { $(mod $name {
        use super::Model;

        fn model() -> Model {
            Model::open($model, $reference)
        }

        #[test]
        fn the_graph_means_what_transformers_computes_after_every_pass() {
            model().graphs_agree();
        }

        #[test]
        fn a_prompt_in_one_step_in_chunks_and_token_by_token_gives_the_same_logits() {
            model().chunks_agree();
        }

        #[test]
        fn greedy_tokens_are_those_of_transformers() {
            model().greedy_agrees();
        }

        #[test]
        fn a_neighbour_in_the_batch_changes_no_bit() {
            model().batches_agree();
        }
    })* };
}

models! {
    llama: "tiny/llama", "tiny/llama/reference.safetensors";
    llama_tied: "tiny/llama_tied", "tiny/llama_tied/reference.safetensors";
    llama3_rope: "tiny/llama3_rope", "tiny/llama3_rope/reference.safetensors";
    mistral_in_shards: "tiny/mistral", "tiny/mistral/reference.safetensors";
    mistral_window: "tiny/mistral_window", "tiny/mistral_window/reference.safetensors";
    qwen2: "tiny/qwen2", "tiny/qwen2/reference.safetensors";
    qwen3: "tiny/qwen3", "tiny/qwen3/reference.safetensors";
    gemma3: "tiny/gemma3", "tiny/gemma3/reference.safetensors";
    mixtral: "tiny/mixtral", "tiny/mixtral/reference.safetensors";
    qwen3_moe: "tiny/qwen3_moe", "tiny/qwen3_moe/reference.safetensors";
    gguf_llama: "tiny/gguf/llama.gguf", "tiny/gguf/llama.safetensors";
    gguf_llama_k_quants: "tiny/gguf/llama_k.gguf", "tiny/gguf/llama_k.safetensors";
    gguf_qwen2: "tiny/gguf/qwen2.gguf", "tiny/gguf/qwen2.safetensors";
    gguf_qwen3: "tiny/gguf/qwen3.gguf", "tiny/gguf/qwen3.safetensors";
    gguf_gemma3: "tiny/gguf/gemma3.gguf", "tiny/gguf/gemma3.safetensors";
    gguf_mixtral: "tiny/gguf/mixtral.gguf", "tiny/gguf/mixtral.safetensors";
    gguf_qwen3moe: "tiny/gguf/qwen3moe.gguf", "tiny/gguf/qwen3moe.safetensors";
}

struct Model {
    checkpoint: Checkpoint,
    reference: Reference,
}

fn ints(values: impl IntoIterator<Item = u32>) -> Vec<i32> {
    values.into_iter().map(|v| v as i32).collect()
}

impl Model {
    fn open(model: &str, reference: &str) -> Model {
        let checkpoint = Checkpoint::open(&fixtures::path(model)).unwrap_or_else(|e| panic!("{e}"));
        Model { checkpoint, reference: Reference::read(reference) }
    }

    fn expected(&self) -> Tensor {
        let r = &self.reference;
        Tensor::f32(&[r.ids.len() as u64, r.vocabulary() as u64], &r.logits)
    }

    #[track_caller]
    fn agrees(&self, logits: &[f32], where_: &str) {
        let expected = self.expected();
        let found = Tensor::f32(expected.shape(), logits);
        if let Some(difference) = difference(&found, &expected, TOLERANCE) {
            panic!("{where_} a logit {difference}");
        }
    }

    fn graphs_agree(&self) {
        let compiled =
            compile(&self.checkpoint, exact(64), &[Device::cpu(0, 1)]).unwrap_or_else(|e| panic!("{e}"));
        self.agrees(&self.interpreted(&compiled.reference), "as imported");
        for stage in &compiled.stages {
            if let Some(graph) = &stage.graph {
                self.agrees(&self.interpreted(graph), &format!("after {}", stage.pass));
            }
        }
    }

    /// The logits of the whole prompt in one step, by the reference interpreter.
    fn interpreted(&self, g: &Graph) -> Vec<f32> {
        let StepGraph { derived, .. } =
            step_graph(&self.checkpoint, &exact(64)).unwrap_or_else(|e| panic!("{e}"));
        let n = self.reference.ids.len() as u32;
        let count = u64::from(n);
        let given = |name: &str| {
            let sequence = |values: Vec<i32>| Some(Tensor::i32(&[count], &values));
            match name {
                "tokens" => sequence(ints(self.reference.ids.clone())),
                "positions" | "rows" | "whole" => sequence(ints(0..n)),
                "slots" => sequence(vec![0; n as usize]),
                "pages" => Some(Tensor::i32(&[2, 4], &[3, 1, 6, 0, 2, 4, 5, 7])),
                _ => derived
                    .get(name)
                    .cloned()
                    .or_else(|| zeros(g, name))
                    .or_else(|| self.checkpoint.host_tensor(name).ok()),
            }
        };
        let values = interpret(g, &given, &Symbols::new()).unwrap_or_else(|e| panic!("{e}"));
        values[0].to_f32()
    }

    fn start(&self) -> Running {
        Running::start(&self.checkpoint, exact(64), 2)
    }

    fn chunks_agree(&self) {
        let ids = ints(self.reference.ids.clone());
        for chunk in [ids.len(), 7, 1] {
            let mut running = self.start();
            let mut logits = vec![];
            for (at, tokens) in ids.chunks(chunk).enumerate() {
                logits.extend(running.step(0, at * chunk, tokens));
            }
            self.agrees(&logits, &format!("in chunks of {chunk}"));
        }
    }

    fn greedy_agrees(&self) {
        let ids = ints(self.reference.ids.clone());
        let mut running = self.start();
        let width = self.reference.vocabulary();
        let mut logits = running.step(0, 0, &ids);
        let mut found = vec![];
        for at in ids.len().. {
            let token = best(&logits[logits.len() - width..]);
            found.push(token as u32);
            if found.len() == self.reference.greedy.len() {
                break;
            }
            logits = running.step(0, at, &[token]);
        }
        assert_eq!(found, self.reference.greedy);
    }

    /// The prompt alone, and beside another whose tokens stand between its own.
    fn batches_agree(&self) {
        let ids = ints(self.reference.ids.clone());
        let alone = self.start().step(0, 0, &ids).to_vec();
        self.agrees(&alone, "alone");
        let n = ids.len();
        let other: Vec<i32> = ids.iter().rev().copied().collect();
        let tokens: Vec<i32> = ids.iter().zip(&other).flat_map(|(a, b)| [*b, *a]).collect();
        let positions = ints((0..n as u32).flat_map(|p| [p, p]));
        let slots: Vec<i32> = (0..2 * n as i32).map(|i| i % 2).collect();
        let rows: Vec<i32> = (0..n as i32).map(|i| 2 * i + 1).collect();
        let batch = Batch { tokens: &tokens, positions: &positions, slots: &slots, rows: &rows, whole: true };
        let mut running = self.start();
        let beside = running.session.step(&batch).unwrap_or_else(|e| panic!("{e}")).logits();
        let differ = (0..alone.len()).find(|&i| alone[i].to_bits() != beside[i].to_bits());
        assert_eq!(
            differ.map(|i| (i, alone[i], beside[i])),
            None,
            "a logit, alone and beside another prompt"
        );
    }
}

/// Long enough for attention to split the context over workers.
#[test]
fn a_long_context_gives_the_same_bits_on_any_number_of_threads() {
    let mut checkpoint = Checkpoint::open(&fixtures::path("tiny/llama")).unwrap_or_else(|e| panic!("{e}"));
    checkpoint.config.context_length = 1024;
    let options = Options { page: 32, kv: DType::F16, ..exact(1024) };
    let ids: Vec<i32> = (0..700).map(|i| i * 7 % 100).collect();
    let bits = |threads| {
        let mut running = Running::start(&checkpoint, options.clone(), threads);
        let prompt = ids[..690].chunks(128).enumerate().map(|(i, tokens)| (i * 128, tokens));
        let answer = (690..700).map(|at| (at, &ids[at..=at]));
        let steps: Vec<_> = prompt.chain(answer).collect();
        let step = |(at, tokens)| running.step(0, at, tokens).iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        steps.into_iter().map(step).collect::<Vec<_>>()
    };
    let alone = bits(1);
    for threads in [2, 3, 5] {
        assert!(bits(threads) == alone, "on {threads} threads");
    }
}

/// An empty cache, if `name` is one.
fn zeros(g: &Graph, name: &str) -> Option<Tensor> {
    let n = g.nodes().find(|&n| matches!(&g[n].op, Op::Input(input) if input.state && input.name == name))?;
    let shape = g[n].ty.extents(|_| None)?;
    Some(Tensor::f32(&shape, &vec![0.0; shape.iter().product::<u64>() as usize]))
}
