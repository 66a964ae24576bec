//! `tanh`: the hyperbolic tangent, point by point.
use super::unary::pointwise_unary;

pointwise_unary!(Tanh {}, "tanh", |_, x| x.tanh(), |_, x| x.tanh());
