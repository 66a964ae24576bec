//! Addresses, loads and stores in CLIF.
use super::clif::{Emit, Form, LANES};
use super::math;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F32X4, I8, I8X16, I32, I32X4, I64, I64X2};
use cranelift_codegen::ir::{InstBuilder, Value};
use loops::{Axis, Elem, Id, Node, Source, Ty};

impl Emit<'_, '_> {
    /// The address of `base + offset` for a form: a value and what to add to it. For a vector, of its first lane.
    fn address(&mut self, base: Value, offset: Id, form: Form) -> (Value, i32) {
        let linear = self.tree.terms.linear(offset);
        let mut terms = linear.terms;
        // What changes in the outer loops comes first, so that partial sums stay outside the inner ones.
        terms.sort_by_key(|t| self.open.iter().rposition(|&a| self.tree.terms.varies(t.0, a)));
        let (mut address, mut constant) = (base, linear.constant);
        let along = self.lanes.map(|l| l.0);
        for (atom, coefficient) in terms {
            let is_along = along.is_some_and(|axis| *self.tree.terms.node(atom) == Node::Axis(axis));
            let value = match (is_along, form) {
                (true, Form::Vector(_) | Form::Lane(_)) => {
                    let lane = match form {
                        Form::Vector(vector) => LANES * i64::from(vector),
                        Form::Lane(lane) => i64::from(lane),
                        _ => 0,
                    };
                    constant = constant.wrapping_add(coefficient.wrapping_mul(lane));
                    self.axes[along.expect("vectors lie along an axis") as usize].expect("the axis is open")
                }
                (_, Form::Vector(_)) => self.get(atom, Form::Point),
                _ => self.get(atom, form),
            };
            let scaled = self.scaled(value, coefficient);
            address = self.b.ins().iadd(address, scaled);
        }
        match i32::try_from(constant) {
            Ok(constant) => (address, constant),
            Err(_) => (self.b.ins().iadd_imm_s(address, constant), 0),
        }
    }

    /// Where the element of a load lies that has no guard.
    pub(super) fn address_of(&mut self, load: Id) -> Value {
        let Node::Load { from, offset, .. } = *self.tree.terms.node(load) else {
            unreachable!("row functions take loads");
        };
        let base = self.source(from);
        let (address, at) = self.address(base, offset, Form::Point);
        self.b.ins().iadd_imm_s(address, i64::from(at))
    }

    /// Where the value at the point is written.
    pub(super) fn output_address(&mut self) -> Value {
        let (address, at) = match Elem::of(self.tree.output.dtype) {
            Some(_) => self.address(self.output, self.tree.offset, Form::Point),
            None => self.kept(0, Form::Point),
        };
        self.b.ins().iadd_imm_s(address, i64::from(at))
    }

    pub(super) fn scaled(&mut self, value: Value, by: i64) -> Value {
        match by {
            1 => value,
            by if by > 0 && by & (by - 1) == 0 => {
                self.b.ins().ishl_imm_u(value, i64::from(by.trailing_zeros()))
            }
            by => self.b.ins().imul_imm_s(value, by),
        }
    }

    /// One element.
    pub(super) fn load_point(&mut self, load: &Load, form: Form) -> Value {
        let (address, at) = self.guarded_address(load, form);
        let flags = math::memory();
        match load.elem {
            Elem::F32 => self.b.ins().load(F32, flags, address, at),
            Elem::F16 | Elem::BF16 => {
                let bits = self.b.ins().uload16(I32, flags, address, at);
                self.real(load.elem, bits)
            }
            Elem::I64 => self.b.ins().load(I64, flags, address, at),
            Elem::I32 => self.b.ins().sload32(flags, address, at),
            Elem::U8 => self.b.ins().uload8(I64, flags, address, at),
            Elem::I8 => self.b.ins().sload8(I64, flags, address, at),
            Elem::Bool => {
                let byte = self.b.ins().load(I8, flags, address, at);
                self.b.ins().icmp_imm_u(IntCC::NotEqual, byte, 0)
            }
        }
    }

    fn real(&mut self, elem: Elem, bits: Value) -> Value {
        match elem {
            Elem::F16 => math::from_f16(self.b, bits),
            _ => math::from_bf16(self.b, bits),
        }
    }

    fn guarded_address(&mut self, load: &Load, form: Form) -> (Value, i32) {
        let base = self.source(load.from);
        let (address, at) = self.address(base, load.offset, form);
        let Some(guard) = load.guard else { return (address, at) };
        // A vector whose lanes share a guard is guarded as its first lane is.
        let form = if let Form::Vector(_) = form { Form::Point } else { form };
        let guard = self.get(guard, form);
        let address = self.b.ins().iadd_imm_s(address, i64::from(at));
        let harmless = self.harmless();
        (self.b.ins().select(guard, address, harmless), 0)
    }

    /// Four elements: neighbours in one load, others one by one.
    pub(super) fn load_vector(&mut self, load: &Load, vector: u8) -> Value {
        let axis = self.lanes.expect("vectors lie along an axis").0;
        let terms = &self.tree.terms;
        let are_neighbours = terms.step(load.offset, axis) == Some(load.elem.bytes())
            && load.guard.is_none_or(|g| !terms.varies(g, axis));
        if !are_neighbours || load.elem == Elem::I64 {
            let lanes: Vec<Value> =
                (0..4).map(|l| self.load_point(load, Form::Lane(vector * 4 + l))).collect();
            return self.gathered(&lanes);
        }
        let (address, at) = self.guarded_address(load, Form::Vector(vector));
        let flags = math::memory();
        match load.elem {
            Elem::F32 => self.b.ins().load(F32X4, flags, address, at),
            Elem::I32 | Elem::I64 => self.b.ins().load(I32X4, flags, address, at),
            Elem::F16 | Elem::BF16 => {
                let bits = self.b.ins().uload16x4(flags, address, at);
                self.real(load.elem, bits)
            }
            Elem::U8 | Elem::I8 | Elem::Bool => {
                let bytes = self.b.ins().load(I32, flags, address, at);
                let bytes = self.b.ins().scalar_to_vector(I32X4, bytes);
                let bytes = self.b.ins().bitcast(I8X16, math::cast_flags(), bytes);
                if load.elem == Elem::I8 {
                    let pairs = self.b.ins().swiden_low(bytes);
                    return self.b.ins().swiden_low(pairs);
                }
                let pairs = self.b.ins().uwiden_low(bytes);
                let ints = self.b.ins().uwiden_low(pairs);
                if load.elem == Elem::U8 {
                    return ints;
                }
                let zero = self.b.ins().iconst(I32, 0);
                let zero = self.b.ins().splat(I32X4, zero);
                self.b.ins().icmp(IntCC::NotEqual, ints, zero)
            }
        }
    }

    /// A vector of four points: f32, ints of which the low half is kept, or bools as masks.
    pub(super) fn gathered(&mut self, lanes: &[Value]) -> Value {
        let mut vector = None;
        for (lane, &value) in lanes.iter().enumerate() {
            let (ty, value) = match self.b.func.dfg.value_type(value) {
                F32 => (F32X4, value),
                I8 => (I32X4, math::mask(self.b, value)),
                _ => (I32X4, self.b.ins().ireduce(I32, value)),
            };
            vector = Some(match vector {
                None => self.b.ins().scalar_to_vector(ty, value),
                Some(vector) => self.b.ins().insertlane(vector, value, lane as u8),
            });
        }
        vector.expect("a vector has lanes")
    }

    /// Writes the value at the point, or at the points in flight.
    pub(super) fn store(&mut self, root: Id) {
        let Some(elem) = Elem::of(self.tree.output.dtype) else { return self.keep(root, 0) };
        let vectors = self.lanes.map(|l| l.1);
        for vector in 0..vectors.unwrap_or(1) {
            let form = if vectors.is_some() { Form::Vector(vector) } else { Form::Point };
            if vectors.is_some()
                && (self.tree.terms.ty(root) == Ty::Bool || matches!(elem, Elem::I64 | Elem::U8 | Elem::I8))
            {
                for lane in vector * 4..vector * 4 + 4 {
                    let value = self.get(root, Form::Lane(lane));
                    let (address, at) = self.address(self.output, self.tree.offset, Form::Lane(lane));
                    self.store_point(elem, value, address, at);
                }
                continue;
            }
            let value = self.get(root, form);
            let (address, at) = self.address(self.output, self.tree.offset, form);
            match (vectors, elem) {
                (None, _) => self.store_point(elem, value, address, at),
                (Some(_), Elem::F16 | Elem::BF16) => {
                    let bits = self.half(elem, value);
                    let bits = self.b.ins().unarrow(bits, bits);
                    let bits = self.b.ins().bitcast(I64X2, math::cast_flags(), bits);
                    let bits = self.b.ins().extractlane(bits, 0);
                    self.b.ins().store(math::memory(), bits, address, at);
                }
                (Some(_), _) => {
                    self.b.ins().store(math::memory(), value, address, at);
                }
            }
        }
    }

    fn half(&mut self, elem: Elem, value: Value) -> Value {
        match elem {
            Elem::F16 => math::to_f16(self.b, value),
            _ => math::to_bf16(self.b, value),
        }
    }

    fn store_point(&mut self, elem: Elem, value: Value, address: Value, at: i32) {
        let flags = math::memory();
        match elem {
            Elem::F32 | Elem::I64 | Elem::Bool => {
                self.b.ins().store(flags, value, address, at);
            }
            Elem::I32 => {
                self.b.ins().istore32(flags, value, address, at);
            }
            Elem::U8 | Elem::I8 => {
                self.b.ins().istore8(flags, value, address, at);
            }
            Elem::F16 | Elem::BF16 => {
                let value = self.b.ins().scalar_to_vector(F32X4, value);
                let bits = self.half(elem, value);
                let bits = self.b.ins().extractlane(bits, 0);
                self.b.ins().istore16(flags, bits, address, at);
            }
        }
    }

    /// The place in a row of scratch that belongs to the last axis' coordinate.
    fn kept(&mut self, row: usize, form: Form) -> (Value, i32) {
        let last = self.tree.output.rank() - 1;
        let width = self.tree.terms.constant(self.tree.terms.axes[last].extent);
        let width = width.expect("rows of scratch are of known length");
        let ahead = if let Form::Vector(vector) = form { 4 * LANES as i32 * i32::from(vector) } else { 0 };
        let row = self.b.ins().iadd_imm_s(self.scratch, row as i64 * width * 4);
        let at = self.axes[last as Axis as usize].expect("the axis is open");
        let at = self.b.ins().ishl_imm_u(at, 2);
        (self.b.ins().iadd(row, at), ahead)
    }

    pub(super) fn keep(&mut self, id: Id, row: usize) {
        let vectors = self.lanes.map(|l| l.1);
        for vector in 0..vectors.unwrap_or(1) {
            let form = if vectors.is_some() { Form::Vector(vector) } else { Form::Point };
            let value = self.get(id, form);
            let (address, at) = self.kept(row, form);
            self.b.ins().store(math::memory(), value, address, at);
        }
    }

    pub(super) fn recall(&mut self, id: Id, row: usize) {
        for form in self.forms(id) {
            let (address, at) = self.kept(row, form);
            let ty = if form == Form::Point { F32 } else { F32X4 };
            let value = self.b.ins().load(ty, math::memory(), address, at);
            self.set(id, form, value);
        }
    }
}

/// A load's parts.
pub(super) struct Load {
    pub(super) from: Source,
    pub(super) elem: Elem,
    pub(super) offset: Id,
    pub(super) guard: Option<Id>,
}

impl Load {
    pub(super) fn of(node: &Node) -> Option<Load> {
        match *node {
            Node::Load { from, elem, offset, guard, .. } => Some(Load { from, elem, offset, guard }),
            _ => None,
        }
    }
}
