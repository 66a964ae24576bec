//! Bodies: what an operator computes at one point of its output, in a small closed language.
//!
//! A backend that lowers [`Term`] lowers every operator, and fusion is substitution of one body
//! into another. There are two forms: [`Expr`], a shared tree that is easy to write, and [`Body`],
//! the same hash-consed into a DAG, which is what is stored, compared, printed and lowered.
//!
//! What the language says about the corners of f32:
//! - `min` and `max` return the other side when one is NaN; with two NaN, NaN.
//! - `<` and `<=` are false and `==` is false when a side is NaN.
//! - `round` is to nearest, ties to even; a cast from f32 to an integer truncates towards zero and
//!   saturates, and takes NaN to 0.
//! - `div` and `rem` of integers round towards minus infinity, and their right side is a positive constant.
//! - The arm of a `select` that is not taken is not evaluated: it may lie outside its input.
//! - A sum over nothing is 0, a maximum over nothing is minus infinity.
mod affine;
mod body;
pub mod bounds;
mod count;
mod interpret;
mod substitute;
mod text;

pub use body::{Body, Term, TermId};
pub use count::{Counts, count};
pub use interpret::{Point, Value, evaluate};
pub use substitute::{inline, open};

use crate::Dim;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Functions of one argument. `Not` is of bool, `Neg` and `Abs` of f32 or int, the rest of f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Unary {
    Neg,
    Abs,
    Sqrt,
    Exp,
    Log,
    Round,
    Not,
}

/// Functions of two arguments of one type. The first six are of f32 or int, `Rem` and the bitwise ones of int.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Min,
    Max,
    Rem,
    And,
    Or,
    Shl,
    Shr,
}

/// Comparisons of two f32 or two int, giving bool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Compare {
    Lt,
    Le,
    Eq,
}

/// Conversions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cast {
    /// int (or bool: 0 or 1) to f32.
    ToF32,
    /// f32 (or bool) to int.
    ToInt,
    /// The low 16 bits of an int, as f16 bits, to f32.
    F16Bits,
    /// The low 16 bits of an int, as bf16 bits, to f32.
    BF16Bits,
    /// The low 32 bits of an int, as f32 bits, to f32.
    F32Bits,
}

/// How a reduction joins values; f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Fold {
    Sum,
    Max,
}

/// A coordinate. The output's axes are `0..rank`; a reduction binds one of its own.
pub type Axis = u32;

/// An expression as one writes it: a handle to a shared tree.
#[derive(Clone, Debug)]
pub struct Expr(pub(crate) Rc<Tree>);

/// A node of the shared tree; like [`Term`], but with handles, and with an axis of its own for
/// every reduction ever made, so that nothing is captured when trees are put into one another.
#[derive(Debug)]
pub(crate) enum Tree {
    F32(f32),
    Int(i64),
    Axis(Axis),
    Size(Dim),
    Load { input: u32, at: Vec<Expr> },
    Hole(u32),
    Unary(Unary, Expr),
    Binary(Binary, Expr, Expr),
    Compare(Compare, Expr, Expr),
    Select(Expr, Expr, Expr),
    Cast(Cast, Expr),
    Reduce { fold: Fold, axis: Axis, over: Expr, body: Expr },
}

/// The first axis that a reduction may have; below are the axes of an output.
pub const FIRST_BOUND_AXIS: Axis = 16;

static NEXT_AXIS: AtomicU32 = AtomicU32::new(1 << 16);

pub(crate) fn fresh_axis() -> Axis {
    NEXT_AXIS.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn tree(tree: Tree) -> Expr {
    Expr(Rc::new(tree))
}

/// An axis of the output, as an int.
pub fn axis(axis: usize) -> Expr {
    assert!((axis as Axis) < FIRST_BOUND_AXIS, "an output has at most {FIRST_BOUND_AXIS} axes");
    tree(Tree::Axis(axis as Axis))
}

/// The output's axes `0..rank`.
pub fn axes(rank: usize) -> Vec<Expr> {
    (0..rank).map(axis).collect()
}

/// A dimension's value, as an int.
pub fn size(dim: &Dim) -> Expr {
    match dim.known() {
        Some(value) => int(value),
        None => tree(Tree::Size(dim.clone())),
    }
}

/// An int constant.
pub fn int(value: i64) -> Expr {
    tree(Tree::Int(value))
}

/// An f32 constant.
pub fn f32(value: f32) -> Expr {
    tree(Tree::F32(value))
}

/// The element of an input at coordinates: f32 for real dtypes (dequantised where quantised), int
/// for integer ones, bool for bool.
pub fn load(input: usize, at: impl IntoIterator<Item = Expr>) -> Expr {
    tree(Tree::Load { input: input as u32, at: at.into_iter().collect() })
}

/// The value that a hand kernel has accumulated for this point.
pub fn hole(index: usize) -> Expr {
    tree(Tree::Hole(index as u32))
}

/// `Σ body(k)` for `k` in `0..over`.
pub fn sum(over: Expr, body: impl FnOnce(Expr) -> Expr) -> Expr {
    reduce(Fold::Sum, over, body)
}

/// `max body(k)` for `k` in `0..over`.
pub fn max_over(over: Expr, body: impl FnOnce(Expr) -> Expr) -> Expr {
    reduce(Fold::Max, over, body)
}

/// A fold of `body(k)` for `k` in `0..over`.
pub fn reduce(fold: Fold, over: Expr, body: impl FnOnce(Expr) -> Expr) -> Expr {
    let axis = fresh_axis();
    let body = body(tree(Tree::Axis(axis)));
    tree(Tree::Reduce { fold, axis, over, body })
}

impl Expr {
    fn unary(self, op: Unary) -> Expr {
        tree(Tree::Unary(op, self))
    }
    fn binary(self, op: Binary, other: Expr) -> Expr {
        tree(Tree::Binary(op, self, other))
    }
    /// Absolute value.
    pub fn abs(self) -> Expr {
        self.unary(Unary::Abs)
    }
    /// Square root.
    pub fn sqrt(self) -> Expr {
        self.unary(Unary::Sqrt)
    }
    /// One over the square root.
    pub fn rsqrt(self) -> Expr {
        f32(1.0) / self.sqrt()
    }
    /// e to the power of this.
    pub fn exp(self) -> Expr {
        self.unary(Unary::Exp)
    }
    /// Natural logarithm.
    pub fn log(self) -> Expr {
        self.unary(Unary::Log)
    }
    /// To the nearest integral value, ties to even.
    pub fn round(self) -> Expr {
        self.unary(Unary::Round)
    }
    /// `1 / (1 + exp(-x))`.
    pub fn sigmoid(self) -> Expr {
        f32(1.0) / (f32(1.0) + (-self).exp())
    }
    /// Hyperbolic tangent as `1 - 2 / (exp(2x) + 1)`.
    pub fn tanh(self) -> Expr {
        f32(1.0) - f32(2.0) / ((f32(2.0) * self).exp() + f32(1.0))
    }
    /// The lesser.
    pub fn min(self, other: Expr) -> Expr {
        self.binary(Binary::Min, other)
    }
    /// The greater.
    pub fn max(self, other: Expr) -> Expr {
        self.binary(Binary::Max, other)
    }
    /// Bitwise and.
    pub fn and(self, other: Expr) -> Expr {
        self.binary(Binary::And, other)
    }
    /// Bitwise or.
    pub fn or(self, other: Expr) -> Expr {
        self.binary(Binary::Or, other)
    }
    /// Shift left.
    #[allow(clippy::should_implement_trait)]
    pub fn shl(self, by: i64) -> Expr {
        self.binary(Binary::Shl, int(by))
    }
    /// Shift right, arithmetic.
    #[allow(clippy::should_implement_trait)]
    pub fn shr(self, by: i64) -> Expr {
        self.binary(Binary::Shr, int(by))
    }
    /// Whether this is less.
    pub fn lt(self, other: Expr) -> Expr {
        tree(Tree::Compare(Compare::Lt, self, other))
    }
    /// Whether this is less or equal.
    pub fn le(self, other: Expr) -> Expr {
        tree(Tree::Compare(Compare::Le, self, other))
    }
    /// Whether the two are equal.
    pub fn equals(self, other: Expr) -> Expr {
        tree(Tree::Compare(Compare::Eq, self, other))
    }
    /// Of a bool: `yes` where it holds, else `no`; only the arm taken is evaluated.
    pub fn select(self, yes: Expr, no: Expr) -> Expr {
        tree(Tree::Select(self, yes, no))
    }
    /// Another type.
    pub fn cast(self, to: Cast) -> Expr {
        tree(Tree::Cast(to, self))
    }
}

macro_rules! operators {
    ($($Trait:ident $method:ident;)*) => {$(
        impl std::ops::$Trait for Expr {
            type Output = Expr;
            fn $method(self, other: Expr) -> Expr {
                self.binary(Binary::$Trait, other)
            }
        }
    )*};
}
operators! { Add add; Sub sub; Mul mul; Div div; Rem rem; }

impl std::ops::Neg for Expr {
    type Output = Expr;
    fn neg(self) -> Expr {
        self.unary(Unary::Neg)
    }
}

impl std::ops::Not for Expr {
    type Output = Expr;
    fn not(self) -> Expr {
        self.unary(Unary::Not)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square() -> Expr {
        let x = load(0, [axis(0)]);
        x.clone() * x
    }

    #[test]
    fn equal_reductions_are_one_term_wherever_they_stand() {
        let mean = || sum(int(4), |k| load(0, [axis(0), k]));
        let body = Body::new(&(mean() * (mean() + f32(1.0))));
        let folds = body.terms().iter().filter(|t| matches!(t, Term::Reduce { .. })).count();
        assert_eq!(folds, 1);
    }

    #[test]
    fn text_and_body_are_inverse() {
        let softmax = {
            let x = |k| load(0, [axis(0), k]);
            let max = max_over(size(&Dim::symbol("n")), x);
            let total = sum(size(&Dim::symbol("n")), |k| (x(k) - max.clone()).exp());
            (x(axis(1)) - max).exp() / total
        };
        for body in [Body::new(&softmax), Body::new(&square())] {
            let text = body.to_string();
            assert_eq!(Body::parse(&text).as_ref(), Ok(&body), "{text}");
        }
    }

    #[test]
    fn a_chain_of_sharing_stays_small() {
        let step = Body::new(&square());
        let chain = (0..40).fold(step.clone(), |chain, _| inline(&step, 1, 0, &chain, &[0], &[0]));
        assert!(chain.terms().len() < 50, "{} terms", chain.terms().len());
    }

    #[test]
    fn an_inlined_reduction_captures_no_axis() {
        let row_sum = Body::new(&sum(int(3), |k| load(0, [axis(0), k])));
        let total = Body::new(&sum(int(2), |k| load(0, [k])));
        let both = inline(&total, 0, 0, &row_sum, &[0], &[0]);
        let point = Point {
            at: &[],
            load: &|_, at| Some(Value::F32((at[0] * 10 + at[1]) as f32)),
            hole: &|_| Value::F32(0.0),
            size: &|_| 0,
        };
        assert_eq!(evaluate(&both, &point), Ok(Value::F32(36.0)), "{both}");
    }
}
