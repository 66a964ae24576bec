//! From a model file to a plan and its code.
pub mod codegen;
mod error;
pub mod import;
pub mod tokenizer;

pub use error::ImportError;
