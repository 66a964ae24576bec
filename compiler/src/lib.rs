//! From a model file to a plan and its code.
mod error;
pub mod import;
pub mod tokenizer;

pub use error::ImportError;
