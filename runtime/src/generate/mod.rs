//! From logits to text: choosing a token, and knowing when to stop.
pub mod sampler;
#[cfg(not(loom))]
pub mod sequence;
pub mod stops;
