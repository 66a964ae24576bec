//! Whether two tensors say the same.
use ir::{DType, Tensor};

/// By how much two values of the dtype may differ where they were computed in different ways.
pub fn tolerance(dtype: DType) -> f32 {
    match dtype {
        DType::F32 => 2e-5,
        DType::F16 => 2e-3,
        DType::BF16 => 2e-2,
        DType::Quant(_) => 5e-2,
        _ => 0.0,
    }
}

/// Where and by how much `found` differs from `expected`, if beyond the tolerance: relative to the larger of
/// the two, absolute below 1. Not-a-number equals itself.
pub fn difference(found: &Tensor, expected: &Tensor, tolerance: f32) -> Option<String> {
    if found.ty() != expected.ty() {
        return Some(format!("has type {}, expected {}", found.ty(), expected.ty()));
    }
    let (found, expected) = (found.to_f32(), expected.to_f32());
    let close = |a: f32, b: f32| {
        let scale = 1f32.max(a.abs()).max(b.abs());
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * scale
    };
    let at = (0..found.len()).find(|&i| !close(found[i], expected[i]))?;
    Some(format!("is {} at element {at}, expected {}", found[at], expected[at]))
}
