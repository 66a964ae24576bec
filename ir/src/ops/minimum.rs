//! `minimum`: the lesser of two tensors, point by point, with broadcasting; the other side of a NaN.
use super::binary::pointwise_binary;

pointwise_binary!(Minimum, "minimum", |a, b| a.min(b), |a: f32, b: f32| a.min(b));
