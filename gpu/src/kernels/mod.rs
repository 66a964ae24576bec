//! Kernels written by hand, where a body would be slow or there is none. Each is one function for every device.
mod attention;
mod coded;
mod experts;
mod gather;
mod linear;
mod paged;
mod product;
mod top_k;

pub(crate) use attention::attention;
pub(crate) use experts::{expert_combine, expert_linear};
pub(crate) use gather::gather;
pub(crate) use linear::linear;
pub(crate) use paged::kv_append;
pub(crate) use top_k::top_k;

use crate::emit::{Emit, Ty, Val};
use crate::program::{Bound, Grid, Maker, Program};
use cubecl::ir::{Builtin, Variable};
use ir::plan::Kernel;
use ir::{DType, Dim, TensorType};
use kernels::layout::Layout;

/// A kernel that is being written: the plan's, and the code so far.
pub(crate) struct Hand<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) names: &'a [String],
    pub(crate) maker: Maker,
    pub(crate) e: Emit,
    pub(crate) symbols: Variable,
}

impl<'a> Hand<'a> {
    pub(crate) fn new(kernel: &'a Kernel, names: &'a [String]) -> Hand<'a> {
        let mut maker = Maker::new();
        let symbols = maker.input(Bound::Symbols, Ty::I32);
        let e = Emit::new(maker.scope());
        Hand { kernel, names, maker, e, symbols }
    }

    /// The elements of an input.
    pub(crate) fn input(&mut self, at: usize, ty: Ty) -> Variable {
        self.maker.input(Bound::Arg(at), ty)
    }

    /// Refuses an input that is not f32.
    pub(crate) fn check_real(&self, at: usize) -> Result<(), String> {
        match self.kernel.inputs[at].dtype {
            DType::F32 => Ok(()),
            other => {
                Err(format!("products take f32 on this device, got {other}: compile with --activations f32"))
            }
        }
    }

    /// The elements of the output, the last argument.
    pub(crate) fn output(&mut self, ty: Ty) -> Variable {
        self.maker.output(Bound::Arg(self.kernel.inputs.len()), ty)
    }

    /// A dimension's value, as a u32.
    pub(crate) fn dim(&mut self, dim: &Dim) -> Result<Val, String> {
        let mut sum = self.e.i32(i32::try_from(dim.constant()).map_err(|_| format!("{dim} is too large"))?);
        for (name, by) in dim.terms() {
            let place = self.names.iter().position(|n| n == name);
            let place = place.ok_or_else(|| format!("symbol {name} has no place in the step"))?;
            let (at, by) = (self.e.u32(place as u32), self.e.i32(by as i32));
            let value = self.e.load(self.symbols, at, Ty::I32);
            let value = self.e.mul(value, by);
            sum = self.e.add(sum, value);
        }
        Ok(self.e.cast(sum, Ty::U32))
    }

    /// Which of so many tiles the cube has, and for which rows.
    pub(crate) fn tile_and_group(&mut self, tiles: u32) -> (Val, Val) {
        let cube = self.e.cube();
        (self.e.rest(cube, tiles), self.e.over(cube, tiles))
    }

    /// The number of the unit among all.
    pub(crate) fn unit(&mut self, units: u32) -> Val {
        let (cube, unit) = (self.e.cube(), self.e.builtin(Builtin::UnitPosX));
        let first = self.e.times(cube, units);
        self.e.add(first, unit)
    }

    pub(crate) fn finish(self, units: u32, grid: Grid) -> Program {
        self.maker.finish(&self.kernel.name, self.e.scope, units, grid)
    }
}

/// A dimension that is known.
pub(crate) fn known(dim: &Dim) -> Result<u32, String> {
    dim.known().and_then(|v| u32::try_from(v).ok()).ok_or_else(|| format!("{dim} is not a known size"))
}

/// The layout of an input that is packed.
pub(crate) fn packed(kernel: &Kernel, input: usize) -> Result<Layout, String> {
    let layout = kernel.layouts.get(input).and_then(|name| Layout::parse(name));
    layout.ok_or_else(|| format!("input {input} is not packed"))
}

/// The rows and columns of a matrix.
pub(crate) fn matrix(ty: &TensorType) -> Result<(&Dim, &Dim), String> {
    match &ty.shape[..] {
        [rows, cols] => Ok((rows, cols)),
        _ => Err(format!("{ty} is no matrix")),
    }
}
