//! `softcap`: `cap * tanh(x / cap)`, which keeps each point within ±cap and leaves small ones alone.
use super::unary::pointwise_unary;
use crate::expr::f32;

pointwise_unary!(
    Softcap {
        /// What no result exceeds.
        cap: f32 = 30.0
    },
    "softcap",
    |op, x| f32(op.cap) * (x / f32(op.cap)).tanh(),
    |op, x| f64::from(op.cap) * (x / f64::from(op.cap)).tanh()
);
