//! Products of rows and packed weights, with what is fused behind them.
use super::product::{Tile, Total, own_rows, row_and_total, share, units, whole};
use super::{Hand, known, matrix, packed};
use crate::emit::{Two, Ty};
use crate::program::{Grid, Program};
use crate::tree::Body;
use cubecl::ir::Builtin;
use ir::DType;
use ir::ops::Fused;
use ir::plan::Kernel;
use kernels::layout::{Layout, TILE};
use loops::{BodyKernel, Tree};

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

/// The products of the first input and the weights before input `end`, with what is fused behind them, in versions by how
/// many rows a cube takes: one launch, but where units take more rows of one weight than of another.
pub(crate) fn linear(
    kernel: &Kernel,
    end: usize,
    fused: Option<&Fused>,
    names: &[String],
) -> Result<Vec<Vec<Program>>, String> {
    let mut first = 0;
    let mut weights = vec![];
    for input in 1..end {
        let (rows, _) = matrix(&kernel.inputs[input])?;
        let weight = Weight { input, rows: known(rows)?, first, layout: packed(kernel, input)? };
        first += weight.rows;
        weights.push(weight);
    }
    let launches = weights.chunk_by(|a, b| own_rows(a.layout) == own_rows(b.layout));
    let versions = |weights| ROWS.iter().map(move |rows| product(kernel, weights, fused, names, *rows));
    launches.map(|weights| versions(weights).collect()).collect()
}

/// Neighbouring weights, of which a unit takes as many rows of each.
fn product(
    kernel: &Kernel,
    weights: &[Weight],
    fused: Option<&Fused>,
    names: &[String],
    rows: u32,
) -> Result<Program, String> {
    let [Weight { layout, .. }, ..] = weights else { return Err("takes no weight".into()) };
    let x = &kernel.inputs[0];
    let (n, k) = matrix(x)?;
    let (width, k) = (known(&kernel.output.shape[1])?, known(k)?);
    let epilogue = fused.map(|fused| epilogue(kernel, fused, names)).transpose()?;
    let mut hand = Hand::new(kernel, names);
    hand.check_real(0)?;
    let output = hand.output(Ty::F32);
    let count = hand.dim(n)?;
    let e = &mut hand.e;
    let (cube, group) = (e.builtin(Builtin::CubePosX), e.builtin(Builtin::CubePosY));
    let base = e.times(group, rows);
    // Rows beyond the last read what the last does, and are not written.
    let one = e.u32(1);
    let last = e.sub(count, one);
    let totals: Vec<Total> = (0..rows)
        .map(|i| {
            let at = e.plus(base, i);
            let at = e.two(Two::Min, at, last);
            let x = e.times(at, k);
            Total::new(e, *layout, x)
        })
        .collect();
    let nothing = e.u32(0);
    // The first column of the output that the cube's tile makes, and where those of its weight end.
    let (first, end) = (e.variable(nothing), e.variable(nothing));
    let mut tiles = 0;
    for weight in weights {
        let e = &mut hand.e;
        let (before, own) = (e.u32(tiles), weight.rows.div_ceil(TILE as u32));
        tiles += own;
        let (tile, own) = (e.sub(cube, before), e.u32(own));
        let is_own = e.lt(tile, own);
        let around = e.open();
        let (column, rows) = (e.times(tile, TILE as u32), e.u32(weight.first + weight.rows));
        let column = e.plus(column, weight.first);
        e.assign(first, column);
        e.assign(end, rows);
        let at = e.times(tile, (weight.layout.tile_bytes(k as usize) / 4) as u32);
        Tile { layout: weight.layout, k, input: weight.input, at }.multiply(&mut hand, &totals);
        let scope = hand.e.close(around);
        hand.e.branch(is_own, scope);
    }
    let e = &mut hand.e;
    let sums = share(e, *layout, k, &totals);
    let (row, i) = row_and_total(e);
    let (taken, at) = (e.u32(rows), e.add(base, i));
    let (first, end) = (e.now(first), e.now(end));
    let column = e.add(first, row);
    let is_taken = e.lt(i, taken);
    let (is_row, is_column) = (e.lt(at, count), e.lt(column, end));
    let both = e.two(Two::And, is_row, is_column);
    let writes = e.two(Two::And, is_taken, both);
    let around = e.open();
    let sum = whole(e, sums, i, row);
    match &epilogue {
        None => {
            let start = e.times(at, width);
            let index = e.add(start, column);
            e.store(output, index, sum);
        }
        Some(tree) => {
            let Hand { mut maker, e, symbols, .. } = hand;
            let mut body = Body::new(e, &mut maker, tree, symbols, output);
            body.epilogue(at, column, sum).map_err(|e| e.to_string())?;
            let e = body.emit;
            hand = Hand { kernel, names, maker, e, symbols };
        }
    }
    let scope = hand.e.close(around);
    hand.e.branch(writes, scope);
    let extents = vec![i64::from(tiles).into()];
    Ok(hand.finish(units(k), Grid { extents, per: 1, rows: Some((n.clone(), rows)) }))
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
