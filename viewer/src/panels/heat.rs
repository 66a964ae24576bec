//! What each node was to take and took, and how hot that is beside the others.
use crate::document::{Document, NodeIx, SpanKind, StepAt};
use std::collections::HashMap;

/// Microseconds of one node, in a round.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Times {
    pub(crate) predicted: Option<f64>,
    pub(crate) measured: Option<f64>,
}

impl Times {
    /// What both take.
    pub(crate) fn plus(self, other: Times) -> Times {
        let predicted = add(self.predicted, other.predicted);
        Times { predicted, measured: add(self.measured, other.measured) }
    }
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
        for taken in taken(document, rounds) {
            let times = match taken.kind {
                SpanKind::Kernel => node(taken.at).map(|node| heat.nodes.entry(node).or_default()),
                SpanKind::Receive => edge(taken.at).map(|edge| heat.edges.entry(edge).or_default()),
                SpanKind::Send | SpanKind::Round => None,
            };
            if let Some(times) = times {
                *times = times.plus(taken.times);
            }
        }
        heat.find_most();
        heat
    }

    fn find_most(&mut self) {
        let times = self.nodes.values().flat_map(|times| [times.predicted, times.measured]).flatten();
        self.most = times.fold(0.0, f64::max);
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
        let known = nodes.iter().filter_map(|node| self.nodes.get(node)).copied();
        let Times { predicted, measured } = known.fold(Times::default(), Times::plus);
        (predicted, measured)
    }
}

/// A sum of what is known.
fn add(sum: Option<f64>, us: Option<f64>) -> Option<f64> {
    us.map_or(sum, |us| Some(sum.unwrap_or(0.0) + us))
}

/// A step, and what it takes on average over the rounds that are asked for.
struct Taken {
    at: StepAt,
    kind: SpanKind,
    times: Times,
}

/// What steps take: of a run where there was one, else as predicted.
fn taken(document: &Document, rounds: Rounds) -> Vec<Taken> {
    let is_asked_for = |is_decode: bool| is_decode == (rounds == Rounds::Decode);
    if let Some(trace) = &document.trace {
        let misses = trace.misses().iter().filter(|miss| is_asked_for(miss.is_decode));
        let taken = misses.map(|miss| {
            let times = Times { predicted: Some(miss.predicted_us), measured: Some(miss.measured_us) };
            Taken { at: miss.at, kind: miss.kind, times }
        });
        return taken.collect();
    }
    let mut sums: HashMap<StepAt, (SpanKind, f64, u32)> = HashMap::new();
    for lane in document.spans.iter().flat_map(|spans| &spans.predicted) {
        for span in lane.spans.iter().filter(|span| is_asked_for(span.is_decode)) {
            let (Some(thread), Some(step)) = (lane.thread, span.step) else { continue };
            let (_, us, count) = sums.entry(StepAt { thread, step }).or_insert((span.kind, 0.0, 0));
            (*us, *count) = (*us + span.us, *count + 1);
        }
    }
    let average = |(at, (kind, us, count))| {
        let times = Times { predicted: Some(us / f64::from(count)), measured: None };
        Taken { at, kind, times }
    };
    sums.into_iter().map(average).collect()
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
pub(crate) mod tests {
    use super::*;

    /// Of nodes that take as long as is said.
    pub(crate) fn given(nodes: HashMap<NodeIx, Times>) -> Heat {
        let mut heat = Heat { nodes, ..Heat::default() };
        heat.find_most();
        heat
    }

    #[test]
    fn predicted_heat_is_of_the_rounds_asked_for_and_kernels_bear_no_messages() {
        let folder = crate::bundle::two_devices();
        let mut document = Document::open(folder.path()).unwrap();
        let spans = std::fs::read_to_string(folder.path().join("spans.json")).unwrap();
        document.set_spans("spans.json".as_ref(), &spans).unwrap();
        let [token, prompt] = [Rounds::Decode, Rounds::Prefill].map(|rounds| Heat::of(&document, rounds));
        let (view, spans) = (document.plan.as_ref().unwrap(), document.spans.as_ref().unwrap());
        for (heat, is_decode) in [(&token, true), (&prompt, false)] {
            let all = spans.predicted.iter().flat_map(|lane| lane.spans.iter());
            let of = |kind| {
                let own = all.clone().filter(|span| span.kind == kind && span.is_decode == is_decode);
                own.map(|span| span.us).sum::<f64>()
            };
            let nodes: Vec<NodeIx> = heat.nodes.keys().copied().collect();
            assert!((heat.sum(&nodes).0.unwrap() - of(SpanKind::Kernel)).abs() < 1e-6);
            let waits: f64 = heat.edges.values().filter_map(|times| times.predicted).sum();
            assert!(waits > 0.0 && (waits - of(SpanKind::Receive)).abs() < 1e-6);
        }
        assert!(token.nodes.keys().all(|node| view.steps.contains_key(node)));
        assert!(token.most() < prompt.most(), "a prompt of eight tokens takes longer than one");
    }

    #[test]
    fn heat_is_in_the_middle_where_a_prediction_holds() {
        assert_eq!(part_of_ratio(10.0, 10.0), 0.5);
        assert_eq!((part_of_ratio(10.0, 40.0), part_of_ratio(10.0, 2.5)), (1.0, 0.0));
        assert_eq!((part_of_ratio(0.0, 1.0), part_of_ratio(1.0, 0.0)), (1.0, 0.0));
        assert_eq!((part_of_most(5.0, 5.0), part_of_most(0.0, 5.0), part_of_most(0.0, 0.0)), (1.0, 0.0, 0.0));
    }
}
