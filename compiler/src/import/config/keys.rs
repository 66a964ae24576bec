//! What either format calls a number of the config, so that a refusal names what stands in the file.

/// A number of the config that can be absurd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Layers,
    Hidden,
    Heads,
    KvHeads,
    HeadDim,
    Ffn,
    Experts,
    ExpertsUsed,
    ExpertFfn,
    Vocab,
    ContextLength,
    RmsEps,
    RopeDims,
    RopeTheta,
    Window,
    LayerTypes,
    WindowTheta,
    AttentionScale,
    AttentionSoftcap,
    FinalSoftcap,
}

impl Key {
    /// Its name in GGUF, behind the architecture's.
    pub(super) fn in_gguf(self) -> &'static str {
        self.names().0
    }

    /// Its name in a config.json.
    pub(super) fn in_json(self) -> &'static str {
        self.names().1
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Key::Layers => ("block_count", "num_hidden_layers"),
            Key::Hidden => ("embedding_length", "hidden_size"),
            Key::Heads => ("attention.head_count", "num_attention_heads"),
            Key::KvHeads => ("attention.head_count_kv", "num_key_value_heads"),
            Key::HeadDim => ("attention.key_length", "head_dim"),
            Key::Ffn => ("feed_forward_length", "intermediate_size"),
            Key::Experts => ("expert_count", "num_experts"),
            Key::ExpertsUsed => ("expert_used_count", "num_experts_per_tok"),
            Key::ExpertFfn => ("expert_feed_forward_length", "moe_intermediate_size"),
            Key::Vocab => ("vocab_size", "vocab_size"),
            Key::ContextLength => ("context_length", "max_position_embeddings"),
            Key::RmsEps => ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
            Key::RopeDims => ("rope.dimension_count", "head_dim"),
            Key::RopeTheta => ("rope.freq_base", "rope_theta"),
            Key::Window => ("attention.sliding_window", "sliding_window"),
            Key::LayerTypes => ("attention.sliding_window_pattern", "layer_types"),
            Key::WindowTheta => ("rope.freq_base_swa", "rope_local_base_freq"),
            Key::AttentionScale => ("attention.scale", "query_pre_attn_scalar"),
            Key::AttentionSoftcap => ("attn_logit_softcapping", "attn_logit_softcapping"),
            Key::FinalSoftcap => ("final_logit_softcapping", "final_logit_softcapping"),
        }
    }
}
