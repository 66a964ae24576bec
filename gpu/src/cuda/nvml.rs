//! NVML, the part of NVIDIA's driver that watches devices: how much of one's memory is free, without a context, which
//! would take some of it.
use libloading::Library;
use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::OnceLock;

const NAME: &str = "libnvidia-ml.so.1";

type Handle = *mut c_void;

/// What NVML says of a device's memory, in bytes.
#[repr(C)]
#[derive(Default)]
struct Memory {
    total: u64,
    free: u64,
    used: u64,
}

/// The library, open as long as the process.
struct Nvml {
    by_bus: unsafe extern "C" fn(*const c_char, *mut Handle) -> c_int,
    memory: unsafe extern "C" fn(Handle, *mut Memory) -> c_int,
    /// What the functions are of.
    _library: Library,
}

/// Bytes that are free on the device at a place of the PCI bus; none where nobody says.
pub(super) fn free_bytes(bus: &str) -> Option<u64> {
    static OPEN: OnceLock<Option<Nvml>> = OnceLock::new();
    OPEN.get_or_init(open).as_ref()?.free_bytes(bus)
}

fn open() -> Option<Nvml> {
    // SAFETY: NVIDIA's library does nothing on being loaded but set itself up; it is never unloaded. The types are
    // those that NVML documents.
    unsafe {
        let library = Library::new(NAME).ok()?;
        let init: unsafe extern "C" fn() -> c_int = *library.get(b"nvmlInit_v2\0").ok()?;
        let by_bus = *library.get(b"nvmlDeviceGetHandleByPciBusId_v2\0").ok()?;
        let memory = *library.get(b"nvmlDeviceGetMemoryInfo\0").ok()?;
        (init() == 0).then_some(Nvml { by_bus, memory, _library: library })
    }
}

impl Nvml {
    fn free_bytes(&self, bus: &str) -> Option<u64> {
        let bus = CString::new(bus).ok()?;
        let (mut handle, mut memory) = (ptr::null_mut(), Memory::default());
        // SAFETY: the text ends with a zero, and the handle is there to be written.
        if unsafe { (self.by_bus)(bus.as_ptr(), &mut handle) } != 0 {
            return None;
        }
        // SAFETY: the handle is the one it gave, and there is room for its answer.
        (unsafe { (self.memory)(handle, &mut memory) } == 0).then_some(memory.free)
    }
}
