//! From logits to text: choosing a token, and knowing when to stop.
pub mod sampler;
pub mod stops;
#[cfg(not(loom))]
pub mod sequence;
