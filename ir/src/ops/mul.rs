//! `mul`: the product of two tensors, point by point, with broadcasting.
use super::binary::pointwise_binary;

pointwise_binary!(Mul, "mul", |a, b| a * b, |a: f32, b: f32| a * b);
