//! Memory: how long values live, and where in the arena they lie.
pub(crate) mod assign;
mod liveness;
