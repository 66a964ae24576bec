//! The tiny models under `fixtures/tiny`: what their files say of them, in either format.
use compiler::import::{Activation, Checkpoint, Config, Experts, Pairing, RopeScaling};
use compiler::tokenizer::SpecialTokens;
use std::path::{Path, PathBuf};

fn tiny(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny").join(name)
}

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(&tiny(name)).unwrap_or_else(|error| panic!("{error}"))
}

const FOLDERS: [&str; 10] = [
    "llama",
    "llama_tied",
    "llama3_rope",
    "mistral",
    "mistral_window",
    "qwen2",
    "qwen3",
    "gemma3",
    "mixtral",
    "qwen3_moe",
];
const FILES: [&str; 7] = ["llama", "llama_k", "qwen2", "qwen3", "gemma3", "mixtral", "qwen3moe"];

/// The weights that every architecture here has, with the shapes that its config asks for.
fn weights(config: &Config) -> Vec<(String, Vec<u64>)> {
    let Config { hidden, heads, kv_heads, head_dim, ffn, vocab, .. } = *config;
    let mut weights = vec![
        ("token_embd.weight".to_owned(), vec![vocab, hidden]),
        ("output_norm.weight".to_owned(), vec![hidden]),
    ];
    if !config.tied_embeddings {
        weights.push(("output.weight".to_owned(), vec![vocab, hidden]));
    }
    for layer in 0..config.layers {
        let mut add =
            |name: &str, shape: &[u64]| weights.push((format!("blk.{layer}.{name}"), shape.to_vec()));
        add("attn_norm.weight", &[hidden]);
        add("ffn_norm.weight", &[hidden]);
        add("attn_output.weight", &[hidden, heads * head_dim]);
        for (name, rows) in
            [("attn_q", heads * head_dim), ("attn_k", kv_heads * head_dim), ("attn_v", kv_heads * head_dim)]
        {
            add(&format!("{name}.weight"), &[rows, hidden]);
            if config.qkv_bias {
                add(&format!("{name}.bias"), &[rows]);
            }
            if config.qk_norm && name != "attn_v" {
                add(&format!("{name}_norm.weight"), &[head_dim]);
            }
        }
        match &config.experts {
            Some(Experts { count, ffn, .. }) => {
                add("ffn_gate_inp.weight", &[*count, hidden]);
                add("ffn_gate_exps.weight", &[*count, *ffn, hidden]);
                add("ffn_up_exps.weight", &[*count, *ffn, hidden]);
                add("ffn_down_exps.weight", &[*count, hidden, *ffn]);
            }
            None => {
                add("ffn_gate.weight", &[ffn, hidden]);
                add("ffn_up.weight", &[ffn, hidden]);
                add("ffn_down.weight", &[hidden, ffn]);
            }
        }
        if config.architecture == "gemma3" {
            add("post_attention_norm.weight", &[hidden]);
            add("post_ffw_norm.weight", &[hidden]);
        }
    }
    weights
}

#[test]
fn every_tiny_model_has_the_weights_of_its_config_and_no_others() {
    let files = FILES.map(|name| format!("gguf/{name}.gguf"));
    for name in FOLDERS.into_iter().chain(files.iter().map(String::as_str)) {
        let checkpoint = open(name);
        let weights = weights(&checkpoint.config);
        for (weight, shape) in &weights {
            let dtype = checkpoint.weight(weight, shape).unwrap_or_else(|error| panic!("{error}"));
            let bytes = dtype.bytes(shape.iter().product());
            assert_eq!(bytes, Some(checkpoint.bytes(weight).unwrap().len() as u64), "{name} {weight}");
        }
        let others = checkpoint.tensors.keys().filter(|tensor| *tensor != "rope_freqs.weight");
        assert_eq!(others.count(), weights.len(), "{name}");
        assert!(checkpoint.chat_template.is_some(), "{name}");
        let tokenizer = checkpoint.tokenizer().unwrap();
        assert_eq!((tokenizer.bos(), tokenizer.eos_ids()), (Some(1), &[2][..]), "{name}");
    }
}

#[test]
fn configs_say_what_distinguishes_the_architectures() {
    let [llama, gemma, qwen2, qwen3] = ["llama", "gemma3", "qwen2", "qwen3"].map(|name| open(name).config);
    let of = |c: &Config| (c.qkv_bias, c.qk_norm, c.tied_embeddings, c.activation, c.norm_weight_offset);
    assert_eq!(of(&llama), (false, false, false, Activation::Silu, 0.0));
    assert_eq!(of(&qwen2), (true, false, true, Activation::Silu, 0.0));
    assert_eq!(of(&qwen3), (false, true, false, Activation::Silu, 0.0));
    assert_eq!(of(&gemma), (false, true, true, Activation::GeluTanh, 1.0));
    assert_eq!(gemma.embedding_scale, 32f32.sqrt());
    assert_eq!(gemma.attention_scale, 1.0 / 24f32.sqrt());
    assert_eq!(qwen3.attention_scale, 0.25);
    assert_eq!((qwen2.head_dim, qwen3.rope.theta), (16, 1_000_000.0));
    assert_eq!(open("mistral").config.architecture, "llama");
}

#[test]
fn experts_are_those_of_the_config_in_either_format() {
    let of = |count, used, normalise| Some(Experts { count, used, ffn: 32, normalise });
    for (name, architecture, experts) in [
        ("mixtral", "llama", of(8, 2, true)),
        ("qwen3_moe", "qwen3moe", of(6, 3, false)),
        ("gguf/mixtral.gguf", "llama", of(4, 2, true)),
        ("gguf/qwen3moe.gguf", "qwen3moe", of(6, 3, true)),
        ("llama", "llama", None),
    ] {
        let config = open(name).config;
        assert_eq!((&*config.architecture, config.experts), (architecture, experts), "{name}");
    }
}

#[test]
fn gguf_has_its_own_order_of_rows_and_norms_with_the_one_added() {
    let [llama, gemma, qwen2] =
        ["llama", "gemma3", "qwen2"].map(|name| open(&format!("gguf/{name}.gguf")).config);
    assert_eq!(llama.rope.pairing, Pairing::Adjacent);
    assert_eq!(qwen2.rope.pairing, Pairing::Halves);
    assert_eq!(gemma.norm_weight_offset, 0.0);
    assert_eq!(open("llama").config.rope.pairing, Pairing::Halves);
    assert!(matches!(&llama.rope.scaling, RopeScaling::Factors(factors) if factors.len() == 16));
    assert_eq!((qwen2.qkv_bias, gemma.qk_norm, gemma.embedding_scale), (true, true, 8.0));
}

#[test]
fn windows_belong_to_layers() {
    for name in ["gemma3", "gguf/gemma3.gguf"] {
        let gemma = open(name).config;
        let windows: Vec<_> = (0..7).map(|layer| gemma.window_of(layer)).collect();
        assert_eq!(windows, [Some(8), Some(8), Some(8), Some(8), Some(8), None, Some(8)], "{name}");
        assert_eq!((gemma.rope_of(0).theta, gemma.rope_of(5).theta), (10_000.0, 1_000_000.0), "{name}");
    }
    let mistral = open("mistral_window").config;
    assert_eq!((mistral.window_of(0), mistral.window_of(1)), (Some(12), Some(12)));
    assert_eq!(mistral.rope_of(0), &mistral.rope);
    for name in ["llama", "mistral", "qwen2", "qwen3"] {
        assert_eq!(open(name).config.window, None, "{name}");
    }
}

#[test]
fn llama3_scaling_is_read_from_a_folder() {
    let config = open("llama3_rope").config;
    let expected = RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original_context: 16.0 };
    assert_eq!(config.rope.scaling, expected);
    assert_eq!(config.rope.frequencies().len(), 16);
}

#[test]
fn both_formats_give_the_same_tokens() {
    let text = "The house in an ounce. <s>system";
    let folder = open("llama").tokenizer().unwrap();
    let file = open("gguf/llama.gguf").tokenizer().unwrap();
    for special in [SpecialTokens::AsText, SpecialTokens::Parsed] {
        let ids = file.encode(text, special).unwrap();
        assert_eq!(ids, folder.encode(text, special).unwrap());
        assert_eq!(ids.contains(&1), special == SpecialTokens::Parsed);
    }
    let ids = folder.encode(text, SpecialTokens::AsText).unwrap();
    assert_eq!(folder.decode(&ids), text.as_bytes());
}
