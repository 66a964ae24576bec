//! The host's stopwatch: it finds the device that is stuck, and lets every other one take its time.
//!
//! Device threads wait without a deadline, for none of them can tell a stuck run from an idle one. Only the host
//! can, and only it has to: a run in which the host waits for nothing has no one to disappoint. So while it waits
//! it looks at all devices and edges every now and then:
//!
//! - An edge is overdue when one end has waited at it for its deadline, and the device at the other end has taken
//!   no step in this time and does not wait itself. That device is stuck. Steps that it takes begin the time anew,
//!   so that a long round is no fault; a device that waits is not at fault, the one that it waits for may be.
//! - Nobody is stuck who waits for the host. An idle session has nothing else.
//! - When nobody takes a step for as long as the longest deadline, something is wrong that the first rule did not
//!   say: a circle of waiting, which the verifier of plans leaves no room for.
//!
//! Time is counted in looks, none of them more than two ticks: while the whole process is stopped, or gets no
//! processor, nothing is overdue.
use crate::error::{Cause, RunError};
use crate::watch::Watch;
use crate::{Reader, Role, Writer};
use ir::plan::Plan;
use std::time::{Duration, Instant};

const ROLES: [Role; 2] = [Role::Writer, Role::Reader];

/// What the host remembers from one look to the next.
pub(crate) struct Vigil {
    tick: Duration,
    longest: Duration,
    looked: Instant,
    devices: Vec<Device>,
    /// By edge, the waits of writer and reader.
    waits: Vec<[Still; 2]>,
}

#[derive(Clone, Default)]
struct Device {
    still: Still,
    waits: bool,
    is_stuck: bool,
}

/// For how long a number has been the same.
#[derive(Clone, Default)]
struct Still {
    value: u64,
    lasted: Duration,
}

impl Still {
    fn see(&mut self, value: u64, passed: Duration) {
        let lasted = if value == self.value { self.lasted + passed } else { Duration::ZERO };
        *self = Still { value, lasted };
    }
}

impl Vigil {
    pub(crate) fn new(plan: &Plan) -> Vigil {
        let deadlines = || plan.edges.iter().map(|e| Duration::from_millis(e.deadline_ms.into()));
        let shortest = deadlines().min().unwrap_or_default();
        Vigil {
            tick: (shortest / 8).clamp(Duration::from_millis(1), Duration::from_millis(500)),
            longest: deadlines().max().unwrap_or_default(),
            looked: Instant::now(),
            devices: vec![Device::default(); plan.threads.len()],
            waits: vec![Default::default(); plan.edges.len()],
        }
    }

    /// Sends a message from the host; an error ends the run.
    pub(crate) fn send(
        &mut self,
        watch: &Watch,
        writer: &mut Writer,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), RunError> {
        let mut ended = None;
        writer.wait(self.tick, || self.goes_on(watch, &mut ended));
        match ended {
            Some(error) => Err(error),
            None => writer.send(fill).map(drop).map_err(|cause| watch.end(Cause::Host(cause))),
        }
    }

    /// Receives a message for the host; an error ends the run.
    pub(crate) fn recv<R>(
        &mut self,
        watch: &Watch,
        reader: &mut Reader,
        take: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, RunError> {
        let mut ended = None;
        reader.wait(self.tick, || self.goes_on(watch, &mut ended));
        match ended {
            Some(error) => Err(error),
            None => reader.recv(take).map_err(|cause| watch.end(Cause::Host(cause))),
        }
    }

    /// Waits until the threads of a run that was closed have left, but for those that are stuck.
    pub(crate) fn see_off(&mut self, watch: &Watch) {
        while !watch.empties(self.tick, |seat| !self.devices[seat].is_stuck) {
            self.look(watch);
            for device in self.devices.iter_mut().filter(|d| d.still.lasted >= self.longest) {
                device.is_stuck = true;
            }
        }
    }

    /// Looks whether somebody is stuck, and if so ends the run while the host still waits: its wait is part of
    /// the verdict.
    fn goes_on(&mut self, watch: &Watch, ended: &mut Option<RunError>) -> bool {
        self.look(watch);
        *ended = self.find(watch).map(|cause| watch.end(cause));
        ended.is_none()
    }

    /// Counts how long each device and each wait has been the same.
    fn look(&mut self, watch: &Watch) {
        let passed = self.looked.elapsed().min(2 * self.tick);
        self.looked = Instant::now();
        for (seat, device) in self.devices.iter_mut().enumerate() {
            device.still.see(watch.at(seat), passed);
            device.waits = false;
        }
        for (edge, waits) in watch.edges().iter().zip(&mut self.waits) {
            for (role, wait) in ROLES.into_iter().zip(waits) {
                let value = edge.wait(role).map_or(0, |since| since.get());
                wait.see(value, passed);
                if let Some(seat) = watch.seat(edge, role).filter(|_| value != 0) {
                    self.devices[seat].waits = true;
                }
            }
        }
    }

    fn find(&mut self, watch: &Watch) -> Option<Cause> {
        let stuck = self.overdue(watch).or_else(|| {
            let (mut present, still) = (self.devices.iter().enumerate(), self.stillness());
            present.position(|(_, d)| !d.waits).filter(|_| still >= self.longest)
        });
        if let Some(seat) = stuck {
            let device = &mut self.devices[seat];
            device.is_stuck = true;
            return Some(Cause::Stuck { at: watch.place(seat), still: device.still.lasted });
        }
        let still = self.stillness();
        (still >= self.longest).then_some(Cause::Circle { still })
    }

    /// The device that is longest still of those at overdue edges: where several are, one that was only slow to
    /// get a processor is not blamed for the one that is stuck.
    fn overdue(&self, watch: &Watch) -> Option<usize> {
        let mut found: Option<usize> = None;
        for (edge, waits) in watch.edges().iter().zip(&self.waits) {
            let deadline = Duration::from_millis(edge.edge().deadline_ms.into());
            for (role, wait) in ROLES.into_iter().zip(waits).filter(|(_, wait)| wait.value != 0) {
                let Some(seat) = watch.seat(edge, role.other()) else { continue };
                let Device { still, waits, .. } = &self.devices[seat];
                let is_worse = found.is_none_or(|f| self.devices[f].still.lasted < still.lasted);
                if !waits && wait.lasted.min(still.lasted) >= deadline && is_worse {
                    found = Some(seat);
                }
            }
        }
        found
    }

    /// For how long nobody has taken a step.
    fn stillness(&self) -> Duration {
        self.devices.iter().map(|d| d.still.lasted).min().unwrap_or_default()
    }
}
