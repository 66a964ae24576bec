//! Compiled bodies as kernels: how their work is cut into units, and how they are called.
use super::jit::{Call, Code, Jit};
use super::rows::ROWS;
use ir::Dim;
use ir::expr::Unary;
use kernels::Epilogue;
use loops::{Axis, BodyError, BodyKernel, COST_EXP, Loop, Node, Step, Tree};
use runtime::device::{Executable, Extent};
use std::ops::Range;

/// Work below this, in operations on one value, is not worth handing to another thread: some microseconds.
const UNIT_COST: i64 = 1 << 15;
/// Columns are cut at multiples of this: whole blocks of every format, whole vectors.
const COLUMNS: i64 = 64;

/// A dimension over the places of symbols.
pub(super) fn extent(dim: &Dim, symbols: &[String]) -> Result<Extent, BodyError> {
    let place = |name: &str| symbols.iter().position(|s| s == name);
    let term =
        |(name, c): (&str, i64)| Ok((c, place(name).ok_or(BodyError::Symbol(name.to_owned()))? as u32));
    Ok(Extent { constant: dim.constant(), terms: dim.terms().map(term).collect::<Result<_, _>>()? })
}

/// A kernel compiled from its body.
pub struct BodyExecutable {
    code: Code,
    args: usize,
    /// How long the two axes are that a call takes ranges of; 1 where there is none.
    ranged: [Extent; 2],
    /// The other axes of the output.
    inner: Vec<Extent>,
    cuts: Cuts,
    /// What a value costs, in operations.
    cost: i64,
    scratch_bytes: usize,
}

/// Along which axes work may be cut without doing any of it twice.
#[derive(Clone, Copy, PartialEq)]
enum Cuts {
    Nowhere,
    Rows,
    RowsAndColumns,
}

/// Compiles a kernel that is given by its body.
pub fn compile_body(kernel: &BodyKernel, jit: &mut Jit) -> Result<BodyExecutable, BodyError> {
    let tree = loop_tree(kernel)?;
    let code = jit.compile(&tree, kernel.inputs.len())?;
    let extent = |dim: &Dim| extent(dim, &kernel.symbols);
    let one = Dim::from(1);
    let ranged = tree.ranged.map(|r| r.map_or(&one, |axis| &kernel.output.shape[axis as usize]));
    let rest = kernel.output.shape.iter().enumerate();
    let rest = rest.filter(|(axis, _)| !tree.ranged.contains(&Some(*axis as Axis)));
    Ok(BodyExecutable {
        code,
        args: kernel.inputs.len() + 1,
        ranged: [extent(ranged[0])?, extent(ranged[1])?],
        inner: rest.map(|(_, dim)| extent(dim)).collect::<Result<_, _>>()?,
        cuts: cuts(&tree),
        cost: cost(&tree, &tree.steps, 1),
        scratch_bytes: scratch_bytes(&tree),
    })
}

/// The loops of a kernel, with rows left to functions where this backend has them.
pub fn loop_tree(kernel: &BodyKernel) -> Result<Tree, BodyError> {
    Tree::of_kernel(kernel, &ROWS.functions)
}

fn scratch_bytes(tree: &Tree) -> usize {
    let width = tree.output.shape.last().and_then(Dim::known).unwrap_or(0);
    tree.rows * width as usize * size_of::<f32>()
}

fn cuts(tree: &Tree) -> Cuts {
    let folds = |steps: &[Step]| steps.iter().any(|s| matches!(s, Step::Loop(l) if !l.folds.is_empty()));
    let is_rows = |l: &Loop| tree.ranged[0] == Some(l.axis);
    let rows = tree.steps.iter().find_map(|s| if let Step::Loop(l) = s { Some(l) } else { None });
    match rows.filter(|l| is_rows(l)) {
        _ if folds(&tree.steps) => Cuts::Nowhere,
        Some(rows) if rows.spans.iter().any(|s| folds(&s.steps)) => Cuts::Rows,
        _ => Cuts::RowsAndColumns,
    }
}

/// Roughly how many operations a value of the output takes. What is folded once a row is taken to be as long as
/// the row, and so counts once a value; what is folded for each value counts as often as it is long.
fn cost(tree: &Tree, steps: &[Step], depth: usize) -> i64 {
    let cost_of = |step: &Step| match step {
        Step::Let(id) if matches!(tree.terms.node(*id), Node::Unary(Unary::Exp | Unary::Log, _)) => {
            i64::from(COST_EXP)
        }
        Step::Row { .. } => i64::from(COST_EXP) / 2,
        Step::Loop(l) => {
            let extent = tree.terms.axes[l.axis as usize].extent;
            let is_inside = !l.folds.is_empty() && depth > tree.output.rank();
            let times = if is_inside { tree.terms.constant(extent).unwrap_or(64) } else { 1 };
            let one = l.spans.iter().map(|s| cost(tree, &s.steps, depth + 1)).max().unwrap_or(0);
            times.saturating_mul(one + l.folds.len() as i64)
        }
        _ => 1,
    };
    steps.iter().fold(0i64, |sum, step| sum.saturating_add(cost_of(step)))
}

/// How the work of a call is cut.
struct Grid {
    extents: [i64; 2],
    /// The axis that units lie along, and how long they are.
    along: usize,
    step: i64,
}

impl Grid {
    fn units(&self) -> usize {
        if self.extents.contains(&0) { 0 } else { ((self.extents[self.along] - 1) / self.step + 1) as usize }
    }
}

impl BodyExecutable {
    fn grid(&self, syms: &[i64]) -> Grid {
        let extents = [self.ranged[0].eval(syms).max(0), self.ranged[1].eval(syms).max(0)];
        let inner = self.inner.iter().fold(self.cost, |cost, e| cost.saturating_mul(e.eval(syms))).max(1);
        let row = inner.saturating_mul(extents[1]).max(1);
        let (along, step) = match self.cuts {
            Cuts::Nowhere => (0, extents[0]),
            // The only row, and long enough that each part is worth a thread.
            Cuts::RowsAndColumns if extents[0] == 1 && row >= 2 * UNIT_COST => {
                (1, (UNIT_COST / inner / COLUMNS + 1) * COLUMNS)
            }
            _ => (0, UNIT_COST / row + 1),
        };
        Grid { extents, along, step: step.max(1) }
    }
}

impl Executable for BodyExecutable {
    fn units(&self, syms: &[i64]) -> usize {
        self.grid(syms).units()
    }

    fn scratch_bytes(&self) -> usize {
        self.scratch_bytes
    }

    unsafe fn run(&self, args: &[*mut u8], syms: &[i64], units: Range<usize>, scratch: *mut u8) {
        debug_assert_eq!(args.len(), self.args);
        let grid = self.grid(syms);
        let mut ranges = grid.extents.map(|extent| [0, extent]);
        let clamp = |unit: usize| (unit as i64 * grid.step).min(grid.extents[grid.along]);
        ranges[grid.along] = [clamp(units.start), clamp(units.end)];
        let call = Call {
            args: args.as_ptr(),
            syms: syms.as_ptr(),
            scratch,
            ranges,
            tile: std::ptr::null(),
            stride: 0,
        };
        // SAFETY: as the caller says.
        unsafe { self.code.run(&call) };
    }
}

/// An epilogue compiled from a body: computes the output at a tile's rows and columns.
pub struct BodyEpilogue {
    code: Code,
}

/// Compiles the body of an epilogue, whose hole `h0` is the tile. Its output is a matrix, and is not quantised.
pub fn compile_epilogue(kernel: &BodyKernel, jit: &mut Jit) -> Result<BodyEpilogue, BodyError> {
    let tree = Tree::of_epilogue(kernel, &ROWS.functions)?;
    if tree.rows > 0 {
        return Err(BodyError::Unsupported("an epilogue that keeps rows".into()));
    }
    Ok(BodyEpilogue { code: jit.compile(&tree, kernel.inputs.len())? })
}

impl Epilogue for BodyEpilogue {
    unsafe fn apply(
        &self,
        tile: *const f32,
        stride: usize,
        rows: Range<usize>,
        cols: Range<usize>,
        args: &[*mut u8],
        syms: &[i64],
    ) {
        let call = Call {
            args: args.as_ptr(),
            syms: syms.as_ptr(),
            scratch: std::ptr::null_mut(),
            ranges: [rows, cols].map(|r| [r.start as i64, r.end as i64]),
            tile,
            stride: stride as i64,
        };
        // SAFETY: as the caller says.
        unsafe { self.code.run(&call) };
    }
}
