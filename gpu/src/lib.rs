//! Kernels for GPUs, and the devices that run them.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `emit`, `halves` | a typed emitter over cubecl's IR; half floats by their bits |
//! | `tree`, `values` | the loop tree of a body, emitted |
//! | `kernels` | what is written by hand: products, attention, the cache, embeddings |
//! | `program`, `lower` | a kernel before it is compiled; from a plan's kernel to its launches |
//! | [`ceilings`] | what a device can do at most |
//! | [`Kept`] | machine code of an earlier start |
//! | [`Make`], [`driver`] | what GPUs are made of; what their drivers take beside plans |
//! | `machine` | a device that runs a plan's thread, whatever drives it |
//! | [`vulkan`] | devices that Vulkan finds |
//! | [`cuda`] | NVIDIA's devices: machine code by NVRTC, memory, a stream, recorded steps |
pub mod ceilings;
pub mod cuda;
mod emit;
mod halves;
mod kept;
mod kernels;
mod lower;
mod machine;
mod make;
mod program;
mod tree;
mod values;
pub mod vulkan;

pub use kept::Kept;
pub use lower::check;
pub use make::{Make, driver, driver_of_another};
