//! From a kernel to its terms: symbols become places, coordinates byte offsets, reductions axes.
use super::linear::Linear;
use super::terms::{Axis, Elem, Id, Node, Param, Source, Terms, Ty};
use super::{BodyError, BodyKernel};
use ir::expr::{Body, Cast, FIRST_BOUND_AXIS, Term, TermId, Unary};
use ir::quant::Format;
use ir::{DType, Dim, TensorType};
use std::collections::HashMap;

/// The names of the reductions around a term: what the body calls their axes, and what we do.
type Names = Vec<(u32, Axis)>;

struct Opening<'a> {
    kernel: &'a BodyKernel,
    terms: Terms,
    /// What body terms became under the names that they mention.
    done: HashMap<(TermId, Names), Id>,
    /// Axes of reductions by length and how many reductions nest inside.
    reduced: HashMap<(Id, u32), Axis>,
}

/// The terms of a kernel, the value at a point, and the axes of the output as terms.
pub(super) fn open(kernel: &BodyKernel) -> Result<(Terms, Id, Vec<Id>), BodyError> {
    let mut opening =
        Opening { kernel, terms: Terms::default(), done: HashMap::new(), reduced: HashMap::new() };
    opening.terms.rank = kernel.output.rank() as u32;
    for dim in &kernel.output.shape {
        let extent = opening.dim(dim)?;
        opening.terms.add_axis(extent)?;
    }
    for ty in &kernel.inputs {
        let bytes = opening.input_bytes(ty)?;
        opening.terms.input_bytes.push(bytes);
    }
    let root = opening.term(&kernel.body, kernel.body.root(), &vec![])?;
    let point = (0..kernel.output.rank()).map(|a| opening.axis(a as Axis)).collect();
    Ok((opening.terms, root, point))
}

impl Opening<'_> {
    fn dim(&mut self, dim: &Dim) -> Result<Id, BodyError> {
        let mut sum = Linear::constant(dim.constant());
        for (name, coefficient) in dim.terms() {
            let place = self.kernel.symbols.iter().position(|s| s == name);
            let place = place.ok_or_else(|| BodyError::Symbol(name.to_owned()))?;
            let symbol = self.terms.make(Node::Symbol(place as u32))?;
            sum = sum.plus(&self.terms.linear(symbol), coefficient);
        }
        Ok(self.terms.sum(sum))
    }

    fn input_bytes(&mut self, ty: &TensorType) -> Result<Id, BodyError> {
        let mut count = Linear::constant(1);
        for dim in &ty.shape {
            let extent = self.dim(dim)?;
            count = self.terms.product(&count, &self.terms.linear(extent));
        }
        let (len, bytes) = (ty.dtype.block_len() as i64, ty.dtype.block_bytes() as i64);
        let count = self.terms.sum(count);
        let blocks = self.terms.floor_div(count, len);
        let blocks = self.terms.linear(blocks);
        Ok(self.terms.sum(blocks.scaled(bytes)))
    }

    /// An axis of the output: its coordinate, 0 where it is known to be 1 long.
    fn axis(&mut self, axis: Axis) -> Id {
        match self.terms.constant(self.terms.axes[axis as usize].extent) {
            Some(1) => self.terms.int(0),
            _ => self.terms.axis(axis),
        }
    }

    fn term(&mut self, body: &Body, id: TermId, names: &Names) -> Result<Id, BodyError> {
        let free = body.free_axes(id);
        let used: Names = names.iter().copied().filter(|n| free & (1 << n.0) != 0).collect();
        let key = (id, used);
        if let Some(&known) = self.done.get(&key) {
            return Ok(known);
        }
        let made = self.make(body, id, &key.1)?;
        self.done.insert(key, made);
        Ok(made)
    }

    fn make(&mut self, body: &Body, id: TermId, names: &Names) -> Result<Id, BodyError> {
        let node = match body.term(id) {
            Term::F32(bits) => Node::F32(*bits),
            Term::Int(value) => return Ok(self.terms.int(*value)),
            Term::Size(dim) => return self.dim(dim),
            Term::Hole(hole) => return self.hole(*hole),
            Term::Axis(axis) => match names.iter().find(|n| n.0 == *axis) {
                Some(&(_, axis)) => Node::Axis(axis),
                None if (*axis as usize) < self.kernel.output.rank() => return Ok(self.axis(*axis)),
                None => return Err(BodyError::Unsupported(format!("an axis {axis} that the output lacks"))),
            },
            Term::Load { input, at } => {
                let at = at.iter().map(|&t| self.term(body, t, names)).collect::<Result<Vec<_>, _>>()?;
                return self.load(*input, &at);
            }
            Term::Unary(op, a) => Node::Unary(*op, self.term(body, *a, names)?),
            Term::Cast(to, a) => Node::Cast(*to, self.term(body, *a, names)?),
            Term::Binary(op, a, b) => {
                Node::Binary(*op, self.term(body, *a, names)?, self.term(body, *b, names)?)
            }
            Term::Compare(op, a, b) => {
                Node::Compare(*op, self.term(body, *a, names)?, self.term(body, *b, names)?)
            }
            Term::Select(c, a, b) => {
                let c = self.term(body, *c, names)?;
                let (a, b) = (self.term(body, *a, names)?, self.term(body, *b, names)?);
                let not = self.terms.make(Node::Unary(Unary::Not, c))?;
                Node::Select(c, self.terms.guarded(a, c)?, self.terms.guarded(b, not)?)
            }
            Term::Reduce { fold, axis, over, body: inner } => {
                let over = self.term(body, *over, names)?;
                let own = self.reduced_axis(*axis, over, body.free_axes(*inner), names)?;
                let mut names = names.clone();
                names.push((*axis, own));
                let body = self.term(body, *inner, &names)?;
                Node::Reduce { fold: *fold, axis: own, over, body }
            }
        };
        self.terms.make(node)
    }

    /// The axis that a reduction gets: that of the output which is as long, if its body uses only axes outside
    /// that one, so that what it computes and what the output needs are the same terms; else one of its own.
    fn reduced_axis(&mut self, named: u32, over: Id, free: u64, names: &Names) -> Result<Axis, BodyError> {
        let rank = self.kernel.output.rank() as Axis;
        let bound = names.iter().fold(0u64, |mask, n| mask | 1 << n.0);
        let renamed = names.iter().filter(|n| free & (1 << n.0) != 0).fold(0u64, |mask, n| mask | 1 << n.1);
        let used = free & !bound & !(1 << named) | renamed | self.terms.free(over);
        let is_same = |d: &Axis| self.terms.axes[*d as usize].extent == over && used >> d == 0;
        if self.terms.constant(over) != Some(1)
            && let Some(axis) = (0..rank).rev().find(is_same)
        {
            return Ok(axis);
        }
        let key = (over, named - FIRST_BOUND_AXIS);
        if let Some(&axis) = self.reduced.get(&key) {
            return Ok(axis);
        }
        let axis = self.terms.add_axis(over)?;
        self.reduced.insert(key, axis);
        Ok(axis)
    }

    fn load(&mut self, input: u32, at: &[Id]) -> Result<Id, BodyError> {
        let ty = self.kernel.inputs.get(input as usize);
        let ty = ty.filter(|ty| ty.rank() == at.len()).ok_or(BodyError::Input(input))?;
        let mut flat = Linear::constant(0);
        for (&coordinate, dim) in at.iter().zip(&ty.shape) {
            if self.terms.ty(coordinate) != Ty::Int {
                return Err(BodyError::Type { found: self.terms.ty(coordinate), expected: Ty::Int });
            }
            let extent = self.dim(dim)?;
            flat = self.terms.product(&flat, &self.terms.linear(extent));
            flat = flat.plus(&self.terms.linear(coordinate), 1);
        }
        let from = Source::Input(input);
        let elem = match ty.dtype {
            DType::Quant(Format::Q8A) => return self.load_q8_a(from, &flat),
            dtype => Elem::of(dtype).ok_or(BodyError::Format { input, dtype })?,
        };
        let offset = self.terms.sum(flat.scaled(elem.bytes()));
        Ok(self.terms.load(from, elem, offset, None))
    }

    /// A block is its scale, the sum of its values, and its codes.
    fn load_q8_a(&mut self, from: Source, flat: &Linear) -> Result<Id, BodyError> {
        let (len, bytes) = (Format::Q8A.block_len() as i64, Format::Q8A.block_bytes() as i64);
        let flat = self.terms.sum(flat.clone());
        let block = self.terms.floor_div(flat, len);
        let block = self.terms.linear(block);
        let scale = self.terms.sum(block.scaled(bytes));
        let within = self.terms.linear(flat).plus(&block, -len);
        let code = within.plus(&block, bytes).plus(&Linear::constant(bytes - len), 1);
        let code = self.terms.sum(code);
        let scale = self.terms.load(from, Elem::F32, scale, None);
        let code = self.terms.load(from, Elem::I8, code, None);
        let code = self.terms.make(Node::Cast(Cast::ToF32, code))?;
        self.terms.make(Node::Binary(ir::expr::Binary::Mul, scale, code))
    }

    /// The tile's value at this point. Of an output of more than two axes, all but the last two are 1 long.
    fn hole(&mut self, hole: u32) -> Result<Id, BodyError> {
        let rank = self.kernel.output.rank();
        if hole != 0
            || rank == 0
            || (0..rank.saturating_sub(2)).any(|a| self.kernel.output.shape[a].known() != Some(1))
        {
            return Err(BodyError::Unsupported(format!("hole h{hole} of {}", self.kernel.output)));
        }
        let mut offset = self.in_tile(rank - 1, Param::Column)?;
        if rank >= 2 {
            let row = self.in_tile(rank - 2, Param::Row)?;
            let stride = self.terms.make(Node::Param(Param::Stride))?;
            let row = self.terms.product(&row, &self.terms.linear(stride));
            offset = offset.plus(&row, 1);
        }
        let offset = self.terms.sum(offset.scaled(4));
        Ok(self.terms.load(Source::Tile, Elem::F32, offset, None))
    }

    fn in_tile(&mut self, axis: usize, from: Param) -> Result<Linear, BodyError> {
        let (axis, from) = (self.axis(axis as Axis), self.terms.make(Node::Param(from))?);
        Ok(self.terms.linear(axis).plus(&self.terms.linear(from), -1))
    }
}

impl Elem {
    /// What a tensor of a plain dtype holds.
    pub fn of(dtype: DType) -> Option<Elem> {
        Some(match dtype {
            DType::F32 => Elem::F32,
            DType::F16 => Elem::F16,
            DType::BF16 => Elem::BF16,
            DType::I64 => Elem::I64,
            DType::I32 => Elem::I32,
            DType::U8 => Elem::U8,
            DType::I8 => Elem::I8,
            DType::Bool => Elem::Bool,
            DType::Quant(_) => return None,
        })
    }
}

/// A function of some terms: a body without axes, whose input `i` is the term `args[i]`.
pub(super) fn apply(terms: &mut Terms, function: &Body, args: &[Id]) -> Result<Id, BodyError> {
    let mut made: Vec<Id> = vec![];
    for term in function.terms() {
        let of = |t: &TermId| made[t.0 as usize];
        let node = match term {
            Term::F32(bits) => Node::F32(*bits),
            Term::Load { input, at } if at.is_empty() && (*input as usize) < args.len() => {
                made.push(args[*input as usize]);
                continue;
            }
            Term::Unary(op, a) => Node::Unary(*op, of(a)),
            Term::Binary(op, a, b) => Node::Binary(*op, of(a), of(b)),
            other => return Err(BodyError::Unsupported(format!("{other:?} in a function of points"))),
        };
        made.push(terms.make(node)?);
    }
    made.pop().ok_or_else(|| BodyError::Unsupported("a function without terms".into()))
}
