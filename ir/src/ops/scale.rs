//! `scale`: each point times a number.
use super::unary::pointwise_unary;
use crate::expr::f32;

pointwise_unary!(
    Scale {
        /// The factor.
        by: f32 = 0.125
    },
    "scale",
    |op, x| x * f32(op.by),
    |op, x| x * f64::from(op.by)
);
