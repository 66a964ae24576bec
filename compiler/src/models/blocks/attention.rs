//! Self-attention with grouped KV heads over the paged cache.
use super::{norm, rope};
use crate::import::{Config, Pairing};
use crate::models::{Build, BuildError};
use ir::NodeId;
use ir::ops::{self, KvAppend, PagedAttention};

/// Attention of layer `layer` on `x`: f32[n, hidden] to f32[n, hidden].
pub(crate) fn paged(
    cx: &mut Build<'_>,
    x: NodeId,
    config: &Config,
    layer: u64,
) -> Result<NodeId, BuildError> {
    let (heads, kv_heads, width) = (config.heads, config.kv_heads, config.head_dim);
    let q = project(cx, "attn_q", x, config, heads)?;
    let k = project(cx, "attn_k", x, config, kv_heads)?;
    let v = project(cx, "attn_v", x, config, kv_heads)?;
    let (q, k) = match config.qk_norm {
        true => (norm::rms(cx, q, "attn_q_norm", width)?, norm::rms(cx, k, "attn_k_norm", width)?),
        false => (q, k),
    };
    let q = rotate(cx, "rope_q", q, config, layer)?;
    let k = rotate(cx, "rope_k", k, config, layer)?;
    let cache_k = cx.cache(layer, "k", kv_heads, width, true)?;
    let cache_v = cx.cache(layer, "v", kv_heads, width, false)?;
    let i = cx.inputs();
    let k = cx.op("append_k", KvAppend { transposed: true }, &[cache_k, k, i.positions, i.slots, i.pages])?;
    let v =
        cx.op("append_v", KvAppend { transposed: false }, &[cache_v, v, i.positions, i.slots, i.pages])?;
    cx.keep(k);
    cx.keep(v);
    // A window of 2^32 tokens or more is none.
    let window = config.window_of(layer).and_then(|w| u32::try_from(w).ok());
    let op = PagedAttention {
        scale: config.attention_scale,
        window,
        softcap: config.attention_softcap,
        shared: None,
    };
    let h = cx.op("attention", op, &[q, k, v, i.positions, i.slots, i.pages])?;
    cx.linear("attn_output", h, config.hidden, heads * width)
}

/// `x` projected to heads: f32[n, heads, width], with a bias where the model has one.
fn project(
    cx: &mut Build<'_>,
    name: &str,
    x: NodeId,
    config: &Config,
    heads: u64,
) -> Result<NodeId, BuildError> {
    let columns = heads * config.head_dim;
    let mut y = cx.linear(name, x, columns, config.hidden)?;
    if config.qkv_bias {
        let bias = cx.vector(&format!("{name}.bias"), columns)?;
        y = cx.add(&format!("{name}_bias"), y, bias)?;
    }
    cx.heads(&format!("{name}_heads"), y, heads, config.head_dim)
}

fn rotate(
    cx: &mut Build<'_>,
    name: &str,
    x: NodeId,
    config: &Config,
    layer: u64,
) -> Result<NodeId, BuildError> {
    let rope = config.rope_of(layer);
    let table = if std::ptr::eq(rope, &config.rope) { "rope" } else { "rope_local" };
    let positions = cx.context();
    let (cos, sin) = (format!("{table}.cos"), format!("{table}.sin"));
    let cos = cx.derived(&cos, || rope::tables(rope, positions).0)?;
    let sin = cx.derived(&sin, || rope::tables(rope, positions).1)?;
    let pairing = match rope.pairing {
        Pairing::Adjacent => ops::Pairing::Adjacent,
        Pairing::Halves => ops::Pairing::Halves,
    };
    let at = cx.inputs().positions;
    cx.op(name, ops::Rope { pairing }, &[x, cos, sin, at])
}
