//! A device thread whose device is a team of the host's own threads: all lies in one memory.
use super::steps::{Deed, Memory, Place, Ready, Resolved, resolve};
use super::{Ends, Seat, Weights};
use crate::error::{Cause, RunError};
use crate::memory::{Span, Taken};
use crate::sync::Shared;
use crate::{Arena, ArenaError, Executable, Team};
use ir::plan::{Plan, Thread};
use std::time::Instant;

/// A team's memory, its ends of edges, its steps.
pub(super) struct Near {
    device: String,
    threads: usize,
    own: Resolved,
    syms: Vec<i64>,
    scratch: Arena,
    scratch_bytes: usize,
    /// What the steps' pointers point into.
    memory: Memory,
}

// SAFETY: the pointers go into the team's own arenas and ends of edges, which move with it, and into weights that
// nobody writes.
unsafe impl Send for Near {}

impl Near {
    /// Allocates the device's memory, all of it resident from here on, and resolves its steps.
    pub(super) fn new(
        plan: &Plan,
        thread: &Thread,
        code: &[Option<Shared<dyn Executable>>],
        weights: &Weights,
        ends: Ends,
    ) -> Result<Near, RunError> {
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
        Ok(Near {
            device: device.name.clone(),
            threads: device.threads as usize,
            own: resolve(plan, thread, code, &memory, ends)?,
            syms: vec![0; plan.symbols.len()],
            scratch: allocate(thread.scratch_bytes * u64::from(device.threads))?,
            scratch_bytes: thread.scratch_bytes as usize,
            memory,
        })
    }

    /// Where the memory lies that was allocated for it.
    pub(super) fn taken(&self) -> Taken {
        let Memory { arena, states, shared, .. } = &self.memory;
        let arenas = [arena, states, shared, &self.scratch];
        Taken::Here(arenas.map(|arena| Span::at(arena.start(), arena.bytes())).into())
    }

    /// Takes rounds until the run ends.
    pub(super) fn rounds(&mut self, seat: &Seat) -> Result<(), Cause> {
        let team = Team::new(self.threads);
        let mut team = team.map_err(|cause| Cause::Team { device: self.device.clone(), cause })?;
        seat.rounds(|round| self.round(&mut team, seat, round))
    }

    /// Takes a round's steps, and says whether another may follow.
    fn round(&mut self, team: &mut Team, seat: &Seat, round: u32) -> Result<bool, Cause> {
        let Near { own, syms, scratch, scratch_bytes, .. } = self;
        let Seat { watch, number, clock, recorder } = seat;
        let Resolved { steps, readers, writers, slots } = own;
        let base = Shares(scratch.start());
        let place = || seat.place();
        let passed = |cause| Cause::Edge { at: place(), cause };
        let row = recorder.as_ref().map(|recorder| recorder.begin());
        for (at, Ready { deed, frees }) in steps.iter_mut().enumerate() {
            if !watch.takes_step(*number, round, at) {
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
                    if let (Some(clock), Some(start)) = (clock, start) {
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

/// Arguments that a team's workers may look at.
struct Args<'a>(&'a [*mut u8]);
/// The scratch of a team, a share for each worker.
struct Shares(*mut u8);
// SAFETY: workers split what they write by units, and scratch by worker; what they share is the kernels' business.
unsafe impl Sync for Args<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shares {}
