//! `linear`: rows of x times packed weights, with one weight's outputs after the other's in y's columns.
//!
//! A row's result has the same bits whatever rows stand beside it and however the work is split.
use super::codes::{BLOCK, Codes, TILE};
use super::layout::{Coded, Dense, Layout, Unpacked, Visit};
use super::prefetch::Prefetch;
use super::product::{CodedF32, CodedInt8, DenseF32, PANEL_BYTES, Q8A_BYTES, Run};
use super::simd::{Isa, Work};
use super::unpack::Unpack;
use super::{Epilogue, length};
use ir::quant::q8_a::MAGIC;
use runtime::device::{Executable, Extent};
use std::marker::PhantomData;
use std::ops::Range;

/// How rows of x come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activations {
    /// `q8_a` blocks; weights are coded. Products are summed as integers within a block.
    Int8,
    /// f32; weights are used at their exact values.
    F32,
}

/// A packed weight: `rows` outputs in `layout`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Weight {
    pub layout: Layout,
    pub rows: usize,
    /// Who asks for it ahead, for one row of x; for more the kernel always does.
    pub prefetch: Prefetch,
}

impl Weight {
    /// It is asked for as is fastest on this processor.
    pub fn new(layout: Layout, rows: usize) -> Weight {
        Weight { layout, rows, prefetch: Prefetch::of(layout) }
    }
}

/// Arguments: x, each weight packed, what the epilogue wants, the output.
pub struct Linear {
    pub isa: Isa,
    pub activations: Activations,
    /// How many rows of x.
    pub n: Extent,
    /// Length of a row of x.
    pub k: usize,
    /// One or more.
    pub weights: Vec<Weight>,
    /// What happens to a finished tile; without one it is stored, f32, in argument 1 + weights.
    pub epilogue: Option<Box<dyn Epilogue>>,
}

/// Tiles in a unit of work: 32 columns, so that an epilogue can make whole `q8_a` blocks.
const UNIT: usize = 2;
/// Columns of a unit of work; each weight's last unit may have fewer.
pub(crate) const UNIT_COLUMNS: usize = UNIT * TILE;
/// Most tiles that are finished before their epilogue runs.
const GROUP: usize = 8;
/// Most rows of x that are laid out in panels at a time.
pub(crate) const CHUNK: usize = 96;
/// From how many rows on a tile's codes are taken apart once for all panels, instead of by each.
const UNPACKED_ROWS: usize = 24;
/// Tiles that are taken apart at a time, as many as a panel takes, and how much of their k: what stays in the first
/// cache, beside a panel.
const UNPACKED: usize = 2;
const UNPACKED_K: usize = 768;

impl Executable for Linear {
    fn units(&self, _: &[i64]) -> usize {
        self.weights.iter().map(|weight| weight.rows.div_ceil(UNIT_COLUMNS)).sum()
    }

    fn scratch_bytes(&self) -> usize {
        self.tile_at() + if self.epilogue.is_some() { CHUNK * GROUP * TILE * 4 } else { 0 }
    }

    unsafe fn run(&self, args: &[*mut u8], syms: &[i64], units: Range<usize>, scratch: *mut u8) {
        let n = length(&self.n, syms);
        // One row has as much room for tiles as a chunk of them.
        let group = if n == 1 { CHUNK * GROUP } else { GROUP };
        for first in (0..n).step_by(CHUNK) {
            let rows = first..n.min(first + CHUNK);
            unsafe {
                self.lay_out(args[0], &rows, scratch);
                let (mut units, mut base) = (units.clone(), 0);
                for (index, weight) in self.weights.iter().enumerate() {
                    let all = weight.rows.div_ceil(TILE);
                    let tiles = (units.start * UNIT).min(all)..(units.end * UNIT).min(all);
                    for start in tiles.clone().step_by(group) {
                        let tiles = start..tiles.end.min(start + group);
                        let part = Part { rows: rows.clone(), weight: index, base, tiles };
                        self.finish(args, syms, part, scratch);
                    }
                    let passed = all.div_ceil(UNIT);
                    units = units.start.saturating_sub(passed)..units.end.saturating_sub(passed);
                    base += weight.rows;
                }
            }
        }
    }
}

/// Some outputs of one weight for some rows of x.
struct Part {
    rows: Range<usize>,
    weight: usize,
    /// The column where the weight's outputs begin.
    base: usize,
    tiles: Range<usize>,
}

/// Cuts `rows` rows into panels, given by first row and height, both the same for the same `rows`.
fn panels(rows: usize, tallest: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let height = match rows - first {
            0 => return None,
            // Two of four, not one of six and the rest row by row.
            8 | 9 if tallest == 6 => 4,
            left => [tallest, 4, 1].into_iter().find(|&height| height <= left.min(tallest))?,
        };
        first += height;
        Some((first - height, height))
    })
}

impl Linear {
    /// Bytes of `k` values of a row of x.
    fn x_bytes(&self, k: usize) -> usize {
        match self.activations {
            Activations::Int8 => k / BLOCK * Q8A_BYTES,
            Activations::F32 => k * 4,
        }
    }

    pub(crate) fn row_bytes(&self) -> usize {
        self.x_bytes(self.k)
    }

    /// Bytes of `k` values of a row in a panel, of which it has all of one k together.
    fn panel_bytes(&self, k: usize) -> usize {
        match self.activations {
            Activations::Int8 => k / BLOCK * PANEL_BYTES,
            Activations::F32 => k * 4,
        }
    }

    /// The most rows of a panel. Sums of codes take as many registers as those of floats beside them, and panels
    /// of half the height two tiles at once, for which x is read once.
    fn tallest(&self) -> usize {
        match self.activations {
            Activations::Int8 => self.isa.rows().min(6),
            Activations::F32 => self.isa.rows(),
        }
    }

    /// Whether x's codes need sums over half blocks too.
    fn has_halves(&self) -> bool {
        self.activations == Activations::Int8
            && self.weights.iter().any(|weight| weight.layout.share() < BLOCK)
    }

    // Scratch holds panels, then halves, then tiles taken apart, then what an epilogue is to read.
    fn halves_at(&self) -> usize {
        CHUNK * self.panel_bytes(self.k)
    }

    fn unpacked_at(&self) -> usize {
        self.halves_at() + if self.has_halves() { CHUNK * Self::halves_bytes(self.k) } else { 0 }
    }

    fn tile_at(&self) -> usize {
        let largest =
            self.weights.iter().map(|weight| weight.layout.unpacked_bytes(self.k.min(UNPACKED_K))).max();
        let is_coded = self.activations == Activations::Int8;
        self.unpacked_at() + if is_coded { UNPACKED * largest.unwrap_or(0) } else { 0 }
    }

    /// Bytes of the sums over half blocks of `k` values of a row.
    fn halves_bytes(k: usize) -> usize {
        k / BLOCK * 8
    }

    /// Lays rows of x out in panels, except those of one row, which are read where they are.
    unsafe fn lay_out(&self, x: *const u8, rows: &Range<usize>, scratch: *mut u8) {
        for (first, height) in panels(rows.len(), self.tallest()) {
            unsafe {
                let x = x.add((rows.start + first) * self.row_bytes());
                if self.has_halves() {
                    let halves = scratch.add(self.halves_at() + first * Self::halves_bytes(self.k));
                    sum_halves(x, self.k, height, halves.cast());
                }
                let panel = scratch.add(first * self.panel_bytes(self.k));
                match (self.activations, height) {
                    (_, 1) => {}
                    (Activations::Int8, _) => interleave_blocks(x, self.k / BLOCK, height, panel),
                    (Activations::F32, _) => interleave_values(x.cast(), self.k, height, panel.cast()),
                }
            }
        }
    }

    unsafe fn finish(&self, args: &[*mut u8], syms: &[i64], part: Part, scratch: *mut u8) {
        let Weight { layout, rows, .. } = self.weights[part.weight];
        let end = rows.min(part.tiles.end * TILE);
        let cols = part.base + part.tiles.start * TILE..part.base + end;
        unsafe {
            let (out, stride) = if self.epilogue.is_some() {
                (scratch.add(self.tile_at()).cast::<f32>(), part.tiles.len() * TILE)
            } else {
                let stride = self.weights.iter().map(|weight| weight.rows).sum::<usize>();
                let y = args[1 + self.weights.len()].cast::<f32>();
                (y.add(part.rows.start * stride + cols.start), stride)
            };
            let tile_bytes = layout.tile_bytes(self.k);
            let packed = args[1 + part.weight].add(part.tiles.start * tile_bytes);
            let all =
                Tiles { at: packed, first: 0, count: part.tiles.len(), k: 0..self.k, is_unpacked: false };
            if self.activations == Activations::Int8 && part.rows.len() >= UNPACKED_ROWS {
                let unpacked = scratch.add(self.unpacked_at());
                for first in (0..all.count).step_by(UNPACKED) {
                    let count = UNPACKED.min(all.count - first);
                    let from = packed.add(first * tile_bytes);
                    for start in (0..self.k).step_by(UNPACKED_K) {
                        let k = start..self.k.min(start + UNPACKED_K);
                        let (isa, of) = (self.isa, self.k);
                        layout.visit(Unpack { isa, of, k: k.clone(), from, count, to: unpacked });
                        let tiles = Tiles { at: unpacked, first, count, k, is_unpacked: true };
                        self.multiply(args[0], &part, tiles, (out, stride), cols.len(), scratch);
                    }
                }
            } else {
                self.multiply(args[0], &part, all, (out, stride), cols.len(), scratch);
            }
            if let Some(epilogue) = &self.epilogue {
                epilogue.apply(out, stride, part.rows, cols, args, syms);
            }
        }
    }

    /// Multiplies the part's rows by some of its tiles. `out` and its stride are for all of them, `cols` wide.
    unsafe fn multiply(
        &self,
        x: *const u8,
        part: &Part,
        tiles: Tiles,
        (out, stride): (*mut f32, usize),
        cols: usize,
        scratch: *mut u8,
    ) {
        for (first, height) in panels(part.rows.len(), self.tallest()) {
            unsafe {
                let row = part.rows.start + first;
                let (k, before) = (tiles.k.clone(), tiles.k.start);
                let panel = first * self.panel_bytes(self.k) + height * self.panel_bytes(before);
                let halves = first * Self::halves_bytes(self.k) + height * Self::halves_bytes(before);
                let weight = &self.weights[part.weight];
                let prefetch = if height == 1 { weight.prefetch } else { Prefetch::Software };
                let run = Run {
                    k: k.len(),
                    tiles: tiles.at,
                    count: tiles.count,
                    x: match height {
                        1 => x.add(row * self.row_bytes() + self.x_bytes(before)),
                        _ => scratch.add(panel),
                    },
                    halves: scratch.add(self.halves_at() + halves).cast(),
                    prefetch: (first == 0 && !tiles.is_unpacked).then_some(prefetch),
                    is_begun: before > 0,
                    out: out.add(first * stride + tiles.first * TILE),
                    stride,
                    cols: cols - tiles.first * TILE,
                };
                let Linear { isa, activations, .. } = *self;
                let is_unpacked = tiles.is_unpacked;
                weight.layout.visit(Product { run: &run, height, isa, activations, is_unpacked });
            }
        }
    }
}

/// Neighbouring tiles, of which the first is number `first` of the part, and what of their k is at hand.
struct Tiles {
    at: *const u8,
    first: usize,
    count: usize,
    k: Range<usize>,
    is_unpacked: bool,
}

/// From `height` rows to all rows' first values, all rows' second, …
unsafe fn interleave_values(x: *const f32, k: usize, height: usize, panel: *mut f32) {
    for at in 0..k {
        for row in 0..height {
            unsafe { panel.add(at * height + row).write(x.add(row * k + at).read()) };
        }
    }
}

/// The same with blocks of `q8_a`, which get what products need beside.
unsafe fn interleave_blocks(x: *const u8, blocks: usize, height: usize, panel: *mut u8) {
    for block in 0..blocks {
        for row in 0..height {
            unsafe {
                let from = x.add((row * blocks + block) * Q8A_BYTES);
                let to = panel.add((block * height + row) * PANEL_BYTES).cast::<f32>();
                let scale = from.cast::<f32>().read_unaligned();
                to.write_unaligned(scale);
                to.add(1).write_unaligned(scale * -MAGIC);
                let rest = to.add(2).cast::<[u8; Q8A_BYTES - 4]>();
                rest.write_unaligned(from.add(4).cast::<[u8; Q8A_BYTES - 4]>().read_unaligned());
            }
        }
    }
}

/// The scale times the sum of the codes, for each half of each block, in the order of panels.
unsafe fn sum_halves(x: *const u8, k: usize, height: usize, halves: *mut f32) {
    let blocks = k / BLOCK;
    for row in 0..height {
        for block in 0..blocks {
            unsafe {
                let x = x.add((row * blocks + block) * Q8A_BYTES);
                let scale = x.cast::<f32>().read_unaligned();
                for half in 0..2 {
                    let codes = x.add(8 + half * BLOCK / 2).cast::<[i8; BLOCK / 2]>().read();
                    let sum: i32 = codes.into_iter().map(i32::from).sum();
                    halves.add((block * height + row) * 2 + half).write(scale * sum as f32);
                }
            }
        }
    }
}

struct Product<'a> {
    run: &'a Run,
    height: usize,
    isa: Isa,
    activations: Activations,
    is_unpacked: bool,
}

impl Product<'_> {
    unsafe fn run(self, one: impl Work, four: impl Work, tallest: impl Work) {
        unsafe {
            match self.height {
                1 => self.isa.run(one),
                4 => self.isa.run(four),
                _ => self.isa.run(tallest),
            }
        }
    }

    unsafe fn int8<L: Coded>(self) {
        let (run, ty) = (self.run, PhantomData::<L>);
        unsafe {
            self.run(CodedInt8::<L, 1>(run, ty), CodedInt8::<L, 4>(run, ty), CodedInt8::<L, 6>(run, ty));
        }
    }
}

impl Visit for Product<'_> {
    type Out = ();

    fn coded<L: Coded>(self) {
        let (run, ty) = (self.run, PhantomData::<L>);
        unsafe {
            match (self.activations, self.is_unpacked) {
                (Activations::Int8, false) => self.int8::<L>(),
                (Activations::Int8, true) => match (L::SHARE, L::Codes::FULL) {
                    (BLOCK, false) => self.int8::<Unpacked<BLOCK, false>>(),
                    (BLOCK, true) => self.int8::<Unpacked<BLOCK, true>>(),
                    _ => self.int8::<Unpacked<16, false>>(),
                },
                (Activations::F32, _) => {
                    self.run(CodedF32::<L, 1>(run, ty), CodedF32::<L, 4>(run, ty), CodedF32::<L, 12>(run, ty))
                }
            }
        }
    }

    fn dense<L: Dense>(self) {
        let (run, ty) = (self.run, PhantomData::<L>);
        unsafe {
            self.run(DenseF32::<L, 1>(run, ty), DenseF32::<L, 4>(run, ty), DenseF32::<L, 12>(run, ty));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pack::pack_tile;
    use super::super::random::{Random, weight_dtypes};
    use super::*;
    use ir::DType;
    use ir::quant::Format;

    /// Weights that take the same x, their exact values, and x.
    struct Case {
        linear: Linear,
        packed: Vec<Vec<u8>>,
        values: Vec<f32>,
        x_bytes: Vec<u8>,
        x: Vec<f32>,
    }

    impl Case {
        fn new(
            random: &mut Random,
            activations: Activations,
            n: usize,
            k: usize,
            weights: &[(DType, usize)],
        ) -> Case {
            let (mut packed, mut values) = (Vec::new(), Vec::new());
            for &(dtype, rows) in weights {
                let (src, exact) = random.weight(dtype, rows * k);
                let layout = Layout::of(dtype).unwrap();
                let mut dst = vec![0; layout.packed_bytes(rows, k)];
                for (tile, dst) in dst.chunks_exact_mut(layout.tile_bytes(k)).enumerate() {
                    pack_tile(dtype, &src, rows, k, tile, dst);
                }
                packed.push(dst);
                values.extend(exact);
            }
            let mut x = random.reals(n * k);
            let mut x_bytes: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
            if activations == Activations::Int8 {
                x_bytes = vec![0; n * k / BLOCK * Q8A_BYTES];
                Format::Q8A.quantise(&x, &mut x_bytes);
                Format::Q8A.dequantise(&x_bytes, &mut x);
            }
            let weights =
                weights.iter().map(|&(dtype, rows)| Weight::new(Layout::of(dtype).unwrap(), rows)).collect();
            let (isa, n) = (Isa::detect(), Extent { constant: 0, terms: vec![(1, 0)] });
            let linear = Linear { isa, activations, n, k, weights, epilogue: None };
            Case { linear, packed, values, x_bytes, x }
        }

        fn n(&self) -> usize {
            self.x.len() / self.linear.k
        }

        /// The product of rows `rows` of x, in `parts` runs.
        fn run(&mut self, isa: Isa, rows: Range<usize>, parts: usize) -> Vec<f32> {
            self.linear.isa = isa;
            let linear = &self.linear;
            let cols: usize = linear.weights.iter().map(|weight| weight.rows).sum();
            let mut y = vec![f32::NAN; rows.len() * cols];
            let x = self.x_bytes[rows.start * linear.row_bytes()..rows.end * linear.row_bytes()].as_mut_ptr();
            let mut args = vec![x];
            args.extend(self.packed.iter_mut().map(|packed| packed.as_mut_ptr()));
            args.push(y.as_mut_ptr().cast());
            let mut scratch = vec![0xffu8; linear.scratch_bytes()];
            let syms = [rows.len() as i64];
            let units = linear.units(&syms);
            for part in 0..parts {
                let units = units * part / parts..units * (part + 1) / parts;
                unsafe { linear.run(&args, &syms, units, scratch.as_mut_ptr()) };
            }
            y
        }

        fn expect_close(&self, y: &[f32]) {
            let k = self.linear.k;
            let cols = self.values.len() / k;
            for (row, x) in self.x.chunks_exact(k).enumerate() {
                for (col, w) in self.values.chunks_exact(k).enumerate() {
                    let products = || x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w));
                    let (exact, size) = (products().sum::<f64>(), products().map(f64::abs).sum::<f64>());
                    let y = f64::from(y[row * cols + col]);
                    assert!(
                        (y - exact).abs() <= 1e-5 * size,
                        "row {row}, column {col}: {y}, expected {exact}"
                    );
                }
            }
        }
    }

    fn modes(dtype: DType) -> &'static [Activations] {
        match dtype {
            DType::Quant(_) => &[Activations::Int8, Activations::F32],
            _ => &[Activations::F32],
        }
    }

    #[test]
    fn every_weight_dtype_gives_the_exact_product() {
        let mut random = Random(3);
        for dtype in weight_dtypes() {
            for &mode in modes(dtype) {
                for (n, k, rows) in [(1, 256, 16), (33, 1280, 37)] {
                    let mut case = Case::new(&mut random, mode, n, k, &[(dtype, rows)]);
                    let y = case.run(Isa::detect(), 0..n, 1);
                    case.expect_close(&y);
                }
            }
        }
    }

    #[test]
    fn short_and_long_rows_are_right() {
        let mut random = Random(4);
        // Of a stretch of packed weights, whatever its length, the last may be there in part.
        let blocks_of_32 = weight_dtypes().filter(|dtype| dtype.block_len() <= 32);
        let cases = blocks_of_32.flat_map(|dtype| [(dtype, 32), (dtype, 96)]);
        let q4_1 = DType::Quant(Format::Q4_1);
        for (dtype, k) in cases.chain([576, 768, 1536, 2304].map(|k| (q4_1, k))) {
            for &mode in modes(dtype) {
                let mut case = Case::new(&mut random, mode, 31, k, &[(dtype, 50)]);
                let y = case.run(Isa::detect(), 0..31, 1);
                case.expect_close(&y);
            }
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let mut random = Random(5);
        for dtype in weight_dtypes() {
            for &mode in modes(dtype) {
                let mut case = Case::new(&mut random, mode, 17, 256, &[(dtype, 20)]);
                let expected = case.run(Isa::Portable, 0..17, 1);
                for isa in Isa::available() {
                    assert_eq!(case.run(isa, 0..17, 1), expected, "{dtype} on {}", isa.name());
                }
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_in_any_company_and_split() {
        let mut random = Random(6);
        let weights = [
            (DType::Quant(Format::Q4K), 48),
            (DType::Quant(Format::Q6K), 16),
            (DType::Quant(Format::Q8_0), 75),
        ];
        for mode in [Activations::Int8, Activations::F32] {
            let mut case = Case::new(&mut random, mode, 130, 256, &weights);
            let (n, cols) = (case.n(), 139);
            let isa = Isa::detect();
            let whole = case.run(isa, 0..n, 1);
            for parts in [2, 3, 9] {
                assert_eq!(case.run(isa, 0..n, parts), whole, "in {parts} parts");
            }
            for prefetch in [Prefetch::Software, Prefetch::Hardware] {
                case.linear.weights.iter_mut().for_each(|weight| weight.prefetch = prefetch);
                for rows in [0..1, 5..7, 1..4, 9..16, 40..73, 95..97] {
                    let expected = &whole[rows.start * cols..rows.end * cols];
                    assert_eq!(case.run(isa, rows.clone(), 2), expected, "rows {rows:?}, {prefetch:?}");
                }
            }
        }
    }

    /// Stores twice the product.
    struct Twice;

    impl Epilogue for Twice {
        unsafe fn apply(
            &self,
            tile: *const f32,
            stride: usize,
            rows: Range<usize>,
            cols: Range<usize>,
            args: &[*mut u8],
            syms: &[i64],
        ) {
            let width = 140;
            assert!(rows.end <= syms[0] as usize && cols.end <= width);
            for (i, row) in rows.enumerate() {
                for (j, col) in cols.clone().enumerate() {
                    unsafe {
                        let y = args[3].cast::<f32>().add(row * width + col);
                        y.write(2.0 * tile.add(i * stride + j).read());
                    }
                }
            }
        }
    }

    #[test]
    fn an_epilogue_gets_each_value_once() {
        let mut random = Random(7);
        let (q4_1, q8_0) = (DType::Quant(Format::Q4_1), DType::Quant(Format::Q8_0));
        for n in [1, 19, 130] {
            let mut case = Case::new(&mut random, Activations::Int8, n, 64, &[(q4_1, 70), (q8_0, 70)]);
            let plain = case.run(Isa::detect(), 0..n, 1);
            case.linear.epilogue = Some(Box::new(Twice));
            for parts in [1, 3] {
                let twice = case.run(Isa::detect(), 0..n, parts);
                assert!(twice.iter().zip(&plain).all(|(twice, plain)| *twice == 2.0 * plain));
            }
        }
    }
}
