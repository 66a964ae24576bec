//! Where else nodes could be, whole instead of divided, or with other arithmetic.
use super::{Choices, MOST, Other, pattern};
use ir::plan::{Activations, DeviceId, Hint, Pattern, WeightId};
use ir::quant::Format;
use ir::{DType, Op};

/// What weights could be in, the first of these that they are not.
const OTHER_FORMATS: [Format; 2] = [Format::Q8_0, Format::Q4_0];

impl Choices<'_> {
    /// Of the nodes of a path, of part of one that was joined of several, or beneath it, which these devices compute;
    /// the weights that they multiply with.
    pub(super) fn about_nodes(&self, path: &str, on: &[DeviceId], multiply: &[WeightId]) -> Vec<Other> {
        let (path, collective) = without_collective(path);
        if collective {
            return self.ways(None);
        }
        let Ok(nodes) = pattern(path) else { return vec![] };
        let mut others = self.elsewhere(path, &nodes, on);
        let weights = || multiply.iter().filter_map(|id| self.plan.weights.get(id.0 as usize));
        // Others can be joined with those that were asked about.
        let own: Vec<DType> =
            weights().filter(|weight| nodes.matches(&weight.name)).map(|weight| weight.ty.dtype).collect();
        let other =
            OTHER_FORMATS.map(DType::Quant).into_iter().find(|other| own.iter().any(|own| own != other));
        others.extend(other.map(|format| self.in_format(path, &nodes, format)));
        if weights().any(|weight| matches!(weight.ty.dtype, DType::Quant(_))) {
            others.push(self.by_other_arithmetic());
        }
        others
    }

    /// Nodes whole on each device of a group that divides them, and on each of the next devices.
    fn elsewhere(&self, path: &str, nodes: &Pattern, on: &[DeviceId]) -> Vec<Other> {
        let on: Vec<u32> = on.iter().filter(|id| self.plan.replica_of(**id) == 0).map(|id| id.0).collect();
        let cached = self.cached_with(nodes);
        let all = || std::iter::once(nodes).chain(&cached).cloned();
        let with = if cached.is_empty() { "" } else { ", with the cache and what reads it," };
        let mut others = vec![];
        if on.len() > 1 {
            let said = all().map(|nodes| Hint::Whole { nodes }).collect();
            others.push(self.hinted(format!("{path}{with} whole on each of {}", self.names(&on)), said));
        }
        let alone = if on.len() > 1 { " alone" } else { "" };
        for place in self.nearest(&on).into_iter().take(MOST - others.len()) {
            let device = self.name(place).to_owned();
            let said = all().map(|nodes| Hint::Place { nodes, device: device.clone() }).collect();
            others.push(self.hinted(format!("{path}{with} on {device}{alone}"), said));
        }
        others
    }

    /// The devices of the first replica where nodes could be that are on these: those of the next stages first, and
    /// of equal devices of a stage one.
    fn nearest(&self, on: &[u32]) -> Vec<u32> {
        let stages = &self.cut.replicas[0];
        let own = stages.iter().position(|stage| on.iter().all(|place| stage.places.contains(place)));
        let mut groups: Vec<(usize, Vec<u32>)> = (0..)
            .zip(stages)
            .map(|(at, stage): (usize, _)| (own.map_or(at, |own| at.abs_diff(own)), stage.places.clone()))
            .collect();
        if self.cut.replicas.len() == 1 {
            let is_apart = |place: &u32| stages.iter().all(|stage| !stage.places.contains(place));
            let apart = (0..self.plan.devices.len() as u32).filter(is_apart);
            groups.extend(apart.map(|place| (stages.len(), vec![place])));
        }
        groups.sort_by_key(|(distance, _)| *distance);
        let mut nearest = vec![];
        for (_, places) in groups {
            let mut unlike: Vec<u32> = vec![];
            for place in places {
                if on != [place] && !unlike.iter().any(|other| self.are_alike(*other, place)) {
                    unlike.push(place);
                }
            }
            nearest.extend(unlike);
        }
        nearest
    }

    fn are_alike(&self, a: u32, b: u32) -> bool {
        let of = |place: u32| {
            let device = &self.plan.devices[place as usize];
            let teams = self.topology.device(&device.name).map(|known| &known.teams);
            (device.kind, device.threads, device.memory, teams)
        };
        of(a) == of(b)
    }

    /// What must go where these nodes go: a cache lies where it is read.
    fn cached_with(&self, nodes: &Pattern) -> Vec<Pattern> {
        let g = self.graph;
        let mut with: Vec<&str> = vec![];
        // Keys and values are read by one node, so twice is often enough.
        for _ in 0..2 {
            for append in g.nodes().filter(|n| matches!(g[*n].op, Op::KvAppend(_))) {
                let users = g.users(append);
                let group = || std::iter::once(&append).chain(&users).map(|n| g[*n].path.as_str());
                let is_meant = |path: &str| nodes.matches(path) || with.contains(&path);
                if group().any(is_meant) {
                    let more: Vec<&str> = group().filter(|path| !is_meant(path)).collect();
                    with.extend(more);
                }
            }
        }
        with.sort_unstable();
        with.dedup();
        with.into_iter().filter_map(|path| pattern(path).ok()).collect()
    }

    fn in_format(&self, path: &str, weights: &Pattern, format: DType) -> Other {
        let said = Hint::Format { weights: weights.clone(), format };
        self.hinted(format!("weights of {path} in {format}"), vec![said])
    }

    fn by_other_arithmetic(&self) -> Other {
        let (activations, name) = match self.plan.options.activations {
            Activations::F32 => (Activations::Int8, "int8"),
            Activations::Int8 => (Activations::F32, "f32"),
        };
        let mut other = self.hinted(format!("{name} activations in every product"), vec![]);
        other.options.activations = activations;
        other
    }
}

/// What steps are called that a cut adds.
pub(super) const COLLECTIVES: [&str; 4] = ["all_reduce", "all_gather", "all_to_all", "scatter"];

/// A path without the collective that it ends in, and whether that adds up a sum.
fn without_collective(path: &str) -> (&str, bool) {
    match path.rsplit_once('.') {
        Some((stem, leaf)) if COLLECTIVES.contains(&leaf) => (stem, leaf == "all_reduce"),
        _ => (path, false),
    }
}
