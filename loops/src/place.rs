//! Puts every term where it is computed once: outside all loops whose axes it does not use.
use super::linear::Linear;
use super::terms::{Axis, COST_EXP, Elem, Id, Node, Source, Terms};
use super::{BodyError, BodyKernel, Folded, Loop, RowFunction, Span, Step, Tree, Value, cut, open};
use ir::DType;
use ir::expr::{Binary, Fold};
use std::collections::{HashMap, HashSet};

/// Accumulators of a loop together, so that they stay in registers.
pub(super) const ACCUMULATORS: usize = 8;
/// Lanes of a vector; trees are the same on machines with wider ones.
const LANES: i64 = 4;

/// An open loop, or the outside of all.
#[derive(Default)]
pub(super) struct Scope {
    /// The axes open here, a bit each.
    bound: u64,
    /// Whether coordinates are taken several at a time.
    is_vector: bool,
    steps: Vec<Step>,
    have: HashSet<Id>,
    /// Dear values that a loop here has written to a row of scratch.
    pub(super) kept: HashMap<Id, usize>,
}

pub(super) struct Place<'a> {
    pub(super) kernel: &'a BodyKernel,
    pub(super) functions: &'a [RowFunction],
    pub(super) terms: Terms,
    /// Outermost first.
    pub(super) scopes: Vec<Scope>,
    /// What the innermost loop computes: where reductions are looked for that can share a loop.
    pub(super) roots: Vec<Id>,
    pub(super) is_quantised: bool,
    /// Rows of scratch in use.
    pub(super) rows: usize,
    pub(super) may_keep: bool,
}

pub(super) fn place(
    kernel: &BodyKernel,
    functions: &[RowFunction],
    ranged: [Option<Axis>; 2],
    may_keep: bool,
) -> Result<Tree, BodyError> {
    let (terms, root, point) = open::open(kernel)?;
    let is_quantised = match kernel.output.dtype {
        DType::Quant(ir::quant::Format::Q8A) => true,
        DType::Quant(format) => return Err(BodyError::Unsupported(format!("an output of {format}"))),
        _ => false,
    };
    let rows = usize::from(is_quantised);
    let (scopes, roots) = (vec![Scope::default()], vec![root]);
    let mut place = Place { kernel, functions, terms, scopes, roots, is_quantised, rows, may_keep };
    place.check_output(root)?;
    let offset = place.output_offset(&point)?;
    place.output(0, root)?;
    let steps = place.scopes.pop().expect("the outermost scope stays open").steps;
    Ok(Tree { terms: place.terms, steps, output: kernel.output.clone(), offset, ranged, rows: place.rows })
}

impl Place<'_> {
    fn check_output(&self, root: Id) -> Result<(), BodyError> {
        let output = &self.kernel.output;
        let expected = Elem::of(output.dtype).map_or(super::Ty::F32, Elem::ty);
        if self.terms.ty(root) != expected {
            return Err(BodyError::Type { found: self.terms.ty(root), expected });
        }
        let len = output.dtype.block_len() as i64;
        match output.shape.last().and_then(|d| d.known()) {
            Some(width) if width > 0 && width % len == 0 => Ok(()),
            _ if len == 1 => Ok(()),
            _ => Err(BodyError::Unsupported(format!("rows of {output} that are no known number of blocks"))),
        }
    }

    /// In bytes; where rows are quantised, of the row's first block.
    fn output_offset(&mut self, point: &[Id]) -> Result<Id, BodyError> {
        let mut flat = Linear::constant(0);
        for (axis, &coordinate) in point.iter().enumerate() {
            let extent = self.terms.linear(self.terms.axes[axis].extent);
            flat = self.terms.product(&flat, &extent);
            if !(self.is_quantised && axis + 1 == point.len()) {
                flat = flat.plus(&self.terms.linear(coordinate), 1);
            }
        }
        let (len, bytes) =
            (self.kernel.output.dtype.block_len() as i64, self.kernel.output.dtype.block_bytes() as i64);
        let flat = self.terms.sum(flat);
        let blocks = self.terms.floor_div(flat, len);
        let offset = self.terms.linear(blocks).scaled(bytes);
        Ok(self.terms.sum(offset))
    }

    /// The loops over the output's axes from `axis` on, with what they hold.
    fn output(&mut self, axis: Axis, root: Id) -> Result<(), BodyError> {
        let is_wide = |a: &Axis| self.terms.constant(self.terms.axes[*a as usize].extent) != Some(1);
        let mut wide = (axis..self.kernel.output.rank() as Axis).filter(is_wide);
        let (Some(axis), next) = (wide.next(), wide.next()) else {
            self.need(root)?;
            self.push(Step::Store(root));
            return Ok(());
        };
        if next.is_some() {
            self.open(axis, false);
            self.output(axis + 1, root)?;
            let steps = self.close();
            let span = Span { from: 0, to: None, steps, values: vec![] };
            self.push(Step::Loop(Loop { axis, vectors: None, folds: vec![], spans: vec![span] }));
            return Ok(());
        }
        if let Some(row) = self.row(root, axis)? {
            self.push(row);
            if self.is_quantised {
                self.push(Step::Finish);
            }
            return Ok(());
        }
        let is_vector = self.is_worth_vectors(root, axis);
        let mut spans = vec![];
        for part in cut::parts(&mut self.terms, axis, &[root])? {
            // Before what uses them, for they may keep what this loop needs.
            for inner in self.reductions_below(part.roots[0]) {
                if self.is_ready(inner) {
                    self.need(inner)?;
                }
            }
            let whole = self.terms.set_range(axis, part.range);
            self.open(axis, is_vector);
            let around = std::mem::replace(&mut self.roots, part.roots.clone());
            self.need(part.roots[0])?;
            self.push(Step::Store(part.roots[0]));
            self.roots = around;
            let steps = self.close();
            self.terms.set_range(axis, whole);
            spans.push(Span { from: part.from, to: part.to, steps, values: vec![] });
        }
        let vectors = is_vector.then(|| if self.terms.cost(root) >= COST_EXP { 2 } else { 4 });
        self.push(Step::Loop(Loop { axis, vectors, folds: vec![], spans }));
        if self.is_quantised {
            self.push(Step::Finish);
        }
        Ok(())
    }

    fn open(&mut self, axis: Axis, is_vector: bool) {
        let bound = self.scopes.last().map_or(0, |s| s.bound) | 1 << axis;
        self.scopes.push(Scope { bound, is_vector, ..Scope::default() });
    }

    fn close(&mut self) -> Vec<Step> {
        self.scopes.pop().expect("a loop is open").steps
    }

    fn push(&mut self, step: Step) {
        self.scopes.last_mut().expect("the outermost scope stays open").steps.push(step);
    }

    pub(super) fn has(&self, id: Id) -> bool {
        self.scopes.iter().any(|s| s.have.contains(&id))
    }

    /// The outermost open scope in which all axes of the term are open.
    pub(super) fn home(&self, id: Id) -> usize {
        let free = self.terms.free(id);
        self.scopes.iter().position(|s| free & !s.bound == 0).unwrap_or(self.scopes.len() - 1)
    }

    /// Computes a term where it belongs, unless it is there.
    pub(super) fn need(&mut self, id: Id) -> Result<(), BodyError> {
        let is_leaf = match self.terms.node(id) {
            Node::Sum(linear) => linear.terms.is_empty(),
            node => matches!(
                node,
                Node::F32(_) | Node::Bool(_) | Node::Axis(_) | Node::Symbol(_) | Node::Param(_)
            ),
        };
        if is_leaf || self.has(id) {
            return Ok(());
        }
        // The loops inside are put aside: what is pushed now comes before them.
        let home = self.home(id);
        let inside = self.scopes.split_off(home + 1);
        if let Some(row) = self.scopes.iter().find_map(|s| s.kept.get(&id).copied()) {
            self.push(Step::Recall(id, row));
            self.scopes[home].have.insert(id);
        } else if matches!(self.terms.node(id), Node::Reduce { .. }) {
            self.fold(id)?;
        } else {
            for operand in self.terms.operands(id) {
                self.need(operand)?;
            }
            // A sum of integers is arithmetic that backends fold into addresses.
            if !matches!(self.terms.node(id), Node::Sum(_)) {
                self.push(Step::Let(id));
            }
            self.scopes[home].have.insert(id);
        }
        self.scopes.extend(inside);
        Ok(())
    }

    /// The loop of a reduction, at the innermost open scope, with those that can share it.
    fn fold(&mut self, id: Id) -> Result<(), BodyError> {
        let Node::Reduce { axis, over, .. } = *self.terms.node(id) else {
            unreachable!("only reductions are folded");
        };
        let here = self.scopes.len() - 1;
        self.need(over)?;
        for inner in self.reductions_below(id) {
            if inner != id && self.is_ready(inner) {
                self.need(inner)?;
            }
        }
        let group = self.siblings(id, axis, over);
        let bodies: Vec<Id> = group.iter().map(|&g| self.reduced(g).1).collect();
        let is_inside_vectors = self.scopes.iter().any(|s| s.is_vector);
        let parts = cut::parts(&mut self.terms, axis, &bodies)?;
        let kept = if parts.len() == 1 { self.worth_keeping(&group, &bodies, axis) } else { vec![] };
        let mut spans = vec![];
        for part in parts {
            let whole = self.terms.set_range(axis, part.range);
            self.open(axis, false);
            let around = std::mem::replace(&mut self.roots, part.roots.clone());
            let mut values = vec![];
            for (&member, &root) in group.iter().zip(&part.roots) {
                values.push(self.value(self.reduced(member).0, root)?);
            }
            for (at, &value) in kept.iter().enumerate() {
                self.need(value)?;
                self.push(Step::Keep(value, self.rows + at));
            }
            self.roots = around;
            let steps = self.close();
            self.terms.set_range(axis, whole);
            spans.push(Span { from: part.from, to: part.to, steps, values });
        }
        let nests = spans.iter().flat_map(|s| &s.steps).any(|s| matches!(s, Step::Loop(_)));
        let vectors = (!is_inside_vectors && !nests).then(|| self.accumulators(&bodies, over));
        let folds = group.iter().map(|&g| Folded { fold: self.reduced(g).0, result: g }).collect();
        self.push(Step::Loop(Loop { axis, vectors, folds, spans }));
        self.scopes[here].have.extend(group);
        for value in kept {
            self.scopes[here].kept.insert(value, self.rows);
            self.rows += 1;
        }
        Ok(())
    }

    /// Makes ready what a fold takes in.
    fn value(&mut self, fold: Fold, root: Id) -> Result<Value, BodyError> {
        match *self.terms.node(root) {
            Node::Binary(Binary::Mul, a, b) if fold == Fold::Sum => {
                self.need(a)?;
                self.need(b)?;
                Ok(Value::Product(a, b))
            }
            _ => {
                self.need(root)?;
                Ok(Value::Term(root))
            }
        }
    }

    fn reduced(&self, id: Id) -> (Fold, Id) {
        match *self.terms.node(id) {
            Node::Reduce { fold, body, .. } => (fold, body),
            _ => unreachable!("only reductions are folded"),
        }
    }

    /// Vectors in flight for reductions with these bodies: fewer where they are short or dear.
    fn accumulators(&self, bodies: &[Id], over: Id) -> u8 {
        let is_dear = bodies.iter().any(|&b| self.terms.cost(b) >= COST_EXP);
        let most = if is_dear { 2 } else { ACCUMULATORS / bodies.len().next_power_of_two() };
        let len = self.terms.constant(over).unwrap_or(i64::MAX);
        let fitting = std::iter::successors(Some(most.max(1)), |v| Some(v / 2));
        fitting.take_while(|v| *v > 1).find(|v| *v as i64 * LANES <= len).unwrap_or(1) as u8
    }

    /// Whether all axes of the term are open.
    pub(super) fn is_ready(&self, id: Id) -> bool {
        self.terms.free(id) & !self.scopes.last().expect("a scope is open").bound == 0
    }

    /// Whether the output's last axis is taken several points at a time: not where it is short, nor where a
    /// reduction inside reads neighbours along its own axis, and that one not along this.
    fn is_worth_vectors(&self, root: Id, axis: Axis) -> bool {
        let extent = self.terms.constant(self.terms.axes[axis as usize].extent);
        let mut seen = HashSet::new();
        extent.is_none_or(|e| e >= LANES) && !self.reads_rows_inside(root, axis, None, &mut seen)
    }

    fn reads_rows_inside(
        &self,
        id: Id,
        axis: Axis,
        reduced: Option<Axis>,
        seen: &mut HashSet<(Id, Option<Axis>)>,
    ) -> bool {
        if !self.terms.varies(id, axis) || !seen.insert((id, reduced)) {
            return false;
        }
        match (self.terms.node(id), reduced) {
            (&Node::Load { from: Source::Input(_), elem, offset, .. }, Some(reduced)) => {
                let step = |a| self.terms.step(offset, a);
                step(axis).is_none_or(|s| s > elem.bytes()) && step(reduced) == Some(elem.bytes())
            }
            (&Node::Reduce { axis: inner, body, .. }, _) => {
                self.reads_rows_inside(body, axis, Some(inner), seen)
            }
            _ => self.terms.operands(id).into_iter().any(|o| self.reads_rows_inside(o, axis, reduced, seen)),
        }
    }
}

impl Terms {
    /// By how much an offset grows along an axis, where that is a constant.
    pub fn step(&self, offset: Id, axis: Axis) -> Option<i64> {
        self.linear(offset).terms.into_iter().filter(|t| self.varies(t.0, axis)).try_fold(
            0,
            |_, (atom, step)| {
                // An axis is one atom, so there is no second term to add.
                (*self.node(atom) == Node::Axis(axis)).then_some(step)
            },
        )
    }
}
