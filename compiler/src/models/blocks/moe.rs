//! A mixture of experts: gated MLPs of which each token goes to some (Shazeer et al., 2017), as Mixtral and Qwen 3 have it.
use super::mlp;
use crate::import::{Config, Experts};
use crate::models::{Build, BuildError};
use ir::NodeId;
use ir::ops::{ExpertCombine, ExpertLinear, Route};

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
    let mut linear = |leaf: &str| {
        let weight = cx.layer_weight(leaf, &[count, ffn, config.hidden])?;
        cx.op(leaf, ExpertLinear { first: 0, k: used }, &[x, routing, weight])
    };
    let (gate, up) = (linear("ffn_gate_exps")?, linear("ffn_up_exps")?);
    let h = mlp::activated(cx, gate, up, config)?;
    let down = cx.layer_weight("ffn_down_exps", &[count, config.hidden, ffn])?;
    cx.op("ffn_down_exps", ExpertCombine { first: 0 }, &[h, routing, down])
}
