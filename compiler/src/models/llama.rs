//! Llama 2 and 3, and those that differ from them in numbers, biases of q/k/v or norms of q and k:
//! Mistral, SmolLM, Qwen 2 and 3; Mixtral and Qwen 3 MoE, whose MLP is a mixture of experts.
use super::blocks::{attention, head, mlp, norm};
use super::{Architecture, Build, BuildError};
use crate::import::Config;
use ir::NodeId;

pub(super) const LLAMA: Architecture = Architecture {
    names: &["llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe", "qwen3moe"],
    build,
};

fn build(cx: &mut Build<'_>, config: &Config) -> Result<NodeId, BuildError> {
    let mut x = head::embed(cx, config)?;
    for layer in 0..config.layers {
        cx.enter_layer(layer);
        let h = norm::rms(cx, x, "attn_norm", config.hidden)?;
        let h = attention::paged(cx, h, config, layer)?;
        x = cx.add("attn_residual", x, h)?;
        let h = norm::rms(cx, x, "ffn_norm", config.hidden)?;
        let h = mlp::feed_forward(cx, h, config)?;
        x = cx.add("ffn_residual", x, h)?;
    }
    head::logits(cx, x, config)
}
