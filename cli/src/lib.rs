//! What the binary `heddle` is made of: one module per subcommand, and what they share.
//!
//! It is a library so that tests of whole models find their files as a user's command would, by [`cache`].
/// Says something on standard error: a line that nobody has to hear.
macro_rules! note {
    ($($part:tt)*) => { $crate::output::note(format_args!($($part)*)) };
}

mod answer;
pub mod bench;
pub mod cache;
mod calibrate;
pub mod chat;
mod choices;
mod chosen;
pub mod compile;
pub mod devices;
pub mod diff;
pub mod edit;
pub mod eval;
pub mod explain;
mod fit;
mod hints;
pub mod inspect;
pub mod interrupt;
mod load;
pub mod models;
mod numerics;
pub mod output;
mod placed;
mod placement;
mod progress;
mod prompt;
pub mod pull;
pub mod rm;
pub mod run;
pub mod simulate;
mod spill;
pub mod tokenize;
pub mod trace;
pub mod verify;
pub mod view;
mod watch;
pub mod why;
