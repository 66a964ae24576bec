//! `gather` from a packed weight: the rows of an embedding that shares its tiles with the output product.
use super::layout::Layout;
use super::length;
use super::pack::gather_row;
use runtime::device::{Executable, Extent};
use std::ops::Range;

/// Arguments: the table, packed; i32 ids `[n]`; f32 rows `[n, width]`. An id that has no row in the table gives
/// zeros.
pub struct EmbedRows {
    pub n: Extent,
    pub layout: Layout,
    /// The id of the table's first row.
    pub first: i32,
    /// Rows of the table.
    pub rows: usize,
    pub width: usize,
}

impl Executable for EmbedRows {
    fn units(&self, syms: &[i64]) -> usize {
        length(&self.n, syms)
    }

    fn scratch_bytes(&self) -> usize {
        0
    }

    unsafe fn run(&self, args: &[*mut u8], _: &[i64], units: Range<usize>, _: *mut u8) {
        unsafe {
            let table = std::slice::from_raw_parts(args[0], self.layout.packed_bytes(self.rows, self.width));
            for token in units {
                let id = args[1].cast::<i32>().add(token).read();
                let out = args[2].cast::<f32>().add(token * self.width);
                let out = std::slice::from_raw_parts_mut(out, self.width);
                match usize::try_from(id.wrapping_sub(self.first)) {
                    Ok(row) if row < self.rows && id >= self.first => {
                        gather_row(self.layout, table, row, out)
                    }
                    _ => out.fill(0.0),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pack::pack_tile;
    use super::super::random::Random;
    use super::*;
    use ir::DType;
    use ir::quant::Format;

    #[test]
    fn ids_choose_rows_and_those_outside_the_table_zeros() {
        let (dtype, rows, width) = (DType::Quant(Format::Q8_0), 21, 64);
        let (src, values) = Random(11).weight(dtype, rows * width);
        let mut table = vec![0; Layout::Q8.packed_bytes(rows, width)];
        for (tile, dst) in table.chunks_exact_mut(Layout::Q8.tile_bytes(width)).enumerate() {
            pack_tile(dtype, &src, rows, width, tile, dst);
        }
        for first in [0, 4] {
            let n = Extent { constant: 0, terms: vec![(1, 0)] };
            let embed = EmbedRows { n, layout: Layout::Q8, first, rows, width };
            let mut ids = [first + 20, first, first + 21, first - 1, first + 17, i32::MIN, i32::MAX];
            let mut out = vec![f32::NAN; ids.len() * width];
            let args = [table.as_mut_ptr(), ids.as_mut_ptr().cast(), out.as_mut_ptr().cast()];
            let syms = [ids.len() as i64];
            unsafe { embed.run(&args, &syms, 0..embed.units(&syms), std::ptr::null_mut()) };
            for (id, out) in ids.into_iter().zip(out.chunks_exact(width)) {
                match id.checked_sub(first).map(usize::try_from) {
                    Some(Ok(row)) if row < rows => assert_eq!(out, &values[row * width..][..width]),
                    _ => assert_eq!(out, vec![0.0; width]),
                }
            }
        }
    }
}
