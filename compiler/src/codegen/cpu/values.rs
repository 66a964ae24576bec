//! Terms to CLIF values, as points and as vectors.
//!
//! An f32 is an F32 or an F32X4; a bool is an I8 of 0 or 1, or an I32X4 of masks; an int is an I64,
//! or an I32X4 of its low halves, of which more than the low bits is asked only where its range fits.
use super::clif::{Emit, Form};
use super::jit::Call;
use super::math;
use super::memory::Load;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F32X4, I32, I32X4, I64};
use cranelift_codegen::ir::{InstBuilder, Value};
use ir::expr::{Binary, Cast, Compare, Unary};
use loops::{Id, Node, Param, Ty};
use std::mem::offset_of;

impl Emit<'_, '_> {
    pub(super) fn set(&mut self, id: Id, form: Form, value: Value) {
        self.scopes.last_mut().expect("a scope is open").insert((id, form), value);
    }

    /// The value of a term in a form, computed now if it is not there.
    pub(super) fn get(&mut self, id: Id, form: Form) -> Value {
        let varies = self.lanes.is_some_and(|(axis, _)| self.tree.terms.varies(id, axis));
        let form = match form {
            Form::Vector(_) if !varies => Form::Splat,
            Form::Lane(_) if !varies => Form::Point,
            form => form,
        };
        if let Some(&value) = self.scopes.iter().rev().find_map(|s| s.get(&(id, form))) {
            return value;
        }
        let value = match form {
            Form::Splat => self.splat(id),
            Form::Vector(vector) => self.vector(id, vector),
            Form::Lane(lane) if self.tree.terms.ty(id) != Ty::Int => {
                let vector = self.get(id, Form::Vector(lane / 4));
                let value = self.b.ins().extractlane(vector, lane % 4);
                match self.tree.terms.ty(id) {
                    Ty::Bool => self.b.ins().icmp_imm_u(IntCC::NotEqual, value, 0),
                    _ => value,
                }
            }
            Form::Point | Form::Lane(_) => self.point(id, form),
        };
        self.set(id, form, value);
        value
    }

    fn splat(&mut self, id: Id) -> Value {
        let value = self.get(id, Form::Point);
        let (ty, value) = match self.tree.terms.ty(id) {
            Ty::F32 => (F32X4, value),
            Ty::Int => (I32X4, self.b.ins().ireduce(I32, value)),
            Ty::Bool => (I32X4, math::mask(self.b, value)),
        };
        self.b.ins().splat(ty, value)
    }

    /// Whether an int's range fits the lanes of a vector.
    fn fits(&self, id: Id) -> bool {
        let fits = |v: i64| i32::try_from(v).is_ok();
        self.tree.terms.range(id).is_some_and(|(low, high)| fits(low) && fits(high))
    }

    /// One value: the point at hand, or one lane of the vectors in flight.
    fn point(&mut self, id: Id, form: Form) -> Value {
        let node = self.tree.terms.node(id).clone();
        if let Some(load) = Load::of(&node) {
            return self.load_point(&load, form);
        }
        match node {
            Node::F32(bits) => self.b.ins().f32const(f32::from_bits(bits)),
            Node::Bool(value) => self.b.ins().iconst(cranelift_codegen::ir::types::I8, i64::from(value)),
            Node::Symbol(place) => self.b.ins().load(I64, math::memory(), self.symbols, place as i32 * 8),
            Node::Param(param) => match param {
                Param::Row => self.field(offset_of!(Call, ranges)),
                Param::Column => self.field(offset_of!(Call, ranges) + 16),
                Param::Stride => self.field(offset_of!(Call, stride)),
            },
            Node::Axis(axis) => {
                let first = self.axes[axis as usize].expect("the axis is open");
                match form {
                    Form::Lane(lane) => self.b.ins().iadd_imm_s(first, i64::from(lane)),
                    _ => first,
                }
            }
            Node::Sum(linear) => {
                let mut sum = None;
                for (atom, coefficient) in linear.terms {
                    let value = self.get(atom, form);
                    let value = self.scaled(value, coefficient);
                    sum = Some(sum.map_or(value, |sum| self.b.ins().iadd(sum, value)));
                }
                match sum {
                    None => self.int(linear.constant),
                    Some(sum) if linear.constant == 0 => sum,
                    Some(sum) => self.b.ins().iadd_imm_s(sum, linear.constant),
                }
            }
            Node::Product(factors) => {
                let factors: Vec<Value> = factors.into_iter().map(|f| self.get(f, form)).collect();
                factors.into_iter().reduce(|a, b| self.b.ins().imul(a, b)).expect("a product has factors")
            }
            Node::FloorDiv(a, by) => {
                let value = self.get(a, form);
                self.floor_div(value, by, self.tree.terms.range(a).is_some_and(|r| r.0 >= 0))
            }
            Node::Unary(Unary::Exp, a) => {
                let value = self.get(a, form);
                let value = self.b.ins().splat(F32X4, value);
                let value = math::exp(self.b, value);
                self.b.ins().extractlane(value, 0)
            }
            Node::Unary(Unary::Log, a) => {
                let value = self.get(a, form);
                let value = self.b.ins().splat(F32X4, value);
                let value = self.log(value);
                self.b.ins().extractlane(value, 0)
            }
            Node::Unary(Unary::Not, a) => {
                let value = self.get(a, form);
                self.b.ins().bxor_imm_u(value, 1)
            }
            Node::Cast(to, a) => {
                let value = self.get(a, form);
                match (to, self.tree.terms.ty(a)) {
                    (Cast::ToF32, Ty::Int) => self.b.ins().fcvt_from_sint(F32, value),
                    (Cast::ToF32, _) => {
                        let value = self.b.ins().uextend(I32, value);
                        self.b.ins().fcvt_from_sint(F32, value)
                    }
                    (Cast::ToInt, Ty::F32) => {
                        let value = self.b.ins().fcvt_to_sint_sat(I32, value);
                        self.b.ins().sextend(I64, value)
                    }
                    (Cast::ToInt, _) => self.b.ins().uextend(I64, value),
                    (bits, _) => {
                        let value = self.b.ins().ireduce(I32, value);
                        self.real_of_bits(bits, value)
                    }
                }
            }
            node => self.same_in_lanes(&node, form, None).expect("points know every operation"),
        }
    }

    fn floor_div(&mut self, value: Value, by: i64, is_positive: bool) -> Value {
        if by & (by - 1) == 0 {
            return self.b.ins().sshr_imm_u(value, i64::from(by.trailing_zeros()));
        }
        let divisor = self.int(by);
        if is_positive {
            return self.b.ins().udiv(value, divisor);
        }
        let quotient = self.b.ins().sdiv(value, divisor);
        let product = self.b.ins().imul(quotient, divisor);
        let is_above = self.b.ins().icmp(IntCC::SignedGreaterThan, product, value);
        let one = self.b.ins().uextend(I64, is_above);
        self.b.ins().isub(quotient, one)
    }

    /// The low 16 or 32 bits of ints as f32.
    fn real_of_bits(&mut self, cast: Cast, bits: Value) -> Value {
        let is_vector = self.b.func.dfg.value_type(bits) == I32X4;
        if cast == Cast::F32Bits {
            let ty = if is_vector { F32X4 } else { F32 };
            return self.b.ins().bitcast(ty, math::cast_flags(), bits);
        }
        let mask = self.b.ins().iconst(I32, 0xffff);
        let mask = if is_vector { self.b.ins().splat(I32X4, mask) } else { mask };
        let bits = self.b.ins().band(bits, mask);
        match cast {
            Cast::F16Bits => math::from_f16(self.b, bits),
            _ => math::from_bf16(self.b, bits),
        }
    }

    /// Natural logarithms, from the machine's library.
    fn log(&mut self, vector: Value) -> Value {
        use cranelift_codegen::ir::{StackSlotData, StackSlotKind};
        let slot = self.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, 16, 4));
        let address = self.b.ins().stack_addr(I64, slot, 0);
        self.b.ins().store(math::memory(), vector, address, 0);
        self.call_rust(math::log_of_four as *const (), &[address]);
        self.b.ins().load(F32X4, math::memory(), address, 0)
    }

    /// Operations that read alike for points and for vectors of the same type.
    fn same_in_lanes(&mut self, node: &Node, form: Form, vector: Option<u8>) -> Option<Value> {
        let is_vector = vector.is_some();
        Some(match *node {
            Node::Fma(a, b, c) => {
                let (a, b, c) = (self.get(a, form), self.get(b, form), self.get(c, form));
                self.b.ins().fma(a, b, c)
            }
            Node::Both(a, b) => {
                let (a, b) = (self.get(a, form), self.get(b, form));
                self.b.ins().band(a, b)
            }
            Node::Select(c, a, b) => {
                let (c, a, b) = (self.get(c, form), self.get(a, form), self.get(b, form));
                math::choose(self.b, c, a, b)
            }
            Node::Unary(op, a) => {
                let ty = self.tree.terms.ty(a);
                if ty == Ty::Int && is_vector && !self.fits(a) {
                    return None;
                }
                let a = self.get(a, form);
                match op {
                    Unary::Neg => self.b.ins().fneg(a),
                    Unary::Abs if ty == Ty::Int => self.b.ins().iabs(a),
                    Unary::Abs => self.b.ins().fabs(a),
                    Unary::Sqrt => self.b.ins().sqrt(a),
                    Unary::Round => self.b.ins().nearest(a),
                    Unary::Exp => math::exp(self.b, a),
                    Unary::Log => self.log(a),
                    Unary::Not => self.b.ins().bnot(a),
                }
            }
            Node::Compare(op, a, b) => {
                if self.tree.terms.ty(a) == Ty::F32 {
                    let condition = match op {
                        Compare::Lt => FloatCC::LessThan,
                        Compare::Le => FloatCC::LessThanOrEqual,
                        Compare::Eq => FloatCC::Equal,
                    };
                    let (a, b) = (self.get(a, form), self.get(b, form));
                    return Some(self.b.ins().fcmp(condition, a, b));
                }
                if is_vector && !(self.fits(a) && self.fits(b)) {
                    return None;
                }
                let condition = match op {
                    Compare::Lt => IntCC::SignedLessThan,
                    Compare::Le => IntCC::SignedLessThanOrEqual,
                    Compare::Eq => IntCC::Equal,
                };
                let (a, b) = (self.get(a, form), self.get(b, form));
                self.b.ins().icmp(condition, a, b)
            }
            Node::Binary(op, a, b) if self.tree.terms.ty(a) == Ty::F32 => {
                let (x, y) = (self.get(a, form), self.get(b, form));
                match op {
                    Binary::Add => self.b.ins().fadd(x, y),
                    Binary::Sub => self.b.ins().fsub(x, y),
                    Binary::Mul => self.b.ins().fmul(x, y),
                    Binary::Div => self.b.ins().fdiv(x, y),
                    op => math::extreme(self.b, op == Binary::Max, x, y),
                }
            }
            Node::Binary(op, a, b) => {
                let shift = self.tree.terms.constant(b).map(|by| by & 63);
                let exact = self.fits(a) && self.fits(b);
                match op {
                    Binary::And | Binary::Or => {}
                    Binary::Min | Binary::Max if !is_vector || exact => {}
                    Binary::Shl | Binary::Shr if !is_vector => {}
                    Binary::Shl if shift.is_some_and(|s| s < 32) => {}
                    Binary::Shr if shift.is_some_and(|s| s < 32) && self.fits(a) => {}
                    _ => return None,
                }
                let x = self.get(a, form);
                match (op, shift) {
                    (Binary::Shl, Some(by)) => return Some(self.b.ins().ishl_imm_u(x, by)),
                    (Binary::Shr, Some(by)) => return Some(self.b.ins().sshr_imm_u(x, by)),
                    _ => {}
                }
                let y = self.get(b, form);
                match op {
                    Binary::And => self.b.ins().band(x, y),
                    Binary::Or => self.b.ins().bor(x, y),
                    Binary::Shl => self.b.ins().ishl(x, y),
                    Binary::Shr => self.b.ins().sshr(x, y),
                    Binary::Min => self.b.ins().smin(x, y),
                    _ => self.b.ins().smax(x, y),
                }
            }
            _ => return None,
        })
    }

    /// Four values along the vector axis.
    fn vector(&mut self, id: Id, vector: u8) -> Value {
        let node = self.tree.terms.node(id).clone();
        let form = Form::Vector(vector);
        if let Some(load) = Load::of(&node) {
            return self.load_vector(&load, vector);
        }
        let wide = match node {
            Node::Axis(axis) => {
                let first = self.axes[axis as usize].expect("the axis is open");
                let first = self.b.ins().ireduce(I32, first);
                let first = self.b.ins().splat(I32X4, first);
                let steps =
                    (0..4).flat_map(|l| (i32::from(vector) * 4 + l).to_le_bytes()).collect::<Vec<u8>>();
                let steps = self.b.func.dfg.constants.insert(steps.into());
                let steps = self.b.ins().vconst(I32X4, steps);
                Some(self.b.ins().iadd(first, steps))
            }
            Node::Sum(ref linear) => {
                let constant = self.low_splat(linear.constant);
                let mut sum = constant;
                for &(atom, coefficient) in &linear.terms {
                    let mut value = self.get(atom, form);
                    if coefficient != 1 {
                        let coefficient = self.low_splat(coefficient);
                        value = self.b.ins().imul(value, coefficient);
                    }
                    sum = self.b.ins().iadd(sum, value);
                }
                Some(sum)
            }
            Node::Product(ref factors) => {
                let factors: Vec<Value> = factors.iter().map(|&f| self.get(f, form)).collect();
                factors.into_iter().reduce(|a, b| self.b.ins().imul(a, b))
            }
            Node::FloorDiv(a, by) if self.fits(a) && by & (by - 1) == 0 && by < 1 << 31 => {
                let value = self.get(a, form);
                Some(self.b.ins().sshr_imm_u(value, i64::from(by.trailing_zeros())))
            }
            Node::Cast(to, a) => match (to, self.tree.terms.ty(a)) {
                (Cast::ToF32, Ty::Int) if self.fits(a) => {
                    let value = self.get(a, form);
                    Some(self.b.ins().fcvt_from_sint(F32X4, value))
                }
                (Cast::ToF32, Ty::Int) => None,
                (Cast::ToF32 | Cast::ToInt, Ty::Bool) => {
                    let mask = self.get(a, form);
                    let one = self.low_splat(if to == Cast::ToF32 { i64::from(1f32.to_bits()) } else { 1 });
                    let one = self.b.ins().band(mask, one);
                    Some(if to == Cast::ToF32 {
                        self.b.ins().bitcast(F32X4, math::cast_flags(), one)
                    } else {
                        one
                    })
                }
                (Cast::ToInt, _) => {
                    let value = self.get(a, form);
                    Some(self.b.ins().fcvt_to_sint_sat(I32X4, value))
                }
                (bits, _) => {
                    let value = self.get(a, form);
                    Some(self.real_of_bits(bits, value))
                }
            },
            ref other => self.same_in_lanes(other, form, Some(vector)),
        };
        wide.unwrap_or_else(|| {
            let lanes: Vec<Value> = (0..4).map(|l| self.point(id, Form::Lane(vector * 4 + l))).collect();
            self.gathered(&lanes)
        })
    }

    /// The low half of an int in every lane.
    fn low_splat(&mut self, value: i64) -> Value {
        let value = self.b.ins().iconst(I32, i64::from(value as i32));
        self.b.ins().splat(I32X4, value)
    }
}
