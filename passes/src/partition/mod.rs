//! Partition: gives every node a device, and divides what a group of devices computes together.
//!
//! The graph after it is as pure as the one before: a collective is adds, slices and concatenations on devices,
//! in an order that stands in the graph. What crosses from one device to another becomes a message when the
//! steps are made.
mod collectives;
mod cut;
mod hints;
mod rewrite;

pub use cut::{Cut, CutError, Means, Stage, layer_of};
pub use hints::{ByHand, HintError, check_devices, devices_for};

use crate::{Change, Cx, PassError};
use ir::Graph;

pub(crate) fn run(cx: &Cx, g: &mut Graph) -> Result<Change, PassError> {
    if cx.cut.is_whole() {
        return Ok(Change::None);
    }
    *g = rewrite::run(g, &cx.cut)?;
    Ok(Change::Some)
}
