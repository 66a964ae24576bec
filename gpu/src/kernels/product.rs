//! What products share: rows times a tile of a packed weight.
//!
//! A cube takes a tile of 16 outputs. A unit takes the rows of it whose values lie in 16 bytes, which it reads at once,
//! and a part of k: every so manyth block, or value where there are no blocks. The parts are added in one order, so a
//! row has the same bits in any batch.
use super::Hand;
use super::coded::{Coded, QUADS};
use crate::emit::{Emit, Two, Ty, Val};
use crate::program::Bound;
use cubecl::ir::{Builtin, Variable};
use ir::DType;
use kernels::layout::{BLOCK, Layout, Shape, TILE, Width};

/// Parts that are left when units have added theirs, eight for each of a tile's rows.
const PARTS: u32 = 8;
/// Units that add parts.
const ADDERS: u32 = PARTS * TILE as u32;
/// Values of a dense weight that a unit asks for before it uses them: what memory gives takes long to come.
const AT_ONCE: u32 = 4;

/// What products read: the rows of x, and a packed weight by four words.
#[derive(Clone, Copy)]
struct Arrays {
    x: Variable,
    fours: Variable,
}

/// The tile of a weight that a cube has.
pub(super) struct Tile {
    pub(super) layout: Layout,
    /// Values in a row.
    pub(super) k: u32,
    /// Which input the weight is.
    pub(super) input: usize,
    /// In words, where the tile begins in it.
    pub(super) at: Val,
}

/// How many units a cube of products along `k` has.
pub(super) fn units(k: u32) -> u32 {
    if k < 4096 { ADDERS } else { 2 * ADDERS }
}

/// Of how many neighbouring rows of a tile 16 bytes hold values.
pub(super) fn own_rows(layout: Layout) -> usize {
    match layout.shape() {
        Shape::Dense(dtype) if dtype != DType::F32 => 8,
        _ => 4,
    }
}

/// What a unit sums of a row of x: where the row begins, and for each of the unit's rows of the tile a variable.
pub(super) struct Total {
    pub(super) x: Val,
    pub(super) sums: Vec<Val>,
}

impl Total {
    pub(super) fn new(e: &mut Emit, layout: Layout, x: Val) -> Total {
        let zero = e.f32(0.0);
        Total { x, sums: (0..own_rows(layout)).map(|_| e.variable(zero)).collect() }
    }
}

impl Tile {
    /// Adds to each total the unit's part of the products of its rows and a row of the first input.
    pub(super) fn multiply(&self, hand: &mut Hand<'_>, totals: &[Total]) {
        let (unit, units) = (hand.e.builtin(Builtin::UnitPosX), units(self.k));
        let fours = (TILE / own_rows(self.layout)) as u32;
        let (four, part) = (hand.e.rest(unit, fours), hand.e.over(unit, fours));
        let parts = units / fours;
        let by_four = Ty::U32.of().with_vector_size(4);
        let by_four = hand.maker.input_of(Bound::Arg(self.input), by_four);
        match self.layout.shape() {
            Shape::Coded(shape) => {
                let x = hand.maker.input_of(Bound::Arg(0), Ty::F32.of().with_vector_size(4));
                let (arrays, words) = (Arrays { x, fours: by_four }, hand.input(self.input, Ty::U32));
                let rows: [Coded; 4] = std::array::from_fn(|row| {
                    let within = hand.e.u32(row as u32);
                    Coded { shape, words, tile: self.at, four, within }
                });
                let blocks = [part, hand.e.u32(self.k / BLOCK as u32), hand.e.u32(parts)];
                hand.e.range(blocks, |e, at| block(e, &rows, arrays, totals, at));
            }
            Shape::Dense(dtype) => {
                let arrays = Arrays { x: hand.input(0, Ty::F32), fours: by_four };
                let e = &mut hand.e;
                let whole = self.k / (AT_ONCE * parts) * AT_ONCE * parts;
                let steps = [part, e.u32(whole), e.u32(AT_ONCE * parts)];
                e.range(steps, |e, first| {
                    for turn in 0..AT_ONCE {
                        let k = e.plus(first, turn * parts);
                        self.values(e, dtype, arrays, (four, fours), totals, k);
                    }
                });
                let steps = [e.plus(part, whole), e.u32(self.k), e.u32(parts)];
                e.range(steps, |e, k| self.values(e, dtype, arrays, (four, fours), totals, k));
            }
        }
    }

    /// Adds the products of a dense weight at one `k`: of the rows of one of so many parts of the tile.
    fn values(
        &self,
        e: &mut Emit,
        dtype: DType,
        arrays: Arrays,
        (four, fours): (Val, u32),
        totals: &[Total],
        k: Val,
    ) {
        let (start, column) = (e.over(self.at, 4), e.times(k, fours));
        let at = e.add(start, column);
        let at = e.add(at, four);
        let words: [Val; 4] = e.load_vector(arrays.fours, at, Ty::U32);
        let each = own_rows(self.layout) / 4;
        let values: Vec<Val> = (0..4 * each)
            .map(|row| {
                let odd = e.u32((row % each) as u32);
                real(e, words[row / each], dtype, odd)
            })
            .collect();
        for total in totals {
            let at = e.add(total.x, k);
            let x = e.load(arrays.x, at, Ty::F32);
            for (sum, value) in total.sums.iter().zip(&values) {
                let now = e.now(*sum);
                let next = e.fma(x, *value, now);
                e.assign(*sum, next);
            }
        }
    }
}

/// Adds the products of a block of four rows of a coded weight: integers times x first, then what they are scaled by.
fn block(e: &mut Emit, rows: &[Coded; 4], arrays: Arrays, totals: &[Total], block: Val) {
    let scales = rows.map(|row| row.scales(e, block));
    let column = e.times(block, BLOCK as u32);
    let quads = rows[0].shape.share / 4;
    for first in (0..QUADS).step_by(quads) {
        // For each total: the sum of x, and of each row what it has with the codes.
        let mut sums = vec![([None; 4], None); totals.len()];
        for quad in first..first + quads {
            let words = words_of(e, arrays.fours, &rows[0], block, quad);
            let codes: [[Val; 4]; 4] = std::array::from_fn(|row| rows[row].quad(e, block, quad, words[row]));
            for (total, (dots, plain)) in totals.iter().zip(&mut sums) {
                let at = e.add(total.x, column);
                let at = e.over(at, 4);
                let at = e.plus(at, quad as u32);
                let values: [Val; 4] = e.load_vector(arrays.x, at, Ty::F32);
                for (k, value) in values.into_iter().enumerate() {
                    *plain = Some(plain.map_or(value, |sum| e.add(sum, value)));
                    for (dot, codes) in dots.iter_mut().zip(&codes) {
                        *dot = Some(match *dot {
                            None => e.mul(value, codes[k]),
                            Some(sum) => e.fma(value, codes[k], sum),
                        });
                    }
                }
            }
        }
        for (total, (dots, plain)) in totals.iter().zip(sums) {
            for (row, dot) in dots.into_iter().enumerate() {
                let (Some(dot), Some(plain)) = (dot, plain) else { continue };
                let scale = scales[row][first / quads];
                let now = e.now(total.sums[row]);
                let next = e.fma(dot, scale.scale, now);
                let next = e.fma(plain, scale.min, next);
                e.assign(total.sums[row], next);
            }
        }
    }
}

/// The words of four rows that hold their codes of a quad: 16 bytes.
fn words_of(e: &mut Emit, words: Variable, first: &Coded, block: Val, quad: usize) -> [Val; 4] {
    // A byte of two codes is of two quads.
    let quad = if first.shape.width == Width::Bytes { quad } else { quad / 2 * 2 };
    let at = first.vector(e, block, quad);
    let at = e.over(at, 4);
    let at = e.add(at, first.four);
    e.load_vector(words, at, Ty::U32)
}

/// Which row of the tile a unit finishes, and of which total.
pub(super) fn row_and_total(e: &mut Emit) -> (Val, Val) {
    let unit = e.builtin(Builtin::UnitPosX);
    (e.rest(unit, TILE as u32), e.over(unit, TILE as u32))
}

/// Puts what units have summed where all of the cube find it, and waits for all: eight parts of each row of the tile,
/// one behind the other for each total.
pub(super) fn share(e: &mut Emit, layout: Layout, k: u32, totals: &[Total]) -> Variable {
    let (units, own) = (units(k), own_rows(layout) as u32);
    let (all, sums) =
        (e.shared(Ty::F32, (units * own) as usize), e.shared(Ty::F32, ADDERS as usize * totals.len()));
    let unit = e.builtin(Builtin::UnitPosX);
    let first = e.times(unit, own);
    for (i, total) in (0..).zip(totals) {
        for (row, sum) in (0..).zip(&total.sums) {
            let (at, sum) = (e.plus(first, row), e.now(*sum));
            e.store(all, at, sum);
        }
        e.sync();
        // Values of one row are 16 apart.
        let adders = e.u32(ADDERS);
        let adds = e.lt(unit, adders);
        e.when(adds, |e| {
            let mut sum = e.load_now(all, unit, Ty::F32);
            for turn in 1..units * own / ADDERS {
                let at = e.plus(unit, turn * ADDERS);
                let other = e.load_now(all, at, Ty::F32);
                sum = e.add(sum, other);
            }
            let to = e.plus(unit, i * ADDERS);
            e.store(sums, to, sum);
        });
        e.sync();
    }
    sums
}

/// The whole sum of total `i` for a row of the tile.
pub(super) fn whole(e: &mut Emit, sums: Variable, i: Val, row: Val) -> Val {
    let from = e.times(i, ADDERS);
    let from = e.add(from, row);
    let mut sum = e.load_now(sums, from, Ty::F32);
    for part in 1..PARTS {
        let other = e.plus(from, part * TILE as u32);
        let other = e.load_now(sums, other, Ty::F32);
        sum = e.add(sum, other);
    }
    sum
}

/// A value of a dense weight: all of a word, or of its two halves the one that is asked for.
pub(super) fn real(e: &mut Emit, word: Val, dtype: DType, odd: Val) -> Val {
    if dtype == DType::F32 {
        return e.reinterpret(word, Ty::F32);
    }
    let shift = e.times(odd, 16);
    let bits = e.two(Two::Shr, word, shift);
    let bits = e.mask(bits, 0xffff);
    if dtype == DType::F16 { e.from_f16(bits) } else { e.from_bf16(bits) }
}
