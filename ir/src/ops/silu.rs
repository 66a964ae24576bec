//! `silu`: `x * sigmoid(x)`, point by point (Elfwing et al., 2017).
use super::unary::pointwise_unary;

pointwise_unary!(Silu {}, "silu", |_, x| x.clone() * x.sigmoid(), |_, x| x / (1.0 + (-x).exp()));
