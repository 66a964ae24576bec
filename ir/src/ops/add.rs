//! `add`: the sum of two tensors, point by point, with broadcasting.
use super::binary::pointwise_binary;

pointwise_binary!(Add, "add", |a, b| a + b, |a: f32, b: f32| a + b);
