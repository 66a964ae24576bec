//! The gated MLP: `down(act(gate(x)) * up(x))` (Shazeer, 2020).
use super::moe;
use crate::import::{Activation, Config};
use crate::models::{Build, BuildError};
use ir::NodeId;
use ir::ops::{Gelu, Mul, Silu};

/// The MLP of a layer: one, or a mixture of experts where the model has them.
pub(crate) fn feed_forward(cx: &mut Build<'_>, x: NodeId, config: &Config) -> Result<NodeId, BuildError> {
    match &config.experts {
        Some(experts) => moe::mixture(cx, x, config, experts),
        None => gated(cx, x, config),
    }
}

pub(crate) fn gated(cx: &mut Build<'_>, x: NodeId, config: &Config) -> Result<NodeId, BuildError> {
    let gate = cx.linear("ffn_gate", x, config.ffn, config.hidden)?;
    let up = cx.linear("ffn_up", x, config.ffn, config.hidden)?;
    let h = activated(cx, gate, up, config)?;
    cx.linear("ffn_down", h, config.hidden, config.ffn)
}

/// `act(gate) * up`.
pub(super) fn activated(
    cx: &mut Build<'_>,
    gate: NodeId,
    up: NodeId,
    config: &Config,
) -> Result<NodeId, BuildError> {
    let gate = match config.activation {
        Activation::Silu => cx.op("ffn_act", Silu {}, &[gate])?,
        Activation::GeluTanh => cx.op("ffn_act", Gelu {}, &[gate])?,
    };
    cx.op("ffn_mul", Mul {}, &[gate, up])
}
