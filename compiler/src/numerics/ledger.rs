//! What every value of a run is and how far from the reference, kept as its steps are taken.
use super::align::{Alignment, nodes_of_steps};
use super::compare::Deviation;
use super::given::Given;
use super::{Blame, Finding, InputError, NodeError, Reference};
use ir::plan::{Arg, End, Plan, Step};
use ir::{Graph, NodeId, Tensor};
use runtime::Seen;
use std::collections::{HashMap, VecDeque};

/// See the module.
pub(super) struct Ledger<'a> {
    plan: &'a Plan,
    reference: &'a Reference,
    given: &'a Given<'a>,
    alignment: Alignment<'a>,
    nodes: Vec<Vec<Option<NodeId>>>,
    g: &'a Graph,
    /// What the plan's steps made of the graph's nodes.
    found: HashMap<NodeId, Tensor>,
    /// What lies in each thread's memory.
    held: Vec<HashMap<Arg, Held>>,
    /// What is under way, by edge.
    sent: HashMap<u32, VecDeque<Held>>,
    pub(super) compared: usize,
    pub(super) apart: usize,
    pub(super) logits: Option<f64>,
    /// In order of the steps.
    pub(super) errors: Vec<NodeError>,
    /// The first value beyond tolerance, with its node. Who is to blame is not known yet.
    pub(super) first: Option<(NodeId, Finding)>,
}

/// A value that lies somewhere.
#[derive(Clone)]
struct Held {
    name: String,
    error: Option<f64>,
    /// Its error, or that of what it was made of where it cannot be compared.
    bound: f64,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        g: &'a Graph,
        reference: &'a Reference,
        given: &'a Given<'a>,
    ) -> Ledger<'a> {
        Ledger {
            plan,
            reference,
            given,
            alignment: Alignment::of(g, plan, reference),
            nodes: nodes_of_steps(plan, g),
            g,
            found: HashMap::new(),
            held: vec![HashMap::new(); plan.threads.len()],
            sent: HashMap::new(),
            compared: 0,
            apart: 0,
            logits: None,
            errors: vec![],
            first: None,
        }
    }

    /// Takes note of a step that was taken.
    pub(super) fn see(&mut self, seen: &Seen<'_>) {
        let plan = self.plan;
        match &plan.threads[seen.thread].steps[seen.step] {
            Step::Recv { edge, to } => {
                let name = plan.edges[edge.0 as usize].name.clone();
                let sent = self.sent.get_mut(&edge.0).and_then(VecDeque::pop_front);
                let held = sent.unwrap_or(Held { name, error: Some(0.0), bound: 0.0 });
                self.held[seen.thread].insert(Arg::B(*to), held);
            }
            Step::Send { edge, from } => {
                let Some(held) = self.held[seen.thread].get(&Arg::B(*from)).cloned() else { return };
                let to = &plan.edges[edge.0 as usize];
                if to.to == End::Host && to.name == "logits" {
                    self.logits = held.error.map(|error| error.max(self.logits.unwrap_or(0.0)));
                }
                self.sent.entry(edge.0).or_default().push_back(held);
            }
            Step::Run { args, .. } => self.compute(seen, args),
        }
    }

    fn compute(&mut self, seen: &Seen<'_>, args: &[Arg]) {
        let Step::Run { node: path, .. } = &self.plan.threads[seen.thread].steps[seen.step] else { return };
        let Some((output, inputs)) = args.split_last() else { return };
        let inputs: Vec<Held> = inputs.iter().map(|arg| self.input(seen.thread, *arg)).collect();
        let excuse = inputs.iter().fold(0.0, |most: f64, held| most.max(held.bound));
        let node = self.nodes[seen.thread][seen.step];
        let mut held = Held { name: path.clone(), error: None, bound: excuse };
        let value = node.and_then(|n| Some((n, self.tensor(*output, seen.value)?)));
        let worst = value.as_ref().and_then(|(n, value)| {
            Some((*n, self.reference.deviation(&self.alignment, (self.g, *n), value)?))
        });
        self.found.extend(value);
        match worst {
            None => self.apart += 1,
            Some((n, worst)) => {
                self.compared += 1;
                let device = self.plan.devices[self.plan.threads[seen.thread].device.0 as usize].name.clone();
                self.errors.push(NodeError { node: path.clone(), device, error: worst.error });
                (held.error, held.bound) = (Some(worst.error), worst.error);
                let is_beyond = self.reference.tolerance.is_beyond(worst.error, excuse);
                if self.first.is_none() && is_beyond && !self.comes_of_inputs(n, worst.error) {
                    self.first = Some((n, self.finding(seen, n, worst, &inputs)));
                }
            }
        }
        self.held[seen.thread].insert(*output, held);
    }

    /// What lies where a kernel reads.
    fn input(&self, thread: usize, arg: Arg) -> Held {
        let exact = |name: &str| Held { name: name.to_owned(), error: Some(0.0), bound: 0.0 };
        match (self.held[thread].get(&arg), arg) {
            (Some(held), _) => held.clone(),
            (None, Arg::W(id)) => exact(&self.plan.weights[id.0 as usize].name),
            (None, Arg::S(id)) => exact(&self.plan.states[id.0 as usize].name),
            (None, Arg::B(id)) => exact(&id.to_string()),
        }
    }

    /// What a step left.
    fn tensor(&self, output: Arg, value: &[u8]) -> Option<Tensor> {
        let ty = match output {
            Arg::B(id) => &self.plan.buffers[id.0 as usize].ty,
            Arg::S(id) => &self.plan.states[id.0 as usize].ty,
            Arg::W(_) => return None,
        };
        Tensor::from_bytes(ty.dtype, &self.reference.symbols.extents(ty)?, value)
    }

    /// Whether a great error is of the inputs alone: the operator is the right one, and what was found is what it makes
    /// of the inputs that were found. Which these are the graph says, for a step may read what it should not.
    fn comes_of_inputs(&self, n: NodeId, error: f64) -> bool {
        self.reference.means(&self.alignment, (self.g, n), self.given, error) && {
            let inputs = |input: NodeId| self.found.get(&input).cloned();
            let made = self.reference.evaluate((self.g, n), self.given, &inputs);
            let made = made.zip(self.found.get(&n));
            made.is_some_and(|(made, found)| self.reference.is_same((self.g, n), found, &made))
        }
    }

    fn finding(&self, seen: &Seen<'_>, n: NodeId, worst: Deviation, inputs: &[Held]) -> Finding {
        let thread = &self.plan.threads[seen.thread];
        let kernel = match &thread.steps[seen.step] {
            Step::Run { kernel, .. } => self.plan.kernels[kernel.0 as usize].name.clone(),
            _ => String::new(),
        };
        let input = |held: &Held| InputError { name: held.name.clone(), error: held.error };
        Finding {
            node: self.g[n].path.clone(),
            operator: self.g[n].op.name().to_owned(),
            device: self.plan.devices[thread.device.0 as usize].name.clone(),
            step: seen.step,
            kernel: kernel.clone(),
            error: worst.error,
            at: worst.at,
            found: worst.found,
            expected: worst.expected,
            inputs: inputs.iter().map(input).collect(),
            made_by: String::new(),
            blame: Blame::Code { kernel },
        }
    }
}
