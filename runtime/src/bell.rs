//! Waiting for a condition that another thread makes true: spin a little, then sleep at no cost.
//!
//! The rule: whoever may make the condition true does so and *then* calls [`Bell::ring`].
//! A wake-up cannot be lost: the sleeper announces itself before it looks a last time, the ringer looks for
//! sleepers after the condition holds, and between the two steps of each stands a sequentially consistent
//! fence, so at least one of them sees the other.
use crate::sync::{AtomicUsize, Condvar, Mutex, Ordering, fence, lock};
use std::time::{Duration, Instant};

/// How long a waiter polls without giving up its core: most waits inside a decode step end sooner.
#[cfg(not(loom))]
const SPIN: Duration = Duration::from_micros(5);
/// How long it then polls while yielding, so that on a busy machine the awaited thread gets the core.
#[cfg(not(loom))]
const YIELD: Duration = Duration::from_micros(200);

pub(crate) struct Bell {
    asleep: AtomicUsize,
    door: Mutex<()>,
    rung: Condvar,
}

impl Bell {
    pub(crate) fn new() -> Self {
        Bell { asleep: AtomicUsize::new(0), door: Mutex::new(()), rung: Condvar::new() }
    }

    /// Returns true once `ready` does, false when `patience` has passed without it.
    pub(crate) fn wait(&self, patience: Option<Duration>, ready: impl Fn() -> bool) -> bool {
        let start = Instant::now();
        if spin(start, &ready) {
            return true;
        }
        let mut guard = lock(&self.door);
        self.asleep.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let met = loop {
            if ready() {
                break true;
            }
            guard = match patience.map(|p| p.saturating_sub(start.elapsed())) {
                None => self.rung.wait(guard).unwrap_or_else(|e| e.into_inner()),
                Some(Duration::ZERO) => break false,
                Some(left) => self.rung.wait_timeout(guard, left).unwrap_or_else(|e| e.into_inner()).0,
            };
        };
        self.asleep.fetch_sub(1, Ordering::Relaxed);
        met
    }

    /// Wakes whoever sleeps; a fence and a load when nobody does.
    pub(crate) fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) > 0 {
            // A sleeper holds the door from announcing itself until it waits; passing through it means the
            // notification cannot fall between its last look and its sleep.
            drop(lock(&self.door));
            self.rung.notify_all();
        }
    }
}

#[cfg(not(loom))]
fn spin(start: Instant, ready: &impl Fn() -> bool) -> bool {
    loop {
        for _ in 0..32 {
            if ready() {
                return true;
            }
            std::hint::spin_loop();
        }
        match start.elapsed() {
            e if e > YIELD => return false,
            e if e > SPIN => crate::sync::thread::yield_now(),
            _ => {}
        }
    }
}

/// Polling adds interleavings and no behaviour, so the model goes straight to sleep.
#[cfg(loom)]
fn spin(_: Instant, ready: &impl Fn() -> bool) -> bool {
    ready()
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::sync::{Arc, AtomicBool, model, thread};

    #[test]
    fn a_sleeper_hears_the_bell() {
        model(|| {
            let shared = Arc::new((Bell::new(), AtomicBool::new(false)));
            let theirs = shared.clone();
            let ringer = thread::spawn(move || {
                theirs.1.store(true, Ordering::Relaxed);
                theirs.0.ring();
            });
            assert!(shared.0.wait(None, || shared.1.load(Ordering::Relaxed)));
            ringer.join().unwrap();
        });
    }

    #[test]
    fn one_ring_wakes_every_sleeper() {
        model(|| {
            let shared = Arc::new((Bell::new(), AtomicBool::new(false)));
            let theirs = shared.clone();
            let sleeper = thread::spawn(move || theirs.0.wait(None, || theirs.1.load(Ordering::Relaxed)));
            let theirs = shared.clone();
            let ringer = thread::spawn(move || {
                theirs.1.store(true, Ordering::Relaxed);
                theirs.0.ring();
            });
            shared.0.wait(None, || shared.1.load(Ordering::Relaxed));
            assert!(sleeper.join().unwrap());
            ringer.join().unwrap();
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn patience_ends() {
        let start = Instant::now();
        assert!(!Bell::new().wait(Some(Duration::from_millis(5)), || false));
        assert!(start.elapsed() >= Duration::from_millis(5));
    }
}
