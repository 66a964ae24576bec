//! Whether the weights of a plan lie as this backend's kernels read them.
use ir::plan::{Fault, Plan, Section, Weight, Where};
use kernels::layout::Layout;

/// More bytes than any file has.
const BYTES_MAX: u64 = 1 << 56;

/// Every weight whose layout is unknown or another format's, or whose bytes do not follow from it. What lies
/// plainly is the plan's own verifier's to check.
pub(crate) fn verify(plan: &Plan) -> Vec<Fault> {
    let misfits = plan.weights.iter().enumerate().filter_map(|(index, w)| Some((index, misfit(w)?)));
    misfits
        .map(|(index, message)| Fault { at: Where { section: Section::Weights, index }, message })
        .collect()
}

fn misfit(weight: &Weight) -> Option<String> {
    let Weight { ty, layout, bytes, .. } = weight;
    if layout == "plain" {
        return None;
    }
    let Some(known) = Layout::parse(layout) else {
        let all: Vec<&str> = Layout::ALL.iter().map(|l| l.name()).collect();
        return Some(format!("layout {layout:?} is unknown, expected plain or one of {}", all.join(", ")));
    };
    if Layout::of(ty.dtype) != Some(known) {
        let own = Layout::of(ty.dtype).map_or("plain", Layout::name);
        return Some(format!("{} in layout {layout}, expected {own}", ty.dtype));
    }
    let extents = ty.extents(|_| None).filter(|_| ty.bytes(|_| None).is_some_and(|b| b < BYTES_MAX));
    match extents.as_deref() {
        Some(&[rows, cols]) => {
            let expected = known.packed_bytes(rows as usize, cols as usize) as u64;
            let message = || format!("states {bytes} bytes, {ty} in {layout} takes {expected}");
            (*bytes != expected).then(message)
        }
        _ => Some(format!("{ty} in layout {layout}, which is for matrices of whole blocks")),
    }
}
