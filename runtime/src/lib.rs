//! Runs a plan: device threads with worker teams, joined by message edges, each over one arena.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `sync`, `bell` | the standard library's threads and locks, or loom's; waiting for a condition |
//! | [`edge`] | a bounded queue of byte messages with one writer and one reader |
//! | [`team`] | the threads inside one device, over which one kernel's units are split |
//! | [`arena`] | one allocation per device, in which buffers are offsets |
//! | [`device`] | what a device runs: compiled kernels behind one trait; accelerators behind another |
//! | `engine` | what drives a device: a team, or an accelerator |
//! | [`pages`] | which page of the KV cache holds which tokens of which sequence |
//! | `clock`, [`Record`] | what kernels took in all; when each step was taken; where that is asked for |
//! | `worker`, `session` | one device thread; all of a plan's, with the host that feeds them |
//! | [`walk()`] | a plan's steps one by one on the caller's thread, for looking at every value |
//! | [`Watch`], `vigil` | how far each device is and how the run ended; finding the device that is stuck |
//! | `replica` | what the host does for one of several copies of a model |
//! | [`memory`] | what memory this process really has |
//! | [`Answers`] | what a step gives the host |
//! | [`generate`] | from logits to text: choosing a token, and knowing when to stop |
#![deny(missing_docs)]
// Sessions and workers, which use much of the rest, are in no model.
#![cfg_attr(loom, allow(dead_code))]

mod answers;
pub mod arena;
mod bell;
#[cfg(not(loom))]
mod clock;
pub mod device;
pub mod edge;
mod engine;
mod error;
pub mod generate;
pub mod memory;
pub mod pages;
#[cfg(not(loom))]
mod record;
#[cfg(not(loom))]
mod replica;
#[cfg(not(loom))]
mod session;
mod sync;
pub mod team;
#[cfg(not(loom))]
mod vigil;
#[cfg(not(loom))]
mod walk;
mod watch;
#[cfg(not(loom))]
mod worker;

pub use answers::{Answers, Row};
pub use arena::{Arena, ArenaError};
pub use device::accelerator::{Accelerator, DeviceError};
pub use device::{Executable, Extent};
pub use edge::{EdgeCounters, EdgeError, EdgeFault, Monitor, Reader, Role, Writer, edge};
pub use engine::Engine;
pub use error::{Cause, Place, RunError, Verdict, Wait};
pub use generate::sampler::{SampleError, Sampler, SamplerOptions};
#[cfg(not(loom))]
pub use generate::sequence::Sequence;
pub use generate::stops::Stops;
pub use pages::{NO_PAGE, Pages, PagesError};
#[cfg(not(loom))]
pub use record::{HostDeed, Record, Round};
#[cfg(not(loom))]
pub use session::{Batch, Session, Times};
pub use team::{Team, TeamError};
#[cfg(not(loom))]
pub use walk::{Feed, Seen, walk};
pub use watch::{Progress, Watch};
#[cfg(not(loom))]
pub use worker::Weights;
