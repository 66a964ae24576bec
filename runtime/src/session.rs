//! A session: the threads of a plan, fed and read by the host.
use crate::answers::Answers;
use crate::clock::Clock;
use crate::edge::Monitor;
use crate::error::RunError;
use crate::memory::{Held, Span, Taken};
use crate::record::{Log, Record, Recorder};
use crate::replica::{ANSWERS, Host, Replica};
use crate::sync::{Arc, Shared, thread};
use crate::vigil::Vigil;
use crate::watch::Watch;
use crate::worker::{Ends, Seat, Weights, Worker};
use crate::{Engine, Executable, edge};
use ir::plan::{DeviceId, End, Plan, Thread};
use std::collections::{HashMap, VecDeque};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The tokens of one step, of any number of sequences.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Token ids.
    pub tokens: &'a [i32],
    /// The position of each in its sequence.
    pub positions: &'a [i32],
    /// The sequence slot of each.
    pub slots: &'a [i32],
    /// Behind which of them something is asked for.
    pub rows: &'a [i32],
    /// Whether all logits of these rows are to come, beside the candidates.
    pub whole: bool,
}

/// A plan that runs.
pub struct Session {
    plan: Plan,
    replicas: Vec<Replica>,
    /// What was submitted and not collected, the oldest first.
    under_way: VecDeque<UnderWay>,
    answers: Answers,
    threads: Vec<JoinHandle<()>>,
    watch: Arc<Watch>,
    vigil: Vigil,
    /// Each device's memory.
    taken: Vec<(DeviceId, [Taken; 2])>,
    /// One for each thread of the plan, if its kernels are timed.
    clocks: Vec<Shared<Clock>>,
    /// One for each thread of the plan, and the host's, if its steps are recorded.
    recorders: Vec<Shared<Recorder>>,
    log: Option<Log>,
}

/// Which times a session keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Times {
    /// None.
    #[default]
    None,
    /// How long kernels took in all: [`Session::take_times`].
    Kernels,
    /// When each step was taken: [`Session::record`].
    Steps {
        /// Of so many rounds, the last.
        rounds: usize,
    },
}

/// How long a device thread may take from its last message to the end of its round before it is thought lost.
const LAST_MARK: Duration = Duration::from_secs(1);

impl Session {
    /// Starts the plan's device threads. `code` has an executable for each kernel in order of id, `weights` the
    /// packed weights. The plan must have passed [`Plan::verify`]; it is checked again.
    pub fn start(
        plan: &Plan,
        code: &[Shared<dyn Executable>],
        weights: Weights,
    ) -> Result<Session, RunError> {
        Session::start_timed(plan, code, weights, Times::None)
    }

    /// Like [`Session::start`], and keeps times.
    pub fn start_timed(
        plan: &Plan,
        code: &[Shared<dyn Executable>],
        weights: Weights,
        times: Times,
    ) -> Result<Session, RunError> {
        let engines = plan.threads.iter().map(|_| Engine::team(code)).collect();
        Session::start_on(plan, engines, weights, times)
    }

    /// Starts the plan's device threads, each with the engine that drives its device: one for each of the plan's
    /// threads, in their order. The plan must have passed [`Plan::verify`]; it is checked again. Where one device
    /// cannot be made ready, none is kept.
    pub fn start_on(
        plan: &Plan,
        engines: Vec<Engine>,
        weights: Weights,
        times: Times,
    ) -> Result<Session, RunError> {
        check_engines(plan, &engines, &weights)?;
        let mut ends: HashMap<End, Ends> = HashMap::new();
        let mut monitors = vec![];
        for e in &plan.edges {
            let (writer, reader) = edge(e);
            monitors.push(writer.monitor());
            ends.entry(e.from).or_default().writers.insert(e.id.0, writer);
            ends.entry(e.to).or_default().readers.insert(e.id.0, reader);
        }
        let (mut workers, mut clocks, mut recorders, mut taken) = (vec![], vec![], vec![], vec![]);
        let start = Instant::now();
        let watch = Arc::new(Watch::new(Shared::new(plan.clone()), monitors));
        for (number, (thread, engine)) in plan.threads.iter().zip(engines).enumerate() {
            let (mut clock, mut recorder) = (None, None);
            match times {
                Times::None => {}
                Times::Kernels => clock = Some(Shared::new(Clock::new(thread.steps.len()))),
                Times::Steps { rounds } => {
                    recorder = Some(Shared::new(Recorder::new(start, thread.steps.len(), rounds)));
                }
            }
            clocks.extend(clock.clone());
            recorders.extend(recorder.clone());
            let seat = Seat { watch: watch.clone(), number, clock, recorder };
            let own = ends.remove(&End::Device(thread.device)).unwrap_or_default();
            let read_here = matches!(engine, Engine::Team(_)).then_some(&weights);
            let shares = shares(plan, thread.device, read_here, watch.edges());
            let worker = Worker::new(plan, seat, engine, &weights, own)?;
            taken.push((thread.device, [shares, worker.taken()]));
            workers.push(worker);
        }
        let Ends { readers: results, writers: feeds } = ends.remove(&End::Host).unwrap_or_default();
        let replicas = Replica::all(plan, feeds, results)?;
        let width = |name: &str| {
            let edge = plan.edges.iter().find(|e| e.name == name && e.to == End::Host);
            edge.and_then(|e| e.ty.shape.last()?.known()).unwrap_or(0) as usize
        };
        let [vocabulary, candidates] = ANSWERS.map(width);
        let rows = plan.symbols.iter().find(|s| s.name == "m").map_or(0, |s| s.max as usize);
        let threads = spawn(plan, workers, &watch)?;
        Ok(Session {
            plan: plan.clone(),
            answers: Answers::new(vocabulary, candidates, rows * replicas.len()),
            replicas,
            under_way: VecDeque::with_capacity(plan.options.micro_batches as usize),
            threads,
            watch,
            vigil: Vigil::new(plan),
            taken,
            clocks,
            recorders,
            log: matches!(times, Times::Steps { .. }).then(|| Log::new(start)),
        })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How many logits a row has.
    pub fn vocabulary(&self) -> usize {
        self.answers.logits.width
    }

    /// How many candidates a row has.
    pub fn candidates(&self) -> usize {
        self.answers.best.width / 2
    }

    /// What the last step gave.
    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// The greatest value of a symbol of the plan, at least 1.
    pub fn max(&self, symbol: &str) -> usize {
        self.plan.symbols.iter().find(|s| s.name == symbol).map_or(1, |s| s.max.max(1) as usize)
    }

    /// Cuts the sequence in `slot` back to its first `tokens`, and frees the pages of the rest. To be called
    /// while no step of that sequence is under way.
    pub fn truncate(&mut self, slot: usize, tokens: usize) {
        let data = self.replicas.len();
        self.replicas[slot % data].pages.truncate(slot / data, tokens);
    }

    /// How many steps can be under way at once: submitted, and not collected.
    pub fn steps_at_once(&self) -> usize {
        self.plan.options.micro_batches as usize
    }

    /// How long the kernel of each step took, by thread and step of the plan, since this was last asked; to be
    /// asked between steps. A time runs on the device's own thread, from the kernel's start until the whole team
    /// is done; messages have none. Empty where the session does not keep [`Times::Kernels`].
    pub fn take_times(&self) -> Vec<Vec<Duration>> {
        self.clocks.iter().map(|clock| clock.take()).collect()
    }

    /// What the threads did in the last rounds, and the host in all; to be asked between steps. Empty where the
    /// session does not keep [`Times::Steps`].
    pub fn record(&self) -> Record {
        let Some(log) = &self.log else { return Record::default() };
        let start = Instant::now();
        for (thread, recorder) in self.plan.threads.iter().zip(&self.recorders) {
            // Who sent the last message may not have said yet when that was done.
            let rounds = log.rounds(self.plan.replica_of(thread.device) as usize, false);
            while recorder.done() < rounds && start.elapsed() < LAST_MARK {
                thread::sleep(Duration::from_micros(20));
            }
        }
        Record { threads: self.recorders.iter().map(|r| r.rounds()).collect(), host: log.deeds() }
    }

    /// The memory of each device, in the order of the plan's threads: what [`ir::plan::MemoryProof::own`] states for
    /// the largest step.
    pub fn memory(&self) -> Vec<Held> {
        self.taken.iter().map(|(device, taken)| Held::by(*device, taken)).collect()
    }

    /// The run seen from outside, for as long as anybody likes to look: counters of its edges, steps of its devices.
    pub fn watch(&self) -> Arc<Watch> {
        self.watch.clone()
    }

    /// Runs one step, and gives an answer for each of the batch's rows.
    ///
    /// Pages are reserved for the batch's positions. A batch that the plan has no room for is refused and
    /// changes nothing. No step may be under way. A device that fails or is stuck ends the run: this step and every
    /// later one gives the same [`RunError::Ended`].
    pub fn step(&mut self, batch: &Batch<'_>) -> Result<&Answers, RunError> {
        self.submit(batch)?;
        self.collect()
    }

    /// Begins a step, whose answers [`Session::collect`] will give. Up to [`Session::steps_at_once`] can be under
    /// way, each of other sequences; or of one whose tokens come in order.
    pub fn submit(&mut self, batch: &Batch<'_>) -> Result<(), RunError> {
        self.check(batch)?;
        if let Some(ended) = self.watch.ended() {
            return Err(ended);
        }
        let (found, most) = (self.under_way.len(), self.steps_at_once());
        if found >= most {
            let expected = format!("at most {}: collect one before", most.saturating_sub(1));
            return Err(RunError::Batch { what: "steps under way", found: found as i64, expected });
        }
        let data = self.replicas.len();
        for (&slot, &position) in batch.slots.iter().zip(batch.positions) {
            self.replicas[slot as usize % data].pages.reserve(slot as usize / data, position as usize + 1)?;
        }
        let mut asked = vec![];
        let mut host = Host { vigil: &mut self.vigil, watch: &self.watch, log: self.log.as_mut() };
        if let [only] = &mut self.replicas[..] {
            only.feed(batch, &mut host)?;
        } else {
            for (index, replica) in self.replicas.iter_mut().enumerate() {
                asked.extend(replica.feed_own(batch, data, &mut host)?.map(|rows| (index, rows)));
            }
        }
        self.under_way.push_back(UnderWay { rows: batch.rows.len(), whole: batch.whole, asked });
        Ok(())
    }

    /// Waits for the oldest step under way, and gives its answers.
    pub fn collect(&mut self) -> Result<&Answers, RunError> {
        let nothing = || RunError::Batch { what: "steps under way", found: 0, expected: "one".into() };
        let UnderWay { rows, whole, asked } = self.under_way.pop_front().ok_or_else(nothing)?;
        let Answers { logits, best } = &mut self.answers;
        let mut tables = [(logits, if whole { rows } else { 0 }), (best, rows)];
        let mut found = [0; 2];
        let mut host = Host { vigil: &mut self.vigil, watch: &self.watch, log: self.log.as_mut() };
        if let [only] = &mut self.replicas[..] {
            only.collect(&mut host, |which, message| {
                tables[which].0.fill(message);
                found[which] = tables[which].0.values.len();
            })?;
        } else {
            tables.iter_mut().for_each(|(table, rows)| table.expect(*rows));
            for (index, rows) in asked {
                self.replicas[index].collect(&mut host, |which, message| {
                    found[which] += tables[which].0.place(message, &rows);
                })?;
            }
        }
        for ((what, (table, rows)), found) in ANSWERS.into_iter().zip(tables).zip(found) {
            let expected = rows * table.width;
            if found != expected {
                let (found, expected) = (found as u64, expected as u64);
                return Err(RunError::Mismatch { what, found, expected });
            }
        }
        Ok(&self.answers)
    }

    fn check(&self, batch: &Batch<'_>) -> Result<(), RunError> {
        let o = &self.plan.options;
        let wrong = |what, found: i64, expected: String| Err(RunError::Batch { what, found, expected });
        let max = |name: &str| self.max(name) as i64;
        let (n, m) = (batch.tokens.len() as i64, batch.rows.len() as i64);
        if n < 1 || n > max("n") {
            return wrong("tokens in a step", n, format!("1 to {}", max("n")));
        }
        if m < 1 || m > max("m") {
            return wrong("rows of a step", m, format!("1 to {}", max("m")));
        }
        for (what, values) in [("positions", batch.positions), ("slots", batch.slots)] {
            if values.len() as i64 != n {
                return wrong(what, values.len() as i64, format!("one for each of {n} tokens"));
            }
        }
        let limits = [
            ("a token", batch.tokens, self.vocabulary() as i64),
            ("a position", batch.positions, i64::from(o.context)),
            ("a slot", batch.slots, i64::from(o.max_batch)),
            ("a row", batch.rows, n),
        ];
        for (what, values, limit) in limits {
            if let Some(&found) = values.iter().find(|v| !(0..limit).contains(&i64::from(**v))) {
                return wrong(what, found.into(), format!("0 to {}", limit - 1));
            }
        }
        Ok(())
    }
}

impl Drop for Session {
    /// Lets the device threads go, and waits until they have: they end before their next step. A thread that takes
    /// no step for the longest deadline of the plan, or was found stuck before, is left behind with its memory.
    fn drop(&mut self) {
        self.watch.close();
        self.vigil.see_off(&self.watch);
        for (seat, thread) in self.threads.drain(..).enumerate() {
            if self.watch.has_left(seat) {
                let _ = thread.join();
            }
        }
    }
}

/// What a device has beside its own allocations: its weights where it reads them in the host's memory, and the slots of
/// edges that the plan's proof gives to it.
fn shares(plan: &Plan, device: DeviceId, weights: Option<&Weights>, monitors: &[Monitor]) -> Taken {
    let mapped: &[u8] = weights.map_or(&[], |weights| (**weights).as_ref());
    let weight = |weight: &ir::plan::Weight| {
        let end = weight.offset.checked_add(weight.bytes)?;
        mapped.get(usize::try_from(weight.offset).ok()?..usize::try_from(end).ok()?).map(Span::of)
    };
    let kept = monitors.iter().filter(|monitor| monitor.edge().keeper() == Some(device));
    let weights = plan.weights.iter().filter(|weight| weight.device == device).filter_map(weight);
    Taken::Here(weights.chain(kept.flat_map(|monitor| monitor.spans().iter().copied())).collect())
}

/// Whether a plan is sound, and engines and weights are its own.
pub(crate) fn check_engines(plan: &Plan, engines: &[Engine], weights: &Weights) -> Result<(), RunError> {
    check(plan, weights)?;
    if engines.len() != plan.threads.len() {
        let (found, expected) = (engines.len() as u64, plan.threads.len() as u64);
        return Err(RunError::Mismatch { what: "engines", found, expected });
    }
    plan.threads.iter().zip(engines).try_for_each(|(thread, engine)| engine.fits(plan, thread))
}

/// Whether a plan is sound, and weights are its own.
fn check(plan: &Plan, weights: &Weights) -> Result<(), RunError> {
    if let Err(faults) = plan.verify() {
        return Err(RunError::Unsound(faults[0].to_string()));
    }
    let mapped: &[u8] = (**weights).as_ref();
    match (mapped.len() as u64, plan.model.packed_bytes) {
        (found, expected) if found < expected => {
            Err(RunError::Mismatch { what: "bytes of packed weights", found, expected })
        }
        _ => Ok(()),
    }
}

/// Starts the device threads: all, or none that stays.
fn spawn(plan: &Plan, workers: Vec<Worker>, watch: &Watch) -> Result<Vec<JoinHandle<()>>, RunError> {
    let start = |(worker, thread): (Worker, &Thread)| {
        let device = &plan.devices[thread.device.0 as usize].name;
        let spawned = std::thread::Builder::new().name(device.clone()).spawn(move || worker.run());
        spawned.map_err(|e| RunError::Threads { device: device.clone(), reason: e.to_string() })
    };
    let threads: Result<_, _> = workers.into_iter().zip(&plan.threads).map(start).collect();
    threads.inspect_err(|_| watch.close())
}

/// A step that was submitted.
struct UnderWay {
    /// How many rows were asked for, and whether whole.
    rows: usize,
    whole: bool,
    /// Where there are several replicas: which of them work for it, and which of the rows asked for each of their
    /// own rows is; none for one that nobody asked for.
    asked: Vec<(usize, Vec<Option<usize>>)>,
}
