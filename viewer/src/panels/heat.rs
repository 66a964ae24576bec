//! What each node was to take and took, and how hot that is beside the others.
use crate::document::{Document, NodeIx, SpanKind, StepAt};
use std::collections::HashMap;

/// Microseconds of one node, in a round.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Times {
    pub(crate) predicted: Option<f64>,
    pub(crate) measured: Option<f64>,
}

/// Of which rounds times are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Rounds {
    /// One token.
    #[default]
    Decode,
    /// A prompt.
    Prefill,
}

/// The times of the last pass's nodes, and by edge how long its reader waits for a message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heat {
    nodes: HashMap<NodeIx, Times>,
    edges: HashMap<u32, Times>,
    most: f64,
}

impl Heat {
    pub(crate) fn of(document: &Document, rounds: Rounds) -> Heat {
        let mut heat = Heat::default();
        let Some(view) = &document.plan else { return heat };
        let node = |at: StepAt| view.nodes.get(at.thread as usize)?.get(at.step as usize).copied().flatten();
        let edge = |at: StepAt| {
            let is_it = |message: &&crate::document::Message| message.receives.contains(&at);
            view.messages.iter().find(is_it).map(|message| message.edge.0)
        };
        if let Some(trace) = &document.trace {
            let of_rounds = |is_decode: bool| is_decode == (rounds == Rounds::Decode);
            for miss in trace.misses().into_iter().filter(|miss| of_rounds(miss.is_decode)) {
                let times = match miss.kind {
                    SpanKind::Kernel => node(miss.at).map(|node| heat.nodes.entry(node).or_default()),
                    SpanKind::Receive => edge(miss.at).map(|edge| heat.edges.entry(edge).or_default()),
                    SpanKind::Send | SpanKind::Round => None,
                };
                if let Some(times) = times {
                    *times.predicted.get_or_insert(0.0) += miss.predicted_us;
                    *times.measured.get_or_insert(0.0) += miss.measured_us;
                }
            }
        } else if let Some(spans) = &document.spans {
            for lane in &spans.predicted {
                for span in lane.spans.iter().filter(|span| span.round == 0) {
                    let (Some(thread), Some(step)) = (lane.thread, span.step) else { continue };
                    if let Some(node) = node(StepAt { thread, step }) {
                        *heat.nodes.entry(node).or_default().predicted.get_or_insert(0.0) += span.us;
                    }
                }
            }
        }
        let times = heat.nodes.values().flat_map(|times| [times.predicted, times.measured]).flatten();
        heat.most = times.fold(0.0, f64::max);
        heat
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The greatest time of a node, in microseconds.
    pub(crate) fn most(&self) -> f64 {
        self.most
    }

    pub(crate) fn edge(&self, edge: u32) -> Option<Times> {
        self.edges.get(&edge).copied()
    }

    /// What nodes take together: predicted, measured.
    pub(crate) fn sum(&self, nodes: &[NodeIx]) -> (Option<f64>, Option<f64>) {
        let add = |sum: Option<f64>, us: Option<f64>| us.map_or(sum, |us| Some(sum.unwrap_or(0.0) + us));
        let known = nodes.iter().filter_map(|node| self.nodes.get(node));
        known.fold((None, None), |sums, times| (add(sums.0, times.predicted), add(sums.1, times.measured)))
    }
}

/// From 0 to 1 by how many times as long something took: a quarter of it, as long, four times.
pub(crate) fn part_of_ratio(predicted: f64, measured: f64) -> f32 {
    let ratio = measured / predicted.max(f64::MIN_POSITIVE);
    (0.5 + ratio.max(f64::MIN_POSITIVE).log2() / 4.0).clamp(0.0, 1.0) as f32
}

/// From 0 to 1 by how long something takes beside the longest: tenfold less is a third less.
pub(crate) fn part_of_most(us: f64, most: f64) -> f32 {
    (1.0 + (us / most.max(f64::MIN_POSITIVE)).max(1e-3).log10() / 3.0).clamp(0.0, 1.0) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_is_in_the_middle_where_a_prediction_holds() {
        assert_eq!(part_of_ratio(10.0, 10.0), 0.5);
        assert_eq!((part_of_ratio(10.0, 40.0), part_of_ratio(10.0, 2.5)), (1.0, 0.0));
        assert_eq!((part_of_ratio(0.0, 1.0), part_of_ratio(1.0, 0.0)), (1.0, 0.0));
        assert_eq!((part_of_most(5.0, 5.0), part_of_most(0.0, 5.0), part_of_most(0.0, 0.0)), (1.0, 0.0, 0.0));
    }
}
