//! What can go wrong while a plan runs.
use crate::{ArenaError, EdgeError, PagesError, SampleError, TeamError};

/// Why a run ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The plan names what it does not hold; a verified plan does not.
    #[error("the plan is unsound: {0}")]
    Unsound(String),
    /// The code does not belong to the plan, or the weights do not.
    #[error("{what}: found {found}, expected {expected}")]
    Mismatch {
        /// What does not fit.
        what: &'static str,
        /// How many there are.
        found: u64,
        /// How many the plan says.
        expected: u64,
    },
    /// A device got no memory.
    #[error("{device}: {cause}")]
    Memory {
        /// The device's name.
        device: String,
        /// What the system said.
        cause: ArenaError,
    },
    /// A thread could not be started.
    #[error("{device}: cannot start its threads: {reason}")]
    Threads {
        /// The device's name.
        device: String,
        /// What the system said.
        reason: String,
    },
    /// A kernel failed.
    #[error("{device}, step {step} ({node}): {cause}")]
    Kernel {
        /// The device's name.
        device: String,
        /// Which of its steps.
        step: usize,
        /// The node's path.
        node: String,
        /// What happened.
        cause: TeamError,
    },
    /// A message did not pass.
    #[error("{at}: {cause}")]
    Edge {
        /// The device and step, or the host.
        at: String,
        /// What happened.
        cause: EdgeError,
    },
    /// A batch that the plan has no room for, or that makes no sense.
    #[error("{what}: found {found}, expected {expected}")]
    Batch {
        /// What is wrong.
        what: &'static str,
        /// What was given.
        found: i64,
        /// What can be.
        expected: String,
    },
    /// The KV cache has no room.
    #[error(transparent)]
    Pages(#[from] PagesError),
    /// No token could be chosen.
    #[error(transparent)]
    Sample(#[from] SampleError),
}
