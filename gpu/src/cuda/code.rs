//! Machine code for kernels, which needs no device: only NVRTC.
use super::nvrtc::{Compiled, nvrtc};
use super::source::{Source, source};
use crate::lower::lower;
use crate::program::Program;
use ir::plan::Kernel;

/// What NVIDIA's compiler made of one version of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// The text in CUDA C++.
    pub text: String,
    /// The machine code.
    pub cubin: Vec<u8>,
    /// Threads of a block.
    pub units: u32,
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of registers that a thread keeps in memory, for want of room.
    pub spill_bytes: u32,
    /// Bytes of memory that a thread has for itself, spills among them.
    pub stack_bytes: u32,
    /// Bytes of shared memory of a block, all of it dynamic.
    pub shared_bytes: u32,
}

/// What a plan's kernel is launched as: of each launch the versions there are, for an architecture as [`target`] names
/// it. Needs no device; why it cannot be is in the error.
pub fn code(kernel: &Kernel, symbols: &[String], target: &str) -> Result<Vec<Vec<Code>>, String> {
    let versions = |programs: Vec<Program>| programs.into_iter().map(|p| compile(p, target)).collect();
    lower(kernel, symbols)?.into_iter().map(versions).collect()
}

/// The version of NVRTC that is used here, or why there is none.
pub fn compiler() -> Result<(i32, i32), String> {
    nvrtc().map(|nvrtc| nvrtc.version)
}

/// What a compute capability is called in machine code, with all that this very architecture has.
pub fn target(major: i32, minor: i32) -> String {
    // From Hopper on some instructions are of one architecture alone.
    format!("sm_{major}{minor}{}", if major >= 9 { "a" } else { "" })
}

fn compile(program: Program, target: &str) -> Result<Code, String> {
    assemble(source(program)?, target)
}

/// Machine code of a text.
fn assemble(source: Source, target: &str) -> Result<Code, String> {
    let compiled = nvrtc()?.compile(&source.text, target)?;
    let Compiled { cubin, log } = compiled;
    let said = |unit| said(&log, unit);
    Ok(Code {
        text: source.text,
        cubin,
        units: source.units,
        registers: said("registers"),
        spill_bytes: said("bytes spill stores").max(said("bytes spill loads")),
        stack_bytes: said("bytes stack frame"),
        shared_bytes: source.shared_bytes,
    })
}

/// The number that the assembler's log has before a unit; zero where it has none.
fn said(log: &str, unit: &str) -> u32 {
    let before = log.find(&format!(" {unit}")).map_or("", |at| &log[..at]);
    before.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_assemblers_log_is_understood() {
        let log = "ptxas info    : Function properties for kernel\n\
                   ptxas         .     16 bytes stack frame, 8 bytes spill stores, 24 bytes spill loads\n\
                   ptxas info    : Used 40 registers, used 1 barriers, 16 bytes cumulative stack size";
        let units =
            ["registers", "bytes spill stores", "bytes spill loads", "bytes stack frame", "bytes smem"];
        assert_eq!(units.map(|unit| said(log, unit)), [40, 8, 24, 16, 0]);
    }

    #[test]
    fn architectures_from_hopper_on_are_asked_for_with_all_they_have() {
        let named = [(7, 5), (8, 0), (9, 0), (10, 3), (12, 0)].map(|(major, minor)| target(major, minor));
        assert_eq!(named, ["sm_75", "sm_80", "sm_90a", "sm_103a", "sm_120a"]);
    }
}
