//! Functions that no instruction computes, four lanes at a time.
//!
//! Every operation is the same in each lane and for each width, so a value has the same bits wherever in a row
//! it stands, and the wide versions of these functions give them too.
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32X4, I8, I32, I32X4};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value};
use cranelift_frontend::FunctionBuilder;

/// Flags of a bitcast between vectors of one lane width.
pub(super) fn cast_flags() -> MemFlagsData {
    MemFlagsData::new().with_endianness(cranelift_codegen::ir::Endianness::Little)
}

/// Flags of our loads and stores: they never trap, and nothing is known of their alignment.
pub(super) fn memory() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

fn splat(b: &mut FunctionBuilder, value: f32) -> Value {
    let value = b.ins().f32const(value);
    b.ins().splat(F32X4, value)
}

fn splat_bits(b: &mut FunctionBuilder, value: i32) -> Value {
    let value = b.ins().iconst(I32, i64::from(value));
    b.ins().splat(I32X4, value)
}

/// `a < b ? x : y`, vectors or not: the form that becomes a minimum or maximum instruction.
pub(super) fn pick(b: &mut FunctionBuilder, a: Value, other: Value, x: Value, y: Value) -> Value {
    let less = b.ins().fcmp(FloatCC::LessThan, a, other);
    choose(b, less, x, y)
}

/// `condition ? x : y`, of vectors by lanes.
pub(super) fn choose(b: &mut FunctionBuilder, condition: Value, x: Value, y: Value) -> Value {
    let ty = b.func.dfg.value_type(x);
    if !ty.is_vector() {
        return b.ins().select(condition, x, y);
    }
    let mask = if ty == I32X4 { condition } else { b.ins().bitcast(ty, cast_flags(), condition) };
    b.ins().bitselect(mask, x, y)
}

/// The lesser or the greater; the other side where one is NaN.
pub(super) fn extreme(b: &mut FunctionBuilder, is_max: bool, x: Value, y: Value) -> Value {
    let best = if is_max { pick(b, x, y, y, x) } else { pick(b, y, x, y, x) };
    // The comparison fails where x is NaN, and takes x.
    let is_nan = b.ins().fcmp(FloatCC::Unordered, x, x);
    choose(b, is_nan, y, best)
}

/// `1.5 · 2^23`: added to a small number, it rounds that to an integer in the low bits. The 126 biases the exponent.
pub(super) const EXP_MAGIC: f32 = 12_582_912.0 + 126.0;
/// Beyond these, `exp` is infinite, or below what it can say and taken for 0.
pub(super) const EXP_RANGE: (f32, f32) = (-87.4, 89.0);
/// `ln 2` in two parts, the first short enough that its products with small integers are exact.
pub(super) const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
/// `exp(r)` for `|r| <= ln 2 / 2`, the highest power first.
pub(super) const EXP_POWERS: [f32; 8] =
    [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_6e-1, 0.5, 1.0, 1.0];

/// e to the power of each lane, within two units in the last place; 0 where it is below `1.6e-38`.
pub(super) fn exp(b: &mut FunctionBuilder, x: Value) -> Value {
    let (low, high) = (splat(b, EXP_RANGE.0), splat(b, EXP_RANGE.1));
    // In this order a NaN passes.
    let x = pick(b, high, x, high, x);
    let x = pick(b, x, low, low, x);
    let magic = splat(b, EXP_MAGIC);
    let log2_e = splat(b, std::f32::consts::LOG2_E);
    let shifted = b.ins().fma(x, log2_e, magic);
    let n = b.ins().fsub(shifted, magic);
    let (ln_2, rest) = (splat(b, -LN_2.0), splat(b, -LN_2.1));
    let r = b.ins().fma(n, ln_2, x);
    let r = b.ins().fma(n, rest, r);
    let mut sum = splat(b, EXP_POWERS[0]);
    for &power in &EXP_POWERS[1..] {
        let power = splat(b, power);
        sum = b.ins().fma(sum, r, power);
    }
    // The low bits of `shifted` are the exponent of half of 2^n: doubling afterwards reaches infinity.
    let bits = b.ins().bitcast(I32X4, cast_flags(), shifted);
    let bits = b.ins().ishl_imm_u(bits, 23);
    let half = b.ins().bitcast(F32X4, cast_flags(), bits);
    let scaled = b.ins().fmul(sum, half);
    b.ins().fadd(scaled, scaled)
}

/// The f32 of f16 bits in the low half of each lane; lanes or a single one.
pub(super) fn from_f16(b: &mut FunctionBuilder, bits: Value) -> Value {
    let (int, float) = same_width(b, bits);
    let constant = |b: &mut FunctionBuilder, v: i32| constant(b, int, v);
    let mask = constant(b, 0x7fff);
    let magnitude = b.ins().band(bits, mask);
    let placed = b.ins().ishl_imm_u(magnitude, 13);
    // The exponents' biases differ by 112; the product is right for subnormals too.
    let factor = constant(b, (112 + 127) << 23);
    let (value, factor) =
        (b.ins().bitcast(float, cast_flags(), placed), b.ins().bitcast(float, cast_flags(), factor));
    let value = b.ins().fmul(value, factor);
    let value = b.ins().bitcast(int, cast_flags(), value);
    let (infinity, exponent) = (constant(b, 0x7c00), constant(b, 0x7f80_0000));
    let is_finite = b.ins().icmp(IntCC::SignedLessThan, magnitude, infinity);
    let special = b.ins().bor(placed, exponent);
    let value = choose(b, is_finite, value, special);
    let sign = b.ins().ushr_imm_u(bits, 15);
    let sign = b.ins().ishl_imm_u(sign, 31);
    let value = b.ins().bor(value, sign);
    b.ins().bitcast(float, cast_flags(), value)
}

/// The f32 of bf16 bits in the low half of each lane.
pub(super) fn from_bf16(b: &mut FunctionBuilder, bits: Value) -> Value {
    let (_, float) = same_width(b, bits);
    let bits = b.ins().ishl_imm_u(bits, 16);
    b.ins().bitcast(float, cast_flags(), bits)
}

/// f16 bits, in the low half of each lane, of the nearest to each f32, ties to even.
pub(super) fn to_f16(b: &mut FunctionBuilder, value: Value) -> Value {
    let (int, float) = (I32X4, F32X4);
    let constant = |b: &mut FunctionBuilder, v: i32| splat_bits(b, v);
    let bits = b.ins().bitcast(int, cast_flags(), value);
    let mask = constant(b, i32::MAX);
    let magnitude = b.ins().band(bits, mask);
    let sign = b.ins().ushr_imm_u(bits, 31);
    let sign = b.ins().ishl_imm_u(sign, 15);
    // Below 2^-14 the step is 2^-24, which is the step of f32 at 0.5.
    let half = constant(b, 0x3f00_0000);
    let (small, half_float) =
        (b.ins().bitcast(float, cast_flags(), magnitude), b.ins().bitcast(float, cast_flags(), half));
    let small = b.ins().fadd(small, half_float);
    let small = b.ins().bitcast(int, cast_flags(), small);
    let small = b.ins().isub(small, half);
    let odd = b.ins().ushr_imm_u(magnitude, 13);
    let one = constant(b, 1);
    let odd = b.ins().band(odd, one);
    let rounding = constant(b, 0xfff - (112 << 23));
    let normal = b.ins().iadd(magnitude, rounding);
    let normal = b.ins().iadd(normal, odd);
    let normal = b.ins().ushr_imm_u(normal, 13);
    let least_normal = constant(b, 113 << 23);
    let is_small = b.ins().icmp(IntCC::SignedLessThan, magnitude, least_normal);
    let finite = choose(b, is_small, small, normal);
    // From 65520 on the nearest is infinity.
    let (overflow, infinity, nan) = (constant(b, 0x477f_f000), constant(b, 0x7c00), constant(b, 0x7e00));
    let is_finite = b.ins().icmp(IntCC::SignedLessThan, magnitude, overflow);
    let finite = choose(b, is_finite, finite, infinity);
    let exponent = constant(b, 0x7f80_0000);
    let is_nan = b.ins().icmp(IntCC::SignedGreaterThan, magnitude, exponent);
    let result = choose(b, is_nan, nan, finite);
    b.ins().bor(result, sign)
}

/// bf16 bits, in the low half of each lane, of the nearest to each f32, ties to even.
pub(super) fn to_bf16(b: &mut FunctionBuilder, value: Value) -> Value {
    let bits = b.ins().bitcast(I32X4, cast_flags(), value);
    let (one, rounding, quiet) = (splat_bits(b, 1), splat_bits(b, 0x7fff), splat_bits(b, 0x40));
    let odd = b.ins().ushr_imm_u(bits, 16);
    let odd = b.ins().band(odd, one);
    let rounded = b.ins().iadd(bits, rounding);
    let rounded = b.ins().iadd(rounded, odd);
    let rounded = b.ins().ushr_imm_u(rounded, 16);
    let is_nan = b.ins().fcmp(FloatCC::Unordered, value, value);
    let nan = b.ins().ushr_imm_u(bits, 16);
    let nan = b.ins().bor(nan, quiet);
    choose(b, is_nan, nan, rounded)
}

fn same_width(
    b: &FunctionBuilder,
    bits: Value,
) -> (cranelift_codegen::ir::Type, cranelift_codegen::ir::Type) {
    match b.func.dfg.value_type(bits) {
        I32X4 => (I32X4, F32X4),
        _ => (I32, cranelift_codegen::ir::types::F32),
    }
}

fn constant(b: &mut FunctionBuilder, ty: cranelift_codegen::ir::Type, value: i32) -> Value {
    if ty == I32X4 { splat_bits(b, value) } else { b.ins().iconst(I32, i64::from(value)) }
}

/// A scalar bool, 0 or 1, as a lane's mask.
pub(super) fn mask(b: &mut FunctionBuilder, bool: Value) -> Value {
    debug_assert_eq!(b.func.dfg.value_type(bool), I8);
    b.ins().bmask(I32, bool)
}

/// Natural logarithms of four values, in place.
pub(super) extern "C" fn log_of_four(values: *mut [f32; 4]) {
    // SAFETY: compiled code passes a slot of its own stack.
    unsafe { *values = (*values).map(f32::ln) };
}
