//! One device thread: it takes the plan's steps in order, and decides nothing.
mod far;
mod near;
mod steps;

use crate::clock::Clock;
use crate::error::{Cause, Place, RunError};
use crate::memory::Taken;
use crate::record::Recorder;
use crate::sync::{Arc, Shared};
use crate::team::told;
use crate::watch::Watch;
use crate::{Engine, Reader, Writer};
use far::Far;
use ir::plan::Plan;
use near::Near;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
pub(crate) use steps::{Measure, argument};

/// Bytes that stay where they are: packed weights, mapped or in memory.
pub type Weights = Shared<dyn AsRef<[u8]> + Send + Sync>;

/// A device thread's whole world: its memory, its ends of edges, its steps.
pub(crate) struct Worker {
    seat: Seat,
    hands: Hands,
}

/// A thread's place in the run, and who keeps its times.
pub(crate) struct Seat {
    pub(crate) watch: Arc<Watch>,
    /// Which of the plan's threads it is.
    pub(crate) number: usize,
    pub(crate) clock: Option<Shared<Clock>>,
    pub(crate) recorder: Option<Shared<Recorder>>,
}

/// A device's ends of edges, by edge.
#[derive(Default)]
pub(crate) struct Ends {
    pub(crate) readers: HashMap<u32, Reader>,
    pub(crate) writers: HashMap<u32, Writer>,
}

/// Who does what the steps say.
enum Hands {
    /// A team of the host's threads.
    Near(Near),
    /// An accelerator.
    Far(Far),
}

impl Worker {
    /// Takes the device's memory, all of it resident from here on, and resolves its steps.
    pub(crate) fn new(
        plan: &Plan,
        seat: Seat,
        engine: Engine,
        weights: &Weights,
        ends: Ends,
    ) -> Result<Worker, RunError> {
        let thread = &plan.threads[seat.number];
        let hands = match engine {
            Engine::Team(code) => Hands::Near(Near::new(plan, thread, &code, weights, ends)?),
            Engine::Accelerator(accelerator) => {
                Hands::Far(Far::new(plan, thread, accelerator, weights, ends, seat.keeps_times())?)
            }
        };
        Ok(Worker { seat, hands })
    }

    /// What it has taken for the device.
    pub(crate) fn taken(&self) -> Taken {
        match &self.hands {
            Hands::Near(near) => near.taken(),
            Hands::Far(far) => far.taken(),
        }
    }

    /// Takes steps, round after round, until the run ends. Whatever ends it here, a panic too, ends it for all.
    pub(crate) fn run(self) {
        let (watch, number) = (self.seat.watch.clone(), self.seat.number);
        // Declared first, so dropped last: who leaves has given its memory back.
        let _leaving = Leaving(&watch, number);
        let Worker { seat, mut hands } = self;
        let rounds = AssertUnwindSafe(|| match &mut hands {
            Hands::Near(near) => near.rounds(&seat),
            Hands::Far(far) => far.rounds(&seat),
        });
        let ended = catch_unwind(rounds)
            .unwrap_or_else(|payload| Err(Cause::Panicked { at: seat.place(), message: told(&*payload) }));
        if let Err(cause) = ended {
            watch.end(cause);
        }
    }
}

impl Seat {
    /// Where the thread is.
    fn place(&self) -> Place {
        self.watch.place(self.number)
    }

    /// Whether anybody asked for times.
    fn keeps_times(&self) -> bool {
        self.clock.is_some() || self.recorder.is_some()
    }

    /// Takes rounds for as long as `round` says that another may follow.
    fn rounds(&self, mut round: impl FnMut(u32) -> Result<bool, Cause>) -> Result<(), Cause> {
        let mut number = 0;
        while round(number)? {
            number = number.wrapping_add(1);
        }
        Ok(())
    }
}

/// Says that a thread left, however it did.
struct Leaving<'a>(&'a Watch, usize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}
