//! Shows what the compiler did, and what the machine is doing.
//!
//! - [`document`]: what files say: graphs of passes, a plan, traces, numbers. [`layout`]: where it is drawn.
//! - [`html`]: one page that holds it all.
//!
//! None of these knows of windows.
#![deny(missing_docs)]

pub mod document;
pub mod html;
pub mod layout;
