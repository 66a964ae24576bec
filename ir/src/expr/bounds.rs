//! Whether a body's loads stay inside its inputs, at every point of the output and of its reductions.
//!
//! Coordinates are followed as intervals whose ends are affine in the symbols, which are at least 1. The
//! condition of a `select` narrows what is known in its arms, as only the arm taken is evaluated: compared
//! sums of coordinates, and remainders, so that the partner of an even coordinate is known to be there.
//! What cannot be shown counts as outside.
pub use super::affine::SYMBOL_MAX;
use super::affine::{Interval, Sum};
use super::{Axis, Binary, Body, Cast, Compare, Term, TermId, Unary};
use crate::{DType, Dim, Symbols, TensorType};
use std::collections::{BTreeSet, HashMap};

/// Visits of terms after which a body counts as too intricate: nested conditions multiply them.
const VISITS_MAX: usize = 1 << 20;
/// Scopes that nest, a stack frame or three each.
const SCOPES_MAX: usize = 128;
/// Values that one reduction may fold in a step, all its points together: far more than any model asks
/// for, and few enough to come to an end.
const FOLDED_MAX: u64 = 1 << 42;

/// What a body is computed over.
pub struct Domain<'a> {
    /// The output's extents.
    pub output: &'a [Dim],
    /// The inputs' types.
    pub inputs: &'a [TensorType],
    /// What is known where a plan runs; none: coordinates that are read from an input are taken on trust.
    pub known: Option<Known<'a>>,
}

/// What is known where a plan runs.
pub struct Known<'a> {
    /// The least and the greatest element of an integer input, where something holds it to these.
    pub elements: &'a dyn Fn(usize) -> Option<[Dim; 2]>,
    /// The symbols' greatest values, where the body is any that somebody wrote: its reductions must come to
    /// an end. None for an operator's own.
    pub symbols: Option<&'a Symbols>,
}

/// What is wrong with a body's loads, if anything is.
pub fn stray_load(body: &Body, domain: &Domain<'_>) -> Option<String> {
    let mut reads: Vec<bool> = vec![];
    let mut whole: Vec<bool> = vec![];
    for term in body.terms() {
        let below = term.operands().iter().any(|t| reads[t.0 as usize]);
        reads.push(below || matches!(term, Term::Load { .. }));
        whole.push(is_whole(term, domain, &whole));
    }
    let axes = domain.output.iter().enumerate().map(|(a, extent)| (a as Axis, Interval::below(extent)));
    let axes = axes.collect();
    let sums = vec![None; body.terms().len()];
    let mut walk = Walk {
        body,
        domain,
        reads,
        whole,
        sums,
        scopes: vec![],
        facts: vec![],
        axes,
        visits: 0,
        fault: None,
    };
    walk.inside(None, body.root());
    walk.fault
}

/// Whether a term is an integer, from what its operands are.
fn is_whole(term: &Term, domain: &Domain<'_>, whole: &[bool]) -> bool {
    let of = |t: &TermId| whole[t.0 as usize];
    match term {
        Term::Int(_) | Term::Axis(_) | Term::Size(_) | Term::Cast(Cast::ToInt, _) => true,
        Term::Load { input, .. } => {
            domain.inputs.get(*input as usize).is_some_and(|ty| ty.dtype.is_integer())
        }
        Term::Unary(Unary::Neg | Unary::Abs, a) => of(a),
        Term::Binary(_, a, b) | Term::Select(_, a, b) => of(a) && of(b),
        _ => false,
    }
}

/// Something that holds in an arm of a `select`.
struct Fact {
    /// The sum that it is about, without its constant.
    of: Vec<(TermId, i64)>,
    says: Says,
}

enum Says {
    Within(Interval),
    /// Leaves this remainder, or another, by this divisor.
    Remainder {
        by: i64,
        rest: i64,
        is: bool,
    },
}

/// A part of the body in which one thing more is known than outside: a reduction's axis, or facts.
struct Scope {
    /// The axis that a reduction binds here; none where facts are added.
    opens: Option<Axis>,
    done: HashMap<TermId, Interval>,
}

struct Walk<'a> {
    body: &'a Body,
    domain: &'a Domain<'a>,
    /// Whether a term reads an input.
    reads: Vec<bool>,
    /// Whether a term is an integer.
    whole: Vec<bool>,
    sums: Vec<Option<Sum>>,
    scopes: Vec<Scope>,
    facts: Vec<Fact>,
    axes: Vec<(Axis, Interval)>,
    visits: usize,
    fault: Option<String>,
}

impl Walk<'_> {
    /// The values that a term takes in a scope of its own.
    fn inside(&mut self, opens: Option<Axis>, root: TermId) -> Interval {
        if self.scopes.len() == SCOPES_MAX {
            self.fault
                .get_or_insert_with(|| format!("more than {SCOPES_MAX} conditions and reductions nest"));
            return Interval::any();
        }
        self.scopes.push(Scope { opens, done: HashMap::new() });
        // Operands first, so that following a deep body takes no deep stack.
        let mut needed = BTreeSet::new();
        let mut open = vec![root];
        while let Some(id) = open.pop() {
            if needed.insert(id) {
                match self.body.term(id) {
                    Term::Select(c, ..) => open.push(*c),
                    Term::Reduce { over, .. } => open.push(*over),
                    term => open.extend(term.operands()),
                }
            }
        }
        needed.into_iter().for_each(|id| drop(self.visit(id)));
        let found = self.visit(root);
        self.scopes.pop();
        found
    }

    /// The values that a term takes, once all loads below it have been looked at.
    fn visit(&mut self, id: TermId) -> Interval {
        let free = self.body.free_axes(id);
        // What does not vary with a reduction's axis is as it is outside.
        let inner = |s: &Scope| s.opens.is_none_or(|axis| free & (1 << axis) != 0);
        let home = self.scopes.iter().rposition(inner).unwrap_or(0);
        if let Some(found) = self.scopes[home].done.get(&id) {
            return found.clone();
        }
        self.visits += 1;
        if self.visits > VISITS_MAX {
            self.fault.get_or_insert_with(|| "the body is too intricate to be followed".into());
        }
        if self.fault.is_some() {
            return Interval::any();
        }
        let plain = self.compute(id);
        let sum = self.sum(id);
        let found = self.narrowed(&sum, plain);
        self.scopes[home].done.insert(id, found.clone());
        found
    }

    fn compute(&mut self, id: TermId) -> Interval {
        let body = self.body;
        match body.term(id) {
            Term::Select(c, yes, no) => {
                self.visit(*c);
                let arms = [(yes, true), (no, false)].map(|(arm, holds)| self.arm(*c, holds, *arm));
                match arms {
                    [Some(a), Some(b)] => a.or(&b),
                    [a, b] => a.or(b).unwrap_or_else(Interval::any),
                }
            }
            Term::Reduce { axis, over, body: inner, .. } => {
                let extent = self.visit(*over);
                self.axes.push((*axis, Interval { low: Some(Dim::from(0)), high: extent.high }.lowered()));
                self.check_work(id, *axis);
                self.inside(Some(*axis), *inner);
                self.axes.pop();
                Interval::any()
            }
            Term::Load { input, at } => {
                for (axis, &coordinate) in at.iter().enumerate() {
                    let found = self.visit(coordinate);
                    self.check_coordinate(*input as usize, axis, coordinate, found);
                }
                self.elements(*input as usize)
            }
            term => {
                let operands: Vec<Interval> = term.operands().into_iter().map(|t| self.visit(t)).collect();
                self.arithmetic(id, term, &operands)
            }
        }
    }

    fn arithmetic(&mut self, id: TermId, term: &Term, operands: &[Interval]) -> Interval {
        let sum = self.sum(id);
        if !sum.is_term(id) {
            return self.of_sum(&sum);
        }
        match (term, operands) {
            (Term::Axis(axis), _) => {
                let bound = self.axes.iter().rev().find(|a| a.0 == *axis);
                bound.map_or_else(Interval::any, |a| a.1.clone())
            }
            (Term::Binary(op, _, divisor), [a, b]) => {
                let by = self.sum(*divisor).known();
                match (op, by) {
                    (Binary::Div, Some(by)) if by > 0 => a.divided(by),
                    (Binary::Rem, Some(by)) if by > 0 => a.remainder(by),
                    (Binary::And, Some(by)) if by >= 0 => Interval::known(0, by),
                    (Binary::Shr, Some(by)) if (0..32).contains(&by) => a.divided(1 << by),
                    (Binary::Shl, Some(by)) if (0..32).contains(&by) => a.times(1 << by),
                    (Binary::Min, _) => a.lesser(b),
                    (Binary::Max, _) => a.greater(b),
                    _ => Interval::any(),
                }
            }
            (Term::Cast(Cast::ToInt, _), _) => Interval::known(i32::MIN.into(), i32::MAX.into()),
            _ => Interval::any(),
        }
    }

    /// An arm of a `select` under what its condition says there; none if it is never taken.
    fn arm(&mut self, condition: TermId, holds: bool, arm: TermId) -> Option<Interval> {
        let outside = self.facts.len();
        let found = self.assume(condition, holds).then(|| self.inside(None, arm));
        self.facts.truncate(outside);
        found
    }

    /// Adds what a condition says where it holds, or where it does not. False if it says what cannot be.
    fn assume(&mut self, condition: TermId, holds: bool) -> bool {
        let body = self.body;
        match body.term(condition) {
            Term::Unary(Unary::Not, c) => self.assume(*c, !holds),
            Term::Compare(op, a, b) => {
                if !(self.whole[a.0 as usize] && self.whole[b.0 as usize]) {
                    return true;
                }
                // Where a side may wrap around, comparing says nothing of its parts.
                let sides = [*a, *b].map(|t| self.sum(t));
                let are_known = sides.each_ref().map(|s| self.of_sum(s).ends().is_some());
                let Some(difference) = sides[0].minus(&sides[1]).filter(|_| are_known == [true; 2]) else {
                    return true;
                };
                let seen = self.of_sum(&difference);
                let known = |low: i64, high: i64| Interval::known(low, high);
                let within = match (op, holds) {
                    (Compare::Lt, true) => Interval { high: Some(Dim::from(-1)), ..Interval::any() },
                    (Compare::Le, true) => Interval { high: Some(Dim::from(0)), ..Interval::any() },
                    (Compare::Lt, false) => Interval { low: Some(Dim::from(0)), ..Interval::any() },
                    (Compare::Le, false) => Interval { low: Some(Dim::from(1)), ..Interval::any() },
                    (Compare::Eq, true) => known(0, 0),
                    (Compare::Eq, false) => seen.without_zero(),
                };
                let narrowed = seen.and(&within);
                if narrowed.is_empty() {
                    return false;
                }
                if let (Compare::Eq, Term::Binary(Binary::Rem, x, by)) = (op, body.term(*a)) {
                    self.remember_remainder(*x, *by, *b, holds);
                }
                self.remember(&difference, narrowed);
                true
            }
            _ => true,
        }
    }

    fn remember(&mut self, sum: &Sum, within: Interval) {
        let within = within.shifted(&(Dim::from(0) - sum.constant.clone()));
        match sum.terms[..] {
            [] => {}
            // A multiple of one term says as much of the term.
            [(term, by)] if by != 1 => {
                let of = vec![(term, 1)];
                self.facts.push(Fact { of, says: Says::Within(within.quotient(by)) });
            }
            _ => self.facts.push(Fact { of: sum.terms.clone(), says: Says::Within(within) }),
        }
    }

    /// `(x % by == rest)` holds, or not.
    fn remember_remainder(&mut self, x: TermId, by: TermId, rest: TermId, is: bool) {
        let sum = self.sum(x);
        let (by, rest) = (self.sum(by).known(), self.sum(rest).known());
        if let (Some(by @ 2..), Some(rest), Some(constant)) = (by, rest, sum.constant.known()) {
            let rest = (rest - constant).rem_euclid(by);
            self.facts.push(Fact { of: sum.terms, says: Says::Remainder { by, rest, is } });
        }
    }

    /// The values of a sum from those of its terms, and what is known of it or of a part of it.
    fn of_sum(&mut self, sum: &Sum) -> Interval {
        let mut found = Interval::exactly(&sum.constant);
        for &(term, by) in &sum.terms {
            let one = self.visit(term);
            found = found.plus(&one.times(by));
        }
        self.narrowed(sum, found)
    }

    fn narrowed(&mut self, sum: &Sum, plain: Interval) -> Interval {
        let mut found = plain;
        self.visits += self.facts.len();
        if self.visits > VISITS_MAX {
            return found;
        }
        for at in 0..self.facts.len() {
            let Fact { of, says } = &self.facts[at];
            let Some(rest) = sum.beyond(of) else { continue };
            match says {
                Says::Within(within) if rest.terms.is_empty() => {
                    found = found.and(&within.shifted(&rest.constant));
                }
                Says::Within(within) if of.len() > 1 => {
                    let within = within.clone();
                    let others = self.of_sum(&rest);
                    found = found.and(&within.plus(&others));
                }
                Says::Remainder { by, rest: remainder, is } if rest.terms.is_empty() => {
                    let Some(constant) = rest.constant.known() else { continue };
                    found = found.with_remainder(*by, (remainder + constant).rem_euclid(*by), *is);
                }
                _ => {}
            }
        }
        found
    }

    fn sum(&mut self, id: TermId) -> Sum {
        if let Some(sum) = &self.sums[id.0 as usize] {
            return sum.clone();
        }
        let body = self.body;
        let sum = match body.term(id) {
            _ if !self.whole[id.0 as usize] => None,
            Term::Int(v) => Sum::constant(&Dim::from(*v)),
            Term::Size(d) => Sum::constant(d),
            Term::Unary(Unary::Neg, a) => self.sum(*a).times(-1),
            Term::Binary(Binary::Add, a, b) => self.sum(*a).plus(&self.sum(*b)),
            Term::Binary(Binary::Sub, a, b) => self.sum(*a).minus(&self.sum(*b)),
            Term::Binary(Binary::Mul, a, b) => {
                let (a, b) = (self.sum(*a), self.sum(*b));
                match (a.known(), b.known()) {
                    (_, Some(by)) => a.times(by),
                    (Some(by), _) => b.times(by),
                    _ => None,
                }
            }
            _ => None,
        };
        let sum = sum.unwrap_or_else(|| Sum::term(id));
        self.sums[id.0 as usize] = Some(sum.clone());
        sum
    }

    fn elements(&self, input: usize) -> Interval {
        let given = self.domain.known.as_ref().and_then(|k| (k.elements)(input));
        match (given, self.domain.inputs.get(input).map(|ty| ty.dtype)) {
            (Some([low, high]), _) => Interval { low: Some(low), high: Some(high) },
            (None, Some(DType::I32)) => Interval::known(i32::MIN.into(), i32::MAX.into()),
            (None, Some(DType::U8)) => Interval::known(0, u8::MAX.into()),
            (None, Some(DType::I8)) => Interval::known(i8::MIN.into(), i8::MAX.into()),
            (None, Some(DType::Bool)) => Interval::known(0, 1),
            _ => Interval::any(),
        }
    }

    fn check_coordinate(&mut self, input: usize, axis: usize, coordinate: TermId, found: Interval) {
        if self.domain.known.is_none() && self.reads[coordinate.0 as usize] {
            return;
        }
        let Some(ty) = self.domain.inputs.get(input) else { return };
        let Some(extent) = ty.shape.get(axis) else { return };
        if !found.lies_within(&Interval::below(extent)) {
            self.fault.get_or_insert_with(|| {
                format!("the body loads x{input} at {found} along axis {axis}, {ty} has {extent} there")
            });
        }
    }

    /// A reduction folds, at each point of the axes that it varies with, as many values as it is long.
    fn check_work(&mut self, id: TermId, own: Axis) {
        let Some(symbols) = self.domain.known.as_ref().and_then(|k| k.symbols) else { return };
        let varies = self.body.free_axes(id) | 1 << own;
        let values = self.axes.iter().filter(|a| varies & (1 << a.0) != 0).try_fold(1u64, |all, (_, a)| {
            let last = symbols.eval(a.high.as_ref()?)?;
            all.checked_mul(u64::try_from(last.saturating_add(1)).unwrap_or(0))
        });
        if values.is_none_or(|v| v > FOLDED_MAX) {
            let many = values.map_or("values without end".to_owned(), |v| format!("{v} values"));
            self.fault.get_or_insert(format!("a reduction folds {many}, expected at most {FOLDED_MAX}"));
        }
    }
}
