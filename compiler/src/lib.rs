//! From a model file to a plan and its code.
//!
//! [`import`] opens a checkpoint, [`models`] writes it as a step graph, the passes make that a plan,
//! [`codegen`] the plan's kernels code. [`compile`] does all of it, [`Bundle`] keeps the result.
mod auto;
mod bundle;
pub mod chat;
pub mod codegen;
mod compile;
mod error;
pub mod import;
pub mod models;
pub mod numerics;
mod pack;
mod process;
pub mod tokenizer;
mod verify;

pub use auto::{Aim, Objective, compile_auto};
pub use bundle::{Bundle, Draft, Outline, hash, stamp};
pub use compile::{Compiled, Source, compile, compile_from, compile_over};
pub use error::{CompileError, ImportError, LowerError};
