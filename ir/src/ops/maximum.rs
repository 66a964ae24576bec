//! `maximum`: the greater of two tensors, point by point, with broadcasting; the other side of a NaN.
use super::binary::pointwise_binary;

pointwise_binary!(Maximum, "maximum", |a, b| a.max(b), |a: f32, b: f32| a.max(b));
