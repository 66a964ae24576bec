//! Random weights and activations for the kernels' tests.
use ir::DType;
use ir::quant::Format;

/// The dtypes that weights have.
pub(super) fn weight_dtypes() -> impl Iterator<Item = DType> {
    let quantised =
        Format::ALL.iter().filter(|&&format| format != Format::Q8A).map(|&format| DType::Quant(format));
    [DType::F32, DType::F16, DType::BF16].into_iter().chain(quantised)
}

/// A small generator; the same seed gives the same numbers everywhere.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// From −1 to 1.
    pub(super) fn real(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub(super) fn reals(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.real()).collect()
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    /// The bytes of `len` values of `dtype`, and the values. Blocks are any bytes whose values are finite.
    pub(super) fn weight(&mut self, dtype: DType, len: usize) -> (Vec<u8>, Vec<f32>) {
        let values = self.reals(len);
        match dtype {
            DType::F32 => (values.iter().flat_map(|x| x.to_le_bytes()).collect(), values),
            DType::F16 => {
                let values: Vec<_> = values.into_iter().map(half::f16::from_f32).collect();
                (
                    values.iter().flat_map(|x| x.to_le_bytes()).collect(),
                    values.iter().map(|x| x.to_f32()).collect(),
                )
            }
            DType::BF16 => {
                let values: Vec<_> = values.into_iter().map(half::bf16::from_f32).collect();
                (
                    values.iter().flat_map(|x| x.to_le_bytes()).collect(),
                    values.iter().map(|x| x.to_f32()).collect(),
                )
            }
            DType::Quant(format) => self.blocks(format, len),
            other => panic!("no weight is {other}"),
        }
    }

    fn blocks(&mut self, format: Format, len: usize) -> (Vec<u8>, Vec<f32>) {
        let (mut bytes, mut values) = (Vec::new(), Vec::new());
        let mut block_values = vec![0.0; format.block_len()];
        while values.len() < len {
            let block: Vec<u8> = (0..format.block_bytes()).map(|_| self.bits() as u8).collect();
            format.dequantise(&block, &mut block_values);
            if block_values.iter().all(|x| x.is_finite()) {
                bytes.extend(block);
                values.extend(&block_values);
            }
        }
        (bytes, values)
    }
}
