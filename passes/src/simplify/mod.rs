//! Simplification: fewer nodes that mean the same.
pub(crate) mod constants;
pub(crate) mod duplicates;
pub(crate) mod identities;
pub(crate) mod unused;
