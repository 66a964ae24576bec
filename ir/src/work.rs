//! Work: what an operator must at least do in a step: bytes that it moves, operations that it computes.
//!
//! It is counted from what the operator means, not from how a kernel does it: every value that is needed is read
//! once, every value is computed once for all points that share it. An operator states its own work where that
//! does not follow from its types and its body.
use crate::expr::{Body, count};
use crate::{DType, Symbols, TensorType};
use serde::{Deserialize, Serialize};
use std::ops::{Add, AddAssign, Range};

/// A step, as far as work depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepSize {
    /// What the symbols are.
    pub symbols: Symbols,
    /// For each sequence in the step the positions that are added to it; those before them are cached.
    pub sequences: Vec<Range<u64>>,
}

/// Operations by arithmetic kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operations {
    /// Multiplications and additions of dot products of bytes.
    pub int8: u64,
    /// The same where one side has 16 bits or fewer and the other more than a byte: what units for matrices are
    /// made for.
    pub f16: u64,
    /// f32 arithmetic; a multiplication and an addition are two, fused or not.
    pub f32: u64,
    /// Exponentials and logarithms.
    pub exp: u64,
}

impl Operations {
    /// All of them.
    pub fn total(&self) -> u64 {
        [self.int8, self.f16, self.f32, self.exp].into_iter().fold(0, u64::saturating_add)
    }

    /// What is left when others are taken away.
    pub fn without(self, others: Operations) -> Operations {
        Operations {
            int8: self.int8.saturating_sub(others.int8),
            f16: self.f16.saturating_sub(others.f16),
            f32: self.f32.saturating_sub(others.f32),
            exp: self.exp.saturating_sub(others.exp),
        }
    }
}

impl Add for Operations {
    type Output = Operations;
    fn add(self, other: Operations) -> Operations {
        Operations {
            int8: self.int8.saturating_add(other.int8),
            f16: self.f16.saturating_add(other.f16),
            f32: self.f32.saturating_add(other.f32),
            exp: self.exp.saturating_add(other.exp),
        }
    }
}

impl AddAssign for Operations {
    fn add_assign(&mut self, other: Operations) {
        *self = *self + other;
    }
}

/// What must be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Bytes read of each input, as its type has them.
    pub reads: Vec<u64>,
    /// Bytes written.
    pub writes: u64,
    /// What is computed.
    pub operations: Operations,
}

/// f32 operations that quantising one value takes: its magnitude, the greatest of those, scaling, rounding.
const QUANTISE: u64 = 4;

impl Work {
    /// Reads every input whole, writes the output, computes nothing. None where a symbol has no value.
    pub fn moving(inputs: &[TensorType], output: &TensorType, step: &StepSize) -> Option<Work> {
        let bytes = |ty: &TensorType| ty.bytes(|s| step.symbols.get(s));
        let reads = inputs.iter().map(bytes).collect::<Option<_>>()?;
        Some(Work { reads, writes: bytes(output)?, operations: Operations::default() })
    }

    /// What a body does at every point of its output: of an input it reads as many elements as it loads, at most
    /// all of them. Without a body, [`Work::moving`].
    pub fn of_body(
        body: Option<&Body>,
        inputs: &[TensorType],
        output: &TensorType,
        step: &StepSize,
    ) -> Option<Work> {
        let mut work = Work::moving(inputs, output, step)?;
        let Some(body) = body else { return Some(work) };
        let extents = step.symbols.extents(output)?;
        let counts = count(body, inputs, &extents, &step.symbols);
        for ((read, ty), loads) in work.reads.iter_mut().zip(inputs).zip(counts.loads) {
            let blocks = loads.div_ceil(ty.dtype.block_len());
            *read = (*read).min(blocks.saturating_mul(ty.dtype.block_bytes()));
        }
        work.operations = counts.operations;
        if let DType::Quant(_) = output.dtype {
            let points = extents.iter().fold(1, |all: u64, extent| all.saturating_mul(*extent));
            work.operations.f32 = work.operations.f32.saturating_add(points.saturating_mul(QUANTISE));
        }
        Some(work)
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "a sequence is a range of positions, and may be alone")]
mod tests {
    use super::*;
    use crate::ops::{Gather, KvAppend, Linear, PagedAttention, Quantise, RmsNorm, Slice};
    use crate::quant::Format;
    use crate::{Dim, Op};

    fn step(n: i64, sequences: &[Range<u64>]) -> StepSize {
        StepSize { symbols: Symbols::new().with("n", n), sequences: sequences.to_vec() }
    }

    fn rows(dtype: DType, shape: &[i64]) -> TensorType {
        TensorType::new(dtype, [Dim::symbol("n")].into_iter().chain(shape.iter().map(|&d| Dim::from(d))))
    }

    /// Operations on bytes, on halves, on f32, exponentials; bytes read and written.
    fn work(op: impl Into<Op>, inputs: &[TensorType], step: &StepSize) -> ([u64; 4], Vec<u64>, u64) {
        let work = op.into().work(inputs, step).expect("every symbol has a value");
        let Operations { int8, f16, f32, exp } = work.operations;
        ([int8, f16, f32, exp], work.reads, work.writes)
    }

    #[test]
    fn a_product_reads_its_weights_once_and_multiplies_bytes_where_activations_are() {
        let q8_a = |n| TensorType::known(DType::Quant(Format::Q8A), &[n, 576]);
        let weight = TensorType::known(DType::Quant(Format::Q4_1), &[1536, 576]);
        // Q4_1: 20 bytes for 32 values. q8_a: what its file says.
        let block = Format::Q8A.block_bytes() as u64;
        let row = 576 / Format::Q8A.block_len() as u64 * block;
        let (ops, reads, writes) = work(Linear {}, &[q8_a(1), weight.clone()], &step(1, &[]));
        assert_eq!(ops, [2 * 576 * 1536, 0, 0, 0]);
        assert_eq!((reads, writes), (vec![row, 576 * 1536 / 32 * 20], 1536 * 4));
        let two = work(Linear {}, &[q8_a(7), weight.clone(), weight.clone()], &step(7, &[]));
        assert_eq!(two.0, [2 * 7 * 576 * 3072, 0, 0, 0]);
        let exact = work(Linear {}, &[TensorType::f32(&[1, 576]), weight], &step(1, &[]));
        assert_eq!(exact.0, [0, 2 * 576 * 1536, 0, 0]);
        let f32 = work(Linear {}, &[TensorType::f32(&[1, 576]), TensorType::f32(&[3, 576])], &step(1, &[]));
        assert_eq!(f32.0, [0, 0, 2 * 576 * 3, 0]);
    }

    #[test]
    fn attention_reads_what_is_cached_once_a_sequence_and_what_a_window_shows() {
        let op = |window| PagedAttention { scale: 0.125, window, softcap: None, shared: None };
        let [keys, values] = [[128, 3, 64, 32], [128, 3, 32, 64]].map(|s| TensorType::known(DType::F16, &s));
        let ints = rows(DType::I32, &[]);
        let table = TensorType::known(DType::I32, &[2, 64]);
        let inputs = [rows(DType::F32, &[9, 64]), keys, values, ints.clone(), ints, table];
        // One token behind 99 sees 100: of each 3 heads of 64 f16; 2 products of 64 for each of 9 heads.
        let (ops, reads, writes) = work(op(None), &inputs, &step(1, &[99..100]));
        assert_eq!((reads[1], reads[2], writes), (100 * 3 * 64 * 2, 100 * 3 * 64 * 2, 576 * 4));
        assert_eq!(ops, [0, 100 * 9 * 4 * 64, 100 * 9 * 4, 100 * 9]);
        // Four tokens of one sequence share their keys, and see 1, 2, 3, 4 of them.
        let (ops, reads, _) = work(op(None), &inputs, &step(4, &[0..4]));
        assert_eq!((reads[1], ops[3]), (4 * 3 * 64 * 2, (1 + 2 + 3 + 4) * 9));
        // Two sequences do not; a window shows the last ten.
        let (ops, reads, _) = work(op(Some(10)), &inputs, &step(3, &[99..100, 4..6]));
        assert_eq!((reads[1], ops[3]), ((10 + 6) * 3 * 64 * 2, (10 + 5 + 6) * 9));
    }

    #[test]
    fn what_is_appended_is_written_and_the_cache_is_not_read() {
        let cache = TensorType::known(DType::F16, &[128, 3, 32, 64]);
        let ints = rows(DType::I32, &[]);
        let table = TensorType::known(DType::I32, &[1, 128]);
        let inputs = [cache, rows(DType::F32, &[3, 64]), ints.clone(), ints, table];
        let (ops, reads, writes) = work(KvAppend { transposed: false }, &inputs, &step(5, &[0..5]));
        assert_eq!((ops, reads[0], reads[1], writes), ([0; 4], 0, 5 * 192 * 4, 5 * 192 * 2));
    }

    #[test]
    fn rows_that_are_looked_up_are_all_that_is_read() {
        let table = TensorType::known(DType::Quant(Format::Q8_0), &[49152, 576]);
        let (_, reads, writes) = work(Gather::default(), &[table, rows(DType::I32, &[])], &step(2, &[]));
        assert_eq!((reads, writes), (vec![2 * 576 / 32 * 34, 8], 2 * 576 * 4));
        let part = Slice { axis: 1, start: 0, len: 64 };
        let (_, reads, _) = work(part, &[rows(DType::F32, &[576])], &step(3, &[]));
        assert_eq!(reads, [3 * 64 * 4]);
    }

    #[test]
    fn a_row_is_reduced_once_for_all_its_points() {
        let inputs = [rows(DType::F32, &[64]), TensorType::f32(&[64])];
        // Square and add, then for each row a division, an addition, a root, a division; two products a point.
        let (ops, reads, _) = work(RmsNorm { eps: 1e-5 }, &inputs, &step(10, &[]));
        assert_eq!((ops, reads), ([0, 0, 10 * (128 + 4 + 128), 0], vec![10 * 64 * 4, 64 * 4]));
        let (ops, ..) = work(Quantise {}, &inputs[..1], &step(10, &[]));
        assert_eq!(ops, [0, 0, 10 * 64 * QUANTISE, 0]);
    }
}
