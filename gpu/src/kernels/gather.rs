//! Rows of a packed table by number: the embeddings of tokens.
use super::coded::{Coded, QUADS, Scale};
use super::product::real;
use super::{Hand, known, matrix};
use crate::emit::{Emit, Ty, Val};
use crate::program::{Grid, Program};
use ir::plan::Kernel;
use ir::{DType, Dim};
use kernels::layout::{BLOCK, Layout, Shape, TILE};

const UNITS: u32 = 64;

/// Rows of the table `layout` from its row `first` on; numbers that it lacks give zeros. A unit takes 32 values of one.
pub(crate) fn gather(
    kernel: &Kernel,
    layout: Layout,
    first: u32,
    names: &[String],
) -> Result<Program, String> {
    let [table, ids] = &kernel.inputs[..] else { return Err("takes 2 inputs".into()) };
    let (rows, k) = matrix(table)?;
    let (rows, k) = (known(rows)?, known(k)?);
    let n = &ids.shape[0];
    let blocks = k.div_ceil(BLOCK as u32);
    let mut hand = Hand::new(kernel, names);
    let (words, ids, output) = (hand.input(0, Ty::U32), hand.input(1, Ty::I32), hand.output(Ty::F32));
    let (at, count) = (hand.unit(UNITS), hand.dim(n)?);
    let e = &mut hand.e;
    let (token, block) = (e.over(at, blocks), e.rest(at, blocks));
    let exists = e.lt(token, count);
    let around = e.open();
    let (id, first) = (e.load(ids, token, Ty::I32), e.i32(first as i32));
    let number = e.sub(id, first);
    // A number below the first is one beyond the last, where it has no sign.
    let (number, end) = (e.cast(number, Ty::U32), e.u32(rows));
    let is_here = e.lt(number, end);
    let zero = e.u32(0);
    let number = e.select(is_here, number, zero);
    let (tile, row) = (e.over(number, TILE as u32), e.rest(number, TILE as u32));
    let tile = e.times(tile, (layout.tile_bytes(k as usize) / 4) as u32);
    let (start, column) = (e.times(token, k), e.times(block, BLOCK as u32));
    let to = e.add(start, column);
    let write = |e: &mut Emit, at: u32, value: Val| {
        let nothing = e.f32(0.0);
        let (index, value) = (e.plus(to, at), e.select(is_here, value, nothing));
        e.store(output, index, value);
    };
    match layout.shape() {
        Shape::Coded(shape) => {
            let (four, within) = (e.over(row, 4), e.rest(row, 4));
            let coded = Coded { shape, words, tile, four, within };
            let scales = coded.scales(e, block);
            for quad in 0..QUADS {
                let at = coded.vector(e, block, quad);
                let at = e.add(at, row);
                let word = e.load(words, at, Ty::U32);
                let Scale { scale, min } = scales[quad * 4 / shape.share];
                for (at, code) in (0..).zip(coded.quad(e, block, quad, word)) {
                    let value = e.fma(code, scale, min);
                    write(e, 4 * quad as u32 + at, value);
                }
            }
        }
        Shape::Dense(dtype) => {
            for at in 0..BLOCK as u32 {
                let (own, end) = (e.plus(column, at), e.u32(k));
                let is_inside = e.lt(own, end);
                let around = e.open();
                let value = e.times(own, TILE as u32);
                let value = e.add(value, row);
                // Words hold one value, or two.
                let each = if dtype == DType::F32 { 1 } else { 2 };
                let (word, odd) = (e.over(value, each), e.rest(value, each));
                let word = e.add(tile, word);
                let word = e.load(words, word, Ty::U32);
                let value = real(e, word, dtype, odd);
                write(e, at, value);
                let scope = e.close(around);
                e.branch(is_inside, scope);
            }
        }
    }
    let scope = e.close(around);
    e.branch(exists, scope);
    let extents = vec![n.clone(), Dim::from(i64::from(blocks))];
    Ok(hand.finish(UNITS, Grid { extents, per: UNITS, rows: None }))
}
