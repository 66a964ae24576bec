//! The intermediate representation: graphs, types, operators and their bodies, quantised formats, plans.
//!
//! - [`graph`]: typed dataflow graphs. [`ty`]: dtypes and shapes. [`ops`]: the operators.
//! - [`plan`]: what every device thread does.
//! - [`expr`]: what operators compute at a point. [`quant`]: block-quantised formats. [`tensor`]: host values.
//!
//! This crate does no I/O, starts no thread and knows no device.
#![deny(missing_docs)]

pub mod expr;
pub mod graph;
pub mod ops;
pub mod plan;
pub mod quant;
pub mod tensor;
pub mod ty;

pub use graph::{Graph, Node, NodeId};
pub use ops::{Class, Op, OpError};
pub use tensor::Tensor;
pub use ty::{DType, Dim, Symbols, TensorType};
