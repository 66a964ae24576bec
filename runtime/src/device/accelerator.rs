//! A device with a memory and a queue of its own: what the thread that drives it asks of it, and how it fails.
use ir::plan::{Arg, BufferId, Plan, Thread};
use std::ops::Range;

/// A device that holds the values of its steps itself, and does what it is asked in order, if not at once.
///
/// [`Accelerator::load`] and [`Accelerator::held_bytes`] are called by who starts the session, everything else by the
/// device's own thread. That also drops it, unless the session does not start: which waits for what is under way and
/// gives all memory back. After an error or a panic nothing else is asked. What fails behind the call that asked for
/// it is told by a later call, at the latest by the next [`Accelerator::read`] or [`Accelerator::wait`].
///
/// Nobody can end a call from outside: one that never returns leaves its thread behind, as a kernel of a team does.
pub trait Accelerator: Send {
    /// Takes all memory that the plan states for `thread`, uploads the thread's weights, and finds what its steps
    /// name. `weights` is the packed file, in which a weight lies at its [`ir::plan::Weight::offset`]; it is not lent
    /// for longer. States are zero from here on.
    fn load(&mut self, plan: &Plan, thread: &Thread, weights: &[u8]) -> Result<(), DeviceError>;

    /// Copies a message into the first bytes of a buffer, behind everything asked before. May return before it is
    /// there; `bytes` is free again. They are at most as many as the buffer's.
    fn write(&mut self, to: BufferId, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Runs the kernels of consecutive steps of the thread, all of them [`ir::plan::Step::Run`], in order and behind
    /// everything asked before. May return before they are done. `syms` has a value for each symbol of the plan.
    ///
    /// A session that keeps no times asks for all the steps between two messages at once, and for the same ranges
    /// in every round, so that they can be recorded once and replayed; but in pieces in a round of many tokens, and one
    /// that keeps times asks for each by itself.
    fn run(&mut self, steps: Range<usize>, syms: &[i64]) -> Result<(), DeviceError>;

    /// Copies the first `into.len()` bytes of a buffer, or of another value of the plan, to the host once everything
    /// asked before is done, and returns when they are there.
    fn read(&mut self, from: Arg, into: &mut [u8]) -> Result<(), DeviceError>;

    /// Waits until everything that was asked is done.
    fn wait(&mut self) -> Result<(), DeviceError>;

    /// Bytes that it has taken on the device for this thread.
    fn held_bytes(&self) -> u64;
}

/// Why an accelerator did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// It answers no more, or there is none.
    #[error("the device is lost: {reason}; a new session can tell whether it has come back")]
    Lost {
        /// What its driver said.
        reason: String,
    },
    /// It has no room for what the plan states.
    #[error(
        "no room for {bytes} bytes of {what}{}; end what else runs there, or compile with a smaller context or \
         batch, or for more devices",
        free(*free_bytes)
    )]
    OutOfMemory {
        /// What the memory is for: weights, states, the arena.
        what: String,
        /// Bytes asked for.
        bytes: u64,
        /// Bytes that are free, where the device says.
        free_bytes: Option<u64>,
    },
    /// A kernel could not be made ready, or failed while it ran.
    #[error("kernel {name}: {reason}")]
    Kernel {
        /// The kernel's name in the plan.
        name: String,
        /// What happened.
        reason: String,
    },
    /// The plan asks for something that there is no code for, or that the device cannot do.
    #[error("{what} cannot be had on this device: {reason}; compile for a device that has it")]
    Unsupported {
        /// What was asked for.
        what: String,
        /// Why it cannot be.
        reason: String,
    },
    /// Anything else, in the words of who found it.
    #[error("{0}")]
    Other(String),
}

fn free(bytes: Option<u64>) -> String {
    bytes.map_or_else(String::new, |bytes| format!(", found {bytes} free"))
}
