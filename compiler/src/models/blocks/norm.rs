//! Norms.
use crate::models::{Build, BuildError};
use ir::NodeId;
use ir::ops::RmsNorm;

/// RMSNorm of the last axis of `x`, which is `width` wide, by the weight `name` of the layer.
pub(crate) fn rms(cx: &mut Build<'_>, x: NodeId, name: &str, width: u64) -> Result<NodeId, BuildError> {
    let weight = cx.norm_weight(name, width)?;
    let eps = cx.config().rms_eps;
    cx.op(name, RmsNorm { eps }, &[x, weight])
}
