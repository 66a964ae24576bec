//! What the suites share: drawn values, comparison within tolerances, the fixtures.
pub mod compare;
pub mod draw;
pub mod examples;
pub mod fixtures;
pub mod on_gpu;
pub mod running;
