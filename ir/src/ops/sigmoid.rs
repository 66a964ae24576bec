//! `sigmoid`: `1 / (1 + exp(-x))`, point by point.
use super::unary::pointwise_unary;

pointwise_unary!(Sigmoid {}, "sigmoid", |_, x| x.sigmoid(), |_, x| 1.0 / (1.0 + (-x).exp()));
