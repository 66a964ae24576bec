//! What a person says of a cut by hand: nodes on a device, nodes undivided, layers with which stages begin.
//!
//! Stages move before anything is cut. Of nodes, the first replica's devices are named, and every replica does the
//! same on its own: a node on a device of its own is in a stage of one rank beside the others, so that what it needs
//! and gives crosses as between any stages.
use super::cut::{Cut, CutError, Means, Stage, layer_loads};
use ir::plan::{Device, DeviceId, Hint, Partition, Pattern};
use ir::shard::Shares;
use ir::{Graph, NodeId, Op};
use std::collections::{HashMap, HashSet};

/// What one hint says of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByHand {
    /// Which hint of the options.
    pub hint: usize,
    /// Of which nodes.
    pub nodes: Pattern,
    /// The device of the first replica that they go to, by name and number; none where they are not to be divided.
    pub place: Option<(String, u32)>,
}

/// Why hints cannot be honoured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", numbered("hint", .hints.iter().map(|hint| hint + 1)))]
pub struct HintError {
    /// Which, as positions in the options.
    pub hints: Vec<usize>,
    /// Why, and what can be.
    pub reason: String,
}

impl HintError {
    fn new<const N: usize>(hints: [usize; N], reason: String) -> HintError {
        HintError { hints: hints.into(), reason }
    }

    /// The same with the lines of a file on which the hints stand.
    pub fn explain(&self, lines: &[usize]) -> String {
        let own = self.hints.iter().map(|hint| lines.get(*hint).copied().unwrap_or(0));
        format!("{}: {}", numbered("line", own), self.reason)
    }
}

/// `line 3`, `lines 3 and 5`.
fn numbered(what: &str, numbers: impl Iterator<Item = usize>) -> String {
    let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
    format!("{what}{} {}", if numbers.len() == 1 { "" } else { "s" }, numbers.join(" and "))
}

impl Cut {
    /// The cut that a partition names over the first devices, by what is known of them, and what hints make of it.
    /// Only hints can take devices behind these, and only of one replica.
    pub fn by(
        g: &Graph,
        partition: Partition,
        hints: &[Hint],
        devices: &[Device],
        means: &Means,
    ) -> Result<Cut, CutError> {
        check_devices(hints, devices)?;
        let (own, behind) = devices.split_at(devices.len().min(partition.devices() as usize));
        if behind.iter().any(|device| !is_named(hints, device)) {
            let (expected, found) = (own.len(), devices.len());
            return Err(CutError::Devices { partition, expected, found });
        }
        let mut cut = Cut::within(g, partition, own, means)?;
        begin(&mut cut, layer_loads(g).len().max(1) as u64, hints)?;
        for (index, hint) in hints.iter().enumerate() {
            let (nodes, place) = match hint {
                Hint::Place { nodes, device } => {
                    (nodes, Some((device.clone(), place_of(&cut, device, devices, index)?)))
                }
                Hint::Whole { nodes } => (nodes, None),
                Hint::Stage { .. } | Hint::Format { .. } => continue,
            };
            cut.by_hand.push(ByHand { hint: index, nodes: nodes.clone(), place });
        }
        Ok(cut)
    }
}

/// Refuses a hint that names a device that is not there.
pub fn check_devices(hints: &[Hint], devices: &[Device]) -> Result<(), HintError> {
    for (index, hint) in hints.iter().enumerate() {
        if let Hint::Place { device, .. } = hint
            && devices.iter().all(|own| own.name != *device)
        {
            let reason = format!("there is no device {device:?}, only {}", names(devices));
            return Err(HintError::new([index], reason));
        }
    }
    Ok(())
}

/// The devices that a partition takes of a list: the first of them, and those behind that hints name.
pub fn devices_for(partition: Partition, hints: &[Hint], devices: &[Device]) -> Vec<Device> {
    let own = partition.devices() as usize;
    let taken = devices.iter().enumerate().filter(|(at, device)| *at < own || is_named(hints, device));
    (0..).zip(taken).map(|(id, (_, device))| Device { id: DeviceId(id), ..device.clone() }).collect()
}

fn is_named(hints: &[Hint], own: &Device) -> bool {
    hints.iter().any(|hint| matches!(hint, Hint::Place { device, .. } if *device == own.name))
}

fn names<'a>(devices: impl IntoIterator<Item = &'a Device>) -> String {
    devices.into_iter().map(|device| device.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The number of a device that nodes can go to.
fn place_of(cut: &Cut, name: &str, devices: &[Device], hint: usize) -> Result<u32, HintError> {
    let at = devices.iter().position(|device| device.name == name).unwrap_or(0);
    let place = devices[at].id.0;
    let is_in = |stages: &[Stage]| stages.iter().any(|stage| stage.places.contains(&place));
    if cut.replicas.len() == 1 || is_in(&cut.replicas[0]) {
        return Ok(place);
    }
    let first = names(devices.iter().take(devices.len() / cut.replicas.len()));
    let reason = match cut.replicas.iter().position(|stages| is_in(stages)) {
        Some(replica) => format!(
            "{name} is in replica {replica}, whose sequences are its own: name a device of replica 0 ({first}), \
             and the others do the same on theirs"
        ),
        None => format!("{name} is in no replica: name a device of replica 0 ({first})"),
    };
    Err(HintError::new([hint], reason))
}

/// Lets stages begin where hints say; the others give way by as little as they have to.
fn begin(cut: &mut Cut, layers: u64, hints: &[Hint]) -> Result<(), HintError> {
    let mut firsts: Vec<u64> = cut.replicas[0].iter().map(|stage| stage.first_layer).collect();
    let stages = firsts.len();
    let mut said: Vec<Option<usize>> = vec![None; stages];
    for (index, hint) in hints.iter().enumerate() {
        let Hint::Stage { stage, first_layer } = hint else { continue };
        let refuse = |reason| Err(HintError::new([index], reason));
        let Some(first) = firsts.get_mut(*stage as usize) else {
            let expected = if stages == 1 { "one, stage 0".into() } else { format!("0 to {}", stages - 1) };
            return refuse(format!("there is no stage {stage}: the cut has {expected}"));
        };
        if *first_layer >= layers {
            return refuse(format!("there is no layer {first_layer}: the model has 0 to {}", layers - 1));
        }
        if *stage == 0 && *first_layer != 0 {
            return refuse(format!("stage 0 begins with layer 0, not {first_layer}"));
        }
        if let Some(other) = said[*stage as usize]
            && first != first_layer
        {
            let reason = format!("stage {stage} cannot begin both with layer {first} and {first_layer}");
            return Err(HintError::new([other, index], reason));
        }
        (*first, said[*stage as usize]) = (*first_layer, Some(index));
    }
    for stage in (1..stages).filter(|stage| said[*stage].is_none()) {
        firsts[stage] = firsts[stage].max(firsts[stage - 1] + 1);
    }
    let end_of = |firsts: &[u64], stage: usize| firsts.get(stage + 1).copied().unwrap_or(layers);
    for stage in (1..stages).rev().filter(|stage| said[*stage].is_none()) {
        firsts[stage] = firsts[stage].min(end_of(&firsts, stage).saturating_sub(1));
    }
    if let Some(empty) = (0..stages).find(|stage| firsts[*stage] >= end_of(&firsts, *stage)) {
        let before = said[..=empty].iter().rev().find_map(|hint| *hint);
        let behind = said[empty + 1..].iter().find_map(|hint| *hint);
        let reason = format!("stage {empty} would have no layer: {}", spelled(&firsts, layers));
        return Err(HintError { hints: before.into_iter().chain(behind).collect(), reason });
    }
    for stages in &mut cut.replicas {
        stages.iter_mut().zip(&firsts).for_each(|(stage, first)| stage.first_layer = *first);
    }
    Ok(())
}

fn spelled(firsts: &[u64], layers: u64) -> String {
    let firsts: Vec<String> = firsts.iter().map(u64::to_string).collect();
    format!("of {layers} layers, the stages would begin with {}", firsts.join(", "))
}

/// Where the nodes of one replica are computed.
pub(super) struct Placed {
    /// The stages of the cut, and behind them those of one device that hints have made.
    pub(super) stages: Vec<Stage>,
    /// The stage of each node.
    pub(super) at: HashMap<NodeId, usize>,
    /// Nodes that each rank of a group computes whole.
    pub(super) whole: HashSet<NodeId>,
}

/// Changes where nodes of a replica are, as the cut's hints say.
pub(super) fn place(
    g: &Graph,
    cut: &Cut,
    replica: usize,
    at: HashMap<NodeId, usize>,
) -> Result<Placed, HintError> {
    let mut placed = Placed { stages: cut.replicas[replica].clone(), at, whole: HashSet::new() };
    let named: Vec<NodeId> = g.order().into_iter().filter(|n| g[*n].op.given_name().is_none()).collect();
    // By which hint a node is where it is, or undivided.
    let mut moved: HashMap<NodeId, (usize, &str)> = HashMap::new();
    let mut said: HashMap<NodeId, usize> = HashMap::new();
    for ByHand { hint, nodes, place } in &cut.by_hand {
        let meant: Vec<NodeId> = named.iter().copied().filter(|n| nodes.matches(&g[*n].path)).collect();
        if meant.is_empty() {
            let near = ir::near::nearest(nodes.text(), named.iter().map(|n| g[*n].path.as_str()));
            let reason = format!("no node is called {}; the nearest are {}", nodes.text(), near.join(", "));
            return Err(HintError::new([*hint], reason));
        }
        said.extend(meant.iter().map(|n| (*n, *hint)));
        let Some((device, number)) = place else {
            placed.whole.extend(meant);
            continue;
        };
        let stage = placed.alone(own_place(cut, replica, *number));
        for n in meant {
            if let Some((other, there)) = moved.insert(n, (*hint, device))
                && there != device
            {
                let reason = format!("{} cannot be both on {there} and on {device}", g[n].path);
                return Err(HintError::new([other, *hint], reason));
            }
            placed.at.insert(n, stage);
        }
    }
    placed.keep_caches(g, &said)?;
    Ok(placed)
}

/// The device of a replica that is what the first replica's is.
fn own_place(cut: &Cut, replica: usize, place: u32) -> u32 {
    for (first, own) in cut.replicas[0].iter().zip(&cut.replicas[replica]) {
        if let Some(rank) = first.places.iter().position(|other| *other == place) {
            return own.places[rank];
        }
    }
    place
}

impl Placed {
    /// The stage that is one device alone.
    fn alone(&mut self, place: u32) -> usize {
        let known = self.stages.iter().position(|stage| stage.places == [place]);
        known.unwrap_or_else(|| {
            // No layer is its own.
            let (places, shares) = (vec![place], Shares::new([1]));
            self.stages.push(Stage { first_layer: u64::MAX, places, shares });
            self.stages.len() - 1
        })
    }

    /// A cache is where it is read, and divided as what reads it.
    fn keep_caches(&self, g: &Graph, said: &HashMap<NodeId, usize>) -> Result<(), HintError> {
        for append in g.order().into_iter().filter(|n| matches!(g[*n].op, Op::KvAppend(_))) {
            let lies = |n: &NodeId| {
                let ranks = self.stages[self.at[n]].shares.ranks();
                (self.at[n], ranks > 1 && self.whole.contains(n))
            };
            let Some(reader) = g.users(append).into_iter().find(|reader| lies(reader) != lies(&append))
            else {
                continue;
            };
            let mut hints: Vec<usize> =
                [append, reader].iter().filter_map(|n| said.get(n).copied()).collect();
            hints.sort_unstable();
            hints.dedup();
            let (append, reader) = (&g[append].path, &g[reader].path);
            let reason = format!(
                "{append} and {reader} would part, and a cache lies where it is read: say the same of both"
            );
            return Err(HintError { hints, reason });
        }
        Ok(())
    }
}
