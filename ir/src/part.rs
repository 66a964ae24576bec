//! A part of a tensor that is spread over several devices: a stretch of one axis.
use crate::{Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// A stretch of one axis of a tensor; how long it is, the part's own type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Which axis.
    pub axis: u32,
    /// Where on the axis it begins, in elements.
    pub start: u64,
    /// How many elements the axis has in all.
    pub of: u64,
}

impl Part {
    /// The type of the whole, of which `ty` is this part.
    pub fn whole(&self, ty: &TensorType) -> Result<TensorType, String> {
        let axis = self.axis as usize;
        let len = ty.shape.get(axis).and_then(|d| u64::try_from(d.known()?).ok());
        let len = len.ok_or_else(|| format!("{ty} has no constant axis {axis}"))?;
        match self.start.checked_add(len) {
            Some(end) if end <= self.of => {}
            _ => return Err(format!("a part of {len} from {} of an axis of {}", self.start, self.of)),
        }
        let block = ty.dtype.block_len();
        if axis + 1 == ty.rank() && !self.start.is_multiple_of(block) {
            return Err(format!("a part from {} cuts a block of {block}", self.start));
        }
        let mut whole = ty.clone();
        whole.shape[axis] = i64::try_from(self.of).map_err(|_| format!("an axis of {}", self.of))?.into();
        Ok(whole)
    }

    /// This part, which is of type `ty`, of the whole.
    pub fn of(&self, whole: &Tensor, ty: &TensorType) -> Result<Tensor, String> {
        let expected = self.whole(ty)?;
        if whole.ty() != expected {
            return Err(format!("found {}, expected {expected}", whole.ty()));
        }
        let axis = self.axis as usize;
        let elements = |shape: &[u64]| shape.iter().product::<u64>();
        let inner =
            whole.dtype().bytes(elements(&whole.shape()[axis + 1..])).filter(|_| axis + 1 < ty.rank());
        // Along the last axis of a quantised tensor only whole blocks have bytes.
        let bytes = |len: u64| inner.map_or_else(|| whole.dtype().bytes(len), |inner| len.checked_mul(inner));
        let len = ty.shape[axis].known().unwrap_or(0) as u64;
        let sizes = (bytes(self.start), bytes(len), bytes(self.of));
        let (Some(start), Some(len), Some(row)) = sizes else {
            return Err(format!("{ty} is no part of {}", whole.ty()));
        };
        let rows = whole.bytes().chunks_exact((row as usize).max(1));
        let part: Vec<u8> =
            rows.flat_map(|row| &row[start as usize..(start + len) as usize]).copied().collect();
        let shape: Vec<u64> = ty.shape.iter().map(|d| d.known().unwrap_or(0) as u64).collect();
        Tensor::from_bytes(whole.dtype(), &shape, part).ok_or_else(|| format!("{ty} has other bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::quant::Format;

    #[test]
    fn parts_of_either_axis_are_what_lies_there() {
        let values: Vec<f32> = (0..4 * 96).map(|i| (i % 17) as f32).collect();
        for dtype in [DType::F32, DType::F16, DType::Quant(Format::Q8_0)] {
            let whole = Tensor::from_f32(dtype, &[4, 96], &values);
            let all = whole.to_f32();
            let rows =
                Part { axis: 0, start: 1, of: 4 }.of(&whole, &TensorType::known(dtype, &[2, 96])).unwrap();
            assert_eq!(rows.to_f32(), all[96..3 * 96]);
            let columns = Part { axis: 1, start: 32, of: 96 };
            let columns = columns.of(&whole, &TensorType::known(dtype, &[4, 64])).unwrap();
            let expected: Vec<f32> = all.chunks(96).flat_map(|row| row[32..96].to_vec()).collect();
            assert_eq!(columns.to_f32(), expected);
        }
    }

    #[test]
    fn what_lies_outside_or_cuts_blocks_is_refused() {
        let whole = Tensor::from_f32(DType::Quant(Format::Q8_0), &[2, 64], &[0.0; 128]);
        let of = |axis, start, of, shape: &[i64]| {
            Part { axis, start, of }.of(&whole, &TensorType::known(whole.dtype(), shape)).unwrap_err()
        };
        assert_eq!(of(0, 1, 2, &[2, 64]), "a part of 2 from 1 of an axis of 2");
        assert_eq!(of(1, 16, 64, &[2, 32]), "a part from 16 cuts a block of 32");
        assert_eq!(of(2, 0, 64, &[2, 32]), "q8_0[2, 32] has no constant axis 2");
        assert_eq!(of(0, 0, 4, &[2, 64]), "found q8_0[2, 64], expected q8_0[4, 64]");
        assert_eq!(of(0, u64::MAX, 2, &[2, 64]), format!("a part of 2 from {} of an axis of 2", u64::MAX));
    }
}
