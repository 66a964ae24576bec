//! From the graph of one device to that of many, by a [`Cut`].
//!
//! Every replica is made node by node in order. A stage's group computes a node as the operator's rule says; where
//! an operand is spread otherwise than that needs, a collective comes between. What the rule may choose, it chooses
//! by what the users want, which is asked for from the outputs up.
use super::collectives::{Spread, spread_as};
use super::cut::{Cut, Stage, layer_of};
use super::hints::{ByHand, HintError, Placed, place};
use crate::PassError;
use ir::ops::{Input, Weight};
use ir::plan::AllReduce;
use ir::shard::{Asked, ROWS_GRAIN, Sharding};
use ir::{Graph, NodeId, Op, OpError, Part};
use std::collections::{HashMap, HashSet};

pub(super) fn run(old: &Graph, cut: &Cut) -> Result<Graph, PassError> {
    let mut new = Graph::new(&old.name);
    let mut inputs = HashMap::new();
    for n in old.order() {
        if matches!(&old[n].op, Op::Input(input) if !input.state) {
            inputs.insert(n, copy(old, n, &mut new, old[n].op.clone(), &[], 0)?);
        }
    }
    for (replica, stages) in cut.replicas.iter().enumerate() {
        let placed = place(old, cut, replica, stage_of_nodes(old, stages))?;
        let wanted = wanted(old, &placed)?;
        let (values, sources, parts) = (HashMap::new(), HashMap::new(), HashMap::new());
        let Placed { stages, at, whole } = placed;
        let mut replica = Replica {
            old,
            stages: &stages,
            how: cut.all_reduce,
            at,
            whole,
            wanted,
            new: &mut new,
            inputs: &inputs,
            by_hand: &cut.by_hand,
            values,
            sources,
            parts,
        };
        for n in old.order() {
            if old[n].op.given_name().is_none() {
                replica.compute(n)?;
            }
        }
        replica.outputs()?;
    }
    new.remove_unused(|node| matches!(node.op, Op::Input(_)));
    Ok(new)
}

/// A node of the new graph that stands where one of the old stood.
fn copy(
    old: &Graph,
    n: NodeId,
    new: &mut Graph,
    op: Op,
    inputs: &[NodeId],
    place: u32,
) -> Result<NodeId, PassError> {
    let node = new.add(op, inputs)?;
    new.set_path(node, &old[n].path);
    new.set_stands_for(node, old[n].stands_for.clone());
    new.set_place(node, place);
    Ok(node)
}

/// The stage of each node: that of its layer; what comes behind any layer is the last's, the rest the first's.
fn stage_of_nodes(g: &Graph, stages: &[Stage]) -> HashMap<NodeId, usize> {
    let last = stages.len() - 1;
    let mut at: HashMap<NodeId, usize> = HashMap::new();
    let mut behind: HashMap<NodeId, bool> = HashMap::new();
    for n in g.order() {
        let is_behind = g.inputs(n).iter().any(|input| behind[input]);
        let layer = layer_of(&g[n].path);
        let of_layer = |layer| stages.iter().rposition(|stage| stage.first_layer <= layer).unwrap_or(0);
        at.insert(n, layer.map_or(if is_behind { last } else { 0 }, of_layer));
        behind.insert(n, is_behind || layer.is_some() && g[n].op.given_name().is_none());
    }
    at
}

/// How each node's users want it spread, the first of them that wants anything.
fn wanted(g: &Graph, placed: &Placed) -> Result<HashMap<NodeId, Sharding>, PassError> {
    let Placed { stages, at, whole } = placed;
    let mut wanted: HashMap<NodeId, Sharding> = HashMap::new();
    if let Some(&logits) = g.outputs.first() {
        let width = g[logits].ty.shape.last().and_then(|d| u64::try_from(d.known()?).ok());
        let shares = &stages[at[&logits]].shares;
        if let Some(ranges) = width.and_then(|width| shares.divide(width, ROWS_GRAIN)) {
            wanted.insert(logits, Sharding::Split { axis: g[logits].ty.rank() - 1, ranges });
        }
    }
    for n in g.order().into_iter().rev() {
        let Stage { shares, .. } = &stages[at[&n]];
        if shares.ranks() == 1 || whole.contains(&n) {
            continue;
        }
        let own = wanted.get(&n).cloned().unwrap_or(Sharding::Whole);
        let types = g.input_types(n);
        let given = vec![None; types.len()];
        let asked = Asked { inputs: &types, given: &given, wanted: &own, shares };
        for (slot, input) in g.inputs(n).into_iter().enumerate() {
            let want = g[n].op.wants(slot, asked).map_err(|cause| refused(g, n, cause))?;
            if matches!(want, Sharding::Split { .. }) && at[&input] == at[&n] {
                wanted.entry(input).or_insert(want);
            }
        }
    }
    Ok(wanted)
}

fn refused(g: &Graph, n: NodeId, cause: OpError) -> PassError {
    PassError::Cut { node: g[n].path.clone(), reason: cause.to_string() }
}

/// One replica in the making.
struct Replica<'a> {
    old: &'a Graph,
    stages: &'a [Stage],
    how: AllReduce,
    at: HashMap<NodeId, usize>,
    /// Nodes that a person wants undivided.
    whole: HashSet<NodeId>,
    wanted: HashMap<NodeId, Sharding>,
    new: &'a mut Graph,
    /// What every step is given, which is on no device until somebody uses it.
    inputs: &'a HashMap<NodeId, NodeId>,
    /// The values that stages have, as they were made or as somebody there needed them.
    values: HashMap<(NodeId, usize), Vec<Spread>>,
    by_hand: &'a [ByHand],
    /// Weights and states that devices have.
    sources: HashMap<(NodeId, u32, Option<Part>), NodeId>,
    /// What of each a device has.
    parts: HashMap<(NodeId, u32), Option<Part>>,
}

impl Replica<'_> {
    fn compute(&mut self, n: NodeId) -> Result<(), PassError> {
        let (old, stage) = (self.old, self.at[&n]);
        let Stage { places, shares, .. } = &self.stages[stage];
        let (operands, types) = (old.inputs(n), old.input_types(n));
        let spreads: Vec<Option<Sharding>> = operands.iter().map(|o| self.spread_of(*o, stage)).collect();
        let given: Vec<Option<&Sharding>> = spreads.iter().map(Option::as_ref).collect();
        let wanted = self.wanted.get(&n).cloned().unwrap_or(Sharding::Whole);
        let asked = Asked { inputs: &types, given: &given, wanted: &wanted, shares };
        let rule = match shares.ranks() {
            1 => ir::shard::Rule::whole(types.len()),
            _ if self.whole.contains(&n) => ir::shard::Rule::whole(types.len()),
            _ => old[n].op.shard(asked).map_err(|cause| refused(old, n, cause))?,
        };
        let mut inputs = vec![vec![]; places.len()];
        for (operand, need) in operands.iter().zip(&rule.needs) {
            let nodes = self.operand(*operand, stage, need)?;
            inputs.iter_mut().zip(nodes).for_each(|(own, node)| own.push(node));
        }
        let mut nodes = vec![];
        for (rank, (place, inputs)) in places.iter().zip(&inputs).enumerate() {
            let ty = rule.gives.of(&old[n].ty, rank);
            let op = old[n].op.on_rank(rank, &rule.needs, &ty);
            let node = copy(old, n, self.new, op, inputs, *place)?;
            // What is but some of a sum, or of the experts' rows, is no value of the reference.
            if matches!(rule.gives, Sharding::Partial | Sharding::Experts { .. }) {
                self.new.set_stands_for(node, vec![]);
            }
            nodes.push(node);
        }
        self.values.insert((n, stage), vec![Spread { sharding: rule.gives, nodes }]);
        Ok(())
    }

    /// How a value is spread over a stage's group; none for what can be had in any way.
    fn spread_of(&self, n: NodeId, stage: usize) -> Option<Sharding> {
        match &self.old[n].op {
            Op::Weight(_) => None,
            Op::Input(input) if input.state => None,
            _ => Some(match self.values.get(&(n, stage)).and_then(|values| values.first()) {
                Some(value) => value.sharding.clone(),
                None => Sharding::Whole,
            }),
        }
    }

    /// An operand for each rank of a stage, spread as the rule needs it.
    fn operand(&mut self, n: NodeId, stage: usize, need: &Sharding) -> Result<Vec<NodeId>, PassError> {
        let stages = self.stages;
        match &self.old[n].op {
            Op::Input(input) if !input.state => return Ok(vec![self.inputs[&n]; stages[stage].places.len()]),
            Op::Input(_) | Op::Weight(_) => {
                let places = stages[stage].places.iter().enumerate();
                return places.map(|(rank, place)| self.source(n, *place, rank, need)).collect();
            }
            _ => {}
        }
        if !self.values.contains_key(&(n, stage)) {
            // From another stage: each rank is sent the whole by one of those that have it, unless it is one of them.
            let there = self.operand(n, self.at[&n], &Sharding::Whole)?;
            let nearest = |(rank, place): (usize, &u32)| {
                let own = there.iter().find(|node| self.new[**node].place == *place);
                own.copied().unwrap_or(there[rank % there.len()])
            };
            let nodes = stages[stage].places.iter().enumerate().map(nearest).collect();
            self.values.insert((n, stage), vec![Spread { sharding: Sharding::Whole, nodes }]);
        }
        let values = self.values.get_mut(&(n, stage)).expect("the value is there by now");
        if let Some(found) = values.iter().find(|value| value.sharding == *need) {
            return Ok(found.nodes.clone());
        }
        let nodes = spread_as(self.new, &values[0], need, self.how)?;
        // A collective's result is what the node's partial sums stand for together.
        for &node in nodes.iter().filter(|_| *need == Sharding::Whole) {
            self.new.set_stands_for(node, self.old[n].stands_for.clone());
        }
        values.push(Spread { sharding: need.clone(), nodes: nodes.clone() });
        Ok(nodes)
    }

    /// A weight or a state as a rank has it.
    fn source(&mut self, n: NodeId, place: u32, rank: usize, need: &Sharding) -> Result<NodeId, PassError> {
        let ty = need.of(&self.old[n].ty, rank);
        let part = match need {
            Sharding::Split { axis, ranges } => {
                let of = self.old[n].ty.shape[*axis].known().unwrap_or(0) as u64;
                let part = Part { axis: *axis as u32, start: ranges[rank].start, of };
                (ranges[rank] != (0..of)).then_some(part)
            }
            _ => None,
        };
        if let Some(&node) = self.sources.get(&(n, place, part)) {
            return Ok(node);
        }
        if self.parts.insert((n, place), part).is_some_and(|other| other != part) {
            return Err(self.torn(n));
        }
        let op: Op = match &self.old[n].op {
            Op::Weight(weight) => Weight { ty, part, ..weight.clone() }.into(),
            Op::Input(input) => Input { ty, part, ..input.clone() }.into(),
            other => other.clone(),
        };
        let node = copy(self.old, n, self.new, op, &[], place)?;
        self.sources.insert((n, place, part), node);
        Ok(node)
    }

    /// Why a weight cannot be on a device in two forms.
    fn torn(&self, n: NodeId) -> PassError {
        let users = self.old.users(n);
        let paths: Vec<&str> = users.iter().map(|user| self.old[*user].path.as_str()).collect();
        let name = self.old[n].op.given_name().unwrap_or_default();
        let reason = format!(
            "{} read {name}, and a device would need all of it and a part: say the same of them",
            paths.join(" and ")
        );
        let said = self.by_hand.iter().filter(|said| paths.iter().any(|path| said.nodes.matches(path)));
        let hints: Vec<usize> = said.map(|said| said.hint).collect();
        match hints.is_empty() {
            true => PassError::Cut { node: name.to_owned(), reason },
            false => HintError { hints, reason }.into(),
        }
    }

    /// Logits whole on one device, caches as they are divided.
    fn outputs(&mut self) -> Result<(), PassError> {
        for &output in &self.old.outputs {
            let stage = self.at[&output];
            let outputs = match self.old[output].op {
                Op::KvAppend(_) => self.values[&(output, stage)][0].nodes.clone(),
                _ => self.operand(output, stage, &Sharding::Whole)?[..1].to_vec(),
            };
            self.new.outputs.extend(outputs);
        }
        Ok(())
    }
}
