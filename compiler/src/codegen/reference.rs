//! Kernels that are the operators' own meaning: slow, for holding other backends to them on whole plans.
use crate::error::LowerError;
use ir::plan::Kernel;
use ir::{Op, Symbols, Tensor, TensorType};
use kernels::layout::Layout;
use kernels::pack::gather_row;
use runtime::device::Executable;
use std::ops::Range;
use std::sync::Arc;

struct Meaning {
    op: Op,
    kernel: Kernel,
    symbols: Vec<String>,
}

/// The code of every kernel, in order.
pub fn lower(kernels: &[Kernel], symbols: &[String]) -> Result<Vec<Arc<dyn Executable>>, LowerError> {
    let one = |kernel: &Kernel| -> Result<Arc<dyn Executable>, LowerError> {
        let refuse = |reason| LowerError::Kernel { id: kernel.id, name: kernel.name.clone(), reason };
        let op = Op::parse(&kernel.op.0, &kernel.op.1).map_err(refuse)?;
        Ok(Arc::new(Meaning { op, kernel: kernel.clone(), symbols: symbols.to_vec() }))
    };
    kernels.iter().map(one).collect()
}

impl Executable for Meaning {
    fn units(&self, _: &[i64]) -> usize {
        1
    }

    fn scratch_bytes(&self) -> usize {
        0
    }

    unsafe fn run(&self, args: &[*mut u8], syms: &[i64], units: Range<usize>, _: *mut u8) {
        if units.is_empty() {
            return;
        }
        let values = self.symbols.iter().zip(syms).fold(Symbols::new(), |all, (name, v)| all.with(name, *v));
        let types = self.kernel.inputs.iter().zip(&self.kernel.layouts);
        let inputs: Vec<Tensor> = types
            .zip(args)
            // SAFETY: the caller's promise: every argument points to a value of its type.
            .map(|((ty, layout), arg)| unsafe { read(ty, layout, *arg, &values) })
            .collect();
        let result = self.op.eval(&inputs.iter().collect::<Vec<_>>(), &values);
        let result = result.unwrap_or_else(|e| panic!("{}: {e}", self.kernel.name));
        let output = args[self.kernel.inputs.len()];
        // SAFETY: as above, for the output.
        unsafe { std::ptr::copy_nonoverlapping(result.bytes().as_ptr(), output, result.bytes().len()) };
    }
}

/// # Safety
/// `at` points to a value of type `ty` in `layout`.
unsafe fn read(ty: &TensorType, layout: &str, at: *const u8, symbols: &Symbols) -> Tensor {
    let shape = symbols.extents(ty).expect("the session gives every symbol a value");
    if let Some(layout) = Layout::parse(layout) {
        let [experts @ .., rows, cols] = &shape[..] else { panic!("{ty} is packed, and no matrix") };
        let (experts, rows, cols) =
            (experts.iter().product::<u64>() as usize, *rows as usize, *cols as usize);
        let bytes = layout.packed_bytes(rows, cols);
        // SAFETY: the caller's promise.
        let packed = unsafe { std::slice::from_raw_parts(at, experts * bytes) };
        let mut values = vec![0.0; experts * rows * cols];
        for (row, out) in values.chunks_exact_mut(cols).enumerate() {
            gather_row(layout, &packed[row / rows * bytes..][..bytes], row % rows, out);
        }
        return Tensor::f32(&shape, &values);
    }
    let bytes = ty.bytes(|s| symbols.get(s)).expect("a type with known symbols has a size") as usize;
    // SAFETY: the caller's promise.
    let bytes = unsafe { std::slice::from_raw_parts(at, bytes) };
    Tensor::from_bytes(ty.dtype, &shape, bytes).expect("as many bytes as the type says")
}
