//! From a plan's kernel to what a device launches for it.
use crate::kernels::{attention, expert_combine, expert_linear, gather, kv_append, linear, top_k};
use crate::program::Program;
use crate::tree;
use ir::Op;
use ir::ops;
use ir::plan::Kernel;
use kernels::layout::Layout;
use loops::BodyKernel;

/// Whether there is code for a kernel, or why there is none.
pub fn check(kernel: &Kernel, symbols: &[String]) -> Result<(), String> {
    lower(kernel, symbols).map(drop)
}

/// What a step runs, one after the other: of each launch the versions there are, those for fewer rows first.
pub(crate) fn lower(kernel: &Kernel, symbols: &[String]) -> Result<Vec<Vec<Program>>, String> {
    let op = Op::parse(&kernel.op.0, &kernel.op.1)?;
    let packed = |at: usize| kernel.layouts.get(at).and_then(|name| Layout::parse(name));
    let one = |program: Program| Ok(vec![vec![program]]);
    match &op {
        Op::Linear(_) => linear(kernel, kernel.inputs.len(), None, symbols),
        Op::Fused(fused) => match &fused.anchor {
            Some(anchor) if matches!(anchor.op, Op::Linear(_)) => {
                linear(kernel, anchor.inputs, Some(fused), symbols)
            }
            Some(anchor) => Err(format!("no kernel of {} takes an epilogue", anchor.op.name())),
            None => one(body(&op, kernel, symbols)?),
        },
        Op::Gather(ops::Gather { first }) if packed(0).is_some() => {
            let Some(layout) = packed(0) else { return Err("the table is not packed".into()) };
            one(gather(kernel, layout, first.unwrap_or(0), symbols)?)
        }
        Op::ExpertLinear(ops::ExpertLinear { first, .. }) => expert_linear(kernel, *first, symbols),
        Op::ExpertCombine(ops::ExpertCombine { first }) => one(expert_combine(kernel, *first, symbols)?),
        Op::KvAppend(ops::KvAppend { transposed }) => one(kv_append(kernel, *transposed, symbols)?),
        Op::TopK(greatest) => one(top_k(kernel, greatest, symbols)?),
        Op::PagedAttention(attends) => one(attention(kernel, attends, symbols)?),
        _ => one(body(&op, kernel, symbols)?),
    }
}

fn body(op: &Op, kernel: &Kernel, symbols: &[String]) -> Result<Program, String> {
    let body =
        op.body(&kernel.inputs).ok_or_else(|| format!("no kernel serves {} on this device", op.name()))?;
    if let Some(at) = kernel.layouts.iter().position(|name| Layout::parse(name).is_some()) {
        return Err(format!("input {at} is packed, which bodies do not read"));
    }
    let (inputs, output) = (kernel.inputs.clone(), kernel.output.clone());
    let kernel_of_body = BodyKernel { inputs, output, body, symbols: symbols.to_vec() };
    tree::body(&kernel.name, &kernel_of_body).map_err(|e| e.to_string())
}
