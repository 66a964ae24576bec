//! `gather` from a packed weight: the rows of an embedding that shares its tiles with the output product.
use super::layout::Layout;
use super::length;
use super::pack::gather_row;
use runtime::device::{Executable, Extent};
use std::ops::Range;

/// Arguments: the table, packed; i32 ids `[n]`; f32 rows `[n, width]`. An id outside the table gives zeros.
pub struct EmbedRows {
    pub n: Extent,
    pub layout: Layout,
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
                match usize::try_from(id) {
                    Ok(row) if row < self.rows => gather_row(self.layout, table, row, out),
                    _ => out.fill(0.0),
                }
            }
        }
    }
}
