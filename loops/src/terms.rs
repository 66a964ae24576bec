//! The terms of a kernel: typed and hash-consed, simplified as they are made.
//!
//! Where a body speaks of elements at coordinates, terms speak of bytes: a load has one offset, in linear form.
use super::BodyError;
use super::linear::Linear;
use ir::expr::{Binary, Cast, Compare, Fold, Unary};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

/// A term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub u32);

/// An axis: of the output, by its place, or of a reduction. At most 64.
pub type Axis = u32;

/// What memory holds at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Elem {
    F32,
    F16,
    BF16,
    I64,
    I32,
    U8,
    I8,
    Bool,
}

impl Elem {
    /// Its size.
    pub fn bytes(self) -> i64 {
        match self {
            Elem::I64 => 8,
            Elem::F32 | Elem::I32 => 4,
            Elem::F16 | Elem::BF16 => 2,
            Elem::U8 | Elem::I8 | Elem::Bool => 1,
        }
    }

    /// What a load of it gives.
    pub fn ty(self) -> Ty {
        match self {
            Elem::F32 | Elem::F16 | Elem::BF16 => Ty::F32,
            Elem::I64 | Elem::I32 | Elem::U8 | Elem::I8 => Ty::Int,
            Elem::Bool => Ty::Bool,
        }
    }
}

/// What a term is a value of; ints have 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Ty {
    F32,
    Int,
    Bool,
}

/// Where a load reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// An input of the kernel.
    Input(u32),
    /// The tile that a hand kernel has accumulated.
    Tile,
}

/// What an epilogue learns at each call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Param {
    /// The output's row that the tile begins at.
    Row,
    /// The output's column that the tile begins at.
    Column,
    /// The tile's stride, in elements.
    Stride,
}

/// What a term is made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    /// By its bits.
    F32(u32),
    Bool(bool),
    /// Integers in normal form; a constant is one without terms.
    Sum(Linear),
    Axis(Axis),
    /// The value of a symbol, by its place in `syms`.
    Symbol(u32),
    Param(Param),
    /// Factors that are no constants, in order.
    Product(Vec<Id>),
    /// Rounded towards minus infinity; the divisor is above 1.
    FloorDiv(Id, i64),
    /// The element at a byte offset. One with a guard that does not hold is never read, and has any value.
    Load {
        from: Source,
        elem: Elem,
        offset: Id,
        /// Whether the offset surely lies inside, where the term is computed.
        inside: bool,
        guard: Option<Id>,
    },
    Unary(Unary, Id),
    Binary(Binary, Id, Id),
    /// `a * b + c`, rounded once.
    Fma(Id, Id, Id),
    Compare(Compare, Id, Id),
    Both(Id, Id),
    Select(Id, Id, Id),
    Cast(Cast, Id),
    Reduce {
        fold: Fold,
        axis: Axis,
        over: Id,
        body: Id,
    },
}

/// What is known of an axis.
#[derive(Clone, Debug)]
pub struct AxisInfo {
    /// How long it is.
    pub extent: Id,
    /// The values it takes where the term at hand is computed; the upper end too.
    pub range: (i64, i64),
}

/// No extent reaches this, so coordinates fit 32 bits.
pub(super) const EXTENT_MAX: i64 = i32::MAX as i64;

/// What an `exp` counts in [`Terms::cost`]; a cheap operation counts one.
pub const COST_EXP: u32 = 20;

/// All terms of a kernel.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    nodes: Vec<Node>,
    free: Vec<u64>,
    ty: Vec<Ty>,
    cost: Vec<u32>,
    known: HashMap<Node, Id>,
    pub(super) ranges: RefCell<HashMap<Id, Option<(i64, i64)>>>,
    /// The axes, those of the output first.
    pub axes: Vec<AxisInfo>,
    /// How many axes the output has.
    pub rank: u32,
    /// How many bytes each input has.
    pub input_bytes: Vec<Id>,
}

impl Terms {
    /// What a term is made of.
    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// The axes that occur free in it, a bit each.
    pub fn free(&self, id: Id) -> u64 {
        self.free[id.0 as usize]
    }

    /// What it is a value of.
    pub fn ty(&self, id: Id) -> Ty {
        self.ty[id.0 as usize]
    }

    /// Roughly how many operations computing it takes, reductions and loads not counted.
    pub fn cost(&self, id: Id) -> u32 {
        self.cost[id.0 as usize]
    }

    /// Whether it changes along the axis.
    pub fn varies(&self, id: Id, axis: Axis) -> bool {
        self.free(id) & (1 << axis) != 0
    }

    /// The terms that computing it needs; for integers and loads down to what is no mere arithmetic.
    pub fn operands(&self, id: Id) -> Vec<Id> {
        match self.node(id) {
            Node::F32(_) | Node::Bool(_) | Node::Axis(_) | Node::Symbol(_) | Node::Param(_) => vec![],
            Node::Sum(linear) => linear.terms.iter().map(|t| t.0).collect(),
            Node::Product(factors) => factors.clone(),
            Node::FloorDiv(a, _) | Node::Unary(_, a) | Node::Cast(_, a) => vec![*a],
            Node::Load { offset, guard, .. } => std::iter::once(*offset).chain(*guard).collect(),
            Node::Binary(_, a, b) | Node::Compare(_, a, b) | Node::Both(a, b) => vec![*a, *b],
            Node::Fma(a, b, c) | Node::Select(a, b, c) => vec![*a, *b, *c],
            Node::Reduce { over, body, .. } => vec![*over, *body],
        }
    }

    /// Enters a term as it stands.
    pub(super) fn enter(&mut self, node: Node, ty: Ty) -> Id {
        if let Some(&id) = self.known.get(&node) {
            return id;
        }
        let id = Id(self.nodes.len() as u32);
        self.nodes.push(node.clone());
        let operands = self.operands(id);
        let free = operands.iter().fold(0, |mask, &o| mask | self.free(o));
        let below: u32 = operands.iter().fold(0, |sum, &o| sum.saturating_add(self.cost(o)));
        let (free, cost) = match &node {
            Node::Axis(axis) => (1 << axis, 0),
            Node::Reduce { axis, over, body, .. } => {
                (self.free(*over) | (self.free(*body) & !(1 << axis)), 1)
            }
            Node::Load { .. } => (free, 1),
            Node::Unary(Unary::Exp | Unary::Log, _) => (free, below.saturating_add(COST_EXP)),
            Node::Unary(Unary::Sqrt, _) | Node::Binary(Binary::Div, ..) => (free, below.saturating_add(5)),
            _ => (free, below.saturating_add(1)),
        };
        self.free.push(free);
        self.ty.push(ty);
        self.cost.push(cost);
        self.known.insert(node, id);
        id
    }

    /// A new axis of that length.
    pub fn add_axis(&mut self, extent: Id) -> Result<Axis, BodyError> {
        if self.axes.len() == 64 {
            return Err(BodyError::Unsupported("a body with more than 64 axes".into()));
        }
        let most = self.range(extent).map_or(EXTENT_MAX, |r| r.1.min(EXTENT_MAX));
        self.axes.push(AxisInfo { extent, range: (0, (most - 1).max(0)) });
        Ok(self.axes.len() as Axis - 1)
    }

    /// An f32 constant.
    pub fn f32(&mut self, value: f32) -> Id {
        self.enter(Node::F32(value.to_bits()), Ty::F32)
    }

    /// A bool constant.
    pub fn bool(&mut self, value: bool) -> Id {
        self.enter(Node::Bool(value), Ty::Bool)
    }

    /// An axis' coordinate.
    pub fn axis(&mut self, axis: Axis) -> Id {
        self.enter(Node::Axis(axis), Ty::Int)
    }

    /// Makes a term of that node in the simplest form; its operands have been made so.
    pub fn make(&mut self, node: Node) -> Result<Id, BodyError> {
        match node {
            Node::F32(_) => Ok(self.enter(node, Ty::F32)),
            Node::Bool(_) => Ok(self.enter(node, Ty::Bool)),
            Node::Axis(_) | Node::Symbol(_) | Node::Param(_) => Ok(self.enter(node, Ty::Int)),
            Node::Sum(linear) => Ok(self.sum(linear)),
            Node::Product(factors) => {
                let mut product = Linear::constant(1);
                for factor in factors {
                    product = self.product(&product, &self.linear(factor));
                }
                Ok(self.sum(product))
            }
            Node::FloorDiv(a, by) => Ok(self.floor_div(a, by)),
            Node::Load { from, elem, offset, guard, .. } => Ok(self.load(from, elem, offset, guard)),
            Node::Unary(op, a) => self.unary(op, a),
            Node::Binary(op, a, b) => self.binary(op, a, b),
            Node::Fma(..) => Ok(self.enter(node, Ty::F32)),
            Node::Compare(op, a, b) => self.compare(op, a, b),
            Node::Both(a, b) => Ok(self.both(a, b)),
            Node::Select(c, a, b) => self.select(c, a, b),
            Node::Cast(to, a) => self.cast(to, a),
            Node::Reduce { fold, over, body, .. } => {
                self.expect(over, Ty::Int)?;
                self.expect(body, Ty::F32)?;
                match (fold, self.constant(over)) {
                    (Fold::Sum, Some(..=0)) => Ok(self.f32(0.0)),
                    (Fold::Max, Some(..=0)) => Ok(self.f32(f32::NEG_INFINITY)),
                    _ => Ok(self.enter(node, Ty::F32)),
                }
            }
        }
    }

    fn expect(&self, id: Id, ty: Ty) -> Result<(), BodyError> {
        match self.ty(id) {
            found if found == ty => Ok(()),
            found => Err(BodyError::Type { found, expected: ty }),
        }
    }

    /// The element at a byte offset.
    pub(super) fn load(&mut self, from: Source, elem: Elem, offset: Id, guard: Option<Id>) -> Id {
        let inside = match from {
            Source::Input(i) => self.lies_inside(offset, elem.bytes(), self.input_bytes[i as usize]),
            Source::Tile => true,
        };
        let guard = guard.filter(|_| !inside);
        match guard.map(|g| self.node(g)) {
            // Never read: any value will do.
            Some(Node::Bool(false)) => match elem.ty() {
                Ty::F32 => self.f32(0.0),
                Ty::Int => self.int(0),
                Ty::Bool => self.bool(false),
            },
            Some(Node::Bool(true)) => {
                self.enter(Node::Load { from, elem, offset, inside, guard: None }, elem.ty())
            }
            _ => self.enter(Node::Load { from, elem, offset, inside, guard }, elem.ty()),
        }
    }

    fn unary(&mut self, op: Unary, a: Id) -> Result<Id, BodyError> {
        match (op, self.ty(a)) {
            (Unary::Neg, Ty::Int) => Ok(self.sum(self.linear(a).scaled(-1))),
            (Unary::Abs, Ty::Int) => Ok(self.enter(Node::Unary(op, a), Ty::Int)),
            (Unary::Not, Ty::Bool) => match *self.node(a) {
                Node::Bool(v) => Ok(self.bool(!v)),
                Node::Unary(Unary::Not, inner) => Ok(inner),
                _ => Ok(self.enter(Node::Unary(op, a), Ty::Bool)),
            },
            (Unary::Not, found) => Err(BodyError::Type { found, expected: Ty::Bool }),
            (_, Ty::F32) => Ok(self.enter(Node::Unary(op, a), Ty::F32)),
            (_, found) => Err(BodyError::Type { found, expected: Ty::F32 }),
        }
    }

    fn binary(&mut self, op: Binary, a: Id, b: Id) -> Result<Id, BodyError> {
        self.expect(b, self.ty(a))?;
        match self.ty(a) {
            Ty::F32 => self.binary_f32(op, a, b),
            Ty::Int => self.binary_int(op, a, b),
            found => Err(BodyError::Type { found, expected: Ty::F32 }),
        }
    }

    /// Products are contracted into the sums around them: the first one where there are two.
    fn binary_f32(&mut self, op: Binary, a: Id, b: Id) -> Result<Id, BodyError> {
        let factors = |id: Id| match *self.node(id) {
            Node::Binary(Binary::Mul, x, y) => Some((x, y)),
            _ => None,
        };
        let contracted = match (op, factors(a), factors(b)) {
            (Binary::Add, Some((x, y)), _) => Node::Fma(x, y, b),
            (Binary::Add, _, Some((x, y))) => Node::Fma(x, y, a),
            (Binary::Sub, Some((x, y)), _) => Node::Fma(x, y, self.unary(Unary::Neg, b)?),
            (Binary::Sub, _, Some((x, y))) => Node::Fma(self.unary(Unary::Neg, x)?, y, a),
            (Binary::Rem | Binary::And | Binary::Or | Binary::Shl | Binary::Shr, ..) => {
                return Err(BodyError::Type { found: Ty::F32, expected: Ty::Int });
            }
            _ => Node::Binary(op, a, b),
        };
        Ok(self.enter(contracted, Ty::F32))
    }

    fn binary_int(&mut self, op: Binary, a: Id, b: Id) -> Result<Id, BodyError> {
        let (x, y) = (self.linear(a), self.linear(b));
        Ok(match op {
            Binary::Add => self.sum(x.plus(&y, 1)),
            Binary::Sub => self.sum(x.plus(&y, -1)),
            Binary::Mul => {
                let product = self.product(&x, &y);
                self.sum(product)
            }
            Binary::Div | Binary::Rem => match self.constant(b) {
                Some(by) if by > 0 && op == Binary::Div => self.floor_div(a, by),
                Some(by) if by > 0 => {
                    let quotient = self.floor_div(a, by);
                    self.sum(x.plus(&self.linear(quotient), by.wrapping_neg()))
                }
                _ => return Err(BodyError::Unsupported("division by what is no positive constant".into())),
            },
            _ => self.enter(Node::Binary(op, a, b), Ty::Int),
        })
    }

    fn compare(&mut self, op: Compare, a: Id, b: Id) -> Result<Id, BodyError> {
        self.expect(b, self.ty(a))?;
        match self.ty(a) {
            Ty::Bool => return Err(BodyError::Type { found: Ty::Bool, expected: Ty::Int }),
            Ty::Int => {
                let difference = self.linear(a).plus(&self.linear(b), -1);
                let known = self.linear_range(&difference).and_then(|(low, high)| match op {
                    Compare::Lt => decided(high < 0, low >= 0),
                    Compare::Le => decided(high <= 0, low > 0),
                    Compare::Eq => decided(low == 0 && high == 0, low > 0 || high < 0),
                });
                if let Some(known) = known {
                    return Ok(self.bool(known));
                }
            }
            Ty::F32 => {}
        }
        Ok(self.enter(Node::Compare(op, a, b), Ty::Bool))
    }

    pub(super) fn both(&mut self, a: Id, b: Id) -> Id {
        match (self.node(a), self.node(b)) {
            (Node::Bool(true), _) => b,
            (_, Node::Bool(true)) => a,
            (Node::Bool(false), _) | (_, Node::Bool(false)) => self.bool(false),
            _ if a == b => a,
            _ => self.enter(Node::Both(a, b), Ty::Bool),
        }
    }

    fn select(&mut self, c: Id, a: Id, b: Id) -> Result<Id, BodyError> {
        self.expect(c, Ty::Bool)?;
        self.expect(b, self.ty(a))?;
        match *self.node(c) {
            Node::Bool(true) => Ok(a),
            Node::Bool(false) => Ok(b),
            _ if a == b => Ok(a),
            _ => {
                let ty = self.ty(a);
                Ok(self.enter(Node::Select(c, a, b), ty))
            }
        }
    }

    fn cast(&mut self, to: Cast, a: Id) -> Result<Id, BodyError> {
        match (to, self.ty(a)) {
            (Cast::ToF32, Ty::Int) => match self.constant(a) {
                Some(value) => Ok(self.f32(value as f32)),
                None => Ok(self.enter(Node::Cast(to, a), Ty::F32)),
            },
            (Cast::ToF32, Ty::Bool) | (Cast::F16Bits | Cast::BF16Bits | Cast::F32Bits, Ty::Int) => {
                Ok(self.enter(Node::Cast(to, a), Ty::F32))
            }
            (Cast::ToInt, Ty::F32 | Ty::Bool) => Ok(self.enter(Node::Cast(to, a), Ty::Int)),
            (Cast::ToF32 | Cast::ToInt, found) => Err(BodyError::Type { found, expected: Ty::F32 }),
            (_, found) => Err(BodyError::Type { found, expected: Ty::Int }),
        }
    }

    /// The same terms with every load that may lie outside its input read only where `guard` holds:
    /// what the arm of a select becomes, so that it may be computed whether it is taken or not.
    pub(super) fn guarded(&mut self, id: Id, guard: Id) -> Result<Id, BodyError> {
        if !self.may_read_outside(id, &mut HashSet::new()) {
            return Ok(id);
        }
        let id = self.apart(id, self.free(guard))?;
        self.rebuild(id, &mut HashMap::new(), &|_, _| true, &mut |terms, node| match node {
            Node::Load { from, elem, offset, inside: false, guard: old } => {
                let guard = old.map_or(guard, |old| terms.both(old, guard));
                Ok(Node::Load { from, elem, offset, inside: false, guard: Some(guard) })
            }
            other => Ok(other),
        })
    }

    fn may_read_outside(&self, id: Id, seen: &mut HashSet<Id>) -> bool {
        seen.insert(id)
            && (matches!(self.node(id), Node::Load { inside: false, .. })
                || self.operands(id).into_iter().any(|o| self.may_read_outside(o, seen)))
    }

    /// The same terms, but reductions that bear the name of an output axis get an axis of their own, if that axis
    /// or one inside it is among these: they are about to depend on it, and so to stand inside its loop.
    fn apart(&mut self, id: Id, axes: u64) -> Result<Id, BodyError> {
        self.rebuild(id, &mut HashMap::new(), &|_, _| true, &mut |terms, node| match node {
            Node::Reduce { fold, axis, over, body } if axis < terms.rank && axes >> axis != 0 => {
                let other = terms.add_axis(over)?;
                let body = terms.rebuild(
                    body,
                    &mut HashMap::new(),
                    &|terms, id| terms.varies(id, axis),
                    &mut |_, node| Ok(if node == Node::Axis(axis) { Node::Axis(other) } else { node }),
                )?;
                Ok(Node::Reduce { fold, axis: other, over, body })
            }
            other => Ok(other),
        })
    }

    /// The same terms made anew, where `enter` says so of a term; `change` sees each node before it is made.
    pub(super) fn rebuild(
        &mut self,
        id: Id,
        done: &mut HashMap<Id, Id>,
        enter: &dyn Fn(&Terms, Id) -> bool,
        change: &mut dyn FnMut(&mut Terms, Node) -> Result<Node, BodyError>,
    ) -> Result<Id, BodyError> {
        if !enter(self, id) {
            return Ok(id);
        }
        if let Some(&made) = done.get(&id) {
            return Ok(made);
        }
        let mut again = |terms: &mut Terms, a: Id| terms.rebuild(a, done, enter, change);
        let node = match self.node(id).clone() {
            Node::Sum(linear) => {
                let mut sum = Linear::constant(linear.constant);
                for (atom, coefficient) in linear.terms {
                    let atom = again(self, atom)?;
                    sum = sum.plus(&self.linear(atom), coefficient);
                }
                Node::Sum(sum)
            }
            Node::Product(factors) => {
                Node::Product(factors.into_iter().map(|f| again(self, f)).collect::<Result<_, _>>()?)
            }
            Node::FloorDiv(a, by) => Node::FloorDiv(again(self, a)?, by),
            Node::Load { from, elem, offset, inside, guard } => {
                let offset = again(self, offset)?;
                let guard = guard.map(|g| again(self, g)).transpose()?;
                Node::Load { from, elem, offset, inside, guard }
            }
            Node::Unary(op, a) => Node::Unary(op, again(self, a)?),
            Node::Binary(op, a, b) => Node::Binary(op, again(self, a)?, again(self, b)?),
            Node::Fma(a, b, c) => Node::Fma(again(self, a)?, again(self, b)?, again(self, c)?),
            Node::Compare(op, a, b) => Node::Compare(op, again(self, a)?, again(self, b)?),
            Node::Both(a, b) => Node::Both(again(self, a)?, again(self, b)?),
            Node::Select(c, a, b) => Node::Select(again(self, c)?, again(self, a)?, again(self, b)?),
            Node::Cast(to, a) => Node::Cast(to, again(self, a)?),
            Node::Reduce { fold, axis, over, body } => {
                Node::Reduce { fold, axis, over: again(self, over)?, body: again(self, body)? }
            }
            leaf => leaf,
        };
        let node = change(self, node)?;
        let made = self.make(node)?;
        done.insert(id, made);
        Ok(made)
    }
}

fn decided(yes: bool, no: bool) -> Option<bool> {
    (yes || no).then_some(yes)
}
