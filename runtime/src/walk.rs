//! Walks a plan once on the caller's thread, so that one can look at every value: for checking, not for speed.
//!
//! The code, the memory and the messages are those of a session. Only the order in which devices take turns is
//! another: each goes on until it waits for a message that nobody has sent yet.
use crate::device::accelerator::{Accelerator, DeviceError};
use crate::engine::Engine;
use crate::error::{Cause, Place, RunError, Verdict};
use crate::session::check_engines;
use crate::sync::Shared;
use crate::worker::{Measure, Weights, argument};
use crate::{Arena, Executable, Team};
use ir::plan::{Arg, BufferId, End, KernelId, Plan, Step, Thread};
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

/// Takes every step of a plan once, from fresh memory, and shows each. `engines` has one for each of the plan's threads,
/// `syms` a value for each of its symbols; every edge from the host carries one message.
pub fn walk(
    plan: &Plan,
    engines: Vec<Engine>,
    weights: &Weights,
    syms: &[i64],
    feed: Feed<'_>,
    look: &mut dyn FnMut(Seen<'_>),
) -> Result<(), RunError> {
    check_engines(plan, &engines, weights)?;
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
    let step = Walk { plan, weights, syms };
    let seats = plan.threads.iter().enumerate().zip(engines);
    let seats = seats.map(|((index, thread), engine)| Seat::new(&step, index, thread, engine));
    let mut seats = seats.collect::<Result<Vec<_>, _>>()?;
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
#[derive(Clone, Copy)]
struct Walk<'a> {
    plan: &'a Plan,
    weights: &'a Weights,
    syms: &'a [i64],
}

impl Walk<'_> {
    fn bytes(&self, arg: Arg) -> Result<usize, RunError> {
        let ty = match arg {
            Arg::B(id) => &self.plan.buffers[id.0 as usize].ty,
            Arg::S(id) => &self.plan.states[id.0 as usize].ty,
            Arg::W(id) => &self.plan.weights[id.0 as usize].ty,
        };
        Ok(Measure::new(ty, self.plan)?.bytes(self.syms))
    }
}

/// A device, and how far it is.
struct Seat<'a> {
    index: usize,
    thread: &'a Thread,
    at: usize,
    site: Box<dyn Site + 'a>,
}

/// Where the values of a device lie, and what computes them. A step is named by its place among the thread's.
trait Site {
    fn put(&mut self, step: usize, to: BufferId, message: &[u8]) -> Result<(), RunError>;
    fn compute(&mut self, step: usize, kernel: KernelId, args: &[Arg]) -> Result<(), RunError>;
    /// The first bytes of a value.
    fn value(&mut self, step: usize, arg: Arg, bytes: usize) -> Result<Vec<u8>, RunError>;
}

impl<'a> Seat<'a> {
    fn new(walk: &Walk<'a>, index: usize, thread: &'a Thread, engine: Engine) -> Result<Seat<'a>, RunError> {
        let site: Box<dyn Site + 'a> = match engine {
            Engine::Team(code) => Box::new(Near::new(walk, thread, code)?),
            Engine::Accelerator(accelerator) => Box::new(Far::new(walk, thread, accelerator)?),
        };
        Ok(Seat { index, thread, at: 0, site })
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
            let (at, site) = (self.at, &mut self.site);
            let value = match step {
                Step::Recv { edge, to } => {
                    let Some(message) = queues[edge.0 as usize].pop_front() else { break };
                    let (found, expected) = (message.len() as u64, walk.bytes(Arg::B(*to))? as u64);
                    if found != expected {
                        return Err(RunError::Mismatch { what: "bytes of a message", found, expected });
                    }
                    site.put(at, *to, &message)?;
                    message
                }
                Step::Send { edge, from } => {
                    let message = site.value(at, Arg::B(*from), walk.bytes(Arg::B(*from))?)?;
                    queues[edge.0 as usize].push_back(message.clone());
                    message
                }
                Step::Run { kernel, args, .. } => {
                    site.compute(at, *kernel, args)?;
                    let output = args.last().copied().unwrap_or(Arg::B(BufferId(u32::MAX)));
                    site.value(at, output, walk.bytes(output)?)?
                }
            };
            look(Seen { thread: self.index, step: at, value: &value });
            self.at += 1;
        }
        Ok(self.at > first)
    }
}

/// Where a run stands, for errors.
fn place(walk: &Walk<'_>, thread: &Thread, step: usize) -> Place {
    let device = walk.plan.devices[thread.device.0 as usize].name.clone();
    let what = match &thread.steps[step] {
        Step::Run { node, .. } => node.clone(),
        Step::Recv { edge, .. } | Step::Send { edge, .. } => edge.to_string(),
    };
    Place { device, step, what }
}

/// Memory of the host, and a team.
struct Near<'a> {
    walk: Walk<'a>,
    thread: &'a Thread,
    code: Vec<Option<Shared<dyn Executable>>>,
    team: Team,
    arena: Arena,
    states: Arena,
    scratch: Arena,
    shared: Arena,
    /// What lies in slots of edges elsewhere; here messages are copied, so each has a place of its own.
    in_slots: HashMap<BufferId, Arena>,
}

impl<'a> Near<'a> {
    fn new(
        walk: &Walk<'a>,
        thread: &'a Thread,
        code: Vec<Option<Shared<dyn Executable>>>,
    ) -> Result<Near<'a>, RunError> {
        let device = &walk.plan.devices[thread.device.0 as usize];
        let memory = |cause| RunError::Memory { device: device.name.clone(), cause };
        let ended = |cause| ended(Cause::Team { device: device.name.clone(), cause });
        let own = walk.plan.buffers.iter().filter(|b| b.slot.is_some() && b.device == thread.device);
        let in_slots = own.map(|b| Ok((b.id, Arena::new(b.bytes as usize).map_err(memory)?)));
        Ok(Near {
            walk: *walk,
            thread,
            code,
            team: Team::new(device.threads as usize).map_err(ended)?,
            arena: Arena::new(thread.arena_bytes as usize).map_err(memory)?,
            states: Arena::new(thread.state_bytes as usize).map_err(memory)?,
            scratch: Arena::new((thread.scratch_bytes * u64::from(device.threads)) as usize)
                .map_err(memory)?,
            shared: Arena::new(thread.shared_bytes as usize).map_err(memory)?,
            in_slots: in_slots.collect::<Result<_, RunError>>()?,
        })
    }

    fn find(&self, arg: Arg) -> Result<*mut u8, RunError> {
        match arg {
            Arg::B(id) if self.in_slots.contains_key(&id) => Ok(self.in_slots[&id].start()),
            arg => argument(self.walk.plan, arg, &self.arena, &self.states, self.walk.weights),
        }
    }
}

impl Site for Near<'_> {
    fn put(&mut self, _: usize, to: BufferId, message: &[u8]) -> Result<(), RunError> {
        let to = self.find(Arg::B(to))?;
        // SAFETY: the message is as long as the buffer, and nothing else points there while this thread writes.
        unsafe { std::ptr::copy_nonoverlapping(message.as_ptr(), to, message.len()) };
        Ok(())
    }

    fn compute(&mut self, step: usize, kernel: KernelId, args: &[Arg]) -> Result<(), RunError> {
        let at = place(&self.walk, self.thread, step);
        let missing = || RunError::NoCode {
            device: at.device.clone(),
            kernel: self.walk.plan.kernels[kernel.0 as usize].name.clone(),
        };
        let code = self.code[kernel.0 as usize].clone().ok_or_else(missing)?;
        let mut pointers = args.iter().map(|arg| self.find(*arg)).collect::<Result<Vec<_>, _>>()?;
        if code.shared_bytes() > 0 {
            let shared = self.shared.at(0, code.shared_bytes());
            pointers.push(shared.map_err(|cause| RunError::Memory { device: at.device.clone(), cause })?);
        }
        let (pointers, scratch) = (Pointers(&pointers), Pointers(&[self.scratch.start()]));
        let (syms, own) = (self.walk.syms, self.thread.scratch_bytes as usize);
        let body = |units, worker: usize| {
            let (pointers, scratch) = (&pointers, &scratch);
            // SAFETY: the verifier has seen that arguments have the kernel's types and that what lives at once
            // does not overlap; each worker has its own scratch.
            unsafe { code.run(pointers.0, syms, units, scratch.0[0].add(worker * own)) };
        };
        self.team.run(code.units(syms), body).map_err(|cause| ended(Cause::Kernel { at, cause }))
    }

    fn value(&mut self, _: usize, arg: Arg, bytes: usize) -> Result<Vec<u8>, RunError> {
        // SAFETY: the value has `bytes` bytes, of this site's own memory or of weights, that nobody writes now.
        Ok(unsafe { std::slice::from_raw_parts(self.find(arg)?, bytes) }.to_vec())
    }
}

/// A device with a memory of its own.
struct Far<'a> {
    walk: Walk<'a>,
    thread: &'a Thread,
    accelerator: Box<dyn Accelerator>,
}

impl<'a> Far<'a> {
    fn new(
        walk: &Walk<'a>,
        thread: &'a Thread,
        mut accelerator: Box<dyn Accelerator>,
    ) -> Result<Far<'a>, RunError> {
        let device = || walk.plan.devices[thread.device.0 as usize].name.clone();
        let loaded = accelerator.load(walk.plan, thread, (**walk.weights).as_ref());
        loaded.map_err(|cause| RunError::Device { device: device(), cause })?;
        Ok(Far { walk: *walk, thread, accelerator })
    }

    fn failed(&self, step: usize, cause: DeviceError) -> RunError {
        ended(Cause::Device { at: place(&self.walk, self.thread, step), cause })
    }
}

impl Site for Far<'_> {
    fn put(&mut self, step: usize, to: BufferId, message: &[u8]) -> Result<(), RunError> {
        self.accelerator.write(to, message).map_err(|cause| self.failed(step, cause))
    }

    fn compute(&mut self, step: usize, _: KernelId, _: &[Arg]) -> Result<(), RunError> {
        self.accelerator.run(step..step + 1, self.walk.syms).map_err(|cause| self.failed(step, cause))
    }

    fn value(&mut self, step: usize, arg: Arg, bytes: usize) -> Result<Vec<u8>, RunError> {
        let mut value = vec![0; bytes];
        self.accelerator.read(arg, &mut value).map_err(|cause| self.failed(step, cause))?;
        Ok(value)
    }
}

fn ended(cause: Cause) -> RunError {
    RunError::Ended(Shared::new(Verdict { cause, waits: vec![] }))
}

/// Pointers that a team's workers may look at.
struct Pointers<'a>(&'a [*mut u8]);
// SAFETY: workers split what they write by units, and scratch by worker; what they share is the kernels' business.
unsafe impl Sync for Pointers<'_> {}
