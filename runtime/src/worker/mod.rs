//! One device thread: it takes the plan's steps in order, and decides nothing.
mod steps;

use crate::clock::Clock;
use crate::error::{Cause, RunError};
use crate::memory::Span;
use crate::record::Recorder;
use crate::sync::{Arc, Shared};
use crate::team::told;
use crate::watch::Watch;
use crate::{Arena, ArenaError, Executable, Reader, Team, Writer};
use ir::plan::Plan;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;
use steps::{Deed, Memory, Place, Ready, Resolved, resolve};
pub(crate) use steps::{Measure, argument};

/// Bytes that stay where they are: packed weights, mapped or in memory.
pub type Weights = Shared<dyn AsRef<[u8]> + Send + Sync>;

/// A device thread's whole world: its memory, its ends of edges, its steps.
pub(crate) struct Worker {
    watch: Arc<Watch>,
    /// Which of the plan's threads this is.
    seat: usize,
    device: String,
    threads: usize,
    own: Resolved,
    syms: Vec<i64>,
    scratch: Arena,
    scratch_bytes: usize,
    clock: Option<Shared<Clock>>,
    recorder: Option<Shared<Recorder>>,
    /// What the steps' pointers point into.
    memory: Memory,
}

// SAFETY: the pointers go into the worker's own arenas and ends of edges, which move with it, and into weights that
// nobody writes.
unsafe impl Send for Worker {}

impl Worker {
    /// Allocates the device's memory, all of it resident from here on, and resolves its steps.
    pub(crate) fn new(
        plan: &Plan,
        (watch, seat): (Arc<Watch>, usize),
        code: &[Shared<dyn Executable>],
        weights: &Weights,
        ends: (HashMap<u32, Reader>, HashMap<u32, Writer>),
        (clock, recorder): (Option<Shared<Clock>>, Option<Shared<Recorder>>),
    ) -> Result<Worker, RunError> {
        let thread = &plan.threads[seat];
        let device = &plan.devices[thread.device.0 as usize];
        let allocate = |bytes: u64| -> Result<Arena, RunError> {
            let memory = |cause: ArenaError| RunError::Memory { device: device.name.clone(), cause };
            let mut arena = Arena::new(bytes as usize).map_err(memory)?;
            arena.prefault().map_err(memory)?;
            Ok(arena)
        };
        let memory = Memory {
            arena: allocate(thread.arena_bytes)?,
            states: allocate(thread.state_bytes)?,
            shared: allocate(thread.shared_bytes)?,
            weights: weights.clone(),
        };
        Ok(Worker {
            watch,
            seat,
            device: device.name.clone(),
            threads: device.threads as usize,
            own: resolve(plan, thread, code, &memory, ends)?,
            syms: vec![0; plan.symbols.len()],
            scratch: allocate(thread.scratch_bytes * u64::from(device.threads))?,
            scratch_bytes: thread.scratch_bytes as usize,
            clock,
            recorder,
            memory,
        })
    }

    /// Where the memory lies that was allocated for it.
    pub(crate) fn spans(&self) -> [Span; 4] {
        let Memory { arena, states, shared, .. } = &self.memory;
        [arena, states, shared, &self.scratch].map(|arena| Span::at(arena.start(), arena.bytes()))
    }

    /// Takes steps, round after round, until the run ends. Whatever ends it here, a panic too, ends it for all.
    pub(crate) fn run(self) {
        let (watch, seat, device) = (self.watch.clone(), self.seat, self.device.clone());
        // Declared first, so dropped last: who leaves has given its memory back.
        let _leaving = Leaving(&watch, seat);
        let mut worker = self;
        let rounds = AssertUnwindSafe(|| match Team::new(worker.threads) {
            Ok(mut team) => worker.rounds(&mut team),
            Err(cause) => Err(Cause::Team { device, cause }),
        });
        let ended = catch_unwind(rounds).unwrap_or_else(|payload| {
            Err(Cause::Panicked { at: watch.place(seat), message: told(&*payload) })
        });
        if let Err(cause) = ended {
            watch.end(cause);
        }
    }

    fn rounds(&mut self, team: &mut Team) -> Result<(), Cause> {
        let mut round = 0;
        while self.round(team, round)? {
            round = round.wrapping_add(1);
        }
        Ok(())
    }

    /// Takes a round's steps, and says whether another may follow.
    fn round(&mut self, team: &mut Team, round: u32) -> Result<bool, Cause> {
        let Worker { watch, seat, own, syms, scratch, scratch_bytes, clock, recorder, .. } = self;
        let Resolved { steps, readers, writers, slots } = own;
        let base = Shares(scratch.start());
        let place = || watch.place(*seat);
        let passed = |cause| Cause::Edge { at: place(), cause };
        let row = recorder.as_ref().map(|recorder| recorder.begin());
        for (at, Ready { deed, frees }) in steps.iter_mut().enumerate() {
            if !watch.takes_step(*seat, round, at) {
                return Ok(false);
            }
            match deed {
                Deed::Recv { reader, to, tells, measure } => {
                    let found = match *to {
                        Place::Slot(number) => {
                            let message = readers[*reader].take().map_err(passed)?;
                            slots[number] = message.cast::<u8>().cast_mut();
                            message.len()
                        }
                        Place::Fixed(to) => {
                            let copied = readers[*reader].recv(|message| {
                                // SAFETY: a message is at most as long as the edge's slots, and those are as long as the buffer.
                                unsafe { std::ptr::copy_nonoverlapping(message.as_ptr(), to, message.len()) };
                                message.len()
                            });
                            copied.map_err(passed)?
                        }
                    };
                    tells.iter().for_each(|tells| tells.learn(found, syms));
                    let expected = measure.bytes(syms);
                    if found != expected {
                        return Err(Cause::Message { at: place(), found, expected });
                    }
                }
                Deed::Run { code, args, in_slots, claims } => {
                    if let Some((writer, number)) = *claims {
                        slots[number] = writers[writer].claim().map_err(passed)?;
                    }
                    in_slots.iter().for_each(|(arg, number)| args[*arg] = slots[*number]);
                    let (args, syms) = (Args(args), &syms[..]);
                    let body = |units, worker| {
                        let (args, base) = (&args, &base);
                        // SAFETY: the verifier has seen that arguments have the kernel's types, that what lives at
                        // once does not overlap, and that slots are used only while they are this device's; each
                        // worker has its own scratch.
                        unsafe { code.run(args.0, syms, units, base.0.add(worker * *scratch_bytes)) };
                    };
                    let start = clock.as_ref().map(|_| Instant::now());
                    let done = team.run(code.units(syms), body);
                    if let (Some(clock), Some(start)) = (&*clock, start) {
                        clock.add(at, start.elapsed());
                    }
                    done.map_err(|cause| Cause::Kernel { at: place(), cause })?;
                }
                Deed::Send { writer, from, measure } => {
                    let (from, bytes) = (from.find(slots), measure.bytes(syms));
                    let sent = writers[*writer].send(|slot| {
                        let bytes = bytes.min(slot.len());
                        // SAFETY: the buffer is as long as a slot, and nobody writes it now.
                        slot[..bytes].copy_from_slice(unsafe { std::slice::from_raw_parts(from, bytes) });
                        bytes
                    });
                    sent.map_err(passed)?;
                }
                Deed::Publish { writer, measure } => {
                    writers[*writer].publish(measure.bytes(syms)).map_err(passed)?;
                }
            }
            frees.iter().for_each(|reader| readers[*reader].free());
            if let Some(row) = &row {
                row.mark(at + 1);
            }
        }
        if let Some(recorder) = recorder {
            recorder.end();
        }
        Ok(true)
    }
}

/// Says that a thread left, however it did.
struct Leaving<'a>(&'a Watch, usize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

/// Arguments that a team's workers may look at.
struct Args<'a>(&'a [*mut u8]);
/// The scratch of a team, a share for each worker.
struct Shares(*mut u8);
// SAFETY: workers split what they write by units, and scratch by worker; what they share is the kernels' business.
unsafe impl Sync for Args<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shares {}
