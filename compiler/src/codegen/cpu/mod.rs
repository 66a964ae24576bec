//! The CPU backend.
pub mod kernels;
mod lower;

pub use lower::{lower, target};
