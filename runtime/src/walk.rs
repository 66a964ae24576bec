//! Walks a plan once on the caller's thread, so that one can look at every value: for checking, not for speed.
//!
//! The code, the memory and the messages are those of a session. Only the order in which devices take turns is
//! another: each goes on until it waits for a message that nobody has sent yet.
use crate::engine::has_places;
use crate::error::{Cause, Place, RunError, Verdict};
use crate::session::check;
use crate::sync::Shared;
use crate::worker::{Measure, Weights, argument};
use crate::{Arena, Executable, Team, TeamError};
use ir::TensorType;
use ir::plan::{Arg, BufferId, End, Plan, Step, Thread};
use std::collections::{HashMap, VecDeque};

/// What the host sends over an edge of this name, as bytes; none for a name that it does not know.
pub type Feed<'a> = &'a dyn Fn(&str) -> Option<Vec<u8>>;

/// A step that was taken.
pub struct Seen<'a> {
    /// Which of the plan's threads took it.
    pub thread: usize,
    /// Which of its steps it is.
    pub step: usize,
    /// What a receive or a kernel left, or what was sent: the value's bytes at the symbols' values.
    pub value: &'a [u8],
}

/// Takes every step of a plan once, from fresh memory, and shows each. `syms` has a value for each of the plan's
/// symbols; every edge from the host carries one message.
pub fn walk(
    plan: &Plan,
    code: &[Shared<dyn Executable>],
    weights: &Weights,
    syms: &[i64],
    feed: Feed<'_>,
    look: &mut dyn FnMut(Seen<'_>),
) -> Result<(), RunError> {
    check(plan, weights)?;
    has_places(plan, code.len())?;
    if syms.len() != plan.symbols.len() {
        let (found, expected) = (syms.len() as u64, plan.symbols.len() as u64);
        return Err(RunError::Mismatch { what: "symbols", found, expected });
    }
    let mut queues: Queues = vec![VecDeque::new(); plan.edges.len()];
    for edge in plan.edges.iter().filter(|edge| edge.from == End::Host) {
        let message =
            feed(&edge.name).ok_or_else(|| RunError::Unsound(format!("nobody feeds {}", edge.name)))?;
        let (found, expected) = (message.len() as u64, Measure::new(&edge.ty, plan)?.bytes(syms) as u64);
        if found != expected || expected > edge.bytes {
            return Err(RunError::Mismatch { what: "bytes of a message", found, expected });
        }
        queues[edge.id.0 as usize].push_back(message);
    }
    let step = Walk { plan, code, weights, syms };
    let seats = plan.threads.iter().enumerate();
    let mut seats =
        seats.map(|(index, thread)| Seat::new(&step, index, thread)).collect::<Result<Vec<_>, _>>()?;
    loop {
        let mut has_moved = false;
        for seat in &mut seats {
            has_moved |= seat.go_on(&step, &mut queues, look)?;
        }
        match seats.iter().all(|seat| seat.at == seat.thread.steps.len()) {
            true => return Ok(()),
            false if has_moved => {}
            false => return Err(RunError::Unsound("the threads wait in a circle".into())),
        }
    }
}

/// Messages under way, by edge.
type Queues = Vec<VecDeque<Vec<u8>>>;

/// What all seats share.
struct Walk<'a> {
    plan: &'a Plan,
    code: &'a [Shared<dyn Executable>],
    weights: &'a Weights,
    syms: &'a [i64],
}

/// A device's memory, and how far it is.
struct Seat<'a> {
    index: usize,
    thread: &'a Thread,
    at: usize,
    team: Team,
    arena: Arena,
    states: Arena,
    scratch: Arena,
    shared: Arena,
    /// What lies in slots of edges elsewhere; here messages are copied, so each has a place of its own.
    in_slots: HashMap<BufferId, Arena>,
}

impl<'a> Seat<'a> {
    fn new(walk: &Walk<'a>, index: usize, thread: &'a Thread) -> Result<Seat<'a>, RunError> {
        let device = &walk.plan.devices[thread.device.0 as usize];
        let memory = |cause| RunError::Memory { device: device.name.clone(), cause };
        let ended = |cause| ended(Cause::Team { device: device.name.clone(), cause });
        let own = walk.plan.buffers.iter().filter(|b| b.slot.is_some() && b.device == thread.device);
        let in_slots = own.map(|b| Ok((b.id, Arena::new(b.bytes as usize).map_err(memory)?)));
        Ok(Seat {
            index,
            thread,
            at: 0,
            team: Team::new(device.threads as usize).map_err(ended)?,
            arena: Arena::new(thread.arena_bytes as usize).map_err(memory)?,
            states: Arena::new(thread.state_bytes as usize).map_err(memory)?,
            scratch: Arena::new((thread.scratch_bytes * u64::from(device.threads)) as usize)
                .map_err(memory)?,
            shared: Arena::new(thread.shared_bytes as usize).map_err(memory)?,
            in_slots: in_slots.collect::<Result<_, RunError>>()?,
        })
    }

    /// Takes steps until one waits, and says whether any was taken.
    fn go_on(
        &mut self,
        walk: &Walk<'_>,
        queues: &mut Queues,
        look: &mut dyn FnMut(Seen<'_>),
    ) -> Result<bool, RunError> {
        let first = self.at;
        while let Some(step) = self.thread.steps.get(self.at) {
            let left = match step {
                Step::Recv { edge, to } => {
                    let Some(message) = queues[edge.0 as usize].pop_front() else { break };
                    let (to, bytes) = self.value(walk, Arg::B(*to))?;
                    if message.len() != bytes {
                        let (found, expected) = (message.len() as u64, bytes as u64);
                        return Err(RunError::Mismatch { what: "bytes of a message", found, expected });
                    }
                    // SAFETY: the buffer has `bytes` bytes, and nothing else points there while this thread writes.
                    unsafe { std::ptr::copy_nonoverlapping(message.as_ptr(), to, bytes) };
                    (to, bytes)
                }
                Step::Send { edge, from } => {
                    let (from, bytes) = self.value(walk, Arg::B(*from))?;
                    // SAFETY: the buffer has `bytes` bytes that nobody writes now.
                    let message = unsafe { std::slice::from_raw_parts(from, bytes) }.to_vec();
                    queues[edge.0 as usize].push_back(message);
                    (from, bytes)
                }
                Step::Run { kernel, args, node } => {
                    self.compute(walk, &*walk.code[kernel.0 as usize], args, node)?;
                    let output = args.last().copied().unwrap_or(Arg::B(BufferId(u32::MAX)));
                    self.value(walk, output)?
                }
            };
            // SAFETY: as above: so many bytes of this seat's own memory, or of weights.
            let value = unsafe { std::slice::from_raw_parts(left.0, left.1) };
            look(Seen { thread: self.index, step: self.at, value });
            self.at += 1;
        }
        Ok(self.at > first)
    }

    fn compute(
        &mut self,
        walk: &Walk<'_>,
        code: &dyn Executable,
        args: &[Arg],
        node: &str,
    ) -> Result<(), RunError> {
        let device = || walk.plan.devices[self.thread.device.0 as usize].name.clone();
        let mut pointers = vec![];
        for arg in args {
            pointers.push(self.find(walk, *arg)?);
        }
        if code.shared_bytes() > 0 {
            let shared = self.shared.at(0, code.shared_bytes());
            pointers.push(shared.map_err(|cause| RunError::Memory { device: device(), cause })?);
        }
        let (pointers, scratch) = (Pointers(&pointers), Pointers(&[self.scratch.start()]));
        let (syms, own) = (walk.syms, self.thread.scratch_bytes as usize);
        let failed = |cause: TeamError| {
            ended(Cause::Kernel {
                at: Place { device: device(), step: self.at, what: node.to_owned() },
                cause,
            })
        };
        let body = |units, worker: usize| {
            let (pointers, scratch) = (&pointers, &scratch);
            // SAFETY: the verifier has seen that arguments have the kernel's types and that what lives at once
            // does not overlap; each worker has its own scratch.
            unsafe { code.run(pointers.0, syms, units, scratch.0[0].add(worker * own)) };
        };
        self.team.run(code.units(syms), body).map_err(failed)
    }

    fn find(&self, walk: &Walk<'_>, arg: Arg) -> Result<*mut u8, RunError> {
        match arg {
            Arg::B(id) if self.in_slots.contains_key(&id) => Ok(self.in_slots[&id].start()),
            arg => argument(walk.plan, arg, &self.arena, &self.states, walk.weights),
        }
    }

    /// Where a value lies, and how many bytes it has.
    fn value(&self, walk: &Walk<'_>, arg: Arg) -> Result<(*mut u8, usize), RunError> {
        let at = self.find(walk, arg)?;
        Ok((at, Measure::new(type_of(walk.plan, arg), walk.plan)?.bytes(walk.syms)))
    }
}

fn type_of(plan: &Plan, arg: Arg) -> &TensorType {
    match arg {
        Arg::B(id) => &plan.buffers[id.0 as usize].ty,
        Arg::S(id) => &plan.states[id.0 as usize].ty,
        Arg::W(id) => &plan.weights[id.0 as usize].ty,
    }
}

fn ended(cause: Cause) -> RunError {
    RunError::Ended(Shared::new(Verdict { cause, waits: vec![] }))
}

/// Pointers that a team's workers may look at.
struct Pointers<'a>(&'a [*mut u8]);
// SAFETY: workers split what they write by units, and scratch by worker; what they share is the kernels' business.
unsafe impl Sync for Pointers<'_> {}
