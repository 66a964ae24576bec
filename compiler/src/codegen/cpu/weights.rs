//! How this backend lays out weights: in which layout, in how many bytes, and whether those of a plan lie so.
use ir::plan::{Fault, Plan, Section, Weight, Where};
use ir::{Op, TensorType};
use kernels::layout::Layout;
use passes::{PLAIN, plain_bytes};

/// More bytes than any file has.
const BYTES_MAX: u64 = 1 << 56;

/// Matrices that products or lookups read are packed in tiles, those of experts one after the other; everything else
/// lies as the file has it.
pub(super) fn layout(ty: &TensorType, users: &[&Op]) -> Result<String, String> {
    let packs = |op: &&Op| match op {
        Op::Linear(_) | Op::Gather(_) => ty.rank() == 2,
        Op::ExpertLinear(_) | Op::ExpertCombine(_) => ty.rank() == 3,
        Op::Fused(fused) => ty.rank() == 2 && fused.anchor.is_some(),
        _ => false,
    };
    let name = match Layout::of(ty.dtype) {
        Some(layout) if matches!(ty.rank(), 2 | 3) && users.iter().all(packs) => layout.name(),
        _ => PLAIN,
    };
    Ok(name.to_owned())
}

/// The bytes of a weight in a layout; or why it cannot lie so.
pub(super) fn packed_bytes(ty: &TensorType, layout: &str) -> Result<u64, String> {
    if layout == PLAIN {
        return plain_bytes(ty);
    }
    let Some(known) = Layout::parse(layout) else {
        let all: Vec<&str> = Layout::ALL.iter().map(|l| l.name()).collect();
        return Err(format!("layout {layout:?} is unknown, expected {PLAIN} or one of {}", all.join(", ")));
    };
    if Layout::of(ty.dtype) != Some(known) {
        let own = Layout::of(ty.dtype).map_or(PLAIN, Layout::name);
        return Err(format!("{} in layout {layout}, expected {own}", ty.dtype));
    }
    let extents = ty.extents(|_| None).filter(|_| plain_bytes(ty).is_ok_and(|bytes| bytes < BYTES_MAX));
    match extents.as_deref() {
        Some(&[ref experts @ .., rows, cols]) if experts.len() < 2 => {
            let one = known.packed_bytes(rows as usize, cols as usize) as u64;
            Ok(experts.iter().product::<u64>() * one)
        }
        _ => Err(format!(
            "{ty} in layout {layout}, which is for matrices of whole blocks, alone or one for each expert"
        )),
    }
}

/// Every weight that cannot lie in its layout, or whose bytes do not follow from it.
pub(crate) fn verify(plan: &Plan) -> Vec<Fault> {
    let misfits = plan.weights.iter().enumerate().filter_map(|(index, w)| Some((index, misfit(w)?)));
    misfits
        .map(|(index, message)| Fault { at: Where { section: Section::Weights, index }, message })
        .collect()
}

fn misfit(weight: &Weight) -> Option<String> {
    let Weight { ty, layout, bytes, .. } = weight;
    match packed_bytes(ty, layout) {
        Err(message) => Some(message),
        Ok(expected) if expected == *bytes => None,
        Ok(expected) => Some(format!("states {bytes} bytes, {ty} in {layout} takes {expected}")),
    }
}
