//! How much evaluating a body at every point takes, where each term is evaluated once for all points that share it.
use super::{Axis, Binary, Body, Cast, FIRST_BOUND_AXIS, Term, TermId, Unary};
use crate::work::Operations;
use crate::{Dim, Symbols, TensorType};

/// What a body takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Elements loaded of each input; one that several terms load counts for each.
    pub loads: Vec<u64>,
    /// Arithmetic of values; that of coordinates is not counted.
    pub operations: Operations,
}

/// Counts for an output of these extents. Both arms of a `select` are counted. Where the length of a reduction
/// depends on coordinates, it is taken as it is in the middle of their ranges, and as 1 where a load decides it.
pub fn count(body: &Body, inputs: &[TensorType], output: &[u64], symbols: &Symbols) -> Counts {
    let mut extents = [1.0; u64::BITS as usize];
    for (extent, known) in extents.iter_mut().zip(output) {
        *extent = *known as f64;
    }
    let counter = Counter { body, symbols };
    for term in body.terms() {
        if let Term::Reduce { axis, over, .. } = term {
            // Bound axes of one name nearly always have one length; the greatest stands for all.
            let length = counter.middle(*over, &extents).unwrap_or(1.0).max(0.0);
            let extent = &mut extents[*axis as usize];
            *extent = extent.max(length);
        }
    }
    let mut counts = Counts { loads: vec![0; inputs.len()], operations: Operations::default() };
    let mut is_value = vec![];
    for (id, term) in body.terms().iter().enumerate() {
        let value = |t: &TermId| is_value[t.0 as usize];
        let points = |axes: u64| -> u64 {
            let bound = (0..u64::BITS).filter(|axis| axes & (1 << axis) != 0);
            bound.map(|axis| extents[axis as usize]).product::<f64>().round() as u64
        };
        let free = body.free_axes(TermId(id as u32));
        let (f32, exp) = (&mut counts.operations.f32, &mut counts.operations.exp);
        let add = |to: &mut u64, axes: u64| *to = to.saturating_add(points(axes));
        is_value.push(match term {
            Term::F32(_) | Term::Hole(_) => true,
            Term::Int(_) | Term::Axis(_) | Term::Size(_) => false,
            Term::Load { input, at } => {
                let input = *input as usize;
                if let (Some(loads), Some(ty)) = (counts.loads.get_mut(input), inputs.get(input)) {
                    // Of each axis as many elements as its coordinate has values, at most all.
                    let along = |(at, dim): (&TermId, &Dim)| {
                        let all = symbols.eval(dim).map_or(u64::MAX, |extent| extent.max(0) as u64);
                        points(body.free_axes(*at)).min(all)
                    };
                    let distinct = at.iter().zip(&ty.shape).map(along).fold(1, u64::saturating_mul);
                    *loads = loads.saturating_add(distinct.min(points(free)));
                }
                inputs.get(input).is_some_and(|ty| ty.dtype.is_real())
            }
            Term::Unary(Unary::Exp | Unary::Log, _) => {
                add(exp, free);
                true
            }
            // A change of sign or of form is part of what uses it.
            Term::Unary(Unary::Neg | Unary::Abs, a) => value(a),
            Term::Unary(Unary::Not, _) => false,
            Term::Unary(_, a) | Term::Binary(_, a, _) => {
                let is_value = value(a);
                if is_value {
                    add(f32, free);
                }
                is_value
            }
            Term::Compare(..) => false,
            Term::Select(_, a, _) => value(a),
            Term::Cast(to, _) => *to != Cast::ToInt,
            Term::Reduce { axis, body: inner, .. } => {
                add(f32, free | body.free_axes(*inner) & (1 << axis) | 1 << axis);
                true
            }
        });
    }
    counts
}

struct Counter<'a> {
    body: &'a Body,
    symbols: &'a Symbols,
}

impl Counter<'_> {
    /// What an integer term is in the middle of its axes; none where that needs a load.
    fn middle(&self, id: TermId, extents: &[f64]) -> Option<f64> {
        let of = |t: &TermId| self.middle(*t, extents);
        Some(match self.body.term(id) {
            Term::Int(v) => *v as f64,
            Term::Size(dim) => self.symbols.eval(dim)? as f64,
            Term::Axis(axis) => (extents[*axis as usize] - 1.0) / 2.0,
            Term::Binary(op, a, b) => {
                let (a, b) = (of(a)?, of(b)?);
                match op {
                    Binary::Add => a + b,
                    Binary::Sub => a - b,
                    Binary::Mul => a * b,
                    Binary::Div => a / b,
                    Binary::Min => a.min(b),
                    Binary::Max => a.max(b),
                    _ => return None,
                }
            }
            _ => return None,
        })
    }
}

const _: () = assert!((FIRST_BOUND_AXIS as Axis) < u64::BITS);
