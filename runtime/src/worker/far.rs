//! A device thread whose device is an accelerator: messages are copied there and back, and between them it is asked to
//! run all the steps at once.
use super::steps::{Measure, Tells, find_end, listed};
use super::{Ends, Seat, Weights};
use crate::error::{Cause, RunError};
use crate::memory::Taken;
use crate::team::told;
use crate::{Accelerator, DeviceError, EdgeError, Reader, Writer};
use ir::plan::{Arg, BufferId, Plan, Step, Thread};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// A symbol that is greater makes a round a long one.
const FEW: i64 = 16;
/// Steps of a long round that run together.
const TOGETHER: usize = 32;

/// An accelerator, its ends of edges, its steps.
pub(super) struct Far {
    accelerator: Box<dyn Accelerator>,
    held_bytes: u64,
    deeds: Vec<(Range<usize>, Deed)>,
    readers: Vec<Reader>,
    writers: Vec<Writer>,
    syms: Vec<i64>,
}

/// What some steps ask for.
enum Deed {
    Recv { reader: usize, to: BufferId, tells: Option<Tells>, measure: Measure },
    Run,
    Send { writer: usize, from: BufferId, measure: Measure },
}

/// Why a step was not taken.
enum Failed {
    Edge(EdgeError),
    Device(DeviceError),
    Message { found: usize, expected: usize },
}

impl From<EdgeError> for Failed {
    fn from(cause: EdgeError) -> Failed {
        Failed::Edge(cause)
    }
}

impl From<DeviceError> for Failed {
    fn from(cause: DeviceError) -> Failed {
        Failed::Device(cause)
    }
}

impl Far {
    /// Lets the accelerator take its memory and the weights, and resolves the steps that are messages. Those that run
    /// are asked for together, or `one_by_one`.
    pub(super) fn new(
        plan: &Plan,
        thread: &Thread,
        mut accelerator: Box<dyn Accelerator>,
        weights: &Weights,
        ends: Ends,
        one_by_one: bool,
    ) -> Result<Far, RunError> {
        let (at_reader, readers) = listed(ends.readers);
        let (at_writer, writers) = listed(ends.writers);
        let measure = |id: ir::plan::EdgeId| Measure::new(&plan.edges[id.0 as usize].ty, plan);
        let mut deeds: Vec<(Range<usize>, Deed)> = vec![];
        for (at, step) in thread.steps.iter().enumerate() {
            let deed = match step {
                Step::Recv { edge, to } => Deed::Recv {
                    reader: find_end(&at_reader, *edge, thread)?,
                    to: *to,
                    tells: Tells::new(&plan.edges[edge.0 as usize], plan)?,
                    measure: measure(*edge)?,
                },
                Step::Run { .. } => match deeds.last_mut() {
                    Some((steps, Deed::Run)) if !one_by_one => {
                        steps.end = at + 1;
                        continue;
                    }
                    _ => Deed::Run,
                },
                Step::Send { edge, from } => Deed::Send {
                    writer: find_end(&at_writer, *edge, thread)?,
                    from: *from,
                    measure: measure(*edge)?,
                },
            };
            deeds.push((at..at + 1, deed));
        }
        let load = AssertUnwindSafe(|| {
            accelerator.load(plan, thread, (**weights).as_ref())?;
            Ok(accelerator.held_bytes())
        });
        let loaded = catch_unwind(load).unwrap_or_else(|payload| {
            Err(DeviceError::Other(format!("panicked while it was loaded: {}", told(&*payload))))
        });
        let device = || plan.devices[thread.device.0 as usize].name.clone();
        let held_bytes = loaded.map_err(|cause| RunError::Device { device: device(), cause })?;
        Ok(Far { accelerator, held_bytes, deeds, readers, writers, syms: vec![0; plan.symbols.len()] })
    }

    /// What the accelerator has taken.
    pub(super) fn taken(&self) -> Taken {
        Taken::There(self.held_bytes)
    }

    /// Takes rounds until the run ends.
    pub(super) fn rounds(&mut self, seat: &Seat) -> Result<(), Cause> {
        seat.rounds(|round| self.round(seat, round))
    }

    /// Takes a round's steps, and says whether another may follow. Of steps that run together the watch is told the
    /// first alone: who is stuck is named by it, and the accelerator says of none when it is done. So a round of many
    /// tokens runs in pieces.
    fn round(&mut self, seat: &Seat, round: u32) -> Result<bool, Cause> {
        let Far { accelerator, deeds, readers, writers, syms, .. } = self;
        let Seat { watch, number, clock, recorder } = seat;
        let row = recorder.as_ref().map(|recorder| recorder.begin());
        for (steps, deed) in &*deeds {
            if !watch.takes_step(*number, round, steps.start) {
                return Ok(false);
            }
            let start = clock.as_ref().map(|_| Instant::now());
            let mut taken = match deed {
                Deed::Recv { reader, to, tells, measure } => {
                    let received = readers[*reader].recv(|message| {
                        tells.iter().for_each(|tells| tells.learn(message.len(), syms));
                        let (found, expected) = (message.len(), measure.bytes(syms));
                        match found == expected {
                            true => Ok(accelerator.write(*to, message)?),
                            false => Err(Failed::Message { found, expected }),
                        }
                    });
                    received.unwrap_or_else(|cause| Err(cause.into()))
                }
                Deed::Run if steps.len() > TOGETHER && syms.iter().any(|n| *n > FEW) => {
                    // What takes long is waited for piece by piece: each is a sign of life.
                    let mut done = Ok(());
                    for at in steps.clone().step_by(TOGETHER) {
                        if at > steps.start && !watch.takes_step(*number, round, at) {
                            return Ok(false);
                        }
                        let piece = at..steps.end.min(at + TOGETHER);
                        done = accelerator.run(piece, syms).and_then(|()| accelerator.wait());
                        if done.is_err() {
                            break;
                        }
                    }
                    done.map_err(Failed::from)
                }
                Deed::Run => accelerator.run(steps.clone(), syms).map_err(Failed::from),
                Deed::Send { writer, from, measure } => {
                    let sent = writers[*writer].try_send(|slot| {
                        let bytes = measure.bytes(syms).min(slot.len());
                        accelerator.read(Arg::B(*from), &mut slot[..bytes])?;
                        Ok(bytes)
                    });
                    sent.map(drop)
                }
            };
            if seat.keeps_times() && !matches!(deed, Deed::Send { .. }) {
                // What a step leaves under way would else count as the next one's; a read leaves nothing.
                taken = taken.and_then(|()| Ok(accelerator.wait()?));
            }
            taken.map_err(|failed| failed.at(seat))?;
            if let (Deed::Run, Some(clock), Some(start)) = (deed, clock, start) {
                clock.add(steps.start, start.elapsed());
            }
            if let Some(row) = &row {
                row.mark(steps.end);
            }
        }
        if let Some(recorder) = recorder {
            recorder.end();
        }
        Ok(true)
    }
}

impl Failed {
    fn at(self, seat: &Seat) -> Cause {
        let at = seat.place();
        match self {
            Failed::Edge(cause) => Cause::Edge { at, cause },
            Failed::Device(cause) => Cause::Device { at, cause },
            Failed::Message { found, expected } => Cause::Message { at, found, expected },
        }
    }
}
