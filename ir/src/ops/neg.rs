//! `neg`: the negative, point by point.
use super::unary::pointwise_unary;

pointwise_unary!(Neg {}, "neg", |_, x| -x, |_, x| -x);
