//! Machine code by Cranelift: from a loop tree to a function in memory of its own.
use super::clif;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{AbiParam, Function, Signature, UserFuncName, types::I64};
use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::{CodegenError, Context, settings, settings::Configurable};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use loops::{BodyError, Tree};
use memmap2::{Mmap, MmapMut};
use std::sync::Arc;

/// What compiled code is called with.
#[repr(C)]
pub(super) struct Call {
    /// The inputs, then the output.
    pub(super) args: *const *mut u8,
    pub(super) syms: *const i64,
    pub(super) scratch: *mut u8,
    /// From where to where, of the tree's ranged axes.
    pub(super) ranges: [[i64; 2]; 2],
    pub(super) tile: *const f32,
    pub(super) stride: i64,
}

/// The code generator, set up once for this machine.
pub struct Jit {
    isa: Arc<dyn TargetIsa>,
    context: Context,
    builder: FunctionBuilderContext,
}

/// A compiled function, in memory of its own.
pub(super) struct Code {
    /// Unmapped when the last executable is gone.
    memory: Mmap,
}

impl Jit {
    /// A code generator for the machine that this runs on.
    pub fn new() -> Result<Jit, BodyError> {
        let mut flags = settings::builder();
        let verify = if cfg!(debug_assertions) { "true" } else { "false" };
        for (name, value) in [("opt_level", "speed"), ("enable_verifier", verify)] {
            flags.set(name, value).map_err(|e| BodyError::Code(e.to_string()))?;
        }
        let host = cranelift_native::builder().map_err(|e| BodyError::Code(e.to_owned()))?;
        let isa = host.finish(settings::Flags::new(flags)).map_err(|e| BodyError::Code(e.to_string()))?;
        Ok(Jit { isa, context: Context::new(), builder: FunctionBuilderContext::new() })
    }

    fn emit(&mut self, tree: &Tree, inputs: usize) -> Result<(), BodyError> {
        self.context.clear();
        let convention = self.isa.default_call_conv();
        let mut signature = Signature::new(convention);
        signature.params.push(AbiParam::new(I64));
        self.context.func = Function::with_name_signature(UserFuncName::default(), signature);
        let mut builder = FunctionBuilder::new(&mut self.context.func, &mut self.builder);
        clif::function(&mut builder, tree, inputs, convention)?;
        builder.finalize(self.isa.frontend_config());
        Ok(())
    }

    /// The function of a tree over so many inputs, as text.
    pub fn clif(&mut self, tree: &Tree, inputs: usize) -> Result<String, BodyError> {
        self.emit(tree, inputs)?;
        Ok(self.context.func.display().to_string())
    }

    pub(super) fn compile(&mut self, tree: &Tree, inputs: usize) -> Result<Code, BodyError> {
        self.emit(tree, inputs)?;
        let failed = |what: String| BodyError::Code(what);
        let compiled = self.context.compile(&*self.isa, &mut ControlPlane::default());
        let compiled = compiled.map_err(|e| match e.inner {
            CodegenError::Verifier(faults) => failed(faults.0.iter().map(|f| format!("{f}\n")).collect()),
            other => failed(other.to_string()),
        })?;
        if !compiled.buffer.relocs().is_empty() {
            return Err(failed("this machine lacks an instruction that bodies need".into()));
        }
        let code = compiled.code_buffer();
        let map = |e: std::io::Error| BodyError::Code(format!("no memory for code: {e}"));
        let mut memory = MmapMut::map_anon(code.len()).map_err(map)?;
        memory.copy_from_slice(code);
        Ok(Code { memory: memory.make_exec().map_err(map)? })
    }
}

impl Code {
    /// Runs the function.
    ///
    /// # Safety
    /// The call's pointers are what the tree that was compiled says of them.
    pub(super) unsafe fn run(&self, call: &Call) {
        // SAFETY: the memory holds a function of this signature, and lives as long as `self`.
        let function: extern "C" fn(*const Call) = unsafe { std::mem::transmute(self.memory.as_ptr()) };
        function(call);
    }
}
