//! `log`: the natural logarithm, point by point.
use super::unary::pointwise_unary;

pointwise_unary!(Log {}, "log", |_, x| x.log(), |_, x| x.ln());
