//! Runs a kernel on host tensors, whole or cut into parts.
use compiler::codegen::cpu::{Jit, compile_body};
use ir::{DType, Symbols, Tensor, TensorType};
use loops::{BodyError, BodyKernel};
use runtime::device::Executable;

/// Bytes around the output that nothing may touch, and around inputs that nothing may depend on.
const MARGIN: usize = 64;

/// Numbers that look random, the same at every run.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn real(&mut self) -> f32 {
        self.next() as f32 / (1u64 << 31) as f32 * 6.0 - 3.0
    }

    /// A tensor of that type: reals between -3 and 3, ints below `ints`.
    pub(crate) fn tensor(&mut self, ty: &TensorType, symbols: &Symbols, ints: i64) -> Tensor {
        let shape = symbols.extents(ty).expect("every symbol has a value");
        let len = shape.iter().product::<u64>();
        if ty.dtype.is_real() {
            let values: Vec<f32> = (0..len).map(|_| self.real()).collect();
            return Tensor::from_f32(ty.dtype, &shape, &values);
        }
        let ints = if ty.dtype == DType::Bool { 2 } else { ints };
        let values: Vec<i64> = (0..len).map(|_| self.next() as i64 % ints).collect();
        Tensor::from_ints(ty.dtype, &shape, values.into_iter())
    }
}

/// How a call is cut into units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Parts {
    Whole,
    OneByOne,
}

pub(crate) fn run(
    kernel: &BodyKernel,
    inputs: &[Tensor],
    symbols: &Symbols,
    parts: Parts,
) -> Result<Tensor, BodyError> {
    let executable = compile_body(kernel, &mut Jit::new()?)?;
    let syms: Vec<i64> = kernel.symbols.iter().map(|s| symbols.get(s).expect("a value")).collect();
    let shape = symbols.extents(&kernel.output).expect("every symbol has a value");
    let bytes = kernel.output.bytes(|s| symbols.get(s)).expect("a size") as usize;
    let mut output = vec![0xa5u8; bytes + 2 * MARGIN];
    // Reals are NaN there.
    let around = |t: &Tensor| [&[0xff; MARGIN], t.bytes(), &[0xff; MARGIN]].concat();
    let mut copies: Vec<Vec<u8>> = inputs.iter().map(around).collect();
    let mut args: Vec<*mut u8> = copies.iter_mut().map(|c| c[MARGIN..].as_mut_ptr()).collect();
    args.push(output[MARGIN..].as_mut_ptr());
    let mut scratch = vec![0u8; executable.scratch_bytes()];
    let units = executable.units(&syms);
    let step = if parts == Parts::Whole { units.max(1) } else { 1 };
    for unit in (0..units).step_by(step) {
        unsafe { executable.run(&args, &syms, unit..(unit + step).min(units), scratch.as_mut_ptr()) };
    }
    let margins = output[..MARGIN].iter().chain(&output[MARGIN + bytes..]);
    assert!(margins.copied().all(|b| b == 0xa5), "wrote outside of the output");
    Ok(Tensor::from_bytes(kernel.output.dtype, &shape, &output[MARGIN..MARGIN + bytes])
        .expect("a whole tensor"))
}

/// The largest difference, relative where values are large.
pub(crate) fn difference(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.shape(), expected.shape());
    if !found.dtype().is_real() {
        return if found.bytes() == expected.bytes() { 0.0 } else { f64::INFINITY };
    }
    let pairs = found.to_f32().into_iter().zip(expected.to_f32());
    pairs.fold(0.0, |worst, (a, b)| {
        let (a, b) = (f64::from(a), f64::from(b));
        let same = a == b || (a.is_nan() && b.is_nan());
        let apart = if same { 0.0 } else { (a - b).abs() / (1.0 + b.abs().min(1e30)) };
        if apart.is_nan() { f64::INFINITY } else { f64::max(worst, apart) }
    })
}
