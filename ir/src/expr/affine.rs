//! Sums of terms and intervals of integers, both with constants that are affine in the symbols.
//!
//! Symbols are at least 1 and at most [`SYMBOL_MAX`]. Numbers beyond [`LIMIT`] are given up, so that nothing
//! followed here wraps around when it is computed.
use super::TermId;
use crate::Dim;
use std::fmt;

/// The greatest value of a symbol.
pub const SYMBOL_MAX: i64 = 1 << 20;
const LIMIT: u64 = 1 << 40;

/// Whether `a <= b` for all values of the symbols.
fn at_most(a: &Dim, b: &Dim) -> bool {
    let gap = b.clone() - a.clone();
    gap.terms().all(|t| t.1 >= 0) && gap.terms().map(|t| t.1).sum::<i64>() + gap.constant() >= 0
}

/// The dimension unless its numbers are too great to be followed.
fn small(d: Dim) -> Option<Dim> {
    let fits = |v: i64| v.unsigned_abs() <= LIMIT;
    (fits(d.constant()) && d.terms().all(|t| fits(t.1)) && d.terms().count() <= 4).then_some(d)
}

/// `d / by` rounded towards minus infinity, where the form shows it.
fn floor(d: &Dim, by: i64) -> Option<Dim> {
    let symbolic = d.clone() - Dim::from(d.constant());
    Some(symbolic.divided_by(by)? + Dim::from(d.constant().div_euclid(by)))
}

/// `constant + Σ factor · term`, terms in order, no factor 0.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sum {
    pub(super) terms: Vec<(TermId, i64)>,
    pub(super) constant: Dim,
}

impl Sum {
    pub(super) fn constant(d: &Dim) -> Option<Sum> {
        Some(Sum { terms: vec![], constant: small(d.clone())? })
    }

    pub(super) fn term(id: TermId) -> Sum {
        Sum { terms: vec![(id, 1)], constant: Dim::from(0) }
    }

    /// Whether it is just that term.
    pub(super) fn is_term(&self, id: TermId) -> bool {
        self.terms == [(id, 1)] && self.known_constant() == Some(0)
    }

    fn known_constant(&self) -> Option<i64> {
        self.constant.known()
    }

    /// The value, if it is one number.
    pub(super) fn known(&self) -> Option<i64> {
        self.constant.known().filter(|_| self.terms.is_empty())
    }

    pub(super) fn times(&self, by: i64) -> Option<Sum> {
        let scaled = |(term, factor): &(TermId, i64)| {
            let factor = factor.checked_mul(by).filter(|f| f.unsigned_abs() <= LIMIT)?;
            Some((*term, factor))
        };
        if by == 0 {
            return Sum::constant(&Dim::from(0));
        }
        let terms = self.terms.iter().map(scaled).collect::<Option<_>>()?;
        Some(Sum { terms, constant: small(self.constant.clone() * by)? })
    }

    pub(super) fn plus(&self, other: &Sum) -> Option<Sum> {
        let mut terms = self.terms.clone();
        for &(term, factor) in &other.terms {
            match terms.binary_search_by_key(&term, |t| t.0) {
                Ok(at) => terms[at].1 += factor,
                Err(at) => terms.insert(at, (term, factor)),
            }
        }
        terms.retain(|t| t.1 != 0);
        let fits = terms.iter().all(|t| t.1.unsigned_abs() <= LIMIT);
        Some(Sum { terms, constant: small(self.constant.clone() + other.constant.clone())? }).filter(|_| fits)
    }

    pub(super) fn minus(&self, other: &Sum) -> Option<Sum> {
        self.plus(&other.times(-1)?)
    }

    /// What is left of it without `part`, if all of that is in it.
    pub(super) fn beyond(&self, part: &[(TermId, i64)]) -> Option<Sum> {
        let is_in = |t: &(TermId, i64)| self.terms.binary_search(t).is_ok();
        let mut rest = self.clone();
        rest.terms.retain(|t| !part.contains(t));
        part.iter().all(is_in).then_some(rest)
    }
}

/// The integers from `low` to `high`; an end that is none is not known.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Interval {
    pub(super) low: Option<Dim>,
    pub(super) high: Option<Dim>,
}

impl Interval {
    pub(super) fn any() -> Interval {
        Interval { low: None, high: None }
    }

    pub(super) fn known(low: i64, high: i64) -> Interval {
        Interval { low: Some(low.into()), high: Some(high.into()) }
    }

    pub(super) fn exactly(d: &Dim) -> Interval {
        Interval { low: Some(d.clone()), high: Some(d.clone()) }
    }

    /// From 0 up to but not including `extent`.
    pub(super) fn below(extent: &Dim) -> Interval {
        Interval { low: Some(Dim::from(0)), high: Some(extent.clone()) }.lowered()
    }

    /// With the upper end one less.
    pub(super) fn lowered(self) -> Interval {
        Interval { low: self.low, high: self.high.map(|h| h - Dim::from(1)).and_then(small) }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!((&self.low, &self.high), (Some(low), Some(high)) if at_most(&(high.clone() + 1.into()), low))
    }

    pub(super) fn lies_within(&self, other: &Interval) -> bool {
        let above = matches!((&other.low, &self.low), (Some(o), Some(s)) if at_most(o, s));
        above && matches!((&self.high, &other.high), (Some(s), Some(o)) if at_most(s, o))
    }

    /// The ends, if both are known. Of anything else arithmetic may wrap around, and then nothing is known.
    pub(super) fn ends(&self) -> Option<(&Dim, &Dim)> {
        self.low.as_ref().zip(self.high.as_ref())
    }

    fn between(low: Dim, high: Dim) -> Interval {
        match (small(low), small(high)) {
            (Some(low), Some(high)) => Interval { low: Some(low), high: Some(high) },
            _ => Interval::any(),
        }
    }

    pub(super) fn shifted(&self, by: &Dim) -> Interval {
        self.plus(&Interval::exactly(by))
    }

    pub(super) fn plus(&self, other: &Interval) -> Interval {
        let Some(((low, high), (l, h))) = self.ends().zip(other.ends()) else { return Interval::any() };
        Interval::between(low.clone() + l.clone(), high.clone() + h.clone())
    }

    pub(super) fn times(&self, by: i64) -> Interval {
        match self.ends() {
            Some((low, high)) if by < 0 => Interval::between(high.clone() * by, low.clone() * by),
            Some((low, high)) => Interval::between(low.clone() * by, high.clone() * by),
            None => Interval::any(),
        }
    }

    /// What both say; of ends that cannot be compared the other's, which is the newer.
    pub(super) fn and(&self, other: &Interval) -> Interval {
        let pick = |own: &Option<Dim>, other: &Option<Dim>, closer: fn(&Dim, &Dim) -> bool| match (own, other)
        {
            (Some(own), Some(other)) => Some(if closer(own, other) { own } else { other }.clone()),
            (own, other) => own.as_ref().or(other.as_ref()).cloned(),
        };
        Interval {
            low: pick(&self.low, &other.low, |own, other| at_most(other, own)),
            high: pick(&self.high, &other.high, at_most),
        }
    }

    /// What either says.
    pub(super) fn or(&self, other: &Interval) -> Interval {
        Interval { low: lesser(&self.low, &other.low), high: greater(&self.high, &other.high) }
    }

    /// The lesser of a number of each: it has both upper ends.
    pub(super) fn lesser(&self, other: &Interval) -> Interval {
        let ends = |i: &Interval| Interval { low: None, high: i.high.clone() };
        Interval { low: lesser(&self.low, &other.low), ..ends(self).and(&ends(other)) }
    }

    /// The greater of a number of each: it has both lower ends.
    pub(super) fn greater(&self, other: &Interval) -> Interval {
        let ends = |i: &Interval| Interval { low: i.low.clone(), high: None };
        Interval { high: greater(&self.high, &other.high), ..ends(self).and(&ends(other)) }
    }

    /// Each divided and rounded towards minus infinity; `by` is positive.
    pub(super) fn divided(&self, by: i64) -> Interval {
        let zero = Dim::from(0);
        let low = self
            .low
            .as_ref()
            .and_then(|low| floor(low, by).or_else(|| at_most(&zero, low).then(|| zero.clone())));
        let high = self
            .high
            .as_ref()
            .and_then(|high| floor(high, by).or_else(|| at_most(&zero, high).then(|| high.clone())));
        Interval { low, high }
    }

    /// What multiplied by `factor`, which is not 0, lies in it.
    pub(super) fn quotient(&self, factor: i64) -> Interval {
        let own = if factor < 0 { self.times(-1) } else { self.clone() };
        let by = factor.abs();
        let ceiling = |d: &Dim| floor(&(d.clone() + Dim::from(by - 1)), by);
        Interval {
            low: own.low.as_ref().and_then(ceiling),
            high: own.high.as_ref().and_then(|d| floor(d, by)),
        }
    }

    /// Remainders by a positive number.
    pub(super) fn remainder(&self, by: i64) -> Interval {
        let all = Interval::known(0, by - 1);
        if self.lies_within(&all) { self.clone() } else { all }
    }

    /// Of its integers those that leave this remainder by `by`, or those that leave another.
    pub(super) fn with_remainder(&self, by: i64, rest: i64, is: bool) -> Interval {
        let up = |low: i64| match is {
            true => low + (rest - low).rem_euclid(by),
            false => low + i64::from(low.rem_euclid(by) == rest),
        };
        let down = |high: i64| match is {
            true => high - (high - rest).rem_euclid(by),
            false => high - i64::from(high.rem_euclid(by) == rest),
        };
        let moved = |end: &Option<Dim>, by: &dyn Fn(i64) -> i64| {
            end.clone().map(|d| d.known().map_or(d, |v| Dim::from(by(v))))
        };
        Interval { low: moved(&self.low, &up), high: moved(&self.high, &down) }
    }

    /// Without 0 where that is an end.
    pub(super) fn without_zero(&self) -> Interval {
        let is_zero = |end: &Option<Dim>| end.as_ref().and_then(Dim::known) == Some(0);
        Interval {
            low: if is_zero(&self.low) { Some(Dim::from(1)) } else { self.low.clone() },
            high: if is_zero(&self.high) { Some(Dim::from(-1)) } else { self.high.clone() },
        }
    }
}

fn lesser(a: &Option<Dim>, b: &Option<Dim>) -> Option<Dim> {
    let (a, b) = (a.as_ref()?, b.as_ref()?);
    if at_most(a, b) { Some(a.clone()) } else { at_most(b, a).then(|| b.clone()) }
}

fn greater(a: &Option<Dim>, b: &Option<Dim>) -> Option<Dim> {
    let (a, b) = (a.as_ref()?, b.as_ref()?);
    if at_most(a, b) { Some(b.clone()) } else { at_most(b, a).then(|| a.clone()) }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |d: &Option<Dim>| d.as_ref().map_or("?".to_owned(), Dim::to_string);
        write!(f, "{} to {}", end(&self.low), end(&self.high))
    }
}
