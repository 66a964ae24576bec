//! Loop trees: from what a kernel computes at a point to the loops that compute it everywhere.
//!
//! No backend is named here. A term is computed outside every loop whose axis it does not use, once;
//! reductions over the same axis share one loop; a range is cut where a comparison on its axis changes.
//! A backend only translates: it decides neither where nor in which order anything is computed.
mod cut;
mod linear;
mod open;
mod place;
mod print;
mod rows;
mod share;
mod terms;

pub use linear::Linear;
pub use terms::{Axis, COST_EXP, Elem, Id, Node, Param, Source, Terms, Ty};

use ir::expr::{Body, Fold};
use ir::{DType, TensorType};

/// A kernel that is given by its body.
#[derive(Clone, Debug)]
pub struct BodyKernel {
    /// Types of the inputs, dense and row-major, in the order of the step's arguments.
    pub inputs: Vec<TensorType>,
    /// The type of the output, the last argument.
    pub output: TensorType,
    /// The value at a point of the output. Its hole `h0` is the tile of an epilogue.
    pub body: Body,
    /// The names of the symbols, in the order of `syms`.
    pub symbols: Vec<String>,
}

/// Why a body is not lowered.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BodyError {
    /// The kernel's types mention a symbol that the step has no value for.
    #[error("symbol {0} has no place in the step")]
    Symbol(String),
    /// The body loads from what is no input, or with another number of coordinates.
    #[error("the body loads input {0} in a way that its type does not allow")]
    Input(u32),
    /// A part of the body has another type than its place asks for.
    #[error("the body has a value of type {found:?} where {expected:?} is expected")]
    Type {
        /// What it is.
        found: Ty,
        /// What it must be.
        expected: Ty,
    },
    /// An input's elements cannot be read from a body.
    #[error("bodies do not read {dtype}, the format of input {input}")]
    Format {
        /// Which input.
        input: u32,
        /// Its dtype.
        dtype: DType,
    },
    /// Something else that no loop tree says.
    #[error("bodies do not have {0}")]
    Unsupported(String),
    /// The code generator refused the function.
    #[error("code generation failed: {0}")]
    Code(String),
}

/// A function that a backend has code of its own for, over rows of f32.
#[derive(Clone, Debug)]
pub struct RowFunction {
    /// The name in texts.
    pub name: &'static str,
    /// The value at a point, of inputs without axes.
    pub body: Body,
    /// How many inputs it has.
    pub args: usize,
}

/// The loops of a kernel.
#[derive(Clone, Debug)]
pub struct Tree {
    /// What steps speak of.
    pub terms: Terms,
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// The type of the output.
    pub output: TensorType,
    /// The byte offset in the output of the point's element; of its row, where rows are quantised.
    pub offset: Id,
    /// The axes of which a call computes a range, the outer first.
    pub ranged: [Option<Axis>; 2],
    /// Rows of f32, each as long as the output's last axis, that the steps keep values in.
    pub rows: usize,
}

/// A step of a loop tree.
#[derive(Clone, Debug)]
pub enum Step {
    /// Computes a term from those before.
    Let(Id),
    /// Writes the value at the point to the output, or to row 0 where rows are quantised.
    Store(Id),
    /// Writes a value to a row of scratch, at the last axis' coordinate.
    Keep(Id, usize),
    /// Reads it back.
    Recall(Id, usize),
    /// Quantises row 0 to the output.
    Finish,
    /// Applies a backend's function to neighbours along the output's last axis; the loads say from where.
    Row {
        /// Which function, by its place in the list.
        function: usize,
        /// Its name.
        name: &'static str,
        /// What it takes, each a load of f32.
        args: Vec<Id>,
    },
    /// A loop.
    Loop(Loop),
}

/// A loop over an axis.
#[derive(Clone, Debug)]
pub struct Loop {
    /// The axis.
    pub axis: Axis,
    /// How many vectors are in flight; none where points are taken one by one.
    pub vectors: Option<u8>,
    /// What is folded on the way; the results are there afterwards.
    pub folds: Vec<Folded>,
    /// The parts of the range, in order, together the whole of it.
    pub spans: Vec<Span>,
}

/// A reduction that a loop computes.
#[derive(Clone, Debug)]
pub struct Folded {
    /// How values are joined.
    pub fold: Fold,
    /// The reduction.
    pub result: Id,
}

/// A part of a loop's range in which nothing changes.
#[derive(Clone, Debug)]
pub struct Span {
    /// The first coordinate.
    pub from: i64,
    /// The one after the last; the axis' extent where it is not said.
    pub to: Option<i64>,
    /// What to do at each coordinate.
    pub steps: Vec<Step>,
    /// What to fold, for each of the loop's folds.
    pub values: Vec<Value>,
}

/// What a fold takes in.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// A term.
    Term(Id),
    /// The product of two, rounded only once it is added.
    Product(Id, Id),
}

impl Tree {
    /// The loops of a kernel that computes its whole output, a range of its outer axes at a time.
    /// A row that is one of `functions` is left to it.
    pub fn of_kernel(kernel: &BodyKernel, functions: &[RowFunction]) -> Result<Tree, BodyError> {
        let is_wide = |axis: &usize| kernel.output.shape[*axis].known() != Some(1);
        let mut wide = (0..kernel.output.rank()).filter(is_wide).map(|a| a as Axis);
        place::place(kernel, functions, [wide.next(), wide.next()], true)
    }

    /// The same for a backend whose units keep nothing between loops: what is dear is computed again. It divides the
    /// output as it likes.
    pub fn of_units(kernel: &BodyKernel) -> Result<Tree, BodyError> {
        place::place(kernel, &[], [None, None], false)
    }

    /// The loops of an epilogue, which computes the rows and columns of a tile.
    pub fn of_epilogue(kernel: &BodyKernel, functions: &[RowFunction]) -> Result<Tree, BodyError> {
        let rank = kernel.output.rank() as Axis;
        place::place(kernel, functions, [rank.checked_sub(2), rank.checked_sub(1)], false)
    }
}
