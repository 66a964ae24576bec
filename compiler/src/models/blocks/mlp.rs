//! The gated MLP: `down(act(gate(x)) * up(x))` (Shazeer, 2020).
use crate::import::{Activation, Config};
use crate::models::{Build, BuildError};
use ir::NodeId;
use ir::ops::{Gelu, Mul, Silu};

pub(crate) fn gated(cx: &mut Build<'_>, x: NodeId, config: &Config) -> Result<NodeId, BuildError> {
    let gate = cx.linear("ffn_gate", x, config.ffn, config.hidden)?;
    let up = cx.linear("ffn_up", x, config.ffn, config.hidden)?;
    let gate = match config.activation {
        Activation::Silu => cx.op("ffn_act", Silu {}, &[gate])?,
        Activation::GeluTanh => cx.op("ffn_act", Gelu {}, &[gate])?,
    };
    let h = cx.op("ffn_mul", Mul {}, &[gate, up])?;
    cx.linear("ffn_down", h, config.hidden, config.ffn)
}
