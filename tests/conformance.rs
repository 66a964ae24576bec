//! Every operator against its meaning: what `body` computes is what `eval` says, alone and fused into a
//! neighbour, for every type that `infer` takes; and nothing that `infer` is given makes it panic.
//!
//! The suite walks `ops::samples()` and names no operator.

use ir::expr::{Body, inline};
use ir::ops::{evaluate_body, samples};
use ir::{DType, Dim, Op, OpError, Tensor, TensorType};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tests::compare::{difference, tolerance};
use tests::draw::{inputs, symbols};

/// Larger than this many elements, a value is typed but not computed.
const ELEMENTS_MAX: u64 = 1 << 16;

// ---- one operator --------------------------------------------------------------------------------

fn shown(op: &Op, types: &[TensorType]) -> String {
    let types: Vec<String> = types.iter().map(TensorType::to_string).collect();
    format!("{} {{{}}} ({})", op.name(), op.attributes(), types.join(", "))
}

/// Compares body and meaning on inputs of the types, which `infer` has taken as giving `ty`.
fn body_is_meaning(op: &Op, types: &[TensorType], ty: &TensorType) -> Result<(), String> {
    let symbols = symbols(types.iter().chain([ty]));
    let sizes = types.iter().chain([ty]).map(|ty| {
        let extents = symbols.extents(ty)?;
        let elements = extents.iter().try_fold(1u64, |n, &e| n.checked_mul(e))?;
        let whole = ty.bytes(|s| symbols.get(s)).is_some();
        (whole && elements <= ELEMENTS_MAX).then_some(elements)
    });
    let body = op.body(types);
    if sizes.collect::<Option<Vec<_>>>().is_none() {
        return Ok(());
    }
    let inputs = inputs(types, &symbols, 1);
    let inputs: Vec<&Tensor> = inputs.iter().collect();
    let meant = op.eval(&inputs, &symbols);
    if let Ok(meant) = &meant
        && symbols.extents(ty) != Some(meant.shape().to_vec())
    {
        return Err(format!("eval gives {}, infer says {ty}", meant.ty()));
    }
    let Some(body) = body else { return Ok(()) };
    agree(evaluate_body(&body, ty, &inputs, None, &symbols), meant, tolerance(ty.dtype))
}

/// Both are tensors within the tolerance, or both refuse.
fn agree(
    body: Result<Tensor, OpError>,
    meant: Result<Tensor, OpError>,
    tolerance: f32,
) -> Result<(), String> {
    match (body, meant) {
        (Ok(body), Ok(meant)) => match difference(&body, &meant, tolerance) {
            Some(difference) => Err(format!("the body's value {difference}")),
            None => Ok(()),
        },
        (Err(_), Err(_)) => Ok(()),
        (Ok(_), Err(refusal)) => Err(format!("the body has a value where eval says: {refusal}")),
        (Err(refusal), Ok(_)) => Err(format!("eval has a value where the body says: {refusal}")),
    }
}

#[track_caller]
fn none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{} faults:\n{}\n", faults.len(), faults.join("\n"));
}

#[test]
fn a_body_computes_what_its_operator_means() {
    let mut faults = vec![];
    for (op, types) in samples() {
        let checked = op.infer(&types).map_err(|e| format!("infer refuses its own sample: {e}"));
        let checked = checked.and_then(|ty| {
            let symbols = symbols(types.iter().chain([&ty]));
            let inputs = inputs(&types, &symbols, 1);
            let value = op.eval(&inputs.iter().collect::<Vec<_>>(), &symbols);
            value.map_err(|e| format!("eval refuses its own sample: {e}"))?;
            body_is_meaning(&op, &types, &ty)
        });
        faults.extend(checked.err().map(|fault| format!("{}: {fault}", shown(&op, &types))));
    }
    none(faults);
}

#[test]
fn attributes_survive_the_text_form() {
    let again = |op: &Op| Op::parse(op.name(), &op.attributes());
    let lost = samples().into_iter().filter(|(op, _)| again(op).as_ref() != Ok(op));
    none(lost.map(|(op, types)| format!("{} reads back as {:?}", shown(&op, &types), again(&op))).collect());
}

// ---- two operators -------------------------------------------------------------------------------

/// A sample whose body can stand inside another's.
struct Sample {
    op: Op,
    types: Vec<TensorType>,
    ty: TensorType,
    body: Body,
}

#[test]
fn a_fused_pair_computes_what_both_mean() {
    let with_body = samples().into_iter().filter_map(|(op, types)| {
        let ty = op.infer(&types).expect("infer takes its own sample");
        let body = op.body(&types)?;
        Some(Sample { op, types, ty, body })
    });
    let all: Vec<Sample> = with_body.collect();
    let mut faults = vec![];
    let mut pairs = 0;
    for outer in &all {
        for slot in 0..outer.types.len() {
            for inner in all.iter().filter(|inner| inner.ty == outer.types[slot]) {
                pairs += 1;
                faults.extend(fused_is_meaning(outer, slot, inner).err().map(|fault| {
                    let (outer, inner) = (shown(&outer.op, &outer.types), shown(&inner.op, &inner.types));
                    format!("{outer} with input {slot} from {inner}: {fault}")
                }));
            }
        }
    }
    assert!(pairs > 0, "no two samples fit together");
    none(faults);
}

/// The fused node's inputs are the outer operator's without `slot`, then the inner's.
fn fused_is_meaning(outer: &Sample, slot: usize, inner: &Sample) -> Result<(), String> {
    let kept = outer.types.len() as u32 - 1;
    let outer_inputs: Vec<u32> = (0..=kept).map(|i| if i as usize > slot { i - 1 } else { i }).collect();
    let inner_inputs: Vec<u32> = (kept..kept + inner.types.len() as u32).collect();
    let body = inline(&outer.body, outer.ty.rank(), slot, &inner.body, &outer_inputs, &inner_inputs);

    let mut types = outer.types.clone();
    types.remove(slot);
    types.extend_from_slice(&inner.types);
    let symbols = symbols(types.iter().chain([&outer.ty, &inner.ty]));
    let given = inputs(&types, &symbols, 2);
    let given: Vec<&Tensor> = given.iter().collect();
    let (own, below) = given.split_at(kept as usize);

    let meant = inner.op.eval(below, &symbols).and_then(|middle| {
        let mut inputs = own.to_vec();
        inputs.insert(slot, &middle);
        outer.op.eval(&inputs, &symbols)
    });
    // A fused body does not round the value between the two to its dtype.
    let tolerance = 10.0 * tolerance(outer.ty.dtype).max(tolerance(inner.ty.dtype));
    agree(evaluate_body(&body, &outer.ty, &given, None, &symbols), meant, tolerance)
}

// ---- odd types -----------------------------------------------------------------------------------

/// Types that the operator was not made for: other dtypes, ranks, extents, and numbers of inputs.
fn odd(types: &[TensorType]) -> Vec<Vec<TensorType>> {
    let mut all = vec![vec![], [types, types].concat(), types.iter().rev().cloned().collect()];
    for at in 0..types.len() {
        let mut change = |ty: TensorType| {
            let mut types = types.to_vec();
            types[at] = ty;
            all.push(types);
        };
        let ty = &types[at];
        for name in ["f32", "f16", "bf16", "i64", "i32", "u8", "i8", "bool", "q8_0", "q4_k"] {
            change(ty.with_dtype(DType::parse(name).expect("a dtype")));
        }
        let one = Dim::from(1);
        change(TensorType::new(ty.dtype, []));
        change(TensorType::new(ty.dtype, ty.shape.iter().skip(1).cloned()));
        change(TensorType::new(ty.dtype, ty.shape.iter().take(ty.rank().saturating_sub(1)).cloned()));
        change(TensorType::new(ty.dtype, [one.clone()].into_iter().chain(ty.shape.clone())));
        change(TensorType::new(ty.dtype, ty.shape.iter().cloned().chain([one])));
        change(TensorType::new(ty.dtype, (0..80).map(|_| Dim::from(1))));
        for axis in 0..ty.rank() {
            let symbol = Dim::symbol("odd");
            let extents = [0, 1, 5, 1 << 40, 1 << 60, i64::MAX, -1, i64::MIN].map(Dim::from);
            for extent in extents.into_iter().chain([symbol.clone(), symbol.clone() * 2 + Dim::from(1)]) {
                let mut ty = ty.clone();
                ty.shape[axis] = extent;
                change(ty);
            }
        }
    }
    if let [most @ .., _] = types {
        all.push(most.to_vec());
    }
    all
}

#[test]
fn odd_types_are_refused_or_computed_and_never_panic() {
    let mut faults = vec![];
    let mut refused = 0;
    for (op, types) in samples() {
        for types in odd(&types) {
            let checked = catch_unwind(AssertUnwindSafe(|| match op.infer(&types) {
                Ok(ty) => body_is_meaning(&op, &types, &ty),
                Err(refusal) => {
                    refused += 1;
                    let text = refusal.to_string();
                    let well_put = !text.is_empty() && !text.ends_with('.');
                    if well_put { Ok(()) } else { Err(format!("refuses with {text:?}")) }
                }
            }));
            let fault = match checked {
                Ok(checked) => checked.err(),
                Err(panic) => {
                    let text = panic.downcast_ref::<String>().map(String::as_str);
                    Some(format!("panics: {}", text.or(panic.downcast_ref().copied()).unwrap_or("?")))
                }
            };
            faults.extend(fault.map(|fault| format!("{}: {fault}", shown(&op, &types))));
        }
    }
    assert!(refused > 0, "no odd type was refused");
    none(faults);
}
