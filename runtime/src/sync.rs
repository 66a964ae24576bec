//! Threads, locks and atomics: the standard library's in life, loom's under model checking.
//! No other file of this crate names `std::sync` or `std::thread`.

#[cfg(loom)]
pub(crate) use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
};
#[cfg(not(loom))]
pub(crate) use std::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
};

/// Statistics order nothing, so they stay outside the model: loom would only try more interleavings.
pub(crate) mod counter {
    pub(crate) use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
}

/// What is shared between threads but never moved by them: causes of failure, type texts.
pub(crate) type Shared<T> = std::sync::Arc<T>;

/// Takes a lock whose data no panic can leave half-changed, so that poison says nothing.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The standard cell behind loom's interface, which lets loom see every access.
#[cfg(not(loom))]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    pub(crate) fn with_mut<R>(&self, change: impl FnOnce(*mut T) -> R) -> R {
        change(self.0.get())
    }
}

/// Tries every interleaving of `body` that interrupts its threads at most twice where they could have gone on;
/// nearly every known fault of such code needs no more, and all interleavings would take hours.
#[cfg(all(test, loom))]
pub(crate) fn model(body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(body);
}
