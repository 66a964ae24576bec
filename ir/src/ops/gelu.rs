//! `gelu`: the Gaussian error linear unit in its tanh form, point by point (Hendrycks and Gimpel, 2016).
use super::unary::pointwise_unary;
use crate::expr::f32;

/// The square root of 2/π.
const ROOT: f64 = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
const CUBIC: f64 = 0.044715;

pointwise_unary!(
    Gelu {},
    "gelu",
    |_, x| {
        let cube = x.clone() * x.clone() * x.clone();
        let inner = f32(ROOT as f32) * (x.clone() + f32(CUBIC as f32) * cube);
        f32(0.5) * x * (f32(1.0) + inner.tanh())
    },
    |_, x| 0.5 * x * (1.0 + (ROOT * (x + CUBIC * x.powi(3))).tanh())
);
