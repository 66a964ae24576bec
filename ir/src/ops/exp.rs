//! `exp`: e to the power of each point.
use super::unary::pointwise_unary;

pointwise_unary!(Exp {}, "exp", |_, x| x.exp(), |_, x| x.exp());
