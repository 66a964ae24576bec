//! The bytes that a weight is packed from: a tensor of the checkpoint, or a part of one that a device has.
use crate::error::CompileError;
use ir::plan::Weight;
use ir::{Dim, TensorType};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// A weight's bytes in row-major order, wherever they lie.
#[derive(Clone)]
pub(super) struct Source<'a> {
    /// The tensor in pieces, with where in the tensor each begins.
    pieces: Arc<[(usize, &'a [u8])]>,
    /// The tensor is rows of so many bytes, of which the weight has `bytes` from `start` on.
    row: usize,
    start: usize,
    bytes: usize,
    /// How many bytes the tensor has.
    all: usize,
}

impl<'a> Source<'a> {
    pub(super) fn of(weight: &Weight, pieces: Vec<&'a [u8]>) -> Result<Source<'a>, CompileError> {
        let mut all = 0;
        let begun = |piece: &'a [u8]| {
            all += piece.len();
            (all - piece.len(), piece)
        };
        let pieces = pieces.into_iter().map(begun).collect();
        let whole = Source { pieces, row: all, start: 0, bytes: all, all };
        let Some(part) = weight.part else { return Ok(whole) };
        let misfit = |reason| CompileError::Weight { name: weight.name.clone(), reason };
        let ty = part.whole(&weight.ty).map_err(misfit)?;
        let bytes = |ty: &TensorType| ty.bytes(|_| None).unwrap_or(0) as usize;
        if bytes(&ty) != all {
            return Err(misfit(format!("the tensor has {all} bytes, {ty} takes {}", bytes(&ty))));
        }
        let before = &ty.shape[..part.axis as usize];
        let rows = before.iter().filter_map(Dim::known).product::<i64>().max(1) as usize;
        let (row, own) = (all / rows, bytes(&weight.ty) / rows);
        let start = (row as u128 * u128::from(part.start) / u128::from(part.of.max(1))) as usize;
        Ok(Source { row, start, bytes: own, ..whole })
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
            return self.tensor(range);
        }
        let (first, last) = (range.start / self.bytes, (range.end - 1) / self.bytes);
        let within = |row: usize| {
            let begin = row * self.bytes;
            let own = range.start.max(begin) - begin..range.end.min(begin + self.bytes) - begin;
            let at = row * self.row + self.start;
            self.tensor(at + own.start..at + own.end)
        };
        if first == last {
            return within(first);
        }
        Cow::Owned((first..=last).flat_map(|row| within(row).into_owned()).collect())
    }

    /// A stretch of the tensor's bytes.
    fn tensor(&self, range: Range<usize>) -> Cow<'a, [u8]> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use ir::plan::{DeviceId, WeightId};
    use ir::{DType, Part};

    /// A tensor of 3 by 4 by 5 elements of a byte, in pieces of its first axis, and a part of it.
    fn read(part: Option<Part>, shape: &[i64], range: Option<Range<usize>>) -> Vec<u8> {
        let bytes: Vec<u8> = (0..60).collect();
        let weight = Weight {
            id: WeightId(0),
            name: "w".into(),
            device: DeviceId(0),
            ty: TensorType::known(DType::U8, shape),
            part,
            layout: "plain".into(),
            offset: 0,
            bytes: 0,
        };
        let source = Source::of(&weight, bytes.chunks(20).collect()).unwrap();
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
}
