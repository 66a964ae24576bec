//! Model files: what they say of themselves, and their tensors.
pub mod gguf;
