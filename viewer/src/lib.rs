//! Shows what the compiler did, and what the machine is doing.
//!
//! - [`document`]: what files say: graphs of passes, a plan, traces, numbers. [`layout`]: where it is drawn.
//! - [`html`]: one page that holds it all.
//! - [`heddle`]: asks the compiler. [`live`]: listens to a run. [`wake`]: how both call for attention.
//! - [`panels`]: the window. None of the others knows of windows.
#![deny(missing_docs)]

mod colours;
pub mod document;
pub mod heddle;
pub mod html;
pub mod layout;
pub mod live;
pub mod panels;
mod scratch;
pub mod wake;

#[cfg(test)]
#[path = "../tests/bundle/mod.rs"]
mod bundle;
