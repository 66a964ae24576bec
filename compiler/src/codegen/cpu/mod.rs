//! The CPU backend: kernels written by hand, and fused bodies compiled by Cranelift.
mod body;
mod clif;
mod jit;
mod lower;
mod math;
mod memory;
mod rope;
mod rows;
mod values;
pub(crate) mod weights;

pub use body::{BodyEpilogue, BodyExecutable, compile_body, compile_epilogue, loop_tree};
pub use jit::Jit;
pub use lower::lower;
pub(super) use lower::target;
