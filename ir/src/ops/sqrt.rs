//! `sqrt`: the square root, point by point.
use super::unary::pointwise_unary;

pointwise_unary!(Sqrt {}, "sqrt", |_, x| x.sqrt(), |_, x| x.sqrt());
