//! Simplification: fewer nodes that mean the same.
pub(crate) mod duplicates;
pub(crate) mod unused;
