//! Fusion: fewer kernels, and fewer values stored between them.
pub(crate) mod chains;
pub(crate) mod epilogues;
pub(crate) mod siblings;
