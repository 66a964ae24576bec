//! A loop tree, emitted: which loops become units of the grid, which are taken in turn.
//!
//! Points that need no reduction but their own are a unit each. Where rows are reduced, a cube takes a row: its units
//! take turns along every loop of the row, and what a loop folds is joined over the cube, always in the same order.
use crate::emit::{Compare, Emit, Two, Ty, Val};
use crate::program::{Bound, Grid, Maker, Program};
use cubecl::ir::{Builtin, Variable};
use ir::DType;
use ir::expr::Fold;
use loops::{Axis, BodyError, BodyKernel, Elem, Folded, Id, Loop, Span, Step, Terms, Tree, Value};
use std::collections::HashMap;

/// Units of a cube that takes points.
const POINT_UNITS: u32 = 64;
/// The most units of a cube that takes a row, and the fewest.
const ROW_UNITS: [u32; 2] = [256, 32];
/// A reduction of one point is worth a cube from this length on.
const LONG: i64 = 128;

/// The kernel that computes a body's whole output.
pub(crate) fn body(name: &str, kernel: &BodyKernel) -> Result<Program, BodyError> {
    let tree = Tree::of_units(kernel)?;
    if tree.rows > 0 {
        return Err(BodyError::Unsupported(format!("an output of {}", kernel.output.dtype)));
    }
    let wide: Vec<Axis> = chain(&tree.steps, kernel.output.rank() as Axis);
    let shape = Shape::of(&tree, &wide);
    let mut maker = Maker::new();
    let output = maker.output(Bound::Arg(kernel.inputs.len()), memory(output_elem(&tree)?)?);
    let symbols = maker.input(Bound::Symbols, Ty::I32);
    let emit = Emit::new(maker.scope());
    let mut body = Body::new(emit, &mut maker, &tree, symbols, output);
    let emitted = match shape {
        Shape::Points => body.points(&wide),
        Shape::Rows { outer, units } => body.rows(&wide[..outer], units),
    };
    emitted?;
    let scope = body.emit.scope;
    let (outer, units, per) = match shape {
        Shape::Points => (wide.len(), POINT_UNITS, POINT_UNITS),
        Shape::Rows { outer, units } => (outer, units, 1),
    };
    let extents = wide[..outer].iter().map(|axis| kernel.output.shape[*axis as usize].clone()).collect();
    Ok(maker.finish(name, scope, units, Grid { extents, per, rows: None }))
}

/// The loops over the output's axes, outermost first.
fn chain(steps: &[Step], rank: Axis) -> Vec<Axis> {
    let output = steps.iter().find_map(|step| match step {
        Step::Loop(l) if l.folds.is_empty() && l.axis < rank => Some(l),
        _ => None,
    });
    match output {
        None => vec![],
        Some(l) => std::iter::once(l.axis).chain(chain(&l.spans[0].steps, rank)).collect(),
    }
}

fn output_elem(tree: &Tree) -> Result<Elem, BodyError> {
    let dtype = tree.output.dtype;
    Elem::of(dtype).ok_or_else(|| BodyError::Unsupported(format!("an output of {dtype} on this device")))
}

/// As what memory holds an element.
fn memory(elem: Elem) -> Result<Ty, BodyError> {
    Ok(match elem {
        Elem::F32 => Ty::F32,
        Elem::I32 => Ty::I32,
        Elem::F16 | Elem::BF16 => Ty::U16,
        Elem::U8 | Elem::I8 | Elem::Bool => Ty::U8,
        Elem::I64 => return Err(BodyError::Unsupported(format!("{} on this device", DType::I64))),
    })
}

/// How units divide a kernel among them.
#[derive(Clone, Copy)]
enum Shape {
    Points,
    /// A cube of so many units for each point of the first so many of the wide axes.
    Rows {
        outer: usize,
        units: u32,
    },
}

impl Shape {
    fn of(tree: &Tree, wide: &[Axis]) -> Shape {
        let mut folds = vec![];
        find_folds(&tree.steps, 0, &mut folds);
        let length = |axis: Axis| tree.terms.constant(tree.terms.axes[axis as usize].extent);
        let above = folds.iter().any(|(depth, _)| *depth < wide.len());
        let is_long = |axis: Axis| length(axis).is_none_or(|length| length >= LONG);
        let within = folds.iter().any(|(depth, axis)| *depth == wide.len() && is_long(*axis));
        if !(above || within) {
            return Shape::Points;
        }
        let longest = folds.iter().map(|(_, axis)| length(*axis).unwrap_or(LONG)).max().unwrap_or(LONG);
        let [most, fewest] = ROW_UNITS.map(i64::from);
        let units = (longest.clamp(fewest, most) as u32).next_power_of_two();
        let outer = if within { wide.len() } else { wide.len() - 1 };
        Shape::Rows { outer, units }
    }
}

/// The loops that fold: inside how many loops over the output's axes, and over which axis. Not those inside of others.
fn find_folds(steps: &[Step], depth: usize, found: &mut Vec<(usize, Axis)>) {
    for step in steps {
        let Step::Loop(l) = step else { continue };
        match l.folds.is_empty() {
            true => l.spans.iter().for_each(|span| find_folds(&span.steps, depth + 1, found)),
            false => found.push((depth, l.axis)),
        }
    }
}

/// What is known where code is emitted: who computes the loops, and what has been computed.
pub(crate) struct Body<'a> {
    pub(crate) emit: Emit,
    maker: &'a mut Maker,
    tree: &'a Tree,
    symbols: Variable,
    output: Variable,
    axes: Vec<Option<Val>>,
    known: HashMap<Id, Val>,
    /// What a hand kernel has accumulated.
    tile: Option<Val>,
    /// The units that share what is at hand: how many, and at how many loops over output axes they begin to.
    team: Option<(u32, usize)>,
    /// Where units put what they have folded.
    meeting: Option<Variable>,
}

impl<'a> Body<'a> {
    pub(crate) fn new(
        emit: Emit,
        maker: &'a mut Maker,
        tree: &'a Tree,
        symbols: Variable,
        output: Variable,
    ) -> Body<'a> {
        let axes = vec![None; tree.terms.axes.len()];
        let (known, tile, team, meeting) = (HashMap::new(), None, None, None);
        Body { emit, maker, tree, symbols, output, axes, known, tile, team, meeting }
    }

    pub(crate) fn terms(&self) -> &'a Terms {
        &self.tree.terms
    }

    /// A unit a point.
    fn points(&mut self, wide: &[Axis]) -> Result<(), BodyError> {
        let cube = self.emit.cube();
        let units = self.emit.u32(POINT_UNITS);
        let first = self.emit.two(Two::Mul, cube, units);
        let unit = self.emit.builtin(Builtin::UnitPosX);
        let at = self.emit.two(Two::Add, first, unit);
        self.at(at, wide)
    }

    /// A cube a row.
    fn rows(&mut self, outer: &[Axis], units: u32) -> Result<(), BodyError> {
        self.team = Some((units, outer.len()));
        let cube = self.emit.cube();
        self.at(cube, outer)
    }

    /// All steps at point `at` of the first axes, if there is such a point.
    fn at(&mut self, at: Val, outer: &[Axis]) -> Result<(), BodyError> {
        let mut extents = vec![];
        for axis in outer {
            let extent = self.get(self.terms().axes[*axis as usize].extent)?;
            extents.push(self.emit.cast(extent, Ty::U32));
        }
        let one = self.emit.u32(1);
        let total = extents.iter().fold(one, |all, extent| self.emit.two(Two::Mul, all, *extent));
        let exists = self.emit.compare(Compare::Lt, at, total);
        self.guarded(exists, |body| {
            let mut rest = at;
            for (index, (axis, extent)) in outer.iter().zip(&extents).enumerate().rev() {
                let mut own = rest;
                if index > 0 {
                    let above = body.emit.two(Two::Div, rest, *extent);
                    let skipped = body.emit.two(Two::Mul, above, *extent);
                    own = body.emit.two(Two::Sub, rest, skipped);
                    rest = above;
                }
                let own = body.emit.cast(own, Ty::I32);
                body.axes[*axis as usize] = Some(own);
            }
            body.steps(&body.tree.steps, 0)
        })
    }

    /// An epilogue's value at a row and a column of the output, of what was accumulated for it.
    pub(crate) fn epilogue(&mut self, row: Val, column: Val, tile: Val) -> Result<(), BodyError> {
        let rank = self.tree.output.rank();
        for (axis, at) in [(rank - 2, row), (rank - 1, column)] {
            self.axes[axis] = Some(self.emit.cast(at, Ty::I32));
        }
        self.tile = Some(tile);
        self.steps(&self.tree.steps, 0)
    }

    /// Emits `run` where a condition holds.
    fn guarded(
        &mut self,
        condition: Val,
        run: impl FnOnce(&mut Self) -> Result<(), BodyError>,
    ) -> Result<(), BodyError> {
        let (around, known) = (self.emit.open(), self.known.clone());
        let emitted = run(self);
        self.known = known;
        let scope = self.emit.close(around);
        self.emit.branch(condition, scope);
        emitted
    }

    /// Steps inside so many loops over the output's axes.
    fn steps(&mut self, steps: &'a [Step], depth: usize) -> Result<(), BodyError> {
        for step in steps {
            match step {
                Step::Let(id) => _ = self.get(*id)?,
                Step::Store(id) => self.store(*id, depth)?,
                Step::Loop(l) if l.folds.is_empty() => self.output_loop(l, depth)?,
                Step::Loop(l) => self.fold_loop(l, depth)?,
                Step::Keep(..) | Step::Recall(..) | Step::Finish | Step::Row { .. } => {
                    return Err(BodyError::Unsupported("rows of scratch on this device".into()));
                }
            }
        }
        Ok(())
    }

    /// A loop over an axis of the output: its units are elsewhere, or the cube's take turns.
    fn output_loop(&mut self, l: &'a Loop, depth: usize) -> Result<(), BodyError> {
        let Some(at) = self.axes[l.axis as usize] else {
            for span in &l.spans {
                self.turns(l, span, true, |body| body.steps(&span.steps, depth + 1))?;
            }
            return Ok(());
        };
        for span in &l.spans {
            let mut conditions = vec![];
            if span.from > 0 {
                let from = self.int(span.from)?;
                conditions.push(self.emit.compare(Compare::Le, from, at));
            }
            if let Some(to) = span.to.filter(|_| l.spans.len() > 1) {
                let to = self.int(to)?;
                conditions.push(self.emit.compare(Compare::Lt, at, to));
            }
            match conditions.into_iter().reduce(|a, b| self.emit.two(Two::And, a, b)) {
                None => self.steps(&span.steps, depth + 1)?,
                Some(inside) => self.guarded(inside, |body| body.steps(&span.steps, depth + 1))?,
            }
        }
        Ok(())
    }

    /// The coordinates of a part of a loop, one after the other, or as many at a time as the cube has units.
    fn turns(
        &mut self,
        l: &Loop,
        span: &Span,
        is_shared: bool,
        run: impl FnOnce(&mut Self) -> Result<(), BodyError>,
    ) -> Result<(), BodyError> {
        let extent = self.get(self.terms().axes[l.axis as usize].extent)?;
        let to = match span.to {
            Some(to) => self.int(to)?,
            None => {
                let zero = self.emit.i32(0);
                self.emit.two(Two::Max, extent, zero)
            }
        };
        let (mut from, mut step) = (self.emit.u32(span.from as u32), self.emit.u32(1));
        let to = self.emit.cast(to, Ty::U32);
        if let Some((units, _)) = self.team.filter(|_| is_shared) {
            let unit = self.emit.builtin(Builtin::UnitPosX);
            (from, step) = (self.emit.two(Two::Add, from, unit), self.emit.u32(units));
        }
        let i = self.emit.counter();
        let (around, known) = (self.emit.open(), self.known.clone());
        let at = self.emit.cast(i, Ty::I32);
        let outer = self.axes[l.axis as usize].replace(at);
        let emitted = run(self);
        self.axes[l.axis as usize] = outer;
        self.known = known;
        let scope = self.emit.close(around);
        self.emit.repeat(i, [from, to, step], scope);
        emitted
    }

    fn fold_loop(&mut self, l: &'a Loop, depth: usize) -> Result<(), BodyError> {
        let is_shared = self.team.is_some_and(|(_, begins)| depth <= begins);
        let first = |body: &mut Self, folded: &Folded| {
            let bits = if folded.fold == Fold::Sum { 0.0f32 } else { f32::NEG_INFINITY }.to_bits();
            let first = body.emit.f32_of_bits(bits);
            body.emit.variable(first)
        };
        let totals: Vec<Val> = l.folds.iter().map(|folded| first(self, folded)).collect();
        for span in &l.spans {
            self.turns(l, span, is_shared, |body| {
                // What stands inside belongs to one unit alone.
                let team = body.team.take_if(|_| is_shared);
                body.steps(&span.steps, usize::MAX)?;
                body.team = team.or(body.team);
                for ((folded, value), total) in l.folds.iter().zip(&span.values).zip(&totals) {
                    let now = body.emit.now(*total);
                    let next = match *value {
                        Value::Product(a, b) => {
                            let (a, b) = (body.get(a)?, body.get(b)?);
                            body.emit.fma(a, b, now)
                        }
                        Value::Term(id) => {
                            let value = body.get(id)?;
                            join(&mut body.emit, folded.fold, now, value)
                        }
                    };
                    body.emit.assign(*total, next);
                }
                Ok(())
            })?;
        }
        for (folded, total) in l.folds.iter().zip(totals) {
            let own = self.emit.now(total);
            let result = match self.team.filter(|_| is_shared) {
                Some((units, _)) => self.over_cube(folded.fold, own, units),
                None => own,
            };
            self.known.insert(folded.result, result);
        }
        Ok(())
    }

    /// Joins what each unit of the cube has.
    fn over_cube(&mut self, fold: Fold, own: Val, units: u32) -> Val {
        let meeting = *self.meeting.get_or_insert_with(|| self.emit.shared(Ty::F32, units as usize));
        self.emit.over_cube(meeting, units, own, |e, a, b| join(e, fold, a, b))
    }

    /// Writes the value at the point; where the whole cube has computed it, by one unit.
    fn store(&mut self, id: Id, depth: usize) -> Result<(), BodyError> {
        let elem = output_elem(self.tree)?;
        let (value, index) = (self.get(id)?, self.index(self.tree.offset, elem)?);
        let value = match elem {
            Elem::F16 => self.emit.to_f16(value),
            Elem::BF16 => self.emit.to_bf16(value),
            Elem::Bool => self.emit.cast(value, Ty::U32),
            _ => value,
        };
        let value = self.emit.cast(value, memory(elem)?);
        if self.team.is_none_or(|(_, begins)| depth > begins) {
            self.emit.store(self.output, index, value);
            return Ok(());
        }
        let (unit, zero) = (self.emit.builtin(Builtin::UnitPosX), self.emit.u32(0));
        let is_first = self.emit.compare(Compare::Eq, unit, zero);
        let output = self.output;
        self.emit.when(is_first, |emit| emit.store(output, index, value));
        Ok(())
    }

    /// The index of the element at a byte offset.
    pub(crate) fn index(&mut self, offset: Id, elem: Elem) -> Result<Val, BodyError> {
        let mut linear = self.terms().linear(offset);
        let bytes = elem.bytes();
        let is_whole = linear.constant % bytes == 0 && linear.terms.iter().all(|t| t.1 % bytes == 0);
        if is_whole {
            linear.constant /= bytes;
            linear.terms.iter_mut().for_each(|t| t.1 /= bytes);
        }
        let mut index = self.linear(linear)?;
        if !is_whole {
            let by = self.emit.u32(bytes.trailing_zeros());
            index = self.emit.cast(index, Ty::U32);
            index = self.emit.two(Two::Shr, index, by);
        }
        Ok(self.emit.cast(index, Ty::U32))
    }

    /// The array of an input's elements.
    pub(crate) fn source(&mut self, input: u32, elem: Elem) -> Result<Variable, BodyError> {
        Ok(self.maker.input(Bound::Arg(input as usize), memory(elem)?))
    }

    pub(crate) fn symbol(&mut self, place: u32) -> Val {
        let at = self.emit.u32(place);
        self.emit.load(self.symbols, at, Ty::I32)
    }

    pub(crate) fn coordinate(&self, axis: Axis) -> Result<Val, BodyError> {
        let missing = || BodyError::Unsupported(format!("axis {axis} outside of its loop"));
        self.axes[axis as usize].ok_or_else(missing)
    }

    pub(crate) fn accumulated(&self) -> Result<Val, BodyError> {
        self.tile.ok_or_else(|| BodyError::Unsupported("a tile outside of an epilogue".into()))
    }

    pub(crate) fn remember(&mut self, id: Id, value: Val) -> Val {
        self.known.insert(id, value);
        value
    }

    pub(crate) fn remembered(&self, id: Id) -> Option<Val> {
        self.known.get(&id).copied()
    }

    pub(crate) fn int(&mut self, value: i64) -> Result<Val, BodyError> {
        let too_large = |_| BodyError::Unsupported(format!("the number {value}, which is beyond 32 bits"));
        Ok(self.emit.i32(i32::try_from(value).map_err(too_large)?))
    }
}

/// An accumulator is never NaN, and so passes over those it meets.
fn join(e: &mut Emit, fold: Fold, total: Val, value: Val) -> Val {
    match fold {
        Fold::Sum => e.add(total, value),
        Fold::Max => {
            let is_above = e.lt(total, value);
            e.select(is_above, value, total)
        }
    }
}
