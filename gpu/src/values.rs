//! The values of terms: what a loop tree's nodes are in the emitter's words.
//!
//! Integers have 32 bits here: a body whose numbers are larger is refused, and offsets count elements.
use crate::emit::{self, One, Two, Ty, Val};
use crate::tree::Body;
use ir::expr::{Binary, Cast, Compare, Unary};
use loops::{BodyError, Elem, Id, Linear, Node, Source};

impl Body<'_> {
    /// The value of a term, computed now if it has not been where we are.
    pub(crate) fn get(&mut self, id: Id) -> Result<Val, BodyError> {
        match self.remembered(id) {
            Some(value) => Ok(value),
            None => {
                let value = self.compute(id)?;
                Ok(self.remember(id, value))
            }
        }
    }

    fn compute(&mut self, id: Id) -> Result<Val, BodyError> {
        Ok(match self.terms().node(id).clone() {
            Node::F32(bits) => self.emit.f32_of_bits(bits),
            Node::Bool(value) => self.emit.bool(value),
            Node::Axis(axis) => self.coordinate(axis)?,
            Node::Symbol(place) => self.symbol(place),
            Node::Sum(linear) => self.linear(linear)?,
            Node::Product(factors) => {
                let factors = factors.into_iter().map(|f| self.get(f)).collect::<Result<Vec<_>, _>>()?;
                let one = self.emit.i32(1);
                factors.into_iter().reduce(|a, b| self.emit.two(Two::Mul, a, b)).unwrap_or(one)
            }
            Node::FloorDiv(a, by) => {
                let is_positive = self.terms().range(a).is_some_and(|range| range.0 >= 0);
                let (a, by) = (self.get(a)?, self.int(by)?);
                self.floor_div(a, by, is_positive)
            }
            Node::Load { from, elem, offset, guard, .. } => self.load(from, elem, offset, guard)?,
            Node::Unary(op, a) => {
                let a = self.get(a)?;
                self.unary(op, a)?
            }
            Node::Binary(op, a, b) => {
                let (a, b) = (self.get(a)?, self.get(b)?);
                self.binary(op, a, b)?
            }
            Node::Fma(a, b, c) => {
                let (a, b, c) = (self.get(a)?, self.get(b)?, self.get(c)?);
                self.emit.fma(a, b, c)
            }
            Node::Compare(op, a, b) => {
                let (a, b) = (self.get(a)?, self.get(b)?);
                let op = match op {
                    Compare::Lt => emit::Compare::Lt,
                    Compare::Le => emit::Compare::Le,
                    Compare::Eq => emit::Compare::Eq,
                };
                self.emit.compare(op, a, b)
            }
            Node::Both(a, b) => {
                let (a, b) = (self.get(a)?, self.get(b)?);
                self.emit.two(Two::And, a, b)
            }
            Node::Select(c, a, b) => {
                let (c, a, b) = (self.get(c)?, self.get(a)?, self.get(b)?);
                self.emit.select(c, a, b)
            }
            Node::Cast(to, a) => {
                let a = self.get(a)?;
                self.cast(to, a)
            }
            // Where in a tile a value lies nobody asks: there is the one that was accumulated.
            Node::Param(_) => self.emit.i32(0),
            Node::Reduce { .. } => {
                return Err(BodyError::Unsupported("a reduction outside of its loop".into()));
            }
        })
    }

    pub(crate) fn linear(&mut self, linear: Linear) -> Result<Val, BodyError> {
        let mut sum = None;
        for (atom, coefficient) in linear.terms {
            let mut value = self.get(atom)?;
            if coefficient != 1 {
                let by = self.int(coefficient)?;
                value = self.emit.two(Two::Mul, value, by);
            }
            sum = Some(sum.map_or(value, |sum| self.emit.two(Two::Add, sum, value)));
        }
        let constant = self.int(linear.constant)?;
        Ok(match sum {
            None => constant,
            Some(sum) if linear.constant == 0 => sum,
            Some(sum) => self.emit.two(Two::Add, sum, constant),
        })
    }

    fn floor_div(&mut self, a: Val, by: Val, is_positive: bool) -> Val {
        if is_positive {
            // Unsigned division is the cheaper.
            let (a, by) = (self.emit.cast(a, Ty::U32), self.emit.cast(by, Ty::U32));
            let quotient = self.emit.two(Two::Div, a, by);
            return self.emit.cast(quotient, Ty::I32);
        }
        let quotient = self.emit.two(Two::Div, a, by);
        let product = self.emit.two(Two::Mul, quotient, by);
        let is_above = self.emit.compare(emit::Compare::Lt, a, product);
        let (one, zero) = (self.emit.i32(1), self.emit.i32(0));
        let less = self.emit.select(is_above, one, zero);
        self.emit.two(Two::Sub, quotient, less)
    }

    fn load(&mut self, from: Source, elem: Elem, offset: Id, guard: Option<Id>) -> Result<Val, BodyError> {
        let Source::Input(input) = from else { return self.accumulated() };
        let (array, mut index) = (self.source(input, elem)?, self.index(offset, elem)?);
        if let Some(guard) = guard {
            let (guard, harmless) = (self.get(guard)?, self.emit.u32(0));
            index = self.emit.select(guard, index, harmless);
        }
        let value = |body: &mut Self, ty| body.emit.load(array, index, ty);
        Ok(match elem {
            Elem::F32 => value(self, Ty::F32),
            Elem::I32 => value(self, Ty::I32),
            Elem::F16 | Elem::BF16 => {
                let bits = value(self, Ty::U16);
                let bits = self.emit.cast(bits, Ty::U32);
                if elem == Elem::F16 { self.emit.from_f16(bits) } else { self.emit.from_bf16(bits) }
            }
            Elem::U8 | Elem::I8 | Elem::Bool => {
                let byte = value(self, Ty::U8);
                let byte = self.emit.cast(byte, Ty::U32);
                match elem {
                    Elem::U8 => self.emit.cast(byte, Ty::I32),
                    Elem::I8 => {
                        let up = self.emit.u32(24);
                        let high = self.emit.two(Two::Shl, byte, up);
                        let (high, down) = (self.emit.reinterpret(high, Ty::I32), self.emit.i32(24));
                        self.emit.two(Two::Shr, high, down)
                    }
                    _ => {
                        let zero = self.emit.u32(0);
                        let is_zero = self.emit.compare(emit::Compare::Eq, byte, zero);
                        self.emit.not(is_zero)
                    }
                }
            }
            Elem::I64 => return Err(BodyError::Unsupported("i64 on this device".into())),
        })
    }

    fn unary(&mut self, op: Unary, a: Val) -> Result<Val, BodyError> {
        let real = |op| move |body: &mut Self| body.emit.one(op, a);
        Ok(match op {
            Unary::Not => self.emit.not(a),
            Unary::Abs if a.ty == Ty::I32 => {
                let zero = self.emit.i32(0);
                let negative = self.emit.two(Two::Sub, zero, a);
                self.emit.two(Two::Max, a, negative)
            }
            Unary::Neg => real(One::Neg)(self),
            Unary::Abs => real(One::Abs)(self),
            Unary::Sqrt => real(One::Sqrt)(self),
            Unary::Exp => real(One::Exp)(self),
            Unary::Log => real(One::Log)(self),
            Unary::Round => real(One::Round)(self),
        })
    }

    fn binary(&mut self, op: Binary, a: Val, b: Val) -> Result<Val, BodyError> {
        let two = match op {
            Binary::Add => Two::Add,
            Binary::Sub => Two::Sub,
            Binary::Mul => Two::Mul,
            Binary::Div => Two::Div,
            Binary::And => Two::And,
            Binary::Or => Two::Or,
            Binary::Min | Binary::Max if a.ty == Ty::F32 => return Ok(self.extreme(op, a, b)),
            Binary::Min => Two::Min,
            Binary::Max => Two::Max,
            Binary::Shl => Two::Shl,
            Binary::Shr => Two::Shr,
            Binary::Rem => return Err(BodyError::Unsupported("remainders of reals".into())),
        };
        Ok(self.emit.two(two, a, b))
    }

    /// The lesser or the greater; the other side where one is NaN.
    fn extreme(&mut self, op: Binary, a: Val, b: Val) -> Val {
        let (low, high) = if op == Binary::Max { (a, b) } else { (b, a) };
        let takes_b = self.emit.compare(emit::Compare::Lt, low, high);
        let best = self.emit.select(takes_b, b, a);
        let bits = self.emit.reinterpret(a, Ty::U32);
        let is_number = self.emit.is_number(bits);
        self.emit.select(is_number, best, b)
    }

    fn cast(&mut self, to: Cast, a: Val) -> Val {
        match to {
            Cast::ToF32 => self.emit.cast(a, Ty::F32),
            Cast::ToInt if a.ty == Ty::F32 => {
                // Targets leave open what becomes of what no integer is near to.
                let bits = self.emit.reinterpret(a, Ty::U32);
                let is_number = self.emit.is_number(bits);
                let (zero, low, high) =
                    (self.emit.f32(0.0), self.emit.f32(-2147483648.0), self.emit.f32(2147483520.0));
                let number = self.emit.select(is_number, a, zero);
                let above = self.emit.two(Two::Max, number, low);
                let within = self.emit.two(Two::Min, above, high);
                let int = self.emit.cast(within, Ty::I32);
                let is_beyond = self.emit.compare(emit::Compare::Lt, high, number);
                let most = self.emit.i32(i32::MAX);
                self.emit.select(is_beyond, most, int)
            }
            Cast::ToInt => self.emit.cast(a, Ty::I32),
            bits => {
                let a = self.emit.cast(a, Ty::I32);
                let a = self.emit.reinterpret(a, Ty::U32);
                if bits == Cast::F32Bits {
                    return self.emit.reinterpret(a, Ty::F32);
                }
                let mask = self.emit.u32(0xffff);
                let a = self.emit.two(Two::And, a, mask);
                if bits == Cast::F16Bits { self.emit.from_f16(a) } else { self.emit.from_bf16(a) }
            }
        }
    }
}
