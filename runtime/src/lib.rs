//! Runs a plan: device threads with worker teams, joined by message edges, each over one arena.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `sync`, `bell` | the standard library's threads and locks, or loom's; waiting for a condition |
//! | [`edge`] | a bounded queue of byte messages with one writer and one reader |
//! | [`team`] | the threads inside one device, over which one kernel's units are split |
#![deny(missing_docs)]

mod bell;
pub mod edge;
mod sync;
pub mod team;

pub use edge::{EdgeCounters, EdgeError, EdgeFault, EdgeSpec, Monitor, Reader, Writer, edge};
pub use team::{Team, TeamError};
