//! Joins chains: puts the body of a producer into its consumer, so that the value between them is never stored.
//!
//! A producer that only moves elements (slice, reshape, transpose) goes into every consumer. One that
//! computes goes in only where it is its consumer's alone, and is not computed much more often for it:
//! the consumer reads it at its own point, or at most twice and it is cheap.
use crate::{Change, Cx, PassError};
use ir::expr::{self, Body, Term, TermId, Unary};
use ir::ops::Fused;
use ir::{Class, Graph, NodeId, Op};

pub(crate) fn run(_: &Cx, g: &mut Graph) -> Result<Change, PassError> {
    let mut change = Change::None;
    for consumer in g.order() {
        if !g.contains(consumer) {
            continue;
        }
        let mut at = consumer;
        while let Some(slot) = fusible_slot(g, at) {
            at = fuse(g, at, slot)?;
            change = Change::Some;
        }
    }
    let removed = g.remove_unused(|node| matches!(node.op, Op::Input(_)));
    Ok(if removed > 0 { Change::Some } else { change })
}

/// The body of a node that may be fused. Rows of a weight stay with the kernel that knows its layout.
fn body(g: &Graph, n: NodeId) -> Option<Body> {
    let of_weight = matches!(g[n].op, Op::Gather(_)) && matches!(g[g.inputs(n)[0]].op, Op::Weight(_));
    let fits = matches!(g[n].op.class(), Class::Pointwise | Class::Reduction | Class::Movement);
    (fits && !of_weight).then(|| g[n].op.body(&g.input_types(n))).flatten()
}

fn fusible_slot(g: &Graph, consumer: NodeId) -> Option<usize> {
    let outer = body(g, consumer)?;
    (0..g.inputs(consumer).len()).find(|&slot| may_fuse(g, consumer, slot, &outer))
}

fn may_fuse(g: &Graph, consumer: NodeId, slot: usize, outer: &Body) -> bool {
    let producer = g.inputs(consumer)[slot];
    // What a store would round or quantise is not what the consumer would find in its place.
    let apart = g[producer].place != g[consumer].place;
    if apart || g.outputs.contains(&producer) || g[producer].ty.dtype != ir::DType::F32 {
        return false;
    }
    let Some(inner) = body(g, producer) else { return false };
    if g[producer].op.class() == Class::Movement {
        return true;
    }
    if g.users(producer) != [consumer] {
        return false;
    }
    let reads = reads(outer, slot);
    let rank = g[consumer].ty.rank();
    let own_point = reads.len() == 1 && same_point(outer, &reads[0], rank) && !is_under_fold(outer, slot);
    let twice_and_cheap = reads.len() <= 2 && is_cheap(&inner) && !is_under_fold(outer, slot);
    own_point || twice_and_cheap
}

/// The coordinates at which the body reads an input.
fn reads(body: &Body, slot: usize) -> Vec<Vec<TermId>> {
    let at = |t: &Term| match t {
        Term::Load { input, at } if *input as usize == slot => Some(at.clone()),
        _ => None,
    };
    body.terms().iter().filter_map(at).collect()
}

/// Whether coordinates are the consumer's own, axis by axis.
pub(super) fn same_point(body: &Body, at: &[TermId], rank: usize) -> bool {
    let own = |(axis, t): (usize, &TermId)| *body.term(*t) == Term::Axis(axis as u32);
    at.len() == rank && at.iter().enumerate().all(own)
}

/// Whether a fold reads the input: then it is read many times for a point.
fn is_under_fold(body: &Body, slot: usize) -> bool {
    let bound = |t: &TermId| body.free_axes(*t) >> expr::FIRST_BOUND_AXIS != 0;
    reads(body, slot).iter().any(|at| at.iter().any(bound))
}

/// Whether computing a point twice costs no more than storing and loading it.
fn is_cheap(body: &Body) -> bool {
    let dear = |t: &Term| match t {
        Term::Reduce { .. } | Term::Binary(expr::Binary::Div, ..) => true,
        Term::Unary(op, _) => matches!(op, Unary::Exp | Unary::Log | Unary::Sqrt),
        _ => false,
    };
    !body.terms().iter().any(dear)
}

/// Replaces the consumer by one that computes the producer in its place; says which node that is.
fn fuse(g: &mut Graph, consumer: NodeId, slot: usize) -> Result<NodeId, PassError> {
    let (outer_inputs, producer) = (g.inputs(consumer), g.inputs(consumer)[slot]);
    let outer = body(g, consumer).expect("a fusible consumer has a body");
    let inner = body(g, producer).expect("a fusible producer has a body");
    let mut inputs: Vec<NodeId> = vec![];
    let mut number = |n: NodeId| match inputs.iter().position(|&i| i == n) {
        Some(at) => at as u32,
        None => {
            inputs.push(n);
            inputs.len() as u32 - 1
        }
    };
    let outer_numbers: Vec<u32> =
        outer_inputs.iter().enumerate().map(|(at, &n)| if at == slot { 0 } else { number(n) }).collect();
    let inner_numbers: Vec<u32> = g.inputs(producer).into_iter().map(&mut number).collect();
    let ty = g[consumer].ty.clone();
    let joined = expr::inline(&outer, ty.rank(), slot, &inner, &outer_numbers, &inner_numbers);
    let fused = g.add(Fused { anchor: None, body: joined, ty }, &inputs)?;
    g.inherit(fused, &[consumer, producer]);
    g.replace(consumer, fused);
    g.remove(consumer);
    if !g.is_used(producer) {
        g.remove(producer);
    }
    Ok(fused)
}
