//! Puts one body inside another: this is fusion.
use super::{Axis, Body, Expr, Term, TermId, Tree, fresh_axis, tree};
use std::collections::HashMap;

/// The body as a tree again, with `at` for the output's axes, `load` for the loads and `hole` for the holes.
///
/// Every reduction gets an axis of its own, so coordinates that mention enclosing axes are never captured.
pub fn open(
    body: &Body,
    at: &[Expr],
    load: &mut dyn FnMut(u32, Vec<Expr>) -> Expr,
    hole: &mut dyn FnMut(u32) -> Expr,
) -> Expr {
    let mut opening = Opening { body, at, load, hole };
    opening.term(body.root(), &mut Scope::default())
}

/// `outer` with `inner` in the place of its input `slot`. `outer_inputs[i]` and `inner_inputs[i]`
/// say what number each body's input `i` has in the result.
pub fn inline(
    outer: &Body,
    rank: usize,
    slot: usize,
    inner: &Body,
    outer_inputs: &[u32],
    inner_inputs: &[u32],
) -> Body {
    let mut made: Vec<(Vec<*const Tree>, Expr, Vec<Expr>)> = vec![];
    let mut load = |input: u32, at: Vec<Expr>| {
        if input as usize != slot {
            return tree(Tree::Load { input: outer_inputs[input as usize], at });
        }
        let key: Vec<_> = at.iter().map(|a| std::rc::Rc::as_ptr(&a.0)).collect();
        if let Some((_, same, _)) = made.iter().find(|m| m.0 == key) {
            return same.clone();
        }
        let mut rename = |input: u32, at| tree(Tree::Load { input: inner_inputs[input as usize], at });
        let opened = open(inner, &at, &mut rename, &mut |h| tree(Tree::Hole(h)));
        made.push((key, opened.clone(), at));
        opened
    };
    let expr = open(outer, &super::axes(rank), &mut load, &mut |h| tree(Tree::Hole(h)));
    Body::new(&expr)
}

struct Opening<'a> {
    body: &'a Body,
    at: &'a [Expr],
    load: &'a mut dyn FnMut(u32, Vec<Expr>) -> Expr,
    hole: &'a mut dyn FnMut(u32) -> Expr,
}

/// What terms became, innermost reduction last. A term belongs to the innermost scope whose axis it uses.
#[derive(Default)]
struct Scope {
    bound: Vec<(Axis, Expr, HashMap<TermId, Expr>)>,
    outermost: HashMap<TermId, Expr>,
}

impl Opening<'_> {
    fn term(&mut self, id: TermId, scope: &mut Scope) -> Expr {
        let level = self.level(id, scope);
        let known = match level {
            0 => scope.outermost.get(&id),
            n => scope.bound[n - 1].2.get(&id),
        };
        if let Some(known) = known {
            return known.clone();
        }
        let made = self.make(id, scope);
        match level {
            0 => scope.outermost.insert(id, made.clone()),
            n => scope.bound[n - 1].2.insert(id, made.clone()),
        };
        made
    }

    /// How many of the open reductions must be kept for the term to mean what it means here.
    fn level(&self, id: TermId, scope: &Scope) -> usize {
        let free = self.body.free_axes(id);
        scope.bound.iter().rposition(|b| free & (1 << b.0) != 0).map_or(0, |at| at + 1)
    }

    fn make(&mut self, id: TermId, scope: &mut Scope) -> Expr {
        let body = self.body;
        match body.term(id) {
            Term::F32(bits) => tree(Tree::F32(f32::from_bits(*bits))),
            Term::Int(v) => tree(Tree::Int(*v)),
            Term::Size(d) => tree(Tree::Size(d.clone())),
            Term::Hole(h) => (self.hole)(*h),
            Term::Axis(a) => match scope.bound.iter().rev().find(|b| b.0 == *a) {
                Some(bound) => bound.1.clone(),
                None => self.at[*a as usize].clone(),
            },
            Term::Load { input, at } => {
                let at = at.iter().map(|&t| self.term(t, scope)).collect();
                (self.load)(*input, at)
            }
            Term::Unary(op, a) => tree(Tree::Unary(*op, self.term(*a, scope))),
            Term::Cast(to, a) => tree(Tree::Cast(*to, self.term(*a, scope))),
            Term::Binary(op, a, b) => tree(Tree::Binary(*op, self.term(*a, scope), self.term(*b, scope))),
            Term::Compare(op, a, b) => tree(Tree::Compare(*op, self.term(*a, scope), self.term(*b, scope))),
            Term::Select(c, a, b) => {
                tree(Tree::Select(self.term(*c, scope), self.term(*a, scope), self.term(*b, scope)))
            }
            Term::Reduce { fold, axis, over, body } => {
                let over = self.term(*over, scope);
                let own = fresh_axis();
                scope.bound.push((*axis, tree(Tree::Axis(own)), HashMap::new()));
                let inner = self.term(*body, scope);
                scope.bound.pop();
                tree(Tree::Reduce { fold: *fold, axis: own, over, body: inner })
            }
        }
    }
}
