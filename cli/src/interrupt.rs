//! Ctrl-C: what a command has begun is tidied up, and the process leaves with exit code 130; or an answer
//! ends and the process stays.
use crate::output::INTERRUPTED;
use anyhow::Context;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

type Deed = Box<dyn FnOnce() + Send>;

static DEEDS: Mutex<Vec<(u64, Deed)>> = Mutex::new(Vec::new());

/// Whether an answer is being given, and whether it was told to stop.
static ANSWERING: AtomicBool = AtomicBool::new(false);
static STOPPED: AtomicBool = AtomicBool::new(false);

fn deeds() -> MutexGuard<'static, Vec<(u64, Deed)>> {
    DEEDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes over the interrupt signal; called once, by `main`.
pub fn install() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        if ANSWERING.load(Ordering::Relaxed) && !STOPPED.swap(true, Ordering::Relaxed) {
            return;
        }
        tidy_up();
        note!("interrupted");
        leave();
    })
    .context("cannot listen for interrupts")
}

fn tidy_up() {
    for (_, deed) in deeds().drain(..) {
        deed();
    }
}

/// Ends the process at once: what libraries do when it ends is not for while their threads work, as a GPU's driver
/// does that is just compiling.
fn leave() -> ! {
    let _ = std::io::stdout().flush();
    // SAFETY: it ends the process, and touches nothing of it.
    unsafe { libc::_exit(INTERRUPTED.into()) }
}

/// Takes the end of standard input for an interrupt: it is held by the process that this one works for.
pub(crate) fn end_with_standard_input() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        tidy_up();
        leave();
    });
}

/// Has `deed` done if an interrupt comes while the returned value lives.
pub fn on_interrupt(deed: impl FnOnce() + Send + 'static) -> OnInterrupt {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    deeds().push((id, Box::new(deed)));
    OnInterrupt(id)
}

/// Keeps a deed registered; see [`on_interrupt`].
#[must_use]
pub struct OnInterrupt(u64);

impl Drop for OnInterrupt {
    fn drop(&mut self) {
        deeds().retain(|(id, _)| *id != self.0);
    }
}

/// While the returned value lives, the first interrupt asks for a stop and only the second leaves.
/// One at a time.
pub(crate) fn stoppable() -> Stoppable {
    STOPPED.store(false, Ordering::Relaxed);
    ANSWERING.store(true, Ordering::Relaxed);
    Stoppable(())
}

/// See [`stoppable`].
#[must_use]
pub(crate) struct Stoppable(());

impl Stoppable {
    pub(crate) fn is_stopped(&self) -> bool {
        STOPPED.load(Ordering::Relaxed)
    }
}

impl Drop for Stoppable {
    fn drop(&mut self) {
        ANSWERING.store(false, Ordering::Relaxed);
    }
}
