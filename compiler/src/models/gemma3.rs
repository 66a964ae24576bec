//! Gemma 3's text model: norms before and after each block, scaled embeddings, sliding windows in most layers.
use super::blocks::{attention, head, mlp, norm};
use super::{Architecture, Build, BuildError};
use crate::import::Config;
use ir::NodeId;

pub(super) const GEMMA3: Architecture = Architecture { names: &["gemma3", "gemma3_text"], build };

fn build(cx: &mut Build<'_>, config: &Config) -> Result<NodeId, BuildError> {
    let mut x = head::embed(cx, config)?;
    for layer in 0..config.layers {
        cx.enter_layer(layer);
        let h = norm::rms(cx, x, "attn_norm", config.hidden)?;
        let h = attention::paged(cx, h, config, layer)?;
        let h = norm::rms(cx, h, "post_attention_norm", config.hidden)?;
        x = cx.add("attn_residual", x, h)?;
        let h = norm::rms(cx, x, "ffn_norm", config.hidden)?;
        let h = mlp::gated(cx, h, config)?;
        let h = norm::rms(cx, h, "post_ffw_norm", config.hidden)?;
        x = cx.add("ffn_residual", x, h)?;
    }
    head::logits(cx, x, config)
}
