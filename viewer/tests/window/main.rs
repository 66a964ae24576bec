//! The window: clicked through by the names of its controls, and its pictures.
//!
//! `UPDATE_SNAPSHOTS=1` accepts new pictures, which lie in `viewer/tests/snapshots`; look at them first.
#[path = "../bundle/mod.rs"]
mod bundle;
#[path = "../generated/mod.rs"]
mod generated;

mod change;
mod graph;
mod live;
mod plan;
mod stage;
mod two;
