//! What can go wrong while a plan runs.
use crate::device::accelerator::DeviceError;
use crate::sync::Shared;
use crate::{ArenaError, EdgeError, PagesError, Role, SampleError, TeamError};
use ir::plan::Edge;
use std::fmt;
use std::time::Duration;

/// Why a plan did not run, or a step was not taken.
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
    /// An accelerator could not be made ready.
    #[error("{device}: {cause}")]
    Device {
        /// The device's name.
        device: String,
        /// What it said.
        cause: DeviceError,
    },
    /// A team lacks code for what its steps run.
    #[error("{device}: found no code for kernel {kernel}, expected some for every kernel that its steps run")]
    NoCode {
        /// The device's name.
        device: String,
        /// The kernel's name.
        kernel: String,
    },
    /// A thread could not be started.
    #[error("{device}: cannot start its threads: {reason}")]
    Threads {
        /// The device's name.
        device: String,
        /// What the system said.
        reason: String,
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
    /// The run is over, now or since an earlier step.
    #[error("{0}")]
    Ended(Shared<Verdict>),
    /// The KV cache has no room.
    #[error(transparent)]
    Pages(#[from] PagesError),
    /// No token could be chosen.
    #[error(transparent)]
    Sample(#[from] SampleError),
}

/// How a run ended.
#[derive(Debug)]
pub struct Verdict {
    /// What went wrong first.
    pub cause: Cause,
    /// Who waited for another device just then.
    pub waits: Vec<Wait>,
}

/// What ends a run.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// A kernel failed.
    #[error("{at}: {cause}")]
    Kernel {
        /// Where.
        at: Place,
        /// What happened.
        cause: TeamError,
    },
    /// A device's thread panicked outside its kernels.
    #[error("{at}: the thread panicked: {message}")]
    Panicked {
        /// Where.
        at: Place,
        /// What the panic said.
        message: String,
    },
    /// An accelerator failed.
    #[error("{at}: {cause}")]
    Device {
        /// Where it told so: of steps that it was asked to run together, the first. What failed is this or was asked
        /// for before.
        at: Place,
        /// What happened.
        cause: DeviceError,
    },
    /// A device's team could not be started.
    #[error("{device}: {cause}")]
    Team {
        /// The device's name.
        device: String,
        /// What the system said.
        cause: TeamError,
    },
    /// A message did not pass.
    #[error("{at}: {cause}")]
    Edge {
        /// Where.
        at: Place,
        /// What happened.
        cause: EdgeError,
    },
    /// A message is not as long as its type makes it.
    #[error("{at}: found {found} bytes, expected {expected}")]
    Message {
        /// Where it was received.
        at: Place,
        /// Its bytes.
        found: usize,
        /// What they must be.
        expected: usize,
    },
    /// The host could not send or receive.
    #[error("the host: {0}")]
    Host(EdgeError),
    /// A device took no step for as long as the deadline of an edge at which another thread waited for it.
    #[error("{at}: stuck, no step for {still:.1?}; its thread cannot be ended and is left behind")]
    Stuck {
        /// Where it is.
        at: Place,
        /// For how long.
        still: Duration,
    },
    /// Nobody took a step for as long as any edge's deadline, and everybody waits for another.
    #[error("nobody took a step for {still:.1?}: the threads wait in a circle")]
    Circle {
        /// For how long.
        still: Duration,
    },
}

/// A step of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The device's name.
    pub device: String,
    /// Which of its steps, counted from 0.
    pub step: usize,
    /// What the step does: the path of its node, or a message.
    pub what: String,
}

/// A thread that waits at an edge for another one.
#[derive(Clone, Debug, PartialEq)]
pub struct Wait {
    /// The edge.
    pub edge: Shared<Edge>,
    /// The end that waits.
    pub end: Role,
    /// The name of the device that waits, or `the host`.
    pub waiter: String,
    /// For whom.
    pub other: String,
    /// The number of the message that does not pass.
    pub message: u64,
    /// For how long.
    pub waited: Duration,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, step {} ({})", self.device, self.step, self.what)
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Wait { edge, end, waiter, other, message, waited } = self;
        let Edge { id, name, ty, .. } = &**edge;
        match end {
            Role::Reader => write!(f, "{waiter} waited {waited:.1?} for message {message} from {other}")?,
            Role::Writer => {
                write!(f, "{waiter} waited {waited:.1?} for room for message {message} to {other}")?
            }
        }
        write!(f, " at {id} ({name}: {ty})")
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)?;
        self.waits.iter().try_for_each(|wait| write!(f, "; {wait}"))
    }
}
