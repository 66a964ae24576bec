//! What the binary `heddle` is made of: one module per subcommand, and what they share.
//!
//! It is a library so that tests of whole models find their files as a user's command would, by [`cache`].
pub mod cache;
pub mod devices;
pub mod inspect;
pub mod interrupt;
pub mod models;
pub mod output;
mod progress;
pub mod pull;
pub mod rm;
pub mod tokenize;
