//! What `infer` asks of types, with errors that say which input is at fault and what was expected.
use super::OpError;
use crate::{DType, Dim, TensorType};

/// The input is of exactly this type.
pub(super) fn exactly(index: usize, found: &TensorType, expected: TensorType) -> Result<(), OpError> {
    if *found == expected { Ok(()) } else { Err(OpError::Type { index, found: found.clone(), expected }) }
}

/// The input's elements are of this dtype.
pub(super) fn dtype(index: usize, found: &TensorType, expected: DType) -> Result<(), OpError> {
    exactly(index, found, found.with_dtype(expected))
}

/// The input's elements are what `expected` says in words.
pub(super) fn elements(index: usize, found: &TensorType, expected: &str, fits: bool) -> Result<(), OpError> {
    let refusal = || OpError::Invalid(format!("input {index} has type {found}, expected {expected}"));
    if fits { Ok(()) } else { Err(refusal()) }
}

/// The input's elements are not blocks, so that they can be moved one by one.
pub(super) fn plain(index: usize, found: &TensorType) -> Result<(), OpError> {
    let fits = !matches!(found.dtype, DType::Quant(_));
    elements(index, found, "elements that are not in blocks", fits)
}

/// The input's extents, which are as many as `N`.
pub(super) fn axes<const N: usize>(index: usize, found: &TensorType) -> Result<&[Dim; N], OpError> {
    let refusal = |_| OpError::Invalid(format!("input {index} has type {found}, expected {N} axes"));
    found.shape.as_slice().try_into().map_err(refusal)
}

/// The input's extents, the last apart from those before it.
pub(super) fn last_axis(index: usize, found: &TensorType) -> Result<(&Dim, &[Dim]), OpError> {
    let refusal = || OpError::Invalid(format!("input {index} has type {found}, expected at least one axis"));
    found.shape.split_last().ok_or_else(refusal)
}

/// A positive extent that is no symbol.
pub(super) fn constant(what: &str, found: &Dim) -> Result<i64, OpError> {
    let refusal = || OpError::Invalid(format!("{what} is {found}, expected a positive constant"));
    found.known().filter(|&d| d > 0).ok_or_else(refusal)
}

/// A type that a tensor can have: no axis of negative extent, rows of whole blocks.
pub(super) fn possible(ty: &TensorType) -> Result<(), OpError> {
    if let Some(d) = ty.shape.iter().find(|d| d.known().is_some_and(|d| d < 0)) {
        return Err(OpError::Invalid(format!("{ty} has an axis of negative extent {d}")));
    }
    let block = ty.dtype.block_len() as i64;
    match ty.shape.last() {
        Some(last) if last.is_multiple_of(block) => Ok(()),
        None if block == 1 => Ok(()),
        _ => Err(OpError::Invalid(format!("rows of {ty} are not whole blocks of {block}"))),
    }
}
