//! Repacks weights, as model files hold them, into tiles; and takes single rows out of tiles again.
use super::codes::{BLOCK, Codes, TILE};
use super::layout::{Coded, Dense, Layout, Visit};
use half::f16;
use ir::DType;
use ir::quant::{Format, Parts};

/// Packs tile `tile` of a weight of `rows` by `cols` from `src`, the whole weight, into `dst`, that tile alone,
/// in the layout that [`Layout::of`] gives for `dtype`.
///
/// # Panics
/// If `dtype` has no layout, if `src` or `dst` has not the length that dtype and shape give, or if `cols` is no
/// whole number of blocks.
pub fn pack_tile(dtype: DType, src: &[u8], rows: usize, cols: usize, tile: usize, dst: &mut [u8]) {
    let layout = Layout::of(dtype).expect("a dtype that weights have");
    let row_bytes = dtype.bytes(cols as u64).expect("whole blocks in a row") as usize;
    assert_eq!(src.len(), rows * row_bytes, "bytes of {rows} rows");
    assert_eq!(dst.len(), layout.tile_bytes(cols), "bytes of a tile");
    dst.fill(0);
    for (row, src) in src.chunks_exact(row_bytes).skip(tile * TILE).take(TILE).enumerate() {
        match dtype {
            DType::Quant(format) => layout.visit(PackBlocks { format, src, row, dst }),
            _ => layout.visit(PackDense { src, row, dst }),
        }
    }
}

struct PackDense<'a> {
    src: &'a [u8],
    row: usize,
    dst: &'a mut [u8],
}

impl Visit for PackDense<'_> {
    type Out = ();

    fn dense<L: Dense>(self) {
        for (value, dst) in self.src.chunks_exact(L::BYTES).zip(self.dst.chunks_exact_mut(L::BYTES * TILE)) {
            dst[self.row * L::BYTES..][..L::BYTES].copy_from_slice(value);
        }
    }

    fn coded<L: Coded>(self) {
        panic!("plain values for a coded layout")
    }
}

struct PackBlocks<'a> {
    format: Format,
    src: &'a [u8],
    row: usize,
    dst: &'a mut [u8],
}

impl Visit for PackBlocks<'_> {
    type Out = ();

    fn coded<L: Coded>(self) {
        let mut parts = Parts::default();
        for (at, block) in self.src.chunks_exact(self.format.block_bytes()).enumerate() {
            let (scales, codes) = L::span_at(at * L::SPAN);
            let (before, codes) = self.dst.split_at_mut(codes);
            let (span, codes) = (&mut before[scales..], &mut codes[..L::SPAN / BLOCK * L::Codes::BYTES]);
            self.format.unpack(block, &mut parts);
            let [unit, min_unit] = units(self.format, block, &parts);
            put_f16(span, self.row, unit);
            if L::MIN {
                put_f16(span, TILE + self.row, -min_unit);
            }
            let groups = if L::SUPER { BLOCK / L::SHARE } else { 0 };
            for group in 0..groups * L::SPAN / BLOCK {
                let (at, part) = (group / groups, group % groups);
                let row = L::HEADER_BYTES + at * L::GROUPS_BYTES + part * TILE + self.row;
                span[row] = multiple(parts.scales[group], unit);
                if L::MIN {
                    span[row + L::GROUP_BYTES] = multiple(parts.mins[group], min_unit);
                }
            }
            let zero = if L::MIN { 0 } else { L::Codes::ZERO };
            for (at, codes) in codes.chunks_exact_mut(L::Codes::BYTES).enumerate() {
                for (k, &code) in parts.codes[at * BLOCK..][..BLOCK].iter().enumerate() {
                    L::Codes::put(codes, self.row, k, (code as u8).wrapping_add(zero));
                }
            }
        }
    }

    fn dense<L: Dense>(self) {
        panic!("blocks for a dense layout")
    }
}

/// What a block's scales and mins are multiples of, as the block itself holds it.
fn units(format: Format, block: &[u8], parts: &Parts) -> [f16; 2] {
    let at = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]);
    match format {
        Format::Q2K => [at(80), at(82)],
        Format::Q3K => [at(108), f16::ZERO],
        Format::Q4K | Format::Q5K => [at(0), at(2)],
        Format::Q6K => [at(208), f16::ZERO],
        // The scales of the others are f16 already.
        _ => [f16::from_f32(parts.scales[0]), f16::from_f32(parts.mins[0])],
    }
}

/// By which small integer `unit` was multiplied to give `product`, which is exact.
fn multiple(product: f32, unit: f16) -> u8 {
    (product / unit.to_f32()) as i8 as u8
}

fn put_f16(span: &mut [u8], at: usize, value: f16) {
    span[2 * at..][..2].copy_from_slice(&value.to_le_bytes());
}

/// Takes row `row` out of a packed weight: the values that the source's reference dequantisation gives.
///
/// # Panics
/// If the row lies outside `packed`.
pub fn gather_row(layout: Layout, packed: &[u8], row: usize, out: &mut [f32]) {
    let bytes = layout.tile_bytes(out.len());
    layout.visit(Gather { tile: &packed[row / TILE * bytes..][..bytes], row: row % TILE, out });
}

struct Gather<'a> {
    tile: &'a [u8],
    row: usize,
    out: &'a mut [f32],
}

impl Visit for Gather<'_> {
    type Out = ();

    fn dense<L: Dense>(self) {
        for (tile, out) in self.tile.chunks_exact(L::BYTES * TILE).zip(self.out) {
            *out = L::get(&tile[self.row * L::BYTES..]);
        }
    }

    fn coded<L: Coded>(self) {
        let row = self.row;
        let zero = if L::MIN { 0 } else { i32::from(L::Codes::ZERO) };
        for (at, out) in self.out.chunks_exact_mut(BLOCK).enumerate() {
            let (span, at) = (at / (L::SPAN / BLOCK), at % (L::SPAN / BLOCK));
            let (scales, codes) = L::span_at(span * L::SPAN);
            let span = &self.tile[scales..][..L::SPAN_BYTES];
            let codes = &self.tile[codes + at * L::Codes::BYTES..][..L::Codes::BYTES];
            let unit = super::layout::F16::get(&span[2 * row..]);
            let min_unit = if L::MIN { super::layout::F16::get(&span[2 * (TILE + row)..]) } else { 0.0 };
            let groups = &span[L::HEADER_BYTES + at * L::GROUPS_BYTES..];
            for (k, out) in out.iter_mut().enumerate() {
                let (mut scale, mut min) = (unit, min_unit);
                if L::SUPER {
                    let at = k / L::SHARE * TILE + row;
                    scale *= f32::from(groups[at] as i8);
                    min *= if L::MIN { f32::from(groups[L::GROUP_BYTES + at] as i8) } else { 0.0 };
                }
                let code = i32::from(L::Codes::get(codes, row, k)) - zero;
                *out = scale * code as f32 + min;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::{Random, weight_dtypes};
    use super::*;

    #[test]
    fn a_packed_row_has_the_values_of_its_source() {
        let mut random = Random(1);
        for dtype in weight_dtypes() {
            for (rows, cols) in [(1, 256), (16, 512), (37, 768)] {
                let (src, values) = random.weight(dtype, rows * cols);
                let layout = Layout::of(dtype).unwrap();
                let mut packed = vec![0xa5; layout.packed_bytes(rows, cols)];
                for (tile, dst) in packed.chunks_exact_mut(layout.tile_bytes(cols)).enumerate() {
                    pack_tile(dtype, &src, rows, cols, tile, dst);
                }
                let mut out = vec![0.0; cols];
                for (row, values) in values.chunks_exact(cols).enumerate() {
                    gather_row(layout, &packed, row, &mut out);
                    assert_eq!(out, values, "{dtype}, row {row} of {rows}");
                }
            }
        }
    }

    #[test]
    fn rows_that_fill_up_a_tile_are_zeros() {
        let (src, _) = Random(2).weight(DType::Quant(Format::Q4_1), 3 * 64);
        let mut tile = vec![0xa5; Layout::Q4Min.tile_bytes(64)];
        pack_tile(DType::Quant(Format::Q4_1), &src, 3, 64, 0, &mut tile);
        let mut out = [1.0; 64];
        gather_row(Layout::Q4Min, &tile, 3, &mut out);
        assert_eq!(out, [0.0; 64]);
    }

    #[test]
    fn packed_weights_are_about_as_large_as_their_source() {
        for (dtype, bits) in
            [(Format::Q4_0, 4.5), (Format::Q4_1, 5.0), (Format::Q8_0, 8.5), (Format::Q6K, 6.5625)]
        {
            let layout = Layout::of(DType::Quant(dtype)).unwrap();
            assert_eq!(layout.packed_bytes(16, 512) as f64 * 8.0 / (16.0 * 512.0), bits);
        }
    }
}
