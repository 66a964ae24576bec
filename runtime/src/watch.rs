//! What the threads of a run know of one another: how far each device is, who waits at which edge, and how the
//! run ended.
//!
//! A run ends once, by whoever finds the first fault: the cause is kept, and then every edge is closed. So all who
//! wait wake, and who finds an edge closed finds the verdict; a thread that does not wait sees it before its next step.
use crate::bell::Bell;
use crate::error::{Cause, Place, RunError, Verdict, Wait};
use crate::sync::counter::{self, Relaxed};
use crate::sync::{AtomicBool, Mutex, Ordering, Shared, lock};
use crate::{Monitor, Role};
use ir::plan::{End, Plan, Step};
use std::time::Duration;

/// A run seen from outside: its edges, and how far its devices are. Looking costs the threads nothing.
pub struct Watch {
    plan: Shared<Plan>,
    edges: Box<[Monitor]>,
    seats: Box<[Seat]>,
    is_over: AtomicBool,
    verdict: Mutex<Option<Shared<Verdict>>>,
    /// Rung when a thread leaves.
    door: Bell,
}

/// What one device thread says of itself; on a cache line of its own, for it is written at every step.
#[repr(align(128))]
struct Seat {
    /// The round in the upper half, the step in the lower.
    at: counter::AtomicU64,
    has_left: AtomicBool,
}

/// How far a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Rounds through the plan's steps that it has finished, counted up to 2³².
    pub rounds: u64,
    /// The step that it is at.
    pub at: Place,
    /// How many steps a round has.
    pub steps: usize,
}

impl Watch {
    /// A watch over `plan`; `edges` are in the order of its edges.
    pub(crate) fn new(plan: Shared<Plan>, edges: Vec<Monitor>) -> Watch {
        let seat = || Seat { at: counter::AtomicU64::new(0), has_left: AtomicBool::new(false) };
        let seats = plan.threads.iter().map(|_| seat()).collect();
        Watch {
            plan,
            edges: edges.into(),
            seats,
            is_over: AtomicBool::new(false),
            verdict: Mutex::new(None),
            door: Bell::new(),
        }
    }

    /// What runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The edges, in order of id.
    pub fn edges(&self) -> &[Monitor] {
        &self.edges
    }

    /// How far each device is, in the order of the plan's threads.
    pub fn devices(&self) -> impl Iterator<Item = Progress> {
        (0..self.seats.len()).map(|seat| Progress {
            rounds: self.at(seat) >> 32,
            at: self.place(seat),
            steps: self.plan.threads[seat].steps.len(),
        })
    }

    /// What an end of an edge is called: a device's name, or `the host`.
    pub fn name(&self, end: End) -> String {
        match end {
            End::Host => "the host".into(),
            End::Device(id) => self.plan.devices[id.0 as usize].name.clone(),
        }
    }

    /// The device thread at `seat` comes to a step. Says whether it shall take it.
    pub(crate) fn takes_step(&self, seat: usize, round: u32, step: usize) -> bool {
        self.seats[seat].at.store(u64::from(round) << 32 | step as u64, Relaxed);
        !self.is_over()
    }

    /// A number that changes whenever the device takes a step.
    pub(crate) fn at(&self, seat: usize) -> u64 {
        self.seats[seat].at.load(Relaxed)
    }

    /// How many device threads there are.
    pub(crate) fn seats(&self) -> usize {
        self.seats.len()
    }

    /// The device thread at an end of an edge, if it is not the host's.
    pub(crate) fn seat(&self, edge: &Monitor, role: Role) -> Option<usize> {
        match end(edge, role) {
            End::Host => None,
            End::Device(id) => self.plan.threads.iter().position(|t| t.device == id),
        }
    }

    /// Where the device at `seat` is.
    pub(crate) fn place(&self, seat: usize) -> Place {
        let thread = &self.plan.threads[seat];
        let step = (self.at(seat) & u64::from(u32::MAX)) as usize;
        let edge = |id: &ir::plan::EdgeId| format!("{}, {id}", self.plan.edges[id.0 as usize].name);
        let what = match thread.steps.get(step) {
            Some(Step::Run { kernel, node, .. }) if node.is_empty() => {
                self.plan.kernels[kernel.0 as usize].name.clone()
            }
            Some(Step::Run { node, .. }) => node.clone(),
            Some(Step::Recv { edge: id, .. }) => format!("receiving {}", edge(id)),
            Some(Step::Send { edge: id, .. }) => format!("sending {}", edge(id)),
            None => "no step".into(),
        };
        Place { device: self.name(End::Device(thread.device)), step, what }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Ends the run for a cause, unless it has ended, and gives the verdict.
    pub(crate) fn end(&self, cause: Cause) -> RunError {
        let verdict = {
            let mut verdict = lock(&self.verdict);
            verdict.get_or_insert_with(|| Shared::new(Verdict { cause, waits: self.waits() })).clone()
        };
        self.close();
        RunError::Ended(verdict)
    }

    /// How the run ended, if it has.
    pub(crate) fn ended(&self) -> Option<RunError> {
        lock(&self.verdict).clone().map(RunError::Ended)
    }

    /// Lets every thread go.
    pub(crate) fn close(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.edges.iter().for_each(Monitor::close);
    }

    /// The device thread at `seat` is done, with its memory given back.
    pub(crate) fn leave(&self, seat: usize) {
        self.seats[seat].has_left.store(true, Ordering::Release);
        self.door.ring();
    }

    pub(crate) fn has_left(&self, seat: usize) -> bool {
        self.seats[seat].has_left.load(Ordering::Acquire)
    }

    /// Waits at most `patience` until nobody is left of those who are `awaited`.
    pub(crate) fn empties(&self, patience: Duration, awaited: impl Fn(usize) -> bool) -> bool {
        let seats = 0..self.seats();
        self.door.wait(Some(patience), || seats.clone().all(|seat| self.has_left(seat) || !awaited(seat)))
    }

    /// Who waits for a device. Who waits for the host is idle.
    fn waits(&self) -> Vec<Wait> {
        let both = |edge| [Role::Writer, Role::Reader].map(|role| (edge, role));
        let waits = self.edges.iter().flat_map(both).filter_map(|(monitor, role)| {
            let waited = monitor.waiting(role)?;
            let other = end(monitor, role.other());
            (other != End::Host).then(|| Wait {
                edge: monitor.plan(),
                end: role,
                waiter: self.name(end(monitor, role)),
                other: self.name(other),
                message: monitor.next(role),
                waited,
            })
        });
        waits.collect()
    }
}

fn end(edge: &Monitor, role: Role) -> End {
    match role {
        Role::Writer => edge.edge().from,
        Role::Reader => edge.edge().to,
    }
}

/// A device that sends to the host, both without steps: nothing is asked of names in tests.
#[cfg(test)]
fn small_run() -> (crate::sync::Arc<Watch>, crate::Writer, crate::Reader) {
    use ir::plan::{
        Activations, DEADLINE_MS, Device, DeviceId, Edge, EdgeId, Model, Options, Partition, Thread,
    };
    let device = DeviceId(0);
    let name = String::new;
    let (from, to, ty) = (End::Device(device), End::Host, ir::TensorType::known(ir::DType::U8, &[4]));
    let id = EdgeId(0);
    let edge = Edge { id, name: name(), from, to, ty, bytes: 4, capacity: 1, deadline_ms: DEADLINE_MS };
    let (writer, reader) = crate::edge(&edge);
    let options = Options {
        context: 1,
        max_batch: 1,
        chunk: 1,
        rows: 1,
        page: 1,
        kv: ir::DType::F32,
        activations: Activations::F32,
        partition: Partition::WHOLE,
        all_reduce: Default::default(),
        micro_batches: 1,
        memory: None,
        hints: vec![],
    };
    let thread =
        Thread { device, arena_bytes: 0, state_bytes: 0, scratch_bytes: 0, shared_bytes: 0, steps: vec![] };
    let plan = Plan {
        version: ir::plan::VERSION,
        model: Model { name: name(), architecture: name(), file: name(), sha256: name(), packed_bytes: 0 },
        options,
        symbols: vec![],
        devices: vec![Device::cpu(0, 1)],
        memory: vec![],
        edges: vec![edge],
        weights: vec![],
        states: vec![],
        buffers: vec![],
        kernels: vec![],
        threads: vec![thread],
        why: vec![],
    };
    let watch = Watch::new(Shared::new(plan), vec![writer.monitor()]);
    (crate::sync::Arc::new(watch), writer, reader)
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::sync::{model, thread};

    fn cause() -> Cause {
        Cause::Circle { still: Duration::ZERO }
    }

    #[test]
    fn who_finds_an_edge_closed_finds_the_verdict() {
        model(|| {
            let (watch, writer, mut reader) = small_run();
            let theirs = watch.clone();
            let device = thread::spawn(move || {
                theirs.end(cause());
                drop(writer);
            });
            reader.recv(|_| ()).unwrap_err();
            assert!(watch.ended().is_some());
            device.join().unwrap();
        });
    }

    #[test]
    fn a_run_ends_once() {
        model(|| {
            let (watch, _writer, _reader) = small_run();
            let theirs = watch.clone();
            let device = thread::spawn(move || theirs.end(cause()));
            let mine = watch.end(cause());
            match (mine, device.join().unwrap()) {
                (RunError::Ended(a), RunError::Ended(b)) => assert!(Shared::ptr_eq(&a, &b)),
                other => panic!("{other:?}"),
            }
        });
    }

    #[test]
    fn who_waits_for_a_thread_to_leave_hears_it() {
        model(|| {
            let (watch, _writer, _reader) = small_run();
            let theirs = watch.clone();
            let device = thread::spawn(move || theirs.leave(0));
            assert!(watch.empties(Duration::MAX, |_| true));
            device.join().unwrap();
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_first_cause_is_the_verdict() {
        let (watch, mut writer, _reader) = small_run();
        assert!(watch.ended().is_none() && watch.takes_step(0, 1, 0));
        watch.end(Cause::Circle { still: Duration::from_secs(1) });
        let late = watch.end(Cause::Circle { still: Duration::from_secs(2) });
        assert_eq!(late.to_string(), "nobody took a step for 1.0s: the threads wait in a circle");
        assert!(!watch.takes_step(0, 1, 1) && writer.send(|_| 0).is_err());
        assert_eq!(watch.devices().next().unwrap().rounds, 1);
    }
}
