//! The bytes that a weight is packed from: a tensor of the checkpoint, or a part of one that a device has, rounded
//! anew where the plan has it in another format.
use crate::error::CompileError;
use ir::plan::Weight;
use ir::{DType, Dim, Tensor, TensorType};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// A weight's bytes in row-major order, wherever they lie.
#[derive(Clone)]
pub(super) struct Source<'a> {
    stored: Stored<'a>,
    /// The tensor is rows of so many bytes, of which the weight has `bytes` from `start` on.
    row: usize,
    start: usize,
    bytes: usize,
    /// How many bytes the tensor has.
    all: usize,
}

impl<'a> Source<'a> {
    /// Of a tensor that the checkpoint has as `dtype`, in pieces.
    pub(super) fn of(
        weight: &Weight,
        dtype: DType,
        pieces: Vec<&'a [u8]>,
    ) -> Result<Source<'a>, CompileError> {
        let misfit = |reason| CompileError::Weight { name: weight.name.clone(), reason };
        let ty = weight.part.map_or(Ok(weight.ty.clone()), |part| part.whole(&weight.ty)).map_err(misfit)?;
        let bytes = |ty: &TensorType| ty.bytes(|_| None).unwrap_or(0) as usize;
        let stored = Stored::new(pieces, dtype, ty.dtype);
        let own = ty.with_dtype(dtype);
        if bytes(&own) != stored.len() {
            let reason = format!("the tensor has {} bytes, {own} takes {}", stored.len(), bytes(&own));
            return Err(misfit(reason));
        }
        let all = bytes(&ty);
        let Some(part) = weight.part else {
            return Ok(Source { stored, row: all, start: 0, bytes: all, all });
        };
        let before = &ty.shape[..part.axis as usize];
        let rows = before.iter().filter_map(Dim::known).product::<i64>().max(1) as usize;
        let (row, own) = (all / rows, bytes(&weight.ty) / rows);
        let start = (row as u128 * u128::from(part.start) / u128::from(part.of.max(1))) as usize;
        Ok(Source { stored, row, start, bytes: own, all })
    }

    /// How many bytes the weight has.
    pub(super) fn len(&self) -> usize {
        self.all.checked_div(self.row).unwrap_or(0) * self.bytes
    }

    /// A stretch of the weight's bytes.
    ///
    /// # Panics
    /// If it reaches past their end.
    pub(super) fn read(&self, range: Range<usize>) -> Cow<'a, [u8]> {
        if self.bytes == self.row || range.is_empty() {
            return self.stored.read(range);
        }
        let (first, last) = (range.start / self.bytes, (range.end - 1) / self.bytes);
        let within = |row: usize| {
            let begin = row * self.bytes;
            let own = range.start.max(begin) - begin..range.end.min(begin + self.bytes) - begin;
            let at = row * self.row + self.start;
            self.stored.read(at + own.start..at + own.end)
        };
        if first == last {
            return within(first);
        }
        Cow::Owned((first..=last).flat_map(|row| within(row).into_owned()).collect())
    }
}

/// A tensor in pieces, as it lies in the file and as it is wanted.
#[derive(Clone)]
struct Stored<'a> {
    /// The pieces, with where in the tensor each begins.
    pieces: Arc<[(usize, &'a [u8])]>,
    has: DType,
    wanted: DType,
}

impl<'a> Stored<'a> {
    fn new(pieces: Vec<&'a [u8]>, has: DType, wanted: DType) -> Stored<'a> {
        let mut all = 0;
        let begun = |piece: &'a [u8]| {
            all += piece.len();
            (all - piece.len(), piece)
        };
        Stored { pieces: pieces.into_iter().map(begun).collect(), has, wanted }
    }

    /// How many bytes lie in the file.
    fn len(&self) -> usize {
        self.pieces.last().map_or(0, |(begin, piece)| begin + piece.len())
    }

    /// A stretch of the tensor's bytes as they are wanted.
    fn read(&self, range: Range<usize>) -> Cow<'a, [u8]> {
        if self.has == self.wanted {
            return self.lying(range);
        }
        let [len, bytes] = [self.wanted.block_len(), self.wanted.block_bytes()].map(|n| n as usize);
        let blocks = around(&range, bytes);
        let values = self.values(blocks.start * len..blocks.end * len);
        let made = Tensor::from_f32(self.wanted, &[values.len() as u64], &values);
        let skipped = range.start - blocks.start * bytes;
        Cow::Owned(made.bytes()[skipped..skipped + range.len()].to_vec())
    }

    /// The values of some elements. Every row is whole blocks of both formats, so that blocks of the file around those
    /// of another format lie within the tensor.
    fn values(&self, elements: Range<usize>) -> Vec<f32> {
        let [len, bytes] = [self.has.block_len(), self.has.block_bytes()].map(|n| n as usize);
        let blocks = around(&elements, len);
        let lying = self.lying(blocks.start * bytes..blocks.end * bytes);
        let tensor = Tensor::from_bytes(self.has, &[(blocks.len() * len) as u64], lying);
        let mut values = tensor.expect("as many bytes as the blocks take").to_f32();
        values.truncate(elements.end - blocks.start * len);
        values.split_off(elements.start - blocks.start * len)
    }

    /// A stretch of the tensor's bytes as they lie in the file.
    fn lying(&self, range: Range<usize>) -> Cow<'a, [u8]> {
        let first = self.pieces.partition_point(|(begin, _)| *begin <= range.start).saturating_sub(1);
        let Some(&(begin, piece)) = self.pieces.get(first) else { return Cow::Borrowed(&[]) };
        if range.end <= begin + piece.len() {
            return Cow::Borrowed(&piece[range.start - begin..range.end - begin]);
        }
        let later = self.pieces[first..].iter().take_while(|(begin, _)| *begin < range.end);
        let own = later.flat_map(|(begin, piece)| {
            &piece[range.start.max(*begin) - begin..(range.end - begin).min(piece.len())]
        });
        Cow::Owned(own.copied().collect())
    }
}

/// The blocks of `each` that a stretch touches.
fn around(range: &Range<usize>, each: usize) -> Range<usize> {
    range.start / each..range.end.div_ceil(each)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::Part;
    use ir::plan::{DeviceId, WeightId};
    use ir::quant::Format;

    fn weight(part: Option<Part>, ty: TensorType) -> Weight {
        Weight {
            id: WeightId(0),
            name: "w".into(),
            device: DeviceId(0),
            ty,
            part,
            layout: "plain".into(),
            offset: 0,
            bytes: 0,
        }
    }

    /// A tensor of 3 by 4 by 5 elements of a byte, in pieces of its first axis, and a part of it.
    fn read(part: Option<Part>, shape: &[i64], range: Option<Range<usize>>) -> Vec<u8> {
        let bytes: Vec<u8> = (0..60).collect();
        let weight = weight(part, TensorType::known(DType::U8, shape));
        let source = Source::of(&weight, DType::U8, bytes.chunks(20).collect()).unwrap();
        let all = 0..source.len();
        assert_eq!(all.len() as i64, shape.iter().product::<i64>());
        source.read(range.unwrap_or(all)).into_owned()
    }

    #[test]
    fn a_part_is_what_lies_in_its_stretch_of_the_axis() {
        let part = |axis, start, of| Some(Part { axis, start, of });
        assert_eq!(read(None, &[3, 4, 5], Some(18..42)), (18..42).collect::<Vec<u8>>());
        assert_eq!(read(part(0, 1, 3), &[2, 4, 5], None), (20..60).collect::<Vec<u8>>());
        let rows = |rows: [Range<u8>; 3]| rows.into_iter().flatten().collect::<Vec<u8>>();
        assert_eq!(read(part(1, 1, 4), &[3, 2, 5], None), rows([5..15, 25..35, 45..55]));
        assert_eq!(read(part(1, 1, 4), &[3, 2, 5], Some(8..12)), [13, 14, 25, 26]);
        let columns: Vec<u8> = (0..12).flat_map(|row| [row * 5 + 3, row * 5 + 4]).collect();
        assert_eq!(read(part(2, 3, 5), &[3, 4, 2], None), columns);
        assert_eq!(read(part(2, 3, 5), &[3, 4, 2], Some(7..9)), columns[7..9]);
    }

    #[test]
    fn another_format_is_the_values_rounded_anew_wherever_a_stretch_begins() {
        let [has, wanted] = [Format::Q4K, Format::Q8_0].map(DType::Quant);
        let values: Vec<f32> = (0..3 * 512).map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0).collect();
        let tensor = Tensor::from_f32(has, &[3, 512], &values);
        let whole = Tensor::from_f32(wanted, &[3, 512], &tensor.to_f32());
        let pieces = || tensor.bytes().chunks(tensor.bytes().len() / 3).collect();
        let all = Source::of(&weight(None, whole.ty()), has, pieces()).unwrap();
        assert_eq!(all.len(), whole.bytes().len());
        for range in [0..all.len(), 5..40, 500..1000, 34..68] {
            assert_eq!(all.read(range.clone())[..], whole.bytes()[range]);
        }
        let (part, ty) = (Part { axis: 1, start: 96, of: 512 }, TensorType::known(wanted, &[3, 64]));
        let columns = Source::of(&weight(Some(part), ty.clone()), has, pieces()).unwrap();
        assert_eq!(&columns.read(0..columns.len())[..], part.of(&whole, &ty).unwrap().bytes());
        let misfit = Source::of(&weight(None, TensorType::known(wanted, &[2, 512])), has, pieces());
        let reason = misfit.err().map(|e| e.to_string());
        assert_eq!(reason.as_deref(), Some("weight \"w\": the tensor has 864 bytes, q4_k[2, 512] takes 576"));
    }
}
