//! What the names of published tensors mean, in GGUF's words.

/// What a published name means.
#[derive(Debug, PartialEq)]
pub(super) enum Name {
    /// A tensor that we use, under GGUF's name.
    Known(String),
    /// What one expert has of such a tensor, and its number.
    Expert(String, u32),
    /// A tensor of a part that we do not run, or one that can be computed.
    Beside,
    Unknown,
}

/// GGUF's name for what Hugging Face publishes.
pub(super) fn canonical(published: &str, architecture: &str) -> Name {
    if ["vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector."]
        .iter()
        .any(|part| published.starts_with(part))
        || published.ends_with(".rotary_emb.inv_freq")
    {
        return Name::Beside;
    }
    // A model that sees has its text part inside, in either order of words.
    let name = published.strip_prefix("language_model.").unwrap_or(published);
    let name = name.strip_prefix("model.").unwrap_or(name);
    let name = name.strip_prefix("language_model.").unwrap_or(name);
    match name {
        "embed_tokens.weight" => Name::Known("token_embd.weight".to_owned()),
        "norm.weight" => Name::Known("output_norm.weight".to_owned()),
        "lm_head.weight" => Name::Known("output.weight".to_owned()),
        _ => in_layer(name, architecture).unwrap_or(Name::Unknown),
    }
}

fn in_layer(name: &str, architecture: &str) -> Option<Name> {
    let (layer, rest) = name.strip_prefix("layers.")?.split_once('.')?;
    let (module, kind) = rest.rsplit_once('.')?;
    let is_number = !layer.is_empty() && layer.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || !matches!(kind, "weight" | "bias") {
        return None;
    }
    let mixture = module.strip_prefix("mlp.").or(module.strip_prefix("block_sparse_moe."));
    if let Some((number, matrix)) = mixture.and_then(|m| m.strip_prefix("experts.")?.split_once('.')) {
        let matrix = match matrix {
            "gate_proj" | "w1" => "ffn_gate_exps",
            "down_proj" | "w2" => "ffn_down_exps",
            "up_proj" | "w3" => "ffn_up_exps",
            _ => return None,
        };
        return Some(Name::Expert(format!("blk.{layer}.{matrix}.{kind}"), number.parse().ok()?));
    }
    let module = match module {
        "input_layernorm" => "attn_norm",
        // Gemma has a norm behind the attention and another in front of the MLP; others only the latter.
        "post_attention_layernorm" if architecture == "gemma3" => "post_attention_norm",
        "post_attention_layernorm" | "pre_feedforward_layernorm" => "ffn_norm",
        "post_feedforward_layernorm" => "post_ffw_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        "mlp.gate" | "block_sparse_moe.gate" => "ffn_gate_inp",
        _ => return None,
    };
    Some(Name::Known(format!("blk.{layer}.{module}.{kind}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_names_become_those_of_gguf() {
        let known = |name: &str, architecture| match canonical(name, architecture) {
            Name::Known(name) => name,
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(known("model.layers.12.self_attn.q_proj.bias", "qwen2"), "blk.12.attn_q.bias");
        assert_eq!(known("model.layers.0.post_attention_layernorm.weight", "llama"), "blk.0.ffn_norm.weight");
        assert_eq!(
            known("model.layers.0.post_attention_layernorm.weight", "gemma3"),
            "blk.0.post_attention_norm.weight"
        );
        assert_eq!(known("language_model.model.norm.weight", "gemma3"), "output_norm.weight");
        assert_eq!(
            known("model.language_model.layers.1.mlp.up_proj.weight", "gemma3"),
            "blk.1.ffn_up.weight"
        );
        assert_eq!(known("model.layers.3.mlp.gate.weight", "qwen3moe"), "blk.3.ffn_gate_inp.weight");
        assert_eq!(
            canonical("model.layers.3.mlp.experts.12.down_proj.weight", "qwen3moe"),
            Name::Expert("blk.3.ffn_down_exps.weight".into(), 12)
        );
        assert_eq!(canonical("vision_tower.x.weight", "gemma3"), Name::Beside);
        assert_eq!(canonical("model.layers.0.self_attn.rotary_emb.inv_freq", "llama"), Name::Beside);
        for name in ["model.layers.x.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.scale", "head.weight"] {
            assert_eq!(canonical(name, "llama"), Name::Unknown, "{name}");
        }
    }
}
