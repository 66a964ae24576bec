//! What the movement operators share: every element of the result is one of an input's, bit for bit.
use super::OpError;
use crate::Tensor;
use crate::tensor::for_each_index;

/// The tensor of `shape` whose element at an index is that of `from` at `source(index)`.
pub(super) fn rearrange(
    from: &Tensor,
    shape: &[u64],
    source: impl Fn(&[u64]) -> Vec<u64>,
) -> Result<Tensor, OpError> {
    let width = from.dtype().block_bytes() as usize;
    let mut bytes = vec![];
    let mut outside = None;
    for_each_index(shape, |index| {
        let at: Vec<i64> = source(index).into_iter().map(|i| i as i64).collect();
        match from.position(&at) {
            Some(p) => bytes.extend_from_slice(&from.bytes()[p * width..(p + 1) * width]),
            None => outside = Some(at),
        }
    });
    let misfit = || OpError::Invalid(format!("{} has no element at {outside:?}", from.ty()));
    Tensor::from_bytes(from.dtype(), shape, bytes).ok_or_else(misfit)
}
