//! Runs a stranger's program on a thread of its own, within bounds of memory, stack and time.
//!
//! What a program allocates can only be bounded where it allocates, and an allocator may neither unwind nor
//! fail, for failing ends the process. So it does the third thing: a confined thread that wants more than it may
//! have stops there for good, and whoever waits for it is told. What it holds stays allocated, which is no
//! more than the bound.
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// What a program may hold at a time: sixty times what any template that we know of does.
pub(super) const BYTES_MAX: usize = 32 << 20;
/// In as many allocations. What it builds nests no deeper than this.
const BLOCKS_MAX: isize = 1 << 16;
/// Room for whoever walks what nests so deep, at most a kilobyte a level, four times over. Only what is
/// walked becomes resident.
const STACK_BYTES: usize = 256 << 20;
/// Why there is no result.
#[derive(Debug)]
pub(super) enum Stopped {
    Memory,
    Time,
    Panic,
    NoThread(std::io::Error),
}

/// Does `work` on a thread of its own and waits for it, but no longer than `time`. Only at its next allocation
/// does it notice that nobody waits any more.
pub(super) fn confined<T: Send + 'static>(
    time: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Stopped> {
    let (tell, told) = sync_channel(1);
    let is_given_up = Arc::new(AtomicBool::new(false));
    let watch = Watch { tell, is_given_up: is_given_up.clone() };
    let run = move || {
        ALLOWANCE.set(Allowance { bytes: BYTES_MAX as isize, blocks: BLOCKS_MAX, watch: &watch });
        let result = catch_unwind(AssertUnwindSafe(work));
        ALLOWANCE.set(Allowance::NONE);
        // Nobody listens if the time is up.
        let _ = watch.tell.try_send(Told::Done);
        result
    };
    let thread = thread::Builder::new().name("chat template".into()).stack_size(STACK_BYTES);
    let thread = thread.spawn(run).map_err(Stopped::NoThread)?;
    match told.recv_timeout(time) {
        Ok(Told::Done) => thread.join().and_then(|result| result).map_err(|_| Stopped::Panic),
        Ok(Told::WantsMore) => Err(Stopped::Memory),
        Err(RecvTimeoutError::Disconnected) => Err(Stopped::Panic),
        Err(RecvTimeoutError::Timeout) => {
            is_given_up.store(true, Ordering::Relaxed);
            Err(Stopped::Time)
        }
    }
}

enum Told {
    Done,
    WantsMore,
}

/// Between a confined thread and the one that waits for it.
struct Watch {
    tell: SyncSender<Told>,
    is_given_up: Arc<AtomicBool>,
}

/// What this thread may still allocate.
#[derive(Clone, Copy)]
struct Allowance {
    bytes: isize,
    blocks: isize,
    /// On the stack of the confined thread; null elsewhere, where nothing is counted.
    watch: *const Watch,
}

impl Allowance {
    const NONE: Allowance = Allowance { bytes: 0, blocks: 0, watch: ptr::null() };
}

thread_local! {
    // Neither begun lazily nor dropped, so that an allocator may look at it at any time.
    static ALLOWANCE: Cell<Allowance> = const { Cell::new(Allowance::NONE) };
}

/// Takes from the allowance of this thread, or gives back to it; does not return where it is used up.
fn charge(bytes: isize, blocks: isize) {
    let mut allowance = ALLOWANCE.get();
    // SAFETY: where it is not null, it points to what `confined` holds until it has set it to null.
    let Some(watch) = (unsafe { allowance.watch.as_ref() }) else { return };
    allowance.bytes = allowance.bytes.saturating_sub(bytes);
    allowance.blocks -= blocks;
    ALLOWANCE.set(allowance);
    let is_used_up = allowance.bytes < 0 || allowance.blocks < 0;
    // A panic comes to its own end, and may hold a lock while it is printed.
    if (is_used_up || watch.is_given_up.load(Ordering::Relaxed)) && !thread::panicking() {
        ALLOWANCE.set(Allowance::NONE);
        let _ = watch.tell.try_send(Told::WantsMore);
        loop {
            thread::park();
        }
    }
}

/// The system's allocator, which stops confined threads that want too much.
struct Charging;

#[global_allocator]
static ALLOCATOR: Charging = Charging;

// SAFETY: every call is handed on to the system's allocator as it came, or never returns.
unsafe impl GlobalAlloc for Charging {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        charge(layout.size() as isize, 1);
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        charge(layout.size() as isize, 1);
        // SAFETY: as our caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        charge(size as isize - layout.size() as isize, 0);
        // SAFETY: as our caller promises.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        charge(-(layout.size() as isize), -1);
        // SAFETY: as our caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn memory_is_counted_while_it_is_held() {
        let passing = || (0..1000).map(|i| vec![1_u8; 1 << 20][i]).map(usize::from).sum::<usize>();
        assert_eq!(confined(LONG, passing).unwrap(), 1000);
        let kept = || (0..1000).map(|_| vec![1_u8; 1 << 20]).collect::<Vec<_>>().len();
        assert!(matches!(confined(LONG, kept), Err(Stopped::Memory)));
        let at_once = || Vec::<u8>::with_capacity(1 << 60).len();
        assert!(matches!(confined(LONG, at_once), Err(Stopped::Memory)));
        let small = || (0..100_000).map(Box::new).collect::<Vec<_>>().len();
        assert!(matches!(confined(LONG, small), Err(Stopped::Memory)));
    }

    #[test]
    fn other_threads_are_not_counted() {
        confined(LONG, || thread::spawn(|| vec![1_u8; 2 * BYTES_MAX].len()).join().unwrap()).unwrap();
        assert_eq!(vec![1_u8; 2 * BYTES_MAX].len(), 2 * BYTES_MAX);
    }

    #[test]
    fn nobody_waits_longer_than_was_said() {
        let endless = || {
            loop {
                thread::sleep(Duration::from_millis(1));
                drop(Box::new(1));
            }
        };
        assert!(matches!(confined::<()>(Duration::from_millis(20), endless), Err(Stopped::Time)));
    }

    #[test]
    fn a_panic_is_told() {
        assert!(matches!(confined::<()>(LONG, || panic!("on purpose")), Err(Stopped::Panic)));
    }
}
