//! The kernels of the small plans, and what befalls one of them.
use crate::plans::{Built, Deed, WIDTH, top_k};
use ir::plan::Step;
use runtime::Executable;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What befalls a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// One of its workers panics.
    Panic,
    /// The device's thread panics before any worker begins.
    PanicOutside,
    /// One of its workers blocks until it is released.
    Block,
    /// The device's thread is gone without a word, as if something had killed it.
    #[cfg(target_os = "linux")]
    Vanish,
}

/// A fault with its place and time.
pub(crate) struct Injection {
    pub(crate) fault: Fault,
    /// The kernel that it befalls.
    pub(crate) kernel: usize,
    /// In which round.
    pub(crate) round: u32,
    pub(crate) gate: Arc<Gate>,
}

/// Where blocked threads wait to be released.
#[derive(Default)]
pub(crate) struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub(crate) fn open(&self) {
        *self.is_open.lock().expect("nobody panics with it") = true;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let is_open = self.is_open.lock().expect("nobody panics with it");
        drop(self.opened.wait_while(is_open, |is_open| !*is_open).expect("nobody panics with it"));
    }
}

/// One step's kernel.
struct Kernel {
    deed: Deed,
    delay: Duration,
    injection: Option<Injection>,
    rounds: AtomicU32,
}

impl Kernel {
    /// The fault that befalls it now, if any.
    fn fault(&self) -> Option<&Injection> {
        self.injection.as_ref().filter(|i| self.rounds.load(Ordering::Relaxed) == i.round + 1)
    }
}

impl Executable for Kernel {
    fn units(&self, syms: &[i64]) -> usize {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        match self.fault().map(|i| i.fault) {
            Some(Fault::PanicOutside) => panic!("on purpose"),
            #[cfg(target_os = "linux")]
            Some(Fault::Vanish) => vanish(),
            _ => syms[self.deed.symbol()] as usize,
        }
    }

    fn scratch_bytes(&self) -> usize {
        0
    }

    unsafe fn run(&self, args: &[*mut u8], _: &[i64], units: Range<usize>, _: *mut u8) {
        std::thread::sleep(self.delay);
        // The last unit's worker is a helper where there is one.
        if let Some(i) = self.fault().filter(|_| units.start > 0 || units.len() > 7) {
            match i.fault {
                Fault::Panic => panic!("on purpose"),
                Fault::Block => return i.gate.pass(),
                _ => {}
            }
        }
        // SAFETY: the caller's promise: arguments are of the kernel's types.
        let row = |arg: usize, row: usize| unsafe { args[arg].cast::<[f32; WIDTH]>().add(row) };
        for unit in units {
            // SAFETY: as above, and the verifier holds the numbers within the table.
            unsafe {
                *row(args.len() - 1, unit) = match self.deed {
                    Deed::Gather(_) => *row(0, *args[1].cast::<i32>().add(unit) as usize),
                    Deed::Peaks => *row(0, unit),
                    Deed::TopK => top_k(*row(0, unit)),
                    Deed::Add => std::array::from_fn(|i| (*row(0, unit))[i] + (*row(1, unit))[i]),
                };
            }
        }
    }
}

/// Ends this thread alone, with nothing of it dropped.
#[cfg(target_os = "linux")]
fn vanish() -> usize {
    // SAFETY: nobody joins a device's thread that has not left, so its stack stays; nothing on it is borrowed by
    // another thread, for no kernel runs.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("the thread is gone")
}

/// Code for every kernel of a plan; `delay` says how long each takes.
pub(crate) fn code(
    built: &Built,
    mut injection: Option<Injection>,
    mut delay: impl FnMut() -> Duration,
) -> Vec<Arc<dyn Executable>> {
    let kernel = |(index, deed): (usize, &Deed)| {
        let injection = injection.take_if(|i| i.kernel == index);
        let rounds = AtomicU32::new(0);
        Arc::new(Kernel { deed: *deed, delay: delay(), injection, rounds }) as Arc<dyn Executable>
    };
    built.deeds.iter().enumerate().map(kernel).collect()
}

/// Where a kernel runs: the device's name, the step and the node.
pub(crate) fn place(built: &Built, kernel: usize) -> (String, usize, String) {
    for thread in &built.plan.threads {
        for (index, step) in thread.steps.iter().enumerate() {
            if let Step::Run { kernel: k, node, .. } = step
                && k.0 as usize == kernel
            {
                return (built.plan.devices[thread.device.0 as usize].name.clone(), index, node.clone());
            }
        }
    }
    panic!("kernel {kernel} runs nowhere")
}
