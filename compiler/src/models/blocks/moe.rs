//! A mixture of experts: gated MLPs of which each token goes to some (Shazeer et al., 2017), as Mixtral and Qwen 3 have it.
use super::mlp;
use crate::import::{Config, Experts};
use crate::models::{Build, BuildError};
use ir::NodeId;
use ir::ops::{ExpertCombine, ExpertLinear, Route, Slice};

/// The sum of what a token's experts make of it, as much of each as the router says.
pub(crate) fn mixture(
    cx: &mut Build<'_>,
    x: NodeId,
    config: &Config,
    experts: &Experts,
) -> Result<NodeId, BuildError> {
    let Experts { count, used, ffn, normalise } = *experts;
    let logits = cx.linear("ffn_gate_inp", x, count, config.hidden)?;
    let routing = cx.op("ffn_route", Route { k: used, normalise }, &[logits])?;
    let gate = cx.layer_weight("ffn_gate_exps", &[count, ffn, config.hidden])?;
    let up = cx.layer_weight("ffn_up_exps", &[count, ffn, config.hidden])?;
    let down = cx.layer_weight("ffn_down_exps", &[count, config.hidden, ffn])?;
    let both =
        cx.op("ffn_gate_exps+ffn_up_exps", ExpertLinear { first: 0, k: used }, &[x, routing, gate, up])?;
    let gate = cx.op("ffn_gate_exps", Slice { axis: 2, start: 0, len: ffn }, &[both])?;
    let up = cx.op("ffn_up_exps", Slice { axis: 2, start: ffn, len: ffn }, &[both])?;
    let h = mlp::activated(cx, gate, up, config)?;
    cx.op("ffn_down_exps", ExpertCombine { first: 0 }, &[h, routing, down])
}
