//! Products of rows and packed weights.
//!
//! A cube takes a tile of 16 outputs for some rows. Its units are the tile's rows times parts of k; each part sums
//! every so manyth block of k, and the parts are added in order. So a row has the same bits in any batch.
use super::coded::{Coded, QUADS};
use super::{Hand, known, matrix};
use crate::emit::{Emit, Ty, Val};
use crate::program::{Bound, Grid, Program};
use crate::tree::Body;
use cubecl::ir::{Builtin, Variable};
use ir::ops::Fused;
use ir::plan::Kernel;
use ir::{DType, Dim};
use kernels::layout::{BLOCK, Layout, Shape, TILE};
use loops::{BodyKernel, Tree};

/// Parts of k.
const PARTS: u32 = 8;
const UNITS: u32 = PARTS * TILE as u32;
/// How many rows a cube takes, the fewest first; which, depends on how many there are.
const ROWS: [u32; 3] = [1, 4, 8];

/// One of a kernel's weights.
struct Weight {
    /// Which input it is.
    input: usize,
    /// Its rows, and the first column of the output that they make.
    rows: u32,
    first: u32,
    layout: Layout,
}

/// The products of the first input and the weights before input `end`, with what is fused behind them: for each weight
/// one launch, in versions by how many rows a cube takes.
pub(crate) fn linear(
    kernel: &Kernel,
    end: usize,
    fused: Option<&Fused>,
    names: &[String],
) -> Result<Vec<Vec<Program>>, String> {
    let mut first = 0;
    let mut launches = vec![];
    for input in 1..end {
        let (rows, _) = matrix(&kernel.inputs[input])?;
        let layout = kernel.layouts.get(input).and_then(|name| Layout::parse(name));
        let layout = layout.ok_or_else(|| format!("input {input} is not packed"))?;
        let weight = Weight { input, rows: known(rows)?, first, layout };
        first += weight.rows;
        launches.push(
            ROWS.iter()
                .map(|rows| product(kernel, &weight, fused, names, *rows))
                .collect::<Result<_, _>>()?,
        );
    }
    Ok(launches)
}

fn product(
    kernel: &Kernel,
    weight: &Weight,
    fused: Option<&Fused>,
    names: &[String],
    rows: u32,
) -> Result<Program, String> {
    let x = &kernel.inputs[0];
    if x.dtype != DType::F32 {
        return Err(format!("products take f32 on this device, got {}", x.dtype));
    }
    let (n, k) = matrix(x)?;
    let (width, k) = (known(&kernel.output.shape[1])?, known(k)?);
    let epilogue = fused.map(|fused| epilogue(kernel, fused, names)).transpose()?;
    let mut hand = Hand::new(kernel, names);
    let output = hand.output(Ty::F32);
    let words = hand.input(weight.input, Ty::U32);
    let count = hand.dim(n)?;
    let e = &mut hand.e;
    let unit = e.builtin(Builtin::UnitPosX);
    let (row, part) = (e.rest(unit, TILE as u32), e.over(unit, TILE as u32));
    let (tile, group) = (e.builtin(Builtin::CubePosX), e.builtin(Builtin::CubePosY));
    let base = e.times(group, rows);
    // Rows beyond the last read what the last does, and are not written.
    let one = e.u32(1);
    let last = e.sub(count, one);
    let totals: Vec<(Val, Val)> = (0..rows)
        .map(|i| {
            let at = e.plus(base, i);
            let at = e.two(crate::emit::Two::Min, at, last);
            let zero = e.f32(0.0);
            (e.times(at, k), e.variable(zero))
        })
        .collect();
    let tile_words = e.times(tile, (weight.layout.tile_bytes(k as usize) / 4) as u32);
    match weight.layout.shape() {
        Shape::Coded(shape) => {
            let x = hand.maker.input_of(Bound::Arg(0), Ty::F32.of().with_vector_size(4));
            let codes = (shape.codes_at(k as usize) / 4) as u32;
            let coded = Coded { shape, words, tile: tile_words, codes, row };
            let blocks = [part, hand.e.u32(k / BLOCK as u32), hand.e.u32(PARTS)];
            hand.e.range(blocks, |e, block| coded_block(e, &coded, x, &totals, block));
        }
        Shape::Dense(dtype) => {
            let x = hand.input(0, Ty::F32);
            let steps = [part, hand.e.u32(k), hand.e.u32(PARTS)];
            hand.e.range(steps, |e, at| {
                let value = dense(e, words, dtype, tile_words, at, row);
                for (from, total) in &totals {
                    let index = e.add(*from, at);
                    let x = e.load(x, index, Ty::F32);
                    accumulate(e, *total, [(x, value)]);
                }
            });
        }
    }
    // Each unit's sums lie as the units do, rows one behind the other.
    let sums = hand.e.shared(Ty::F32, (UNITS * rows) as usize);
    for (i, (_, total)) in (0..).zip(&totals) {
        let (at, total) = (hand.e.plus(unit, i * UNITS), hand.e.now(*total));
        hand.e.store(sums, at, total);
    }
    hand.e.sync();
    let e = &mut hand.e;
    let (i, row) = (e.over(unit, TILE as u32), e.rest(unit, TILE as u32));
    let (taken, at) = (e.u32(rows), e.add(base, i));
    let column = e.times(tile, TILE as u32);
    let column = e.add(column, row);
    let (is_taken, end) = (e.lt(i, taken), e.u32(weight.rows));
    let (is_row, is_column) = (e.lt(at, count), e.lt(column, end));
    let both = e.two(crate::emit::Two::And, is_row, is_column);
    let writes = e.two(crate::emit::Two::And, is_taken, both);
    let around = e.open();
    let from = e.times(i, UNITS);
    let from = e.add(from, row);
    let mut sum = e.load_now(sums, from, Ty::F32);
    for part in 1..PARTS {
        let other = e.plus(from, part * TILE as u32);
        let other = e.load_now(sums, other, Ty::F32);
        sum = e.add(sum, other);
    }
    let column = e.plus(column, weight.first);
    match &epilogue {
        None => {
            let start = e.times(at, width);
            let index = e.add(start, column);
            e.store(output, index, sum);
        }
        Some(tree) => {
            let Hand { maker, e, symbols, .. } = hand;
            let mut maker = maker;
            let mut body = Body::new(e, &mut maker, tree, symbols, output);
            body.epilogue(at, column, sum).map_err(|e| e.to_string())?;
            let e = body.emit;
            hand = Hand { kernel, names, maker, e, symbols };
        }
    }
    let scope = hand.e.close(around);
    hand.e.branch(writes, scope);
    let tiles = Dim::from(i64::from(weight.rows.div_ceil(TILE as u32)));
    Ok(hand.finish(UNITS, Grid { extents: vec![tiles], per: 1, rows: Some((n.clone(), rows)) }))
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
    let bits = e.two(crate::emit::Two::Shr, pair, shift);
    let bits = e.mask(bits, 0xffff);
    if dtype == DType::F16 { e.from_f16(bits) } else { e.from_bf16(bits) }
}

/// The loops of what is fused behind a product: those of one point.
fn epilogue(kernel: &Kernel, fused: &Fused, names: &[String]) -> Result<Tree, String> {
    if let Some(at) = (0..kernel.inputs.len())
        .find(|&at| Layout::parse(&kernel.layouts[at]).is_some() && fused.body.loads(at))
    {
        return Err(format!("input {at} is packed, which bodies do not read"));
    }
    let body = BodyKernel {
        inputs: kernel.inputs.clone(),
        output: kernel.output.clone(),
        body: fused.body.clone(),
        symbols: names.to_vec(),
    };
    let tree = Tree::of_epilogue(&body, &[]).map_err(|e| e.to_string())?;
    match kernel.output.dtype {
        DType::F32 => Ok(tree),
        other => Err(format!("products give f32 on this device, {other} is asked for")),
    }
}
