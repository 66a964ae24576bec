//! Products of rows and packed weights, with what is fused behind them.
use super::product::{Tile, UNITS, row_and_part, share, whole};
use super::{Hand, known, matrix, packed};
use crate::emit::{Two, Ty, Val};
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
        let weight = Weight { input, rows: known(rows)?, first, layout: packed(kernel, input)? };
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
    let (n, k) = matrix(x)?;
    let (width, k) = (known(&kernel.output.shape[1])?, known(k)?);
    let epilogue = fused.map(|fused| epilogue(kernel, fused, names)).transpose()?;
    let mut hand = Hand::new(kernel, names);
    hand.check_real(0)?;
    let output = hand.output(Ty::F32);
    let words = hand.input(weight.input, Ty::U32);
    let count = hand.dim(n)?;
    let tiles = weight.rows.div_ceil(TILE as u32);
    let e = &mut hand.e;
    let (tile, group) = (e.builtin(Builtin::CubePosX), e.builtin(Builtin::CubePosY));
    let base = e.times(group, rows);
    // Rows beyond the last read what the last does, and are not written.
    let one = e.u32(1);
    let last = e.sub(count, one);
    let totals: Vec<(Val, Val)> = (0..rows)
        .map(|i| {
            let at = e.plus(base, i);
            let at = e.two(Two::Min, at, last);
            let zero = e.f32(0.0);
            (e.times(at, k), e.variable(zero))
        })
        .collect();
    let at = e.times(tile, (weight.layout.tile_bytes(k as usize) / 4) as u32);
    Tile { layout: weight.layout, k, words, at }.multiply(&mut hand, &totals);
    let e = &mut hand.e;
    let sums = share(e, &totals.iter().map(|(_, total)| *total).collect::<Vec<_>>());
    let (row, i) = row_and_part(e);
    let (taken, at) = (e.u32(rows), e.add(base, i));
    let column = e.times(tile, TILE as u32);
    let column = e.add(column, row);
    let (is_taken, end) = (e.lt(i, taken), e.u32(weight.rows));
    let (is_row, is_column) = (e.lt(at, count), e.lt(column, end));
    let both = e.two(Two::And, is_row, is_column);
    let writes = e.two(Two::And, is_taken, both);
    let around = e.open();
    let sum = whole(e, sums, i, row);
    let column = e.plus(column, weight.first);
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
    Ok(hand.finish(
        UNITS,
        Grid { extents: vec![i64::from(tiles).into()], per: 1, rows: Some((n.clone(), rows)) },
    ))
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
