//! `recip`: one over each point.
use super::unary::pointwise_unary;

pointwise_unary!(Recip {}, "recip", |_, x| crate::expr::f32(1.0) / x, |_, x| 1.0 / x);
