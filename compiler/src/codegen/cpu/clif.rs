//! A loop tree to CLIF: loops, folds and the order of steps, several lanes at once.
//!
//! Vectors have 128 bits, which is what Cranelift compiles. Which values they hold, and how many are in flight,
//! the tree has decided; here a vector loop is followed by one for what is left over, point by point.
use super::jit::Call;
use super::math;
use super::rows::ROWS;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F32X4, I64};
use cranelift_codegen::ir::{
    AbiParam, BlockArg, InstBuilder, Signature, StackSlot, StackSlotData, StackSlotKind, Value,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilder;
use ir::expr::Fold;
use loops::{Axis, BodyError, Folded, Id, Loop, Node, Source, Span, Step, Tree, Ty, Value as Taken};
use std::collections::HashMap;
use std::mem::offset_of;

/// How many values a vector holds.
pub(super) const LANES: i64 = 4;

/// In which shape a term's value is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// One value.
    Point,
    /// The vector of this number, of those in flight.
    Vector(u8),
    /// One of the points that the vectors in flight are made of.
    Lane(u8),
    /// A vector of one value.
    Splat,
}

pub(super) struct Emit<'a, 'b> {
    pub(super) b: &'a mut FunctionBuilder<'b>,
    pub(super) tree: &'a Tree,
    convention: CallConv,
    call: Value,
    inputs: Vec<Option<Value>>,
    pub(super) output: Value,
    pub(super) scratch: Value,
    pub(super) symbols: Value,
    tile: Value,
    /// The values of the open axes: of the first lane, in a vector loop.
    pub(super) axes: Vec<Option<Value>>,
    /// The open axes, outermost first.
    pub(super) open: Vec<Axis>,
    /// The axis along which vectors lie, and how many are in flight.
    pub(super) lanes: Option<(Axis, u8)>,
    /// What is computed, by open loop.
    pub(super) scopes: Vec<HashMap<(Id, Form), Value>>,
    /// Where loads whose guard does not hold read.
    harmless: Option<StackSlot>,
}

/// Emits the whole function, which takes a pointer to a [`Call`].
pub(super) fn function(
    b: &mut FunctionBuilder,
    tree: &Tree,
    inputs: usize,
    convention: CallConv,
) -> Result<(), BodyError> {
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let call = b.block_params(entry)[0];
    let field = |b: &mut FunctionBuilder, at: usize| b.ins().load(I64, math::memory(), call, at as i32);
    let args = field(b, offset_of!(Call, args));
    let inputs_at = (0..inputs)
        .map(|i| is_read(&tree.steps, tree, i).then(|| b.ins().load(I64, math::memory(), args, i as i32 * 8)))
        .collect();
    let output = b.ins().load(I64, math::memory(), args, inputs as i32 * 8);
    let (scratch, symbols) = (field(b, offset_of!(Call, scratch)), field(b, offset_of!(Call, syms)));
    let tile = field(b, offset_of!(Call, tile));
    let axes = vec![None; tree.terms.axes.len()];
    let mut emit = Emit {
        b,
        tree,
        convention,
        call,
        inputs: inputs_at,
        output,
        scratch,
        symbols,
        tile,
        axes,
        open: vec![],
        lanes: None,
        scopes: vec![HashMap::new()],
        harmless: None,
    };
    emit.steps(&tree.steps)?;
    emit.b.ins().return_(&[]);
    emit.b.seal_all_blocks();
    Ok(())
}

fn is_read(steps: &[Step], tree: &Tree, input: usize) -> bool {
    let loads = |id: &Id| matches!(tree.terms.node(*id), Node::Load { from: Source::Input(i), .. } if *i as usize == input);
    steps.iter().any(|step| match step {
        Step::Let(id) => loads(id),
        Step::Row { args, .. } => args.iter().any(loads),
        Step::Loop(l) => l.spans.iter().any(|s| is_read(&s.steps, tree, input)),
        _ => false,
    })
}

/// The end of a loop: known while compiling or not.
#[derive(Clone, Copy)]
enum End {
    Known(i64),
    Dynamic(Value),
}

impl Emit<'_, '_> {
    pub(super) fn field(&mut self, at: usize) -> Value {
        self.b.ins().load(I64, math::memory(), self.call, at as i32)
    }

    pub(super) fn source(&self, from: Source) -> Value {
        match from {
            Source::Input(i) => self.inputs[i as usize].expect("every input that is read has been fetched"),
            Source::Tile => self.tile,
        }
    }

    /// An address that may be read whatever the kernel's arguments are.
    pub(super) fn harmless(&mut self) -> Value {
        let slot = *self.harmless.get_or_insert_with(|| {
            self.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, 16, 4))
        });
        self.b.ins().stack_addr(I64, slot, 0)
    }

    pub(super) fn int(&mut self, value: i64) -> Value {
        self.b.ins().iconst(I64, value)
    }

    /// Calls a Rust function of pointers and sizes that returns nothing.
    pub(super) fn call_rust(&mut self, function: *const (), args: &[Value]) {
        let mut signature = Signature::new(self.convention);
        signature.params.extend(args.iter().map(|_| AbiParam::new(I64)));
        let signature = self.b.import_signature(signature);
        let function = self.int(function as i64);
        self.b.ins().call_indirect(signature, function, args);
    }

    fn steps(&mut self, steps: &[Step]) -> Result<(), BodyError> {
        for step in steps {
            match step {
                Step::Let(id) => self.compute(*id),
                Step::Store(id) => self.store(*id),
                Step::Keep(id, row) => self.keep(*id, *row),
                Step::Recall(id, row) => self.recall(*id, *row),
                Step::Finish => self.finish(),
                Step::Row { function, args, .. } => self.row(*function, args),
                Step::Loop(l) => self.one_loop(l)?,
            }
        }
        Ok(())
    }

    /// The forms that a term has in the code at hand.
    pub(super) fn forms(&self, id: Id) -> Vec<Form> {
        match self.lanes {
            Some((axis, vectors)) if self.tree.terms.varies(id, axis) => {
                (0..vectors).map(Form::Vector).collect()
            }
            _ => vec![Form::Point],
        }
    }

    fn compute(&mut self, id: Id) {
        for form in self.forms(id) {
            // Whether an integer is needed as a vector or as points, its users know.
            if form == Form::Point || self.tree.terms.ty(id) != Ty::Int {
                self.get(id, form);
            }
        }
    }

    /// The range of an axis that a call gives, if it gives one.
    pub(super) fn called_range(&mut self, axis: Axis) -> Option<(Value, Value)> {
        let place = self.tree.ranged.iter().position(|r| *r == Some(axis))?;
        let at = offset_of!(Call, ranges) + place * 16;
        Some((self.field(at), self.field(at + 8)))
    }

    fn one_loop(&mut self, l: &Loop) -> Result<(), BodyError> {
        let mut totals: Option<Vec<Value>> = None;
        for span in &l.spans {
            let (from, to) = self.bounds(l, span);
            let values = match l.vectors {
                Some(vectors) => self.vector_loop(l, span, from, to, vectors)?,
                None => {
                    let start = l.folds.iter().flat_map(|f| self.start(f)).collect();
                    self.repeat(l, span, (from, to), 1, start)?
                }
            };
            totals = Some(match totals {
                None => values,
                Some(totals) => {
                    let folds = self.fold_forms(l);
                    let pairs = totals.into_iter().zip(values).zip(folds);
                    pairs.map(|((a, b), (i, _))| self.join(l.folds[i].fold, a, b)).collect()
                }
            });
        }
        for (value, (i, form)) in totals.unwrap_or_default().into_iter().zip(self.fold_forms(l)) {
            self.set(l.folds[i].result, form, value);
        }
        Ok(())
    }

    /// The accumulators of a loop whose points are taken one by one, or that has ended: which fold, which form.
    fn fold_forms(&self, l: &Loop) -> Vec<(usize, Form)> {
        let forms = l.folds.iter().enumerate().map(|(i, f)| (i, self.forms(f.result)));
        forms.flat_map(|(i, forms)| forms.into_iter().map(move |form| (i, form))).collect()
    }

    /// From where to where a loop goes; the end never lies before the beginning, or rounding what is left to whole
    /// vectors would step back.
    fn bounds(&mut self, l: &Loop, span: &Span) -> (End, End) {
        let extent = self.tree.terms.axes[l.axis as usize].extent;
        let to = span.to.or(self.tree.terms.constant(extent));
        let ranged = self.called_range(l.axis).filter(|_| l.folds.is_empty());
        let Some((mut low, mut high)) = ranged else {
            let to = match to {
                Some(to) => End::Known(to),
                None => End::Dynamic(self.length(extent)),
            };
            return (End::Known(span.from), to);
        };
        if let Some(to) = span.to {
            let (first, last) = (self.int(span.from), self.int(to));
            low = self.b.ins().smax(low, first);
            high = self.b.ins().smin(high, last);
            // A call's range may end before this part of it begins.
            high = self.b.ins().smax(high, low);
        }
        (End::Dynamic(low), End::Dynamic(high))
    }

    /// An extent, 0 where symbols make it negative.
    fn length(&mut self, extent: Id) -> Value {
        let value = self.get(extent, Form::Point);
        if self.tree.terms.range(extent).is_some_and(|(least, _)| least >= 0) {
            return value;
        }
        let zero = self.int(0);
        self.b.ins().smax(value, zero)
    }

    fn end(&mut self, end: End) -> Value {
        match end {
            End::Known(value) => self.int(value),
            End::Dynamic(value) => value,
        }
    }

    /// What a fold's accumulators begin with: one for each form of the result.
    fn start(&mut self, folded: &Folded) -> Vec<Value> {
        let forms = self.forms(folded.result);
        let value = self.identity(folded.fold, forms[0] != Form::Point);
        vec![value; forms.len()]
    }

    /// What changes nothing that it is joined with.
    fn identity(&mut self, fold: Fold, is_vector: bool) -> Value {
        let value = self.b.ins().f32const(if fold == Fold::Sum { 0.0 } else { f32::NEG_INFINITY });
        if is_vector { self.b.ins().splat(F32X4, value) } else { value }
    }

    /// One turn of a loop: its steps, and what it folds.
    fn turn(&mut self, l: &Loop, span: &Span, accs: Vec<Value>) -> Result<Vec<Value>, BodyError> {
        self.steps(&span.steps)?;
        let along = self.lanes.filter(|lanes| lanes.0 == l.axis);
        let forms = match along {
            Some((_, vectors)) => {
                (0..l.folds.len()).flat_map(|i| (0..vectors).map(move |v| (i, Form::Vector(v)))).collect()
            }
            None => self.fold_forms(l),
        };
        let mut next = vec![];
        for (acc, (i, form)) in accs.into_iter().zip(forms) {
            next.push(match span.values[i] {
                Taken::Term(id) => {
                    let value = self.get(id, form);
                    self.join(l.folds[i].fold, acc, value)
                }
                Taken::Product(a, b) => {
                    let (a, b) = (self.get(a, form), self.get(b, form));
                    self.b.ins().fma(a, b, acc)
                }
            });
        }
        Ok(next)
    }

    fn join(&mut self, fold: Fold, acc: Value, value: Value) -> Value {
        match fold {
            Fold::Sum => self.b.ins().fadd(acc, value),
            // An accumulator is never NaN, and so passes over those it meets.
            Fold::Max => math::pick(self.b, acc, value, value, acc),
        }
    }

    /// A loop that takes `vectors` vectors a turn, then one, then single points.
    fn vector_loop(
        &mut self,
        l: &Loop,
        span: &Span,
        from: End,
        to: End,
        vectors: u8,
    ) -> Result<Vec<Value>, BodyError> {
        let mut left = match (from, to) {
            (End::Known(from), End::Known(to)) => Some((to - from).max(0)),
            _ => None,
        };
        let (mut at, to) = (self.end(from), self.end(to));
        let mut accs = vec![];
        for folded in &l.folds {
            let zero = self.identity(folded.fold, true);
            accs.extend(std::iter::repeat_n(zero, vectors.into()));
        }
        let mut width = Some(vectors);
        for next in [Some(vectors), Some(1), None] {
            let step = next.map_or(1, |v| LANES * i64::from(v));
            if left.is_some_and(|left| left < step) || (next == Some(1) && vectors == 1) {
                continue;
            }
            accs = self.narrow(&l.folds, accs, width, next);
            width = next;
            let stop = match left {
                Some(left) => self.b.ins().iadd_imm_s(at, left / step * step),
                None if step == 1 => to,
                None => {
                    let rest = self.b.ins().isub(to, at);
                    let whole = self.b.ins().band_imm_s(rest, -step);
                    self.b.ins().iadd(at, whole)
                }
            };
            let outer = std::mem::replace(&mut self.lanes, next.map(|v| (l.axis, v)));
            accs = if left.is_some_and(|left| left / step == 1) {
                self.once(l, span, at, accs)?
            } else {
                self.repeat(l, span, (End::Dynamic(at), End::Dynamic(stop)), step, accs)?
            };
            self.lanes = outer;
            at = stop;
            left = left.map(|left| left % step);
        }
        Ok(self.narrow(&l.folds, accs, width, None))
    }

    /// Joins accumulators until there are as many, and as wide, as the next loop keeps: by halves.
    fn narrow(&mut self, folds: &[Folded], accs: Vec<Value>, from: Option<u8>, to: Option<u8>) -> Vec<Value> {
        if from == to || folds.is_empty() {
            return accs;
        }
        let mut narrowed = vec![];
        for (folded, accs) in folds.iter().zip(accs.chunks(from.map_or(1, usize::from))) {
            let mut accs = accs.to_vec();
            while accs.len() > 1 {
                let half = accs.split_off(accs.len() / 2);
                accs = accs.iter().zip(half).map(|(&a, b)| self.join(folded.fold, a, b)).collect();
            }
            let vector = accs[0];
            narrowed.push(if to.is_some() {
                vector
            } else {
                let lanes: Vec<Value> = (0..4u8).map(|l| self.b.ins().extractlane(vector, l)).collect();
                let (a, b) =
                    (self.join(folded.fold, lanes[0], lanes[2]), self.join(folded.fold, lanes[1], lanes[3]));
                self.join(folded.fold, a, b)
            });
        }
        narrowed
    }

    fn once(&mut self, l: &Loop, span: &Span, at: Value, accs: Vec<Value>) -> Result<Vec<Value>, BodyError> {
        let outer = self.enter(l.axis, at);
        let accs = self.turn(l, span, accs)?;
        self.leave(l.axis, outer);
        Ok(accs)
    }

    fn enter(&mut self, axis: Axis, at: Value) -> Option<Value> {
        self.scopes.push(HashMap::new());
        self.open.push(axis);
        self.axes[axis as usize].replace(at)
    }

    fn leave(&mut self, axis: Axis, outer: Option<Value>) {
        self.scopes.pop();
        self.open.pop();
        self.axes[axis as usize] = outer;
    }

    /// A loop over `from..to` that tests at its end; nothing where the range is empty.
    fn repeat(
        &mut self,
        l: &Loop,
        span: &Span,
        (from, to): (End, End),
        step: i64,
        accs: Vec<Value>,
    ) -> Result<Vec<Value>, BodyError> {
        if let (End::Known(from), End::Known(to)) = (from, to) {
            if from >= to {
                return Ok(accs);
            }
            if to - from <= step {
                let at = self.int(from);
                return self.once(l, span, at, accs);
            }
        }
        let surely_runs = matches!((from, to), (End::Known(_), End::Known(_)));
        let (from, to) = (self.end(from), self.end(to));
        let (body, exit) = (self.b.create_block(), self.b.create_block());
        self.b.append_block_param(body, I64);
        for &acc in &accs {
            let ty = self.b.func.dfg.value_type(acc);
            debug_assert!(ty == F32 || ty == F32X4);
            self.b.append_block_param(body, ty);
            self.b.append_block_param(exit, ty);
        }
        let args = |accs: &[Value]| accs.iter().map(|&v| BlockArg::from(v)).collect::<Vec<_>>();
        let first = [vec![BlockArg::from(from)], args(&accs)].concat();
        if surely_runs {
            self.b.ins().jump(body, &first);
        } else {
            let runs = self.b.ins().icmp(IntCC::SignedLessThan, from, to);
            self.b.ins().brif(runs, body, &first, exit, &args(&accs));
        }
        self.b.switch_to_block(body);
        let params = self.b.block_params(body).to_vec();
        let accs = self.once(l, span, params[0], params[1..].to_vec())?;
        let next = self.b.ins().iadd_imm_s(params[0], step);
        let again = self.b.ins().icmp(IntCC::SignedLessThan, next, to);
        let back = [vec![BlockArg::from(next)], args(&accs)].concat();
        self.b.ins().brif(again, body, &back, exit, &args(&accs));
        self.b.switch_to_block(exit);
        Ok(self.b.block_params(exit).to_vec())
    }

    /// From where to where the output's last axis is computed in this call.
    fn columns(&mut self) -> (Value, Value) {
        let last = self.tree.output.rank() - 1;
        let width = self.tree.terms.axes[last].extent;
        match self.called_range(last as Axis) {
            Some(range) => range,
            None => (self.int(0), self.get(width, Form::Point)),
        }
    }

    /// Calls a function for the row at hand.
    fn row(&mut self, function: usize, args: &[Id]) {
        let last = self.tree.output.rank() as Axis - 1;
        let (from, to) = self.columns();
        let outer = self.enter(last, from);
        let mut pointers: Vec<Value> = args.iter().map(|&a| self.address_of(a)).collect();
        if args.len() == 1 {
            pointers.push(self.int(0));
        }
        let out = self.output_address();
        self.leave(last, outer);
        let count = self.b.ins().isub(to, from);
        pointers.extend([out, count]);
        self.call_rust(ROWS.code[function] as *const (), &pointers);
    }

    /// Quantises the finished part of row 0.
    fn finish(&mut self) {
        let (from, to) = self.columns();
        let (len, bytes) = (self.tree.output.dtype.block_len(), self.tree.output.dtype.block_bytes());
        let (row, offset) = (self.output, self.get(self.tree.offset, Form::Point));
        let skipped = self.b.ins().ushr_imm_u(from, i64::from(len.trailing_zeros()));
        let skipped = self.b.ins().imul_imm_s(skipped, bytes as i64);
        let blocks = self.b.ins().iadd(row, offset);
        let blocks = self.b.ins().iadd(blocks, skipped);
        let ahead = self.b.ins().ishl_imm_u(from, 2);
        let values = self.b.ins().iadd(self.scratch, ahead);
        let count = self.b.ins().isub(to, from);
        self.call_rust(kernels::quantise::row as *const (), &[values, blocks, count]);
    }
}
