//! What products share: rows times a tile of a packed weight.
//!
//! A cube takes a tile of 16 outputs. Its units are the tile's rows times parts of k; each part sums every so manyth
//! block of k, and the parts are added in order. So a row has the same bits in any batch.
use super::Hand;
use super::coded::{Coded, QUADS};
use crate::emit::{Emit, Two, Ty, Val};
use crate::program::Bound;
use cubecl::ir::{Builtin, Variable};
use ir::DType;
use kernels::layout::{BLOCK, Layout, Shape, TILE};

/// Parts of k.
const PARTS: u32 = 8;
/// Units of a cube.
pub(super) const UNITS: u32 = PARTS * TILE as u32;

/// The tile of a weight that a cube has.
pub(super) struct Tile {
    pub(super) layout: Layout,
    /// Values in a row.
    pub(super) k: u32,
    /// The whole weight, as words, and where the tile begins.
    pub(super) words: Variable,
    pub(super) at: Val,
}

/// Which row of the tile a unit has, and which part of k.
pub(super) fn row_and_part(e: &mut Emit) -> (Val, Val) {
    let unit = e.builtin(Builtin::UnitPosX);
    (e.rest(unit, TILE as u32), e.over(unit, TILE as u32))
}

impl Tile {
    /// Adds to each variable the unit's part of the product of its tile's row and the row of the first input that
    /// begins at an index. All values of k are `PARTS` blocks apart for a unit.
    pub(super) fn multiply(&self, hand: &mut Hand<'_>, totals: &[(Val, Val)]) {
        let (row, part) = row_and_part(&mut hand.e);
        match self.layout.shape() {
            Shape::Coded(shape) => {
                let x = hand.maker.input_of(Bound::Arg(0), Ty::F32.of().with_vector_size(4));
                let codes = (shape.codes_at(self.k as usize) / 4) as u32;
                let coded = Coded { shape, words: self.words, tile: self.at, codes, row };
                let blocks = [part, hand.e.u32(self.k / BLOCK as u32), hand.e.u32(PARTS)];
                hand.e.range(blocks, |e, block| coded_block(e, &coded, x, totals, block));
            }
            Shape::Dense(dtype) => {
                let x = hand.input(0, Ty::F32);
                let steps = [part, hand.e.u32(self.k), hand.e.u32(PARTS)];
                hand.e.range(steps, |e, at| {
                    let value = dense(e, self.words, dtype, self.at, at, row);
                    for (from, total) in totals {
                        let index = e.add(*from, at);
                        let x = e.load(x, index, Ty::F32);
                        accumulate(e, *total, [(x, value)]);
                    }
                });
            }
        }
    }
}

/// Puts what units have summed where all of the cube find it, and waits for all; one behind the other for each total.
pub(super) fn share(e: &mut Emit, totals: &[Val]) -> Variable {
    let sums = e.shared(Ty::F32, UNITS as usize * totals.len());
    let unit = e.builtin(Builtin::UnitPosX);
    for (i, total) in (0..).zip(totals) {
        let (at, total) = (e.plus(unit, i * UNITS), e.now(*total));
        e.store(sums, at, total);
    }
    e.sync();
    sums
}

/// The whole sum of total `i` for a row of the tile.
pub(super) fn whole(e: &mut Emit, sums: Variable, i: Val, row: Val) -> Val {
    let from = e.times(i, UNITS);
    let from = e.add(from, row);
    let mut sum = e.load_now(sums, from, Ty::F32);
    for part in 1..PARTS {
        let other = e.plus(from, part * TILE as u32);
        let other = e.load_now(sums, other, Ty::F32);
        sum = e.add(sum, other);
    }
    sum
}

/// Adds products to a variable, one after the other.
fn accumulate<const N: usize>(e: &mut Emit, total: Val, products: [(Val, Val); N]) {
    let now = e.now(total);
    let sum = products.into_iter().fold(now, |sum, (x, w)| e.fma(x, w, sum));
    e.assign(total, sum);
}

fn coded_block(e: &mut Emit, coded: &Coded, x: Variable, totals: &[(Val, Val)], block: Val) {
    let scales = coded.scales(e, block);
    let column = e.times(block, BLOCK as u32);
    for quad in 0..QUADS {
        let weights = coded.quad(e, block, &scales, quad);
        for (from, total) in totals {
            let at = e.add(*from, column);
            let at = e.over(at, 4);
            let at = e.plus(at, quad as u32);
            let values: [Val; 4] = e.load_vector(x, at, Ty::F32);
            accumulate(e, *total, std::array::from_fn::<_, 4, _>(|k| (values[k], weights[k])));
        }
    }
}

/// The value of a tile's row at `k`.
pub(super) fn dense(e: &mut Emit, words: Variable, dtype: DType, tile: Val, k: Val, row: Val) -> Val {
    let at = e.times(k, TILE as u32);
    let at = e.add(at, row);
    if dtype == DType::F32 {
        let at = e.add(tile, at);
        let bits = e.load(words, at, Ty::U32);
        return e.reinterpret(bits, Ty::F32);
    }
    let (word, odd) = (e.over(at, 2), e.rest(at, 2));
    let at = e.add(tile, word);
    let (pair, shift) = (e.load(words, at, Ty::U32), e.times(odd, 16));
    let bits = e.two(Two::Shr, pair, shift);
    let bits = e.mask(bits, 0xffff);
    if dtype == DType::F16 { e.from_f16(bits) } else { e.from_bf16(bits) }
}
