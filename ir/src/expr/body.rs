//! A body as a hash-consed DAG: equal terms are one term, and equal bodies are equal values.
use super::{Axis, Binary, Cast, Compare, Expr, FIRST_BOUND_AXIS, Fold, Tree, Unary};
use crate::Dim;
use std::collections::HashMap;
use std::rc::Rc;

/// A term of one body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TermId(pub u32);

/// What a term is. Operands are terms before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Term {
    /// An f32 constant, by its bits.
    F32(u32),
    /// An int constant.
    Int(i64),
    /// A coordinate: of the output below `FIRST_BOUND_AXIS`, of an enclosing reduction from there.
    Axis(Axis),
    /// A dimension's value.
    Size(Dim),
    /// The element of an input.
    Load {
        /// Which input.
        input: u32,
        /// A coordinate for each of its axes.
        at: Vec<TermId>,
    },
    /// What a hand kernel has accumulated for this point.
    Hole(u32),
    /// A function of one argument.
    Unary(Unary, TermId),
    /// A function of two.
    Binary(Binary, TermId, TermId),
    /// A comparison.
    Compare(Compare, TermId, TermId),
    /// Condition, value where it holds, value where not.
    Select(TermId, TermId, TermId),
    /// A conversion.
    Cast(Cast, TermId),
    /// A fold of `body` over `axis` in `0..over`.
    Reduce {
        /// How values are joined.
        fold: Fold,
        /// The axis it binds: `FIRST_BOUND_AXIS` plus how many reductions nest inside `body`.
        axis: Axis,
        /// How many values.
        over: TermId,
        /// The value at one coordinate.
        body: TermId,
    },
}

impl Term {
    /// The terms it uses, in order.
    pub fn operands(&self) -> Vec<TermId> {
        match self {
            Term::F32(_) | Term::Int(_) | Term::Axis(_) | Term::Size(_) | Term::Hole(_) => vec![],
            Term::Load { at, .. } => at.clone(),
            Term::Unary(_, a) | Term::Cast(_, a) => vec![*a],
            Term::Binary(_, a, b) | Term::Compare(_, a, b) => vec![*a, *b],
            Term::Select(c, a, b) => vec![*c, *a, *b],
            Term::Reduce { over, body, .. } => vec![*over, *body],
        }
    }
}

/// What a kernel computes at one point of its domain: terms in an order in which operands come
/// first, and the last of them is the value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Body {
    terms: Vec<Term>,
    /// For each term the axes that occur free in it, a bit each.
    free: Vec<u64>,
}

impl Body {
    /// Interns a tree. Bound axes get canonical names, so that equal reductions are one term
    /// wherever they stand.
    pub fn new(expr: &Expr) -> Body {
        let mut interner = Interner::default();
        let root = interner.expr(expr, &HashMap::new());
        Body::from_terms(&interner.terms, root)
    }

    /// The part of `terms` that `root` needs, renumbered in depth-first order.
    fn from_terms(terms: &[Term], root: TermId) -> Body {
        let mut number: HashMap<TermId, TermId> = HashMap::new();
        let mut ordered = vec![];
        let mut stack = vec![(root, false)];
        while let Some((id, ready)) = stack.pop() {
            if number.contains_key(&id) {
                continue;
            }
            let term = &terms[id.0 as usize];
            if ready {
                number.insert(id, TermId(ordered.len() as u32));
                ordered.push(renumber(term, |t| number[&t]));
            } else {
                stack.push((id, true));
                stack.extend(term.operands().into_iter().rev().map(|o| (o, false)));
            }
        }
        Body::from_ordered(ordered)
    }

    /// Terms whose operands come first, the last being the value.
    fn from_ordered(terms: Vec<Term>) -> Body {
        let mut free: Vec<u64> = Vec::with_capacity(terms.len());
        for term in &terms {
            let of = |t: &TermId| free[t.0 as usize];
            free.push(match term {
                Term::Axis(a) => 1 << a,
                Term::Reduce { axis, over, body, .. } => of(over) | (of(body) & !(1 << axis)),
                other => other.operands().iter().fold(0, |mask, t| mask | of(t)),
            });
        }
        Body { terms, free }
    }

    /// The axes that occur free in a term, a bit each.
    pub fn free_axes(&self, id: TermId) -> u64 {
        self.free[id.0 as usize]
    }

    /// The terms, operands first.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// One term.
    pub fn term(&self, id: TermId) -> &Term {
        &self.terms[id.0 as usize]
    }

    /// The value.
    pub fn root(&self) -> TermId {
        TermId(self.terms.len() as u32 - 1)
    }

    /// How many inputs it loads from: one more than the highest.
    pub fn inputs(&self) -> usize {
        let loads = self.terms.iter().filter_map(|t| match t {
            Term::Load { input, .. } => Some(*input as usize + 1),
            _ => None,
        });
        loads.max().unwrap_or(0)
    }

    /// Whether it loads from the input.
    pub fn loads(&self, input: usize) -> bool {
        self.terms.iter().any(|t| matches!(t, Term::Load { input: i, .. } if *i as usize == input))
    }
}

pub(super) fn renumber(term: &Term, number: impl Fn(TermId) -> TermId) -> Term {
    match term {
        Term::Load { input, at } => Term::Load { input: *input, at: at.iter().map(|&t| number(t)).collect() },
        Term::Unary(op, a) => Term::Unary(*op, number(*a)),
        Term::Cast(to, a) => Term::Cast(*to, number(*a)),
        Term::Binary(op, a, b) => Term::Binary(*op, number(*a), number(*b)),
        Term::Compare(op, a, b) => Term::Compare(*op, number(*a), number(*b)),
        Term::Select(c, a, b) => Term::Select(number(*c), number(*a), number(*b)),
        Term::Reduce { fold, axis, over, body } => {
            Term::Reduce { fold: *fold, axis: *axis, over: number(*over), body: number(*body) }
        }
        leaf => leaf.clone(),
    }
}

/// How deep reductions nest inside a tree, by the tree's address; the trees are alive meanwhile.
type Depths = HashMap<*const Tree, u32>;

/// Bound axes of a tree and what they are called in the body.
type Names = Vec<(Axis, Axis)>;

#[derive(Default)]
struct Interner {
    terms: Vec<Term>,
    known: HashMap<Term, TermId>,
    depths: Depths,
    /// What a tree became under the names then in force: they differ only where it has free bound axes.
    done: HashMap<(*const Tree, Names), TermId>,
    free: HashMap<*const Tree, Rc<Vec<Axis>>>,
}

impl Interner {
    fn intern(&mut self, term: Term) -> TermId {
        if let Some(&id) = self.known.get(&term) {
            return id;
        }
        let id = TermId(self.terms.len() as u32);
        self.terms.push(term.clone());
        self.known.insert(term, id);
        id
    }

    fn expr(&mut self, e: &Expr, names: &HashMap<Axis, Axis>) -> TermId {
        let mut in_force: Vec<_> =
            self.free(e).iter().filter_map(|a| names.get(a).map(|n| (*a, *n))).collect();
        in_force.sort_unstable();
        let key = (Rc::as_ptr(&e.0), in_force);
        if let Some(&id) = self.done.get(&key) {
            return id;
        }
        let term = match &*e.0 {
            Tree::F32(v) => Term::F32(v.to_bits()),
            Tree::Int(v) => Term::Int(*v),
            Tree::Axis(a) => Term::Axis(names.get(a).copied().unwrap_or(*a)),
            Tree::Size(d) => Term::Size(d.clone()),
            Tree::Hole(h) => Term::Hole(*h),
            Tree::Load { input, at } => {
                Term::Load { input: *input, at: at.iter().map(|a| self.expr(a, names)).collect() }
            }
            Tree::Unary(op, a) => Term::Unary(*op, self.expr(a, names)),
            Tree::Cast(to, a) => Term::Cast(*to, self.expr(a, names)),
            Tree::Binary(op, a, b) => Term::Binary(*op, self.expr(a, names), self.expr(b, names)),
            Tree::Compare(op, a, b) => Term::Compare(*op, self.expr(a, names), self.expr(b, names)),
            Tree::Select(c, a, b) => {
                Term::Select(self.expr(c, names), self.expr(a, names), self.expr(b, names))
            }
            Tree::Reduce { fold, axis, over, body } => {
                let over = self.expr(over, names);
                let name = FIRST_BOUND_AXIS + self.depth(body);
                let mut inner = names.clone();
                inner.insert(*axis, name);
                Term::Reduce { fold: *fold, axis: name, over, body: self.expr(body, &inner) }
            }
        };
        let id = self.intern(term);
        self.done.insert(key, id);
        id
    }

    fn depth(&mut self, e: &Expr) -> u32 {
        if let Some(&depth) = self.depths.get(&Rc::as_ptr(&e.0)) {
            return depth;
        }
        let inner = children(e).into_iter().map(|c| self.depth(c)).max().unwrap_or(0);
        let depth = inner + u32::from(matches!(&*e.0, Tree::Reduce { .. }));
        self.depths.insert(Rc::as_ptr(&e.0), depth);
        depth
    }

    /// The axes that occur free, those of the output included.
    fn free(&mut self, e: &Expr) -> Rc<Vec<Axis>> {
        if let Some(free) = self.free.get(&Rc::as_ptr(&e.0)) {
            return free.clone();
        }
        let mut free: Vec<Axis> = match &*e.0 {
            Tree::Axis(a) => vec![*a],
            Tree::Reduce { axis, over, body, .. } => {
                let mut inner: Vec<Axis> = self.free(body).iter().copied().filter(|a| a != axis).collect();
                inner.extend_from_slice(&self.free(over));
                inner
            }
            _ => children(e).into_iter().flat_map(|c| self.free(c).to_vec()).collect(),
        };
        free.sort_unstable();
        free.dedup();
        let free = Rc::new(free);
        self.free.insert(Rc::as_ptr(&e.0), free.clone());
        free
    }
}

fn children(e: &Expr) -> Vec<&Expr> {
    match &*e.0 {
        Tree::F32(_) | Tree::Int(_) | Tree::Axis(_) | Tree::Size(_) | Tree::Hole(_) => vec![],
        Tree::Load { at, .. } => at.iter().collect(),
        Tree::Unary(_, a) | Tree::Cast(_, a) => vec![a],
        Tree::Binary(_, a, b) | Tree::Compare(_, a, b) => vec![a, b],
        Tree::Select(c, a, b) => vec![c, a, b],
        Tree::Reduce { over, body, .. } => vec![over, body],
    }
}
