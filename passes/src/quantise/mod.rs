//! Where precision is given up for speed, as nodes of the graph.
pub(crate) mod activations;
