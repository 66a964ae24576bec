//! How else values could cross between two devices: sums by other ways, a cut before another layer.
use super::nodes::COLLECTIVES;
use super::{Choices, MOST, Other, pattern};
use ir::plan::{AllReduce, DeviceId, Edge, EdgeId, End, Hint, Partition};
use passes::partition::layer_of;

impl Choices<'_> {
    /// Of an edge: other ways to add up sums, another layer to cut before, the plan without the hints that cause it.
    pub(super) fn about_edge(&self, edge: &Edge) -> Vec<Other> {
        let (End::Device(from), End::Device(to)) = (edge.from, edge.to) else { return vec![] };
        let others = match (self.stage_of(from), self.stage_of(to)) {
            (Some(a), Some(b)) if a == b => {
                [self.ways(Some(edge.id)), self.whole_senders(edge, a.1)].concat()
            }
            (Some(a), Some(b)) if a.1 < b.1 => {
                let own = self.plan.options.partition;
                let fewer = Partition { pipeline: own.pipeline - 1, ..own };
                let fewer = self.by(fewer, &self.plan.devices[to.0 as usize]);
                [self.cut_elsewhere(b.1), vec![fewer]].concat()
            }
            _ => vec![],
        };
        [others, self.unhinted(&[from, to])].concat()
    }

    /// Sums by every way but that of the plan.
    pub(super) fn ways(&self, about: Option<EdgeId>) -> Vec<Other> {
        let others = AllReduce::ALL.into_iter().filter(|way| *way != self.plan.options.all_reduce);
        let other = |all_reduce: AllReduce| {
            let mut other = self.hinted(format!("sums by {}", all_reduce.name()), vec![]);
            (other.options.all_reduce, other.about) = (all_reduce, about);
            other
        };
        others.map(other).collect()
    }

    /// What crosses between ranks, computed whole by each.
    fn whole_senders(&self, edge: &Edge, stage: usize) -> Vec<Other> {
        let mut leaves: Vec<&str> = edge.name.split('+').collect();
        leaves.retain(|leaf| !COLLECTIVES.contains(leaf));
        let is_one = |path: &&str| leaves.iter().any(|leaf| path.rsplit('.').next() == Some(leaf));
        let mut patterns: Vec<String> = vec![];
        for path in self.paths().filter(is_one) {
            let text = match (layer_of(path), path.rsplit_once('.')) {
                (Some(_), Some((_, leaf))) => format!("blk.*.{leaf}"),
                _ => path.to_owned(),
            };
            if !patterns.contains(&text) {
                patterns.push(text);
            }
        }
        let said: Vec<Hint> =
            patterns.iter().filter_map(|text| Some(Hint::Whole { nodes: pattern(text).ok()? })).collect();
        if said.is_empty() {
            return vec![];
        }
        let names = self.names(&self.cut.replicas[0][stage].places);
        let mut other = self.hinted(format!("{} whole on each of {names}", patterns.join(", ")), said);
        other.about = Some(edge.id);
        vec![other]
    }

    /// The cut before a stage one layer earlier and one later.
    fn cut_elsewhere(&self, stage: usize) -> Vec<Other> {
        let first = self.firsts()[stage];
        let what = |first: u64| format!("the cut before layer {first}");
        let begins = [first.checked_sub(1), first.checked_add(1)].into_iter().flatten();
        begins.filter_map(|first| self.begun(stage, first, what(first))).collect()
    }

    /// The plan without the hints that put nodes on one of these devices.
    fn unhinted(&self, devices: &[DeviceId]) -> Vec<Other> {
        let is_named = |device: &str| devices.iter().any(|id| self.name(id.0) == device);
        let hints = &self.plan.options.hints;
        let causes = (0..hints.len())
            .filter(|at| matches!(&hints[*at], Hint::Place { device, .. } if is_named(device)));
        let without = |at: usize| {
            let mut other = self.hinted(format!("the plan without {}", hints[at]), vec![]);
            other.options.hints.retain(|hint| *hint != hints[at]);
            other.devices = self.devices_for(&other.options, &self.plan.devices);
            other
        };
        causes.take(MOST).map(without).collect()
    }
}
