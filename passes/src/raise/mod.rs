//! Raising: operators found where a model has them written out, as exports do.
pub(crate) mod attention;
pub(crate) mod gelu;
pub(crate) mod rms_norm;
pub(crate) mod silu;
pub(crate) mod softmax;

use crate::Change;
use crate::pattern::{Match, Pattern, discard, put};
use ir::{Graph, NodeId, OpError};

/// Puts what `becomes` makes of a match into its place, node by node in order. Where it makes nothing, or a value of
/// another type, the next way in which the pattern fits is tried.
fn raise(
    g: &mut Graph,
    pattern: &str,
    becomes: impl Fn(&mut Graph, &Match<'_>) -> Result<Option<NodeId>, OpError>,
) -> Result<Change, OpError> {
    let pattern = Pattern::new(pattern);
    let mut change = Change::None;
    for n in g.order() {
        for found in pattern.find(g, n) {
            let Some(new) = becomes(g, &found)? else { continue };
            if g[new].ty == g[n].ty {
                put(g, n, new);
                change = Change::Some;
                break;
            }
            discard(g, new);
        }
    }
    Ok(change)
}
