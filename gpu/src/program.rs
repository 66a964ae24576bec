//! One kernel in cubecl's IR, and what it is given.
use crate::emit::Ty;
use cubecl::ir::{Scope, Type, Variable};
use cubecl::prelude::{AddressType, CubeDim, KernelBuilder, KernelDefinition, KernelSettings};
use ir::Dim;
use runtime::Extent;

/// What a kernel finds at a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Bound {
    /// An argument of the plan's step: its inputs in order, then its output.
    Arg(usize),
    /// The values of the plan's symbols, i32 in their order.
    Symbols,
}

/// How many cubes there are: as many as it takes for all points, one behind the other; or along x, and along y for rows
/// by rows, of which there are then some hundred thousand at most.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Grid {
    /// What the points are: the product of these, along x.
    pub(crate) extents: Vec<Dim>,
    /// How many points a cube takes.
    pub(crate) per: u32,
    /// The rows, and how many of them a cube takes.
    pub(crate) rows: Option<(Dim, u32)>,
}

/// A grid whose dimensions have been found among a step's symbols.
#[derive(Clone, Debug)]
pub(crate) struct Cubes {
    extents: Vec<Extent>,
    per: u64,
    rows: Option<(Extent, u64)>,
}

/// Units of a cube at most.
pub(crate) const UNITS_MAX: u32 = 256;
/// Cubes along one axis of a grid at most.
pub(crate) const CUBES_MAX: u64 = 65_535;

impl Grid {
    pub(crate) fn cubes(&self, names: &[String]) -> Result<Cubes, String> {
        let extent = |dim: &Dim| {
            let terms = dim.terms().map(|(name, by)| {
                let place = names.iter().position(|n| n == name);
                Ok((by, place.ok_or_else(|| format!("symbol {name} has no place in the step"))? as u32))
            });
            Ok(Extent { constant: dim.constant(), terms: terms.collect::<Result<_, String>>()? })
        };
        let rows = match &self.rows {
            Some((dim, per)) => Some((extent(dim)?, u64::from(*per))),
            None => None,
        };
        let extents = self.extents.iter().map(extent).collect::<Result<_, String>>()?;
        Ok(Cubes { extents, per: u64::from(self.per), rows })
    }
}

impl Cubes {
    /// Whether one cube takes all rows.
    pub(crate) fn takes_all_rows(&self, syms: &[i64]) -> bool {
        self.rows.as_ref().is_none_or(|(rows, per)| length(rows, syms) <= *per)
    }

    /// How many there are along x and y; none where there is nothing to do.
    pub(crate) fn count(&self, syms: &[i64]) -> Option<[u32; 2]> {
        let points = self.extents.iter().fold(1u64, |all, e| all.saturating_mul(length(e, syms)));
        let cubes = points.div_ceil(self.per);
        let [x, y] = match &self.rows {
            Some((rows, per)) => [cubes, length(rows, syms).div_ceil(*per)],
            // A grid is as wide as devices allow, and the last row of it need not be full.
            None => [cubes.min(CUBES_MAX), cubes.div_ceil(CUBES_MAX)],
        };
        (x > 0 && y > 0).then_some([x as u32, y as u32])
    }
}

fn length(extent: &Extent, syms: &[i64]) -> u64 {
    extent.eval(syms).max(0) as u64
}

/// What the code's function is called.
pub(crate) const ENTRY: &str = "kernel";

/// A kernel before it is compiled for a device.
pub(crate) struct Program {
    /// What it is called where it fails.
    pub(crate) name: String,
    /// The code.
    pub(crate) definition: KernelDefinition,
    /// What each binding is, in order.
    pub(crate) bindings: Vec<Bound>,
    /// How many cubes there are.
    pub(crate) grid: Grid,
}

/// Declares the bindings of a program.
pub(crate) struct Maker {
    builder: KernelBuilder,
    bound: Vec<(Bound, Type, Variable)>,
}

impl Maker {
    pub(crate) fn new() -> Maker {
        let mut builder = KernelBuilder::default();
        AddressType::U32.register(&mut builder.scope);
        Maker { builder, bound: vec![] }
    }

    /// The scope to emit into, which [`Maker::finish`] takes back.
    pub(crate) fn scope(&mut self) -> Scope {
        std::mem::replace(&mut self.builder.scope, Scope::root(false))
    }

    /// An array that is read.
    pub(crate) fn input(&mut self, bound: Bound, ty: Ty) -> Variable {
        self.input_of(bound, ty.of())
    }

    /// An array of vectors that is read.
    pub(crate) fn input_of(&mut self, bound: Bound, ty: Type) -> Variable {
        if let Some((.., known)) = self.bound.iter().find(|(b, t, _)| *b == bound && *t == ty) {
            return *known;
        }
        let array = *self.builder.input_array(ty);
        self.bound.push((bound, ty, array));
        array
    }

    /// An array that is written.
    pub(crate) fn output(&mut self, bound: Bound, ty: Ty) -> Variable {
        let array = *self.builder.output_array(ty.of());
        self.bound.push((bound, ty.of(), array));
        array
    }

    pub(crate) fn finish(mut self, name: &str, scope: Scope, units: u32, grid: Grid) -> Program {
        assert!(units <= UNITS_MAX, "{name} has cubes of {units} units");
        self.builder.scope = scope;
        let settings = KernelSettings::default().cube_dim(CubeDim::new_1d(units)).kernel_name(ENTRY);
        let bindings = self.bound.into_iter().map(|(bound, ..)| bound).collect();
        Program { name: name.to_owned(), definition: self.builder.build(settings), bindings, grid }
    }
}
