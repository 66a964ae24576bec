//! How long the kernels of a device thread take, counted where somebody asked for it.
use crate::sync::counter::{AtomicU64, Relaxed};
use std::time::Duration;

/// For each step of a thread the nanoseconds that its kernel took, over all rounds. One thread adds; who takes
/// does so between rounds, when it has the last one's results.
pub(crate) struct Clock(Box<[AtomicU64]>);

impl Clock {
    pub(crate) fn new(steps: usize) -> Clock {
        Clock((0..steps).map(|_| AtomicU64::new(0)).collect())
    }

    pub(crate) fn add(&self, step: usize, time: Duration) {
        self.0[step].fetch_add(time.as_nanos() as u64, Relaxed);
    }

    /// The times since they were last taken.
    pub(crate) fn take(&self) -> Vec<Duration> {
        self.0.iter().map(|step| Duration::from_nanos(step.swap(0, Relaxed))).collect()
    }
}
