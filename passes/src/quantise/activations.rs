//! Quantises what enters products with quantised weights to int8, if the options ask for it.
//!
//! Products that share an input share its quantisation. Devices that take f32 alone are passed over.
use crate::{Change, Cx, PassError};
use ir::ops::Quantise;
use ir::plan::Activations;
use ir::quant::Format;
use ir::{DType, Dim, Graph, NodeId, Op};
use std::collections::HashMap;

pub(crate) fn run(cx: &Cx, g: &mut Graph) -> Result<Change, PassError> {
    let mut done: HashMap<(NodeId, u32), NodeId> = HashMap::new();
    if cx.activations == Activations::F32 {
        return Ok(Change::None);
    }
    for n in g.order() {
        let first_weight = match g[n].op {
            Op::Linear(_) => 1,
            Op::ExpertLinear(_) | Op::ExpertCombine(_) => 2,
            _ => continue,
        };
        let inputs = g.inputs(n);
        let quantised = |&w: &NodeId| matches!(g[w].ty.dtype, DType::Quant(_));
        if g[inputs[0]].ty.dtype != DType::F32
            || cx.exact.contains(&g[n].place)
            || !inputs[first_weight..].iter().all(quantised)
            || !in_blocks(g, inputs[0])
        {
            continue;
        }
        let place = g[n].place;
        let x = match done.get(&(inputs[0], place)) {
            Some(&x) => x,
            None => {
                let x = g.add(Quantise {}, &inputs[..1])?;
                g.inherit(x, &inputs[..1]);
                g.set_place(x, place);
                done.insert((inputs[0], place), x);
                x
            }
        };
        let product = g.add(g[n].op.clone(), &[&[x], &inputs[1..]].concat())?;
        g.inherit(product, &[n]);
        g.replace(n, product);
        g.remove(n);
    }
    Ok(if done.is_empty() { Change::None } else { Change::Some })
}

/// Whether rows are whole blocks of the activation format.
fn in_blocks(g: &Graph, x: NodeId) -> bool {
    g[x].ty.shape.last().and_then(Dim::known).is_some_and(|d| d % Format::Q8A.block_len() as i64 == 0)
}
