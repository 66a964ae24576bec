//! Machine code for kernels, backend by backend.
pub mod cpu;
