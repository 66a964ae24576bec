//! Chooses code for a plan's kernels: a kernel written by hand where one fits, else the operator's body, compiled.
use super::kernels::layout::Layout;
use crate::error::LowerError;
use ir::plan::Kernel;
use ir::{Op, TensorType};
use runtime::device::Executable;
use std::sync::Arc;

/// The code of every kernel, in order.
pub fn lower(kernels: &[Kernel], symbols: &[String]) -> Result<Vec<Arc<dyn Executable>>, LowerError> {
    crate::codegen::reference::lower(kernels, symbols)
}

/// What the passes may know of this backend.
pub fn target() -> passes::Target {
    passes::Target { layout }
}

/// Matrices that products or lookups read are packed in tiles; everything else lies as the file has it.
fn layout(ty: &TensorType, users: &[&Op]) -> Result<(String, u64), String> {
    let packs = |op: &&Op| match op {
        Op::Linear(_) | Op::Gather(_) => true,
        Op::Fused(fused) => fused.anchor.is_some(),
        _ => false,
    };
    let extents = ty.extents(|_| None).ok_or_else(|| format!("the size of {ty} cannot be known"))?;
    match (&extents[..], Layout::of(ty.dtype)) {
        (&[rows, cols], Some(layout)) if users.iter().all(|u| packs(u)) => {
            Ok((layout.name().to_owned(), layout.packed_bytes(rows as usize, cols as usize) as u64))
        }
        _ => Ok((
            "plain".to_owned(),
            ty.bytes(|_| None).ok_or_else(|| format!("the size of {ty} cannot be known"))?,
        )),
    }
}
