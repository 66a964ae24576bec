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
        while let Some(pair) = fusible(g, at) {
            at = fuse(g, at, &pair)?;
            change = Change::Some;
        }
    }
    let removed = g.remove_unused(|node| matches!(node.op, Op::Input(_)));
    Ok(if removed > 0 { Change::Some } else { change })
}

/// Whether a node of its class may be fused. Rows of a weight stay with the kernel that knows its layout.
fn fits(g: &Graph, n: NodeId) -> bool {
    let of_weight = matches!(g[n].op, Op::Gather(_)) && matches!(g[g.inputs(n)[0]].op, Op::Weight(_));
    matches!(g[n].op.class(), Class::Pointwise | Class::Reduction | Class::Movement) && !of_weight
}

/// The body of a node that may be fused.
fn body(g: &Graph, n: NodeId) -> Option<Body> {
    fits(g, n).then(|| g[n].op.body(&g.input_types(n))).flatten()
}

/// A consumer's body, and that of the producer which goes into it at a slot.
struct Pair {
    outer: Body,
    slot: usize,
    inner: Body,
}

fn fusible(g: &Graph, consumer: NodeId) -> Option<Pair> {
    if !fits(g, consumer) {
        return None;
    }
    // Bodies are made only where everything else is right: most of the time goes into them.
    let inputs = g.inputs(consumer);
    let mut slots = (0..inputs.len()).filter(|slot| may_meet(g, consumer, inputs[*slot])).peekable();
    slots.peek()?;
    let outer = body(g, consumer)?;
    let (slot, inner) = slots.find_map(|slot| {
        let inner = body(g, inputs[slot])?;
        may_fuse(g, consumer, (inputs[slot], slot), (&outer, &inner)).then_some((slot, inner))
    })?;
    Some(Pair { outer, slot, inner })
}

/// Whether a producer can go into a consumer by where it is, what it is, and who else needs it.
fn may_meet(g: &Graph, consumer: NodeId, producer: NodeId) -> bool {
    // What a store would round or quantise is not what the consumer would find in its place.
    g[producer].place == g[consumer].place
        && g[producer].ty.dtype == ir::DType::F32
        && fits(g, producer)
        && (g[producer].op.class() == Class::Movement || g.users(producer) == [consumer])
        && !g.outputs.contains(&producer)
}

/// Whether a producer is not computed much more often for going into its consumer.
fn may_fuse(
    g: &Graph,
    consumer: NodeId,
    (producer, slot): (NodeId, usize),
    (outer, inner): (&Body, &Body),
) -> bool {
    if g[producer].op.class() == Class::Movement {
        return true;
    }
    let reads = reads(outer, slot);
    let rank = g[consumer].ty.rank();
    let own_point = reads.len() == 1 && same_point(outer, &reads[0], rank) && !is_under_fold(outer, slot);
    let twice_and_cheap = reads.len() <= 2 && is_cheap(inner) && !is_under_fold(outer, slot);
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
fn fuse(g: &mut Graph, consumer: NodeId, pair: &Pair) -> Result<NodeId, PassError> {
    let Pair { outer, slot, inner } = pair;
    let outer_inputs = g.inputs(consumer);
    let producer = outer_inputs[*slot];
    let mut inputs: Vec<NodeId> = vec![];
    let mut number = |n: NodeId| match inputs.iter().position(|&i| i == n) {
        Some(at) => at as u32,
        None => {
            inputs.push(n);
            inputs.len() as u32 - 1
        }
    };
    let outer_numbers: Vec<u32> =
        outer_inputs.iter().enumerate().map(|(at, &n)| if at == *slot { 0 } else { number(n) }).collect();
    let inner_numbers: Vec<u32> = g.inputs(producer).into_iter().map(&mut number).collect();
    let ty = g[consumer].ty.clone();
    let joined = expr::inline(outer, ty.rank(), *slot, inner, &outer_numbers, &inner_numbers);
    let fused = g.add(Fused { anchor: None, body: joined, ty }, &inputs)?;
    g.inherit(fused, &[consumer, producer]);
    g.replace(consumer, fused);
    g.remove(consumer);
    if !g.is_used(producer) {
        g.remove(producer);
    }
    Ok(fused)
}
