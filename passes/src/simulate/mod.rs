//! A plan in simulated time: its threads take their steps, its edges carry its messages, as long as the cost model
//! says each takes, and wait for one another as the runtime would have them wait.
//!
//! The host feeds each replica a step as soon as fewer are under way than the plan allows. A message occupies the
//! links that it goes over, one message at a time.
mod load;
#[cfg(test)]
mod tests;

pub use load::{Load, Predicted};

use crate::cost::{CostError, CostModel};
use ir::plan::{Edge, EdgeId, End, Plan, Step};
use ir::topology::Topology;
use ir::work::StepSize;

/// What came of it; times are in nanoseconds from the beginning.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Simulated {
    /// When all answers of each round were at the host, of the replica that was last.
    pub finished_ns: Vec<f64>,
    /// What each thread of the plan did, in order.
    pub threads: Vec<ThreadUse>,
    /// What each edge carried, in order.
    pub edges: Vec<EdgeUse>,
    /// Every step, by thread and in order of time: of kernels how long they ran, of messages how long the thread
    /// waited for them, or for room for them.
    pub spans: Vec<Span>,
    /// Every message, by edge and in order.
    pub messages: Vec<Flight>,
}

/// What one thread did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ThreadUse {
    /// How long kernels ran.
    pub busy_ns: f64,
    /// How long it waited for messages, or for room for them.
    pub waited_ns: f64,
}

/// What one edge carried.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EdgeUse {
    /// How many messages.
    pub messages: u64,
    /// How many bytes in all of them.
    pub bytes: u64,
    /// How long messages were on their way.
    pub moving_ns: f64,
    /// How long the reader waited for them.
    pub waited_ns: f64,
}

/// Something that a thread did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Which of the plan's threads.
    pub thread: usize,
    /// Which of its steps.
    pub step: usize,
    /// In which round.
    pub round: usize,
    /// From when.
    pub start_ns: f64,
    /// For how long.
    pub ns: f64,
}

/// A message on its way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flight {
    /// Over which edge.
    pub edge: EdgeId,
    /// In which round.
    pub round: usize,
    /// When its writer had it ready and there was room for it.
    pub sent_ns: f64,
    /// When it was at the reader's end.
    pub arrived_ns: f64,
}

impl Simulated {
    /// When everything was done.
    pub fn end_ns(&self) -> f64 {
        self.finished_ns.iter().copied().fold(0.0, f64::max)
    }

    /// Nanoseconds from one round to the next once the first `warm` are done; those of all rounds where no more
    /// are.
    pub fn round_ns(&self, warm: usize) -> f64 {
        let last = self.finished_ns.len();
        match self.finished_ns.get(warm.wrapping_sub(1)) {
            Some(first) if last > warm => (self.end_ns() - first) / (last - warm) as f64,
            _ => self.end_ns() / last.max(1) as f64,
        }
    }
}

/// Runs so many rounds, each of which every replica takes with a step of that size, at most `under_way` of them at
/// once and no more than the plan allows. The plan must have passed [`Plan::verify`].
pub fn simulate(
    plan: &Plan,
    topology: &Topology,
    rounds: &[StepSize],
    under_way: u32,
) -> Result<Simulated, CostError> {
    let model = CostModel::new(plan, topology)?;
    let mut costs: Vec<Costs> = vec![];
    let mut of_round = vec![];
    for size in rounds {
        let known = costs.iter().position(|costs| costs.size == *size);
        of_round.push(known.unwrap_or(costs.len()));
        if known.is_none() {
            costs.push(Costs::new(&model, plan, size)?);
        }
    }
    let under_way = under_way.clamp(1, plan.options.micro_batches.max(1)) as usize;
    let mut run = Run::new(plan, &model, topology, costs, (of_round, under_way));
    while run.advance() {}
    Ok(run.done())
}

/// What everything takes in a step of one size.
struct Costs {
    size: StepSize,
    /// By thread and step.
    steps: Vec<Vec<f64>>,
    messages: Vec<crate::cost::Message>,
}

impl Costs {
    fn new(model: &CostModel<'_>, plan: &Plan, size: &StepSize) -> Result<Costs, CostError> {
        let of = |thread| Ok(model.steps(thread, size)?.iter().map(|cost| cost.predicted_ns()).collect());
        Ok(Costs {
            size: size.clone(),
            steps: plan.threads.iter().map(of).collect::<Result<_, CostError>>()?,
            messages: plan.edges.iter().map(|edge| model.message(edge, size)).collect::<Result<_, _>>()?,
        })
    }
}

struct Run<'a> {
    plan: &'a Plan,
    costs: Vec<Costs>,
    /// Which costs each round has.
    of_round: Vec<usize>,
    /// How many rounds a replica has at once.
    under_way: usize,
    threads: Vec<Thread>,
    edges: Vec<Queue>,
    /// The links that each edge's messages go over, and until when each link is taken.
    links: Vec<Vec<usize>>,
    taken_ns: Vec<f64>,
    /// When each replica had answered each round.
    results: Vec<Vec<f64>>,
    found: Simulated,
}

#[derive(Default)]
struct Thread {
    now_ns: f64,
    round: usize,
    step: usize,
}

/// An edge's messages.
#[derive(Default)]
struct Queue {
    /// When each was at the reader's end.
    arrived_ns: Vec<f64>,
    /// When each was taken, so that its slot was free.
    taken_ns: Vec<f64>,
}

impl<'a> Run<'a> {
    fn new(
        plan: &'a Plan,
        model: &CostModel<'_>,
        topology: &Topology,
        costs: Vec<Costs>,
        (of_round, under_way): (Vec<usize>, usize),
    ) -> Run<'a> {
        let links = |edge: &Edge| model.route(edge).map_or_else(Vec::new, |route| route.links.clone());
        let mut run = Run {
            plan,
            costs,
            of_round,
            under_way,
            threads: plan.threads.iter().map(|_| Thread::default()).collect(),
            edges: plan.edges.iter().map(|_| Queue::default()).collect(),
            links: plan.edges.iter().map(links).collect(),
            taken_ns: vec![0.0; topology.links.len()],
            results: vec![vec![]; plan.options.partition.data.max(1) as usize],
            found: Simulated {
                threads: vec![ThreadUse::default(); plan.threads.len()],
                edges: vec![EdgeUse::default(); plan.edges.len()],
                ..Simulated::default()
            },
        };
        let at_once = run.of_round.len().min(under_way);
        for replica in 0..run.results.len() {
            (0..at_once).for_each(|round| run.feed(replica, round, 0.0));
        }
        run
    }

    /// The host sends a round to a replica, edge after edge.
    fn feed(&mut self, replica: usize, round: usize, mut now_ns: f64) {
        for at in 0..self.plan.edges.len() {
            let edge = &self.plan.edges[at];
            let End::Device(device) = edge.to else { continue };
            if edge.from == End::Host && self.plan.replica_of(device) as usize == replica {
                now_ns = self.send(edge.id, round, now_ns);
            }
        }
    }

    /// A message leaves; says when it is at the other end.
    fn send(&mut self, id: EdgeId, round: usize, now_ns: f64) -> f64 {
        let at = id.0 as usize;
        let message = self.costs[self.of_round[round]].messages[at];
        let links = &self.links[at];
        let start_ns = links.iter().fold(now_ns, |start, link| start.max(self.taken_ns[*link]));
        links.iter().for_each(|link| self.taken_ns[*link] = start_ns + message.transfer_ns);
        let arrived_ns = start_ns + message.predicted_ns();
        self.edges[at].arrived_ns.push(arrived_ns);
        self.found.messages.push(Flight { edge: id, round, sent_ns: now_ns, arrived_ns });
        let sum = &mut self.found.edges[at];
        sum.messages += 1;
        sum.bytes = sum.bytes.saturating_add(message.bytes);
        sum.moving_ns += arrived_ns - now_ns;
        arrived_ns
    }

    /// Takes the step that can begin first, over all threads. False when there is none.
    fn advance(&mut self) -> bool {
        let begins = |at: usize| Some((at, self.begins_ns(at)?));
        let next = (0..self.threads.len()).filter_map(begins).min_by(|a, b| a.1.total_cmp(&b.1));
        let Some((at, start_ns)) = next else { return false };
        let Thread { now_ns, round, step } = self.threads[at];
        let steps = &self.plan.threads[at].steps;
        let waited_ns = start_ns - now_ns;
        let mut end_ns = start_ns;
        match &steps[step] {
            Step::Run { .. } => {
                let ns = self.costs[self.of_round[round]].steps[at][step];
                self.found.threads[at].busy_ns += ns;
                end_ns += ns;
            }
            Step::Recv { edge, .. } => {
                self.found.edges[edge.0 as usize].waited_ns += waited_ns;
                self.edges[edge.0 as usize].taken_ns.push(start_ns);
            }
            Step::Send { edge, .. } => {
                let arrived_ns = self.send(*edge, round, start_ns);
                self.deliver(*edge, round, arrived_ns);
            }
        }
        self.found.threads[at].waited_ns += waited_ns;
        // A kernel never waits, and a message takes no time of the thread but that.
        self.found.spans.push(Span { thread: at, step, round, start_ns: now_ns, ns: end_ns - now_ns });
        let is_last = step + 1 == steps.len();
        let (round, step) = if is_last { (round + 1, 0) } else { (round, step + 1) };
        self.threads[at] = Thread { now_ns: end_ns, round, step };
        true
    }

    /// When a thread's next step can begin; none if that waits for what has not happened yet.
    fn begins_ns(&self, at: usize) -> Option<f64> {
        let Thread { now_ns, round, step } = self.threads[at];
        if round >= self.of_round.len() {
            return None;
        }
        let met = |ns: &f64| now_ns.max(*ns);
        match self.plan.threads[at].steps.get(step)? {
            Step::Run { .. } => Some(now_ns),
            Step::Recv { edge, .. } => {
                let queue = &self.edges[edge.0 as usize];
                queue.arrived_ns.get(queue.taken_ns.len()).map(met)
            }
            Step::Send { edge, .. } => {
                let queue = &self.edges[edge.0 as usize];
                let capacity = self.plan.edges[edge.0 as usize].capacity as usize;
                match queue.arrived_ns.len().checked_sub(capacity) {
                    None => Some(now_ns),
                    Some(before) => queue.taken_ns.get(before).map(met),
                }
            }
        }
    }

    /// The host takes what comes to it, and goes on with the next round.
    fn deliver(&mut self, id: EdgeId, round: usize, arrived_ns: f64) {
        let edge = &self.plan.edges[id.0 as usize];
        let (End::Device(device), End::Host) = (edge.from, edge.to) else { return };
        self.edges[id.0 as usize].taken_ns.push(arrived_ns);
        let replica = self.plan.replica_of(device) as usize;
        let Some(done) = self.results.get(replica).map(Vec::len) else { return };
        let is_answer = |edge: &&Edge| matches!((edge.from, edge.to), (End::Device(id), End::Host) if self.plan.replica_of(id) as usize == replica);
        let answers = self.plan.edges.iter().filter(is_answer);
        let mut arrived = answers.map(|edge| self.edges[edge.id.0 as usize].taken_ns.get(done).copied());
        let last = arrived.try_fold(0.0f64, |last, ns| ns.map(|ns| last.max(ns)));
        // The last of a round's answers ends it.
        let Some(last_ns) = last else { return };
        self.results[replica].push(last_ns);
        let next = round + self.under_way;
        if next < self.of_round.len() {
            self.feed(replica, next, last_ns);
        }
    }

    fn done(mut self) -> Simulated {
        let rounds = self.of_round.len();
        let last = |round| self.results.iter().filter_map(|own| own.get(round)).copied().fold(0.0, f64::max);
        self.found.finished_ns = (0..rounds).map(last).collect();
        let key = |span: &Span| (span.thread, span.round, span.step);
        self.found.spans.sort_by(|a, b| a.start_ns.total_cmp(&b.start_ns).then(key(a).cmp(&key(b))));
        // In order of time already.
        self.found.messages.sort_by_key(|message| message.edge);
        self.found
    }
}
