//! A typed emitter over cubecl's IR: the one place that touches its `Scope`.
//!
//! That IR has no verifier: operands of unlike types, variables whose handle was dropped and values of an inner scope
//! used outside of it compile, and give wrong numbers. Here an instruction checks the types of its operands, equal
//! pure instructions are one value as long as their scope is open, and every handle lives as long as the emitter.
use cubecl::ir::{
    Arithmetic, BinaryOperator, Bitwise, Branch, Builtin, Comparison, ConstantValue, ElemType, FloatKind,
    FmaOperator, If, IndexAssignOperator, IndexOperator, Instruction, IntKind, ManagedVariable, Operation,
    Operator, RangeLoop, Scope, Select, StorageType, Synchronization, Type, UIntKind, UnaryOperator,
    Variable,
};
use std::collections::HashMap;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ty {
    F32,
    I32,
    U32,
    Bool,
    /// Of memory alone: the bits of half floats.
    U16,
    /// Of memory alone.
    U8,
}

impl Ty {
    pub(crate) fn storage(self) -> StorageType {
        StorageType::Scalar(match self {
            Ty::F32 => ElemType::Float(FloatKind::F32),
            Ty::I32 => ElemType::Int(IntKind::I32),
            Ty::U32 => ElemType::UInt(UIntKind::U32),
            Ty::U16 => ElemType::UInt(UIntKind::U16),
            Ty::U8 => ElemType::UInt(UIntKind::U8),
            Ty::Bool => ElemType::Bool,
        })
    }

    pub(crate) fn of(self) -> Type {
        Type::new(self.storage())
    }
}

/// A value, or a variable that has one at each point of the program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Val {
    pub(crate) var: Variable,
    pub(crate) ty: Ty,
}

/// A function of two values of one type that gives a third of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Two {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    And,
    Or,
    Shl,
    Shr,
}

/// A function of one f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum One {
    Abs,
    Neg,
    Exp,
    Log,
    Sqrt,
    Round,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compare {
    Lt,
    Le,
    Eq,
}

pub(crate) struct Emit {
    pub(crate) scope: Scope,
    seen: HashMap<(Operation, Type), Variable>,
    /// A variable goes back to cubecl's pool when its handle is dropped, and is then given out again.
    kept: Vec<ManagedVariable>,
}

impl Emit {
    /// Emits into `scope`.
    pub(crate) fn new(scope: Scope) -> Emit {
        Emit { scope, seen: HashMap::new(), kept: vec![] }
    }

    pub(crate) fn f32(&self, value: f32) -> Val {
        let constant = ConstantValue::Float(f64::from(value));
        Val { var: Variable::constant(constant, Ty::F32.of()), ty: Ty::F32 }
    }

    /// A real by its bits; those that are no finite number have no constant in every target.
    pub(crate) fn f32_of_bits(&mut self, bits: u32) -> Val {
        let value = f32::from_bits(bits);
        if value.is_finite() {
            return self.f32(value);
        }
        let bits = self.u32(bits);
        self.reinterpret(bits, Ty::F32)
    }

    pub(crate) fn i32(&self, value: i32) -> Val {
        Val { var: Variable::constant(ConstantValue::Int(value.into()), Ty::I32.of()), ty: Ty::I32 }
    }

    pub(crate) fn u32(&self, value: u32) -> Val {
        Val { var: Variable::constant(ConstantValue::UInt(value.into()), Ty::U32.of()), ty: Ty::U32 }
    }

    pub(crate) fn bool(&self, value: bool) -> Val {
        Val { var: Variable::constant(ConstantValue::Bool(value), Ty::Bool.of()), ty: Ty::Bool }
    }

    /// One of the numbers that tell a unit which it is.
    pub(crate) fn builtin(&self, builtin: Builtin) -> Val {
        Val { var: Variable::builtin(builtin, Ty::U32.storage()), ty: Ty::U32 }
    }

    fn pure(&mut self, op: impl Into<Operation>, ty: Ty) -> Val {
        let op = op.into();
        if let Some(&var) = self.seen.get(&(op.clone(), ty.of())) {
            return Val { var, ty };
        }
        let val = self.fresh(op.clone(), ty);
        self.seen.insert((op, ty.of()), val.var);
        val
    }

    fn fresh(&mut self, op: Operation, ty: Ty) -> Val {
        let handle = self.scope.create_local(ty.of());
        let var = *handle;
        self.kept.push(handle);
        self.scope.register(Instruction::new(op, var));
        Val { var, ty }
    }

    pub(crate) fn two(&mut self, op: Two, a: Val, b: Val) -> Val {
        assert_eq!(a.ty, b.ty, "{op:?} of unlike types");
        if let Some(value) = known(a).zip(known(b)).and_then(|(a, b)| of_known(op, a, b)) {
            return self.u32(value);
        }
        let o = BinaryOperator { lhs: a.var, rhs: b.var };
        let op: Operation = match op {
            Two::Add => Arithmetic::Add(o).into(),
            Two::Sub => Arithmetic::Sub(o).into(),
            Two::Mul => Arithmetic::Mul(o).into(),
            Two::Div => Arithmetic::Div(o).into(),
            Two::Max => Arithmetic::Max(o).into(),
            Two::Min => Arithmetic::Min(o).into(),
            Two::And if a.ty == Ty::Bool => Operator::And(o).into(),
            Two::Or if a.ty == Ty::Bool => Operator::Or(o).into(),
            Two::And => Bitwise::BitwiseAnd(o).into(),
            Two::Or => Bitwise::BitwiseOr(o).into(),
            Two::Shl => Bitwise::ShiftLeft(o).into(),
            Two::Shr => Bitwise::ShiftRight(o).into(),
        };
        self.pure(op, a.ty)
    }

    pub(crate) fn one(&mut self, op: One, a: Val) -> Val {
        assert_eq!(a.ty, Ty::F32, "{op:?} is of an f32");
        let o = UnaryOperator { input: a.var };
        let op = match op {
            One::Abs => Arithmetic::Abs(o),
            // Negating vectors is broken in one target; a product is not.
            One::Neg => Arithmetic::Mul(BinaryOperator { lhs: a.var, rhs: self.f32(-1.0).var }),
            One::Exp => Arithmetic::Exp(o),
            One::Log => Arithmetic::Log(o),
            One::Sqrt => Arithmetic::Sqrt(o),
            One::Round => Arithmetic::Round(o),
        };
        self.pure(op, Ty::F32)
    }

    /// `a * b + c`, rounded once.
    pub(crate) fn fma(&mut self, a: Val, b: Val, c: Val) -> Val {
        assert_eq!([a.ty, b.ty, c.ty], [Ty::F32; 3], "fma is of f32");
        self.pure(Arithmetic::Fma(FmaOperator { a: a.var, b: b.var, c: c.var }), Ty::F32)
    }

    pub(crate) fn compare(&mut self, op: Compare, a: Val, b: Val) -> Val {
        assert_eq!(a.ty, b.ty, "{op:?} of unlike types");
        let o = BinaryOperator { lhs: a.var, rhs: b.var };
        let op = match op {
            Compare::Lt => Comparison::Lower(o),
            Compare::Le => Comparison::LowerEqual(o),
            Compare::Eq => Comparison::Equal(o),
        };
        self.pure(op, Ty::Bool)
    }

    pub(crate) fn not(&mut self, a: Val) -> Val {
        assert_eq!(a.ty, Ty::Bool, "not is of a bool");
        self.pure(Operator::Not(UnaryOperator { input: a.var }), Ty::Bool)
    }

    pub(crate) fn select(&mut self, condition: Val, yes: Val, no: Val) -> Val {
        assert_eq!((condition.ty, yes.ty), (Ty::Bool, no.ty), "select of unlike types");
        self.pure(Operator::Select(Select { cond: condition.var, then: yes.var, or_else: no.var }), yes.ty)
    }

    /// To another type by value.
    pub(crate) fn cast(&mut self, a: Val, to: Ty) -> Val {
        if a.ty == to {
            return a;
        }
        if let (Ty::Bool, Ty::I32 | Ty::U32 | Ty::F32) = (a.ty, to) {
            let (one, zero) = match to {
                Ty::F32 => (self.f32(1.0), self.f32(0.0)),
                Ty::I32 => (self.i32(1), self.i32(0)),
                _ => (self.u32(1), self.u32(0)),
            };
            return self.select(a, one, zero);
        }
        self.pure(Operator::Cast(UnaryOperator { input: a.var }), to)
    }

    /// The same bits as another type of as many.
    pub(crate) fn reinterpret(&mut self, a: Val, to: Ty) -> Val {
        if a.ty == to {
            return a;
        }
        // CUDA takes the bits from where a value lies, and a constant lies nowhere.
        let a = if a.var.as_const().is_some() { self.pure(Operation::Copy(a.var), a.ty) } else { a };
        self.pure(Operator::Reinterpret(UnaryOperator { input: a.var }), to)
    }

    /// Element `index`, a u32, of an array in memory that nobody writes meanwhile.
    pub(crate) fn load(&mut self, array: Variable, index: Val, ty: Ty) -> Val {
        assert_eq!(index.ty, Ty::U32, "arrays are indexed by u32");
        let op = IndexOperator { list: array, index: index.var, vector_size: 0, unroll_factor: 1 };
        self.pure(Operator::UncheckedIndex(op), ty)
    }

    /// As [`Emit::load`], of memory that is written meanwhile: what it has at this point of the program.
    pub(crate) fn load_now(&mut self, array: Variable, index: Val, ty: Ty) -> Val {
        assert_eq!(index.ty, Ty::U32, "arrays are indexed by u32");
        let op = IndexOperator { list: array, index: index.var, vector_size: 0, unroll_factor: 1 };
        self.fresh(Operator::UncheckedIndex(op).into(), ty)
    }

    pub(crate) fn store(&mut self, array: Variable, index: Val, value: Val) {
        assert_eq!(index.ty, Ty::U32, "arrays are indexed by u32");
        let op = IndexAssignOperator { index: index.var, value: value.var, vector_size: 0, unroll_factor: 1 };
        self.scope.register(Instruction::new(Operator::UncheckedIndexAssign(op), array));
    }

    /// A variable that can be assigned to.
    pub(crate) fn variable(&mut self, first: Val) -> Val {
        let handle = self.scope.create_local_mut(first.ty.of());
        let var = *handle;
        self.kept.push(handle);
        self.scope.register(Instruction::new(Operation::Copy(first.var), var));
        Val { var, ty: first.ty }
    }

    pub(crate) fn assign(&mut self, variable: Val, value: Val) {
        assert_eq!(variable.ty, value.ty, "assigns another type");
        self.scope.register(Instruction::new(Operation::Copy(value.var), variable.var));
    }

    /// What a variable has at this point of the program.
    pub(crate) fn now(&mut self, variable: Val) -> Val {
        self.fresh(Operation::Copy(variable.var), variable.ty)
    }

    /// Memory that the units of a cube share.
    pub(crate) fn shared(&mut self, ty: Ty, len: usize) -> Variable {
        let handle = self.scope.create_shared_array(ty.of(), len, None);
        let var = *handle;
        self.kept.push(handle);
        var
    }

    /// Waits for all units of the cube; all of them must come here.
    pub(crate) fn sync(&mut self) {
        self.scope.register(Instruction::no_out(Synchronization::SyncCube));
    }

    /// The number of the cube among all.
    pub(crate) fn cube(&mut self) -> Val {
        let [x, y, width] =
            [Builtin::CubePosX, Builtin::CubePosY, Builtin::CubeCountX].map(|builtin| self.builtin(builtin));
        let row = self.mul(y, width);
        self.add(row, x)
    }

    /// What each of a cube's `units` has, joined by halves; all of them must come here, and all have the result.
    /// `meeting` is shared memory of a value for each, which this may use again.
    pub(crate) fn over_cube(
        &mut self,
        meeting: Variable,
        units: u32,
        own: Val,
        join: impl Fn(&mut Emit, Val, Val) -> Val,
    ) -> Val {
        let unit = self.builtin(Builtin::UnitPosX);
        // Who is late may still read the last result.
        self.sync();
        self.store(meeting, unit, own);
        self.sync();
        let mut half = units / 2;
        while half > 0 {
            let end = self.u32(half);
            let takes = self.lt(unit, end);
            self.when(takes, |e| {
                let other = e.add(unit, end);
                let (a, b) = (e.load_now(meeting, unit, own.ty), e.load_now(meeting, other, own.ty));
                let joined = join(e, a, b);
                e.store(meeting, unit, joined);
            });
            self.sync();
            half /= 2;
        }
        let first = self.u32(0);
        self.load_now(meeting, first, own.ty)
    }

    /// Begins a scope of its own: what is computed in it is not there behind [`Emit::close`].
    pub(crate) fn open(&mut self) -> Around {
        let child = self.scope.child();
        Around { scope: std::mem::replace(&mut self.scope, child), seen: self.seen.clone() }
    }

    /// Ends a scope, which a branch or a loop then has.
    pub(crate) fn close(&mut self, around: Around) -> Scope {
        self.seen = around.seen;
        std::mem::replace(&mut self.scope, around.scope)
    }

    /// Takes a scope where a condition holds.
    pub(crate) fn branch(&mut self, condition: Val, scope: Scope) {
        assert_eq!(condition.ty, Ty::Bool, "a condition is a bool");
        self.scope.register(Branch::If(Box::new(If { cond: condition.var, scope })));
    }

    pub(crate) fn add(&mut self, a: Val, b: Val) -> Val {
        self.two(Two::Add, a, b)
    }

    pub(crate) fn sub(&mut self, a: Val, b: Val) -> Val {
        self.two(Two::Sub, a, b)
    }

    pub(crate) fn mul(&mut self, a: Val, b: Val) -> Val {
        self.two(Two::Mul, a, b)
    }

    pub(crate) fn lt(&mut self, a: Val, b: Val) -> Val {
        self.compare(Compare::Lt, a, b)
    }

    /// A u32 times a constant.
    pub(crate) fn times(&mut self, a: Val, by: u32) -> Val {
        let by = self.u32(by);
        self.mul(a, by)
    }

    /// A u32 and a constant.
    pub(crate) fn plus(&mut self, a: Val, more: u32) -> Val {
        match more {
            0 => a,
            more => {
                let more = self.u32(more);
                self.add(a, more)
            }
        }
    }

    /// A u32 divided by a constant.
    pub(crate) fn over(&mut self, a: Val, by: u32) -> Val {
        match by {
            1 => a,
            by => {
                let by = self.u32(by);
                self.two(Two::Div, a, by)
            }
        }
    }

    /// What is left of a u32 behind whole multiples of a constant.
    pub(crate) fn rest(&mut self, a: Val, by: u32) -> Val {
        if by.is_power_of_two() {
            return self.mask(a, by - 1);
        }
        let whole = self.over(a, by);
        let whole = self.times(whole, by);
        self.sub(a, whole)
    }

    /// The element of the vectors `array` at `index`, apart.
    pub(crate) fn load_vector<const N: usize>(&mut self, array: Variable, index: Val, ty: Ty) -> [Val; N] {
        assert_eq!(index.ty, Ty::U32, "arrays are indexed by u32");
        let op = IndexOperator { list: array, index: index.var, vector_size: 0, unroll_factor: 1 };
        let (op, whole) = (Operation::from(Operator::UncheckedIndex(op)), ty.of().with_vector_size(N));
        let key = (op.clone(), whole);
        let vector = match self.seen.get(&key) {
            Some(known) => *known,
            None => {
                let handle = self.scope.create_local(whole);
                let vector = *handle;
                self.kept.push(handle);
                self.scope.register(Instruction::new(op, vector));
                self.seen.insert(key, vector);
                vector
            }
        };
        std::array::from_fn(|at| {
            let at = self.u32(at as u32);
            self.load(vector, at, ty)
        })
    }

    /// `run` for each u32 of `(from..to).step_by(step)`.
    pub(crate) fn range(&mut self, range: [Val; 3], run: impl FnOnce(&mut Emit, Val)) {
        let i = self.counter();
        let around = self.open();
        run(self, i);
        let scope = self.close(around);
        self.repeat(i, range, scope);
    }

    pub(crate) fn when(&mut self, condition: Val, run: impl FnOnce(&mut Emit)) {
        let around = self.open();
        run(self);
        let scope = self.close(around);
        self.branch(condition, scope);
    }

    /// The variable of a loop, for [`Emit::repeat`]: a u32.
    pub(crate) fn counter(&mut self) -> Val {
        let handle = self.scope.create_local_restricted(Ty::U32.of());
        let var = *handle;
        self.kept.push(handle);
        Val { var, ty: Ty::U32 }
    }

    /// Takes a scope for each `i` of `(from..to).step_by(step)`, of u32.
    pub(crate) fn repeat(&mut self, i: Val, [from, to, step]: [Val; 3], scope: Scope) {
        assert_eq!([from.ty, to.ty, step.ty], [Ty::U32; 3], "a range is of u32");
        let (start, end, step) = (from.var, to.var, Some(step.var));
        let range = RangeLoop { i: i.var, start, end, step, inclusive: false, scope };
        self.scope.register(Branch::RangeLoop(Box::new(range)));
    }
}

/// The value of a constant u32.
fn known(a: Val) -> Option<u32> {
    match a.var.as_const() {
        Some(ConstantValue::UInt(value)) if a.ty == Ty::U32 => u32::try_from(value).ok(),
        _ => None,
    }
}

/// What a function of two u32 gives, where it is one that addresses are made with and gives one.
fn of_known(op: Two, a: u32, b: u32) -> Option<u32> {
    match op {
        Two::Add => a.checked_add(b),
        Two::Mul => a.checked_mul(b),
        Two::Div => a.checked_div(b),
        Two::And => Some(a & b),
        _ => None,
    }
}

/// What was being emitted when a scope was opened.
pub(crate) struct Around {
    scope: Scope,
    seen: HashMap<(Operation, Type), Variable>,
}
