//! Integers in normal form, `constant + Σ coefficient · atom`, and what ranges say of them.
//!
//! Equal offsets become equal terms, remainders cancel against quotients (`j/24*24 + j%24` is `j`),
//! and an address is what changes along a loop plus what does not.
use super::terms::{Elem, Id, Node, Terms, Ty};
use ir::expr::{Binary, Cast, Unary};

/// `constant + Σ coefficient · atom`: atoms ascending, each once, none a sum itself, no coefficient zero.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Linear {
    /// Atoms and their coefficients.
    pub terms: Vec<(Id, i64)>,
    /// What is added.
    pub constant: i64,
}

/// A product of sums with more terms than this stays a product.
const DISTRIBUTED_MAX: usize = 16;

impl Linear {
    /// That and no atoms.
    pub fn constant(constant: i64) -> Linear {
        Linear { terms: vec![], constant }
    }

    /// `self + factor · other`.
    pub fn plus(&self, other: &Linear, factor: i64) -> Linear {
        let mut sum = self.clone();
        sum.constant = sum.constant.wrapping_add(other.constant.wrapping_mul(factor));
        for &(atom, coefficient) in &other.terms {
            let more = coefficient.wrapping_mul(factor);
            match sum.terms.binary_search_by_key(&atom, |t| t.0) {
                Ok(at) => sum.terms[at].1 = sum.terms[at].1.wrapping_add(more),
                Err(at) => sum.terms.insert(at, (atom, more)),
            }
        }
        sum.terms.retain(|t| t.1 != 0);
        sum
    }

    /// `factor · self`.
    pub fn scaled(&self, factor: i64) -> Linear {
        Linear::default().plus(self, factor)
    }

    /// The coefficient of an atom, 0 where it does not occur.
    pub fn coefficient(&self, atom: Id) -> i64 {
        self.terms.iter().find(|t| t.0 == atom).map_or(0, |t| t.1)
    }
}

impl Terms {
    /// An int constant.
    pub fn int(&mut self, value: i64) -> Id {
        self.enter(Node::Sum(Linear::constant(value)), Ty::Int)
    }

    /// An integer term in normal form.
    pub fn linear(&self, id: Id) -> Linear {
        match self.node(id) {
            Node::Sum(linear) => linear.clone(),
            _ => Linear { terms: vec![(id, 1)], constant: 0 },
        }
    }

    /// The term of a normal form.
    pub fn sum(&mut self, linear: Linear) -> Id {
        match linear.terms[..] {
            [(atom, 1)] if linear.constant == 0 => atom,
            _ => self.enter(Node::Sum(linear), Ty::Int),
        }
    }

    /// The value of an integer term that is a constant.
    pub fn constant(&self, id: Id) -> Option<i64> {
        match self.node(id) {
            Node::Sum(linear) if linear.terms.is_empty() => Some(linear.constant),
            _ => None,
        }
    }

    /// The product, distributed over both sums.
    pub fn product(&mut self, x: &Linear, y: &Linear) -> Linear {
        if x.terms.is_empty() {
            return y.scaled(x.constant);
        }
        if y.terms.is_empty() {
            return x.scaled(y.constant);
        }
        if x.terms.len() * y.terms.len() > DISTRIBUTED_MAX {
            let mut factors = vec![self.sum(x.clone()), self.sum(y.clone())];
            factors.sort_unstable();
            return self.linear_atom(Node::Product(factors));
        }
        let mut product = x.scaled(y.constant).plus(y, x.constant);
        product.constant = x.constant.wrapping_mul(y.constant);
        for &(a, c) in &x.terms {
            for &(b, d) in &y.terms {
                let mut factors = [self.factors(a), self.factors(b)].concat();
                factors.sort_unstable();
                let atom = self.linear_atom(Node::Product(factors));
                product = product.plus(&atom, c.wrapping_mul(d));
            }
        }
        product
    }

    fn factors(&self, atom: Id) -> Vec<Id> {
        match self.node(atom) {
            Node::Product(factors) => factors.clone(),
            _ => vec![atom],
        }
    }

    fn linear_atom(&mut self, node: Node) -> Linear {
        Linear { terms: vec![(self.enter(node, Ty::Int), 1)], constant: 0 }
    }

    /// The quotient rounded towards minus infinity; resolved as far as ranges allow.
    pub(super) fn floor_div(&mut self, a: Id, by: i64) -> Id {
        if by == 1 {
            return a;
        }
        if let Node::FloorDiv(inner, first) = *self.node(a)
            && let Some(by) = by.checked_mul(first)
        {
            return self.floor_div(inner, by);
        }
        let linear = self.linear(a);
        let (whole, rest): (Vec<_>, Vec<_>) = linear.terms.iter().partition(|t| t.1 % by == 0);
        let mut quotient = Linear { terms: whole, constant: 0 };
        quotient.terms.iter_mut().for_each(|t| t.1 /= by);
        quotient.constant = linear.constant.div_euclid(by);
        let rest = Linear { terms: rest, constant: linear.constant.rem_euclid(by) };
        if let Some((low, high)) = self.linear_range(&rest)
            && low.div_euclid(by) == high.div_euclid(by)
        {
            quotient.constant = quotient.constant.wrapping_add(low.div_euclid(by));
            return self.sum(quotient);
        }
        let shared = rest.terms.iter().fold(by, |g, t| gcd(g, t.1.unsigned_abs() as i64));
        let reduced = Linear {
            terms: rest.terms.iter().map(|t| (t.0, t.1 / shared)).collect(),
            constant: rest.constant.div_euclid(shared),
        };
        let reduced = self.sum(reduced);
        let atom = self.linear_atom(Node::FloorDiv(reduced, by / shared));
        self.sum(quotient.plus(&atom, 1))
    }

    /// The least and the greatest value of an integer term, where that is known.
    pub fn range(&self, id: Id) -> Option<(i64, i64)> {
        if let Some(known) = self.ranges.borrow().get(&id) {
            return *known;
        }
        let range = self.find_range(id);
        self.ranges.borrow_mut().insert(id, range);
        range
    }

    fn find_range(&self, id: Id) -> Option<(i64, i64)> {
        let i32_range = (i64::from(i32::MIN), i64::from(i32::MAX));
        match self.node(id) {
            Node::Sum(linear) => self.linear_range(linear),
            Node::Axis(axis) => Some(self.axes[*axis as usize].range),
            Node::Symbol(_) | Node::Param(_) => Some((0, super::terms::EXTENT_MAX)),
            Node::Product(factors) => factors
                .iter()
                .try_fold((1, 1), |range, &f| corners(range, self.range(f)?, |a, b| a.checked_mul(b))),
            Node::FloorDiv(a, by) => {
                let (low, high) = self.range(*a)?;
                Some((low.div_euclid(*by), high.div_euclid(*by)))
            }
            Node::Load { elem, .. } => match elem {
                Elem::U8 => Some((0, 255)),
                Elem::I8 => Some((-128, 127)),
                Elem::I32 => Some(i32_range),
                _ => None,
            },
            Node::Binary(Binary::Min, a, b) => {
                corners(self.range(*a)?, self.range(*b)?, |a, b| Some(a.min(b)))
            }
            Node::Binary(Binary::Max, a, b) => {
                corners(self.range(*a)?, self.range(*b)?, |a, b| Some(a.max(b)))
            }
            Node::Binary(Binary::And, a, b) => {
                let mask = self.constant(*a).or(self.constant(*b)).filter(|mask| *mask >= 0)?;
                Some((0, mask))
            }
            Node::Binary(Binary::Shr, a, b) => {
                let (by, (low, high)) =
                    (self.constant(*b).filter(|by| (0..64).contains(by))?, self.range(*a)?);
                Some((low >> by, high >> by))
            }
            Node::Unary(Unary::Abs, a) => {
                let (low, high) = self.range(*a)?;
                let most = low.checked_abs()?.max(high.checked_abs()?);
                Some((0, most))
            }
            Node::Select(_, a, b) => {
                let (a, b) = (self.range(*a)?, self.range(*b)?);
                Some((a.0.min(b.0), a.1.max(b.1)))
            }
            Node::Cast(Cast::ToInt, a) if self.ty(*a) == Ty::Bool => Some((0, 1)),
            Node::Cast(Cast::ToInt, _) => Some(i32_range),
            _ => None,
        }
    }

    /// As [`Terms::range`], of a normal form.
    pub(super) fn linear_range(&self, linear: &Linear) -> Option<(i64, i64)> {
        linear.terms.iter().try_fold((linear.constant, linear.constant), |(low, high), &(atom, c)| {
            let (a, b) = corners(self.range(atom)?, (c, c), |a, b| a.checked_mul(b))?;
            Some((low.checked_add(a)?, high.checked_add(b)?))
        })
    }

    /// Says what values an axis takes from here on; gives back what it was.
    pub fn set_range(&mut self, axis: u32, range: (i64, i64)) -> (i64, i64) {
        self.ranges.borrow_mut().clear();
        std::mem::replace(&mut self.axes[axis as usize].range, range)
    }

    /// Whether `bytes` bytes at `offset` surely lie within the first `total`, whatever the symbols are.
    pub(super) fn lies_inside(&mut self, offset: Id, bytes: i64, total: Id) -> bool {
        let offset = self.linear(offset);
        let (Some(low), Some(high)) = (self.bound(&offset, false), self.bound(&offset, true)) else {
            return false;
        };
        let room = self.linear(total).plus(&high, -1).plus(&Linear::constant(bytes), -1);
        self.is_never_negative(&low) && self.is_never_negative(&room)
    }

    fn is_never_negative(&self, linear: &Linear) -> bool {
        linear.constant >= 0
            && linear.terms.iter().all(|t| t.1 > 0 && self.range(t.0).is_some_and(|r| r.0 >= 0))
            || self.linear_range(linear).is_some_and(|r| r.0 >= 0)
    }

    /// The greatest (or least) value, in terms of symbols alone.
    fn bound(&mut self, linear: &Linear, high: bool) -> Option<Linear> {
        let mut bound = Linear::constant(linear.constant);
        for &(atom, coefficient) in &linear.terms {
            let atom = self.atom_bound(atom, (coefficient > 0) == high)?;
            bound = bound.plus(&atom, coefficient);
        }
        Some(bound)
    }

    fn atom_bound(&mut self, atom: Id, high: bool) -> Option<Linear> {
        match self.node(atom).clone() {
            Node::Symbol(_) => Some(self.linear(atom)),
            Node::Axis(axis) => {
                let info = &self.axes[axis as usize];
                let symbolic = self.constant(info.extent).is_none() && self.free(info.extent) == 0;
                match (high, symbolic) {
                    (true, true) => Some(self.linear(info.extent).plus(&Linear::constant(1), -1)),
                    (true, false) => Some(Linear::constant(info.range.1)),
                    (false, _) => Some(Linear::constant(info.range.0)),
                }
            }
            Node::Product(factors) if factors.iter().all(|&f| self.range(f).is_some_and(|r| r.0 >= 0)) => {
                let mut product = Linear::constant(1);
                for factor in factors {
                    let factor = self.atom_bound(factor, high)?;
                    product = self.product(&product, &factor);
                }
                Some(product)
            }
            _ => self.range(atom).map(|r| Linear::constant(if high { r.1 } else { r.0 })),
        }
    }
}

/// The range of a function that takes its extremes at the corners.
fn corners(a: (i64, i64), b: (i64, i64), f: impl Fn(i64, i64) -> Option<i64>) -> Option<(i64, i64)> {
    let all = [f(a.0, b.0)?, f(a.0, b.1)?, f(a.1, b.0)?, f(a.1, b.1)?];
    Some((*all.iter().min()?, *all.iter().max()?))
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::expr::Compare;

    /// Terms with an axis below 576 and a symbol.
    fn terms() -> (Terms, Id, Id) {
        let mut terms = Terms::default();
        let extent = terms.int(576);
        let axis = terms.add_axis(extent).expect("there is room");
        let (j, n) = (terms.axis(axis), terms.make(Node::Symbol(0)).expect("a symbol"));
        (terms, j, n)
    }

    fn int(terms: &mut Terms, op: Binary, a: Id, b: i64) -> Id {
        let b = terms.int(b);
        terms.make(Node::Binary(op, a, b)).expect("both are ints")
    }

    #[test]
    fn a_remainder_cancels_against_its_quotient() {
        let (mut terms, j, _) = terms();
        let quotient = int(&mut terms, Binary::Div, j, 24);
        let whole = int(&mut terms, Binary::Mul, quotient, 24);
        let rest = int(&mut terms, Binary::Rem, j, 24);
        assert_eq!(terms.make(Node::Binary(Binary::Add, whole, rest)), Ok(j));
    }

    #[test]
    fn quotients_are_resolved_where_ranges_allow() {
        let (mut terms, j, _) = terms();
        let scaled = int(&mut terms, Binary::Mul, j, 1024);
        let ahead = int(&mut terms, Binary::Add, scaled, 1000);
        let quotient = int(&mut terms, Binary::Div, ahead, 1024);
        assert_eq!(quotient, j);
        let past = int(&mut terms, Binary::Add, j, 576);
        let one = int(&mut terms, Binary::Div, past, 1152);
        assert_eq!(terms.constant(one), Some(0));
        let below = int(&mut terms, Binary::Sub, j, 576);
        let minus_one = int(&mut terms, Binary::Div, below, 576);
        assert_eq!(terms.constant(minus_one), Some(-1));
    }

    #[test]
    fn comparisons_are_decided_where_ranges_allow() {
        let (mut terms, j, n) = terms();
        let end = terms.int(576);
        let less = terms.make(Node::Compare(Compare::Lt, j, end)).expect("ints");
        assert_eq!(*terms.node(less), Node::Bool(true));
        let open = terms.make(Node::Compare(Compare::Lt, j, n)).expect("ints");
        assert!(matches!(terms.node(open), Node::Compare(..)));
        let same = terms.make(Node::Compare(Compare::Eq, n, n)).expect("ints");
        assert_eq!(*terms.node(same), Node::Bool(true));
    }

    #[test]
    fn rows_of_any_number_lie_inside_and_what_is_read_does_not() {
        let (mut terms, j, n) = terms();
        let rows = terms.add_axis(n).expect("there is room");
        let i = terms.axis(rows);
        let at = terms.linear(i).scaled(576).plus(&terms.linear(j), 1).scaled(4);
        let total = terms.linear(n).scaled(576 * 4);
        let (at, total) = (terms.sum(at), terms.sum(total));
        assert!(terms.lies_inside(at, 4, total));
        let past = int(&mut terms, Binary::Add, at, 4);
        assert!(!terms.lies_inside(past, 4, total));
        let before = int(&mut terms, Binary::Sub, at, 4);
        assert!(!terms.lies_inside(before, 4, total));
    }
}
