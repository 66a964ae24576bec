//! Puts pointwise work behind a product into the product's kernel, which applies it to each tile as it finishes.
//!
//! Bias, residual and activation ride on a `linear` this way. The pointwise node must be the
//! product's only user, read it at its own point, and give f32 of the same shape.
use super::chains::same_point;
use crate::{Change, Cx, PassError};
use ir::expr::{Body, Term, axes, load, open};
use ir::ops::{Anchor, Fused};
use ir::{Class, DType, Graph, NodeId, Op};

pub(crate) fn run(_: &Cx, g: &mut Graph) -> Result<Change, PassError> {
    let mut change = Change::None;
    for consumer in g.order() {
        if let Some(slot) = (0..g.inputs(consumer).len()).find(|&slot| fits(g, consumer, slot)) {
            fuse(g, consumer, slot)?;
            change = Change::Some;
        }
    }
    let removed = g.remove_unused(|node| matches!(node.op, Op::Input(_)));
    Ok(if removed > 0 { Change::Some } else { change })
}

fn fits(g: &Graph, consumer: NodeId, slot: usize) -> bool {
    let inputs = g.inputs(consumer);
    let product = inputs[slot];
    let (node, ty) = (&g[product], &g[consumer].ty);
    if !matches!(node.op, Op::Linear(_)) || g.users(product) != [consumer] || g.outputs.contains(&product) {
        return false;
    }
    if node.place != g[consumer].place {
        return false;
    }
    if g[consumer].op.class() != Class::Pointwise || ty.dtype != DType::F32 || ty.shape != node.ty.shape {
        return false;
    }
    if inputs.iter().filter(|&&i| i == product).count() > 1
        || inputs.iter().any(|&i| g[i].ty.dtype != DType::F32)
    {
        return false;
    }
    let Some(body) = g[consumer].op.body(&g.input_types(consumer)) else { return false };
    let reads = body.terms().iter().filter_map(|t| match t {
        Term::Load { input, at } if *input as usize == slot => Some(at),
        _ => None,
    });
    reads.into_iter().all(|at| same_point(&body, at, ty.rank()))
}

fn fuse(g: &mut Graph, consumer: NodeId, slot: usize) -> Result<(), PassError> {
    let product = g.inputs(consumer)[slot];
    let outer = g[consumer].op.body(&g.input_types(consumer)).expect("a consumer that fits has a body");
    let own = g.inputs(product);
    let mut inputs = own.clone();
    let numbers: Vec<usize> = g
        .inputs(consumer)
        .into_iter()
        .enumerate()
        .map(|(at, n)| {
            if at != slot {
                inputs.push(n);
            }
            inputs.len() - 1
        })
        .collect();
    let ty = g[consumer].ty.clone();
    let mut fill = |input: u32, at| match input as usize {
        input if input == slot => ir::expr::hole(0),
        input => load(numbers[input], at),
    };
    let body = Body::new(&open(&outer, &axes(ty.rank()), &mut fill, &mut |h| ir::expr::hole(h as usize)));
    let anchor = Anchor { op: g[product].op.clone(), inputs: own.len() };
    let fused = g.add(Fused { anchor: Some(anchor), body, ty }, &inputs)?;
    g.inherit(fused, &[product, consumer]);
    g.replace(consumer, fused);
    g.remove(consumer);
    Ok(())
}
