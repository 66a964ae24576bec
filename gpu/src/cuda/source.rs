//! A kernel as CUDA C++, and what it is to be launched with.
use crate::program::{ENTRY, Program};
use cubecl::prelude::AddressType;
use cubecl::{Compiler as _, ExecutionMode};
use cubecl_cpp::cuda::CudaDialect;
use cubecl_cpp::cuda::mma::CudaWmmaCompiler;
use cubecl_cpp::shared::{CompilationOptions, CppCompiler, CppSupportedFeatures};
use std::sync::{Mutex, PoisonError};

/// A kernel's text, which every architecture has in common.
pub(super) struct Source {
    pub(super) text: String,
    /// Threads of a block.
    pub(super) units: u32,
    /// Bytes of dynamic shared memory of a block.
    pub(super) shared_bytes: u32,
    /// Bytes of the last argument, which follows the pointers and is passed by value: lengths that the compiler would
    /// look up if a kernel asked for them. None does.
    pub(super) info_bytes: usize,
}

/// What there is of them at most, for any kernel.
pub(super) const INFO_BYTES_MAX: usize = 1024;

/// Names of temporaries come from a counter that every kernel begins anew, those that others write meanwhile, too.
static WRITING: Mutex<()> = Mutex::new(());

/// The text of a program.
pub(super) fn source(program: Program) -> Result<Source, String> {
    // What a kernel computes follows from its operations alone: no approximations, whatever the device offers.
    let supports_features = CppSupportedFeatures { grid_constants: true, ..Default::default() };
    let options = CompilationOptions { supports_features, ..Default::default() };
    let bindings = program.bindings.len();
    let _alone = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let compiled = CppCompiler::<CudaDialect<CudaWmmaCompiler>>::default()
        .compile(program.definition, &options, ExecutionMode::Unchecked, AddressType::U32.unsigned_type())
        .map_err(|e| format!("{e:?}"))?;
    let ids: Vec<usize> = compiled.buffers.iter().map(|buffer| buffer.id as usize).collect();
    if !ids.iter().copied().eq(0..bindings) || compiled.flags.has_dynamic_meta {
        return Err(format!("its arguments are {ids:?} and more, expected 0 to {bindings} in order"));
    }
    let text = compiled.to_string();
    if text.contains("info.") {
        return Err("its code asks for lengths that nobody gives it".into());
    }
    if compiled.kernel_name != ENTRY {
        return Err(format!("its code is called {}, expected {ENTRY}", compiled.kernel_name));
    }
    let lengths = compiled.info.sized_meta.as_ref();
    let info_bytes = lengths.map_or(0, |lengths| lengths.padded_size() * lengths.ty.size());
    if info_bytes > INFO_BYTES_MAX {
        return Err(format!("it has {bindings} bindings, for which there is no room"));
    }
    let shared_bytes = compiled.shared_memory_size() as u32;
    Ok(Source { text, units: compiled.cube_dim.num_elems(), shared_bytes, info_bytes })
}
