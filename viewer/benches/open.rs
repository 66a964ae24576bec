//! How long it takes to open a graph.
fn main() {}
