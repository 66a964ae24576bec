//! Evaluates a body at one point: slow and obvious, f32 values, sums in f64.
use super::{Binary, Body, Cast, Compare, Fold, Term, TermId, Unary};
use crate::Dim;
use std::collections::HashMap;

/// A value of the body language.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    F32(f32),
    Int(i64),
    Bool(bool),
}

/// Where a body is evaluated.
pub struct Point<'a> {
    /// The output's coordinates.
    pub at: &'a [i64],
    /// The element of an input at coordinates; `None` if there is none.
    pub load: &'a dyn Fn(u32, &[i64]) -> Option<Value>,
    /// The value of a hole.
    pub hole: &'a dyn Fn(u32) -> Value,
    /// The value of a dimension.
    pub size: &'a dyn Fn(&Dim) -> i64,
}

/// The body's value at a point, or what went wrong: a load outside its input, or a type that does not fit.
pub fn evaluate(body: &Body, point: &Point<'_>) -> Result<Value, String> {
    let mut run = Run { body, point, bound: vec![], known: vec![HashMap::new()] };
    run.term(body.root())
}

struct Run<'a> {
    body: &'a Body,
    point: &'a Point<'a>,
    /// The open reductions' axes and coordinates, innermost last.
    bound: Vec<(u32, i64)>,
    /// Values by term: first those that use no bound axis, then those of each open reduction.
    known: Vec<HashMap<TermId, Value>>,
}

impl Run<'_> {
    fn term(&mut self, id: TermId) -> Result<Value, String> {
        let free = self.body.free_axes(id);
        let level = self.bound.iter().rposition(|b| free & (1 << b.0) != 0).map_or(0, |at| at + 1);
        if let Some(value) = self.known[level].get(&id) {
            return Ok(*value);
        }
        let value = self.compute(id)?;
        self.known[level].insert(id, value);
        Ok(value)
    }

    fn compute(&mut self, id: TermId) -> Result<Value, String> {
        let body = self.body;
        Ok(match body.term(id) {
            Term::F32(bits) => Value::F32(f32::from_bits(*bits)),
            Term::Int(v) => Value::Int(*v),
            Term::Size(d) => Value::Int((self.point.size)(d)),
            Term::Hole(h) => (self.point.hole)(*h),
            Term::Axis(a) => match self.bound.iter().rev().find(|b| b.0 == *a) {
                Some(bound) => Value::Int(bound.1),
                None => Value::Int(*self.point.at.get(*a as usize).ok_or("an axis that the output lacks")?),
            },
            Term::Load { input, at } => {
                let at = at.iter().map(|&t| self.int(t)).collect::<Result<Vec<_>, _>>()?;
                (self.point.load)(*input, &at)
                    .ok_or_else(|| format!("input {input} has no element at {at:?}"))?
            }
            Term::Unary(op, a) => unary(*op, self.term(*a)?)?,
            Term::Cast(to, a) => cast(*to, self.term(*a)?)?,
            Term::Binary(op, a, b) => binary(*op, self.term(*a)?, self.term(*b)?)?,
            Term::Compare(op, a, b) => compare(*op, self.term(*a)?, self.term(*b)?)?,
            Term::Select(c, a, b) => match self.term(*c)? {
                Value::Bool(true) => self.term(*a)?,
                Value::Bool(false) => self.term(*b)?,
                other => return Err(format!("a condition is a bool, got {other:?}")),
            },
            Term::Reduce { fold, axis, over, body } => {
                let over = self.int(*over)?;
                Value::F32(self.reduce(*fold, *axis, over, *body)?)
            }
        })
    }

    fn reduce(&mut self, fold: Fold, axis: u32, over: i64, body: TermId) -> Result<f32, String> {
        let mut sum = 0f64;
        let mut max = f32::NEG_INFINITY;
        for k in 0..over {
            self.bound.push((axis, k));
            self.known.push(HashMap::new());
            let value = self.term(body);
            self.known.pop();
            self.bound.pop();
            match value? {
                Value::F32(v) => {
                    sum += f64::from(v);
                    max = max.max(v);
                }
                other => return Err(format!("a reduction is over f32, got {other:?}")),
            }
        }
        Ok(if fold == Fold::Sum { sum as f32 } else { max })
    }

    fn int(&mut self, id: TermId) -> Result<i64, String> {
        match self.term(id)? {
            Value::Int(v) => Ok(v),
            other => Err(format!("a coordinate is an int, got {other:?}")),
        }
    }
}

fn unary(op: Unary, v: Value) -> Result<Value, String> {
    Ok(match (op, v) {
        (Unary::Neg, Value::F32(v)) => Value::F32(-v),
        (Unary::Neg, Value::Int(v)) => Value::Int(v.wrapping_neg()),
        (Unary::Abs, Value::F32(v)) => Value::F32(v.abs()),
        (Unary::Abs, Value::Int(v)) => Value::Int(v.wrapping_abs()),
        (Unary::Sqrt, Value::F32(v)) => Value::F32(v.sqrt()),
        (Unary::Exp, Value::F32(v)) => Value::F32(f64::from(v).exp() as f32),
        (Unary::Log, Value::F32(v)) => Value::F32(f64::from(v).ln() as f32),
        (Unary::Round, Value::F32(v)) => Value::F32(v.round_ties_even()),
        (Unary::Not, Value::Bool(v)) => Value::Bool(!v),
        (op, v) => return Err(format!("{op:?} does not take {v:?}")),
    })
}

fn cast(to: Cast, v: Value) -> Result<Value, String> {
    Ok(match (to, v) {
        (Cast::ToF32, Value::Int(v)) => Value::F32(v as f32),
        (Cast::ToF32, Value::Bool(v)) => Value::F32(f32::from(u8::from(v))),
        (Cast::ToInt, Value::F32(v)) => Value::Int(i64::from(v as i32)),
        (Cast::ToInt, Value::Bool(v)) => Value::Int(i64::from(v)),
        (Cast::F16Bits, Value::Int(v)) => Value::F32(half::f16::from_bits(v as u16).to_f32()),
        (Cast::BF16Bits, Value::Int(v)) => Value::F32(half::bf16::from_bits(v as u16).to_f32()),
        (Cast::F32Bits, Value::Int(v)) => Value::F32(f32::from_bits(v as u32)),
        (to, v) => return Err(format!("{to:?} does not take {v:?}")),
    })
}

fn binary(op: Binary, a: Value, b: Value) -> Result<Value, String> {
    Ok(match (a, b) {
        (Value::F32(a), Value::F32(b)) => Value::F32(match op {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            Binary::Min => a.min(b),
            Binary::Max => a.max(b),
            op => return Err(format!("{op:?} does not take f32")),
        }),
        (Value::Int(a), Value::Int(b)) => Value::Int(match op {
            Binary::Add => a.wrapping_add(b),
            Binary::Sub => a.wrapping_sub(b),
            Binary::Mul => a.wrapping_mul(b),
            Binary::Div | Binary::Rem if b <= 0 => {
                return Err(format!("{op:?} by {b}, which is not positive"));
            }
            Binary::Div => a.div_euclid(b),
            Binary::Rem => a.rem_euclid(b),
            Binary::Min => a.min(b),
            Binary::Max => a.max(b),
            Binary::And => a & b,
            Binary::Or => a | b,
            Binary::Shl => a.wrapping_shl(b as u32),
            Binary::Shr => a.wrapping_shr(b as u32),
        }),
        (a, b) => return Err(format!("{op:?} takes two of a type, got {a:?} and {b:?}")),
    })
}

fn compare(op: Compare, a: Value, b: Value) -> Result<Value, String> {
    Ok(Value::Bool(match (a, b) {
        (Value::F32(a), Value::F32(b)) => match op {
            Compare::Lt => a < b,
            Compare::Le => a <= b,
            Compare::Eq => a == b,
        },
        (Value::Int(a), Value::Int(b)) => match op {
            Compare::Lt => a < b,
            Compare::Le => a <= b,
            Compare::Eq => a == b,
        },
        (a, b) => return Err(format!("{op:?} takes two of a type, got {a:?} and {b:?}")),
    }))
}
