//! The intermediate representation: graphs, types, operators and their bodies, quantised formats, plans.
//!
//! - [`graph`]: typed dataflow graphs. [`ty`]: dtypes and shapes. [`ops`]: the operators.
//! - [`text`]: the text form of a graph, and its reader.
//! - [`verify`]: what must hold of a graph. [`interpret`]: what it means.
//! - [`plan`]: what every device thread does. [`shard`]: how values are spread over devices.
//! - [`live`]: what a run tells those who watch it.
//! - [`work`]: what operators must do at least. [`topology`]: how fast machines do it.
//! - [`expr`]: what operators compute at a point. [`quant`]: block-quantised formats. [`tensor`]: host values.
//!
//! This crate does no I/O, starts no thread and knows no device.
#![deny(missing_docs)]

pub mod expr;
pub mod graph;
pub mod interpret;
pub mod live;
pub mod near;
pub mod ops;
mod part;
pub mod plan;
pub mod quant;
pub mod shard;
pub mod tensor;
pub mod text;
pub mod topology;
pub mod ty;
pub mod verify;
pub mod work;

pub use graph::{Graph, Node, NodeId};
pub use ops::{Class, Op, OpError};
pub use part::Part;
pub use tensor::Tensor;
pub use ty::{DType, Dim, Symbols, TensorType};
