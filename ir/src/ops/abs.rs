//! `abs`: the absolute value, point by point.
use super::unary::pointwise_unary;

pointwise_unary!(Abs {}, "abs", |_, x| x.abs(), |_, x| x.abs());
