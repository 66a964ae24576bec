//! What a device runs: compiled kernels, behind one trait, and dimensions resolved for one step; and a device that
//! runs them itself, behind another.
pub mod accelerator;

use std::ops::Range;

/// Bytes at the start of the memory that workers share which are zero between kernels.
pub const SHARED_ZEROS: usize = 4096;

/// One compiled kernel, ready to run on a device.
pub trait Executable: Send + Sync {
    /// How many independent work units there are for these symbol values; a team splits them.
    fn units(&self, syms: &[i64]) -> usize;

    /// Bytes of scratch each worker needs.
    fn scratch_bytes(&self) -> usize;

    /// Bytes that the workers of a device share while they run it.
    ///
    /// The first [`SHARED_ZEROS`] of them, or all where there are fewer, are zero when a kernel starts, and zero
    /// again when its last unit is done; the others hold anything. A worker must never wait for another there: its
    /// part may be done behind its own, by the same thread.
    fn shared_bytes(&self) -> usize {
        0
    }

    /// Computes `units`, a part of `0..self.units(syms)`.
    ///
    /// # Safety
    /// `args` point to the buffers that the plan's step names, inputs in order and then outputs, of the
    /// plan's types at these symbol values, and last, where `shared_bytes` is not 0, to what the workers share,
    /// 64-byte aligned. Nobody else writes the inputs, or touches those parts of the
    /// outputs that `units` stand for, until it returns. `scratch` is this worker's own, 64-byte aligned, of
    /// at least `scratch_bytes` bytes.
    unsafe fn run(&self, args: &[*mut u8], syms: &[i64], units: Range<usize>, scratch: *mut u8);
}

/// A dimension over symbol indices: `constant + Σ coefficient · syms[index]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The part without symbols.
    pub constant: i64,
    /// Coefficient and symbol index of each other part.
    pub terms: Vec<(i64, u32)>,
}

impl Extent {
    /// Its value for these symbol values.
    ///
    /// # Panics
    /// If a term names a symbol that `syms` lacks.
    pub fn eval(&self, syms: &[i64]) -> i64 {
        self.terms.iter().fold(self.constant, |sum, (by, index)| sum + by * syms[*index as usize])
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_extent_is_affine_in_its_symbols() {
        let extent = Extent { constant: 1, terms: vec![(2, 1), (-1, 0)] };
        assert_eq!(extent.eval(&[3, 10]), 18);
        assert_eq!(Extent { constant: 576, terms: vec![] }.eval(&[]), 576);
    }
}
