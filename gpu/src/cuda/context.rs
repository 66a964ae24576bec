//! A device's context and its one stream, what is taken in it, and what the driver's errors mean.
//!
//! Each call binds the context to its thread first: who loads a plan and who runs it are different threads. What is
//! taken is given back when it is dropped, once the stream is through.
use cudarc::driver::DriverError;
use cudarc::driver::result::{self, ctx, event, module, primary_ctx, stream};
use cudarc::driver::sys::{self, CUdeviceptr, CUresult};
use runtime::DeviceError;
use std::ffi::CString;
use std::ptr;
use std::sync::Arc;

/// A device that is open.
pub(super) struct Context {
    pub(super) stream: sys::CUstream,
    primary: Primary,
}

/// The context that all of the process have of a device, held as long as this lives.
struct Primary {
    device: sys::CUdevice,
    raw: sys::CUcontext,
}

// SAFETY: the driver takes its handles from any thread; calls bind the context first.
unsafe impl Send for Context {}
// SAFETY: as above; nothing of it is changed.
unsafe impl Sync for Context {}

impl Context {
    pub(super) fn open(device: sys::CUdevice) -> Result<Arc<Context>, DeviceError> {
        let failed = |error| fault("opening the device", error);
        // SAFETY: the device is one that the driver gave.
        let raw = unsafe { primary_ctx::retain(device) }.map_err(failed)?;
        let primary = Primary { device, raw };
        primary.bind().map_err(failed)?;
        let stream = stream::create(stream::StreamKind::NonBlocking).map_err(failed)?;
        Ok(Arc::new(Context { stream, primary }))
    }

    /// Makes it the thread's own.
    pub(super) fn bind(&self) -> Result<(), DeviceError> {
        self.primary.bind().map_err(|error| fault("binding the device", error))
    }

    /// Waits until everything that was asked is done.
    pub(super) fn wait(&self) -> Result<(), DeviceError> {
        self.bind()?;
        // SAFETY: the stream lives as long as this.
        unsafe { stream::synchronize(self.stream) }.map_err(|error| fault("running the last steps", error))
    }

    /// As [`Context::wait`], before something is given back: where that fails there is nothing to wait for.
    fn settle(&self) {
        drop(self.wait());
    }
}

impl Primary {
    fn bind(&self) -> Result<(), DriverError> {
        // SAFETY: the context is held as long as this lives.
        unsafe { ctx::set_current(self.raw) }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.settle();
        // SAFETY: nobody has the stream any more. Where the device is gone, so is the stream.
        let _ = unsafe { stream::destroy(self.stream) };
    }
}

impl Drop for Primary {
    fn drop(&mut self) {
        // SAFETY: it was retained once, and is released once.
        let _ = unsafe { primary_ctx::release(self.device) };
    }
}

/// Memory of the device.
pub(crate) struct Memory {
    context: Arc<Context>,
    at: CUdeviceptr,
    bytes: u64,
}

impl Memory {
    /// So many bytes, zeros.
    pub(super) fn zeros(context: &Arc<Context>, what: &str, bytes: u64) -> Result<Memory, DeviceError> {
        context.bind()?;
        let size = usize::try_from(bytes).unwrap_or(usize::MAX);
        // SAFETY: what is taken has no value until it is filled below.
        let at = unsafe { result::malloc_sync(size) }.map_err(|error| no_room(what, bytes, error))?;
        let memory = Memory { context: context.clone(), at, bytes };
        // SAFETY: the range is the memory's own.
        unsafe { result::memset_d8_async(at, 0, size, context.stream) }
            .map_err(|error| fault("clearing memory", error))?;
        Ok(memory)
    }

    /// Where a part of it lies.
    pub(super) fn part(&self, offset: u64, bytes: u64) -> Result<CUdeviceptr, DeviceError> {
        match offset.checked_add(bytes).is_some_and(|end| end <= self.bytes) {
            true => Ok(self.at + offset),
            false => Err(DeviceError::Other(format!(
                "found {bytes} bytes at {offset} of memory that has {}",
                self.bytes
            ))),
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.context.settle();
        // SAFETY: it was allocated once, and nothing that is under way uses it.
        let _ = unsafe { result::memory_free(self.at) };
    }
}

/// Memory of the host that the device copies from and to by itself.
pub(super) struct Pinned {
    context: Arc<Context>,
    at: *mut u8,
    bytes: usize,
}

// SAFETY: it is memory as any other, and has one owner.
unsafe impl Send for Pinned {}

impl Pinned {
    pub(super) fn new(context: &Arc<Context>, bytes: usize) -> Result<Pinned, DeviceError> {
        context.bind()?;
        // SAFETY: what is taken has a value below.
        let at = unsafe { result::malloc_host(bytes, 0) }
            .map_err(|error| no_room("the host's memory for messages", bytes as u64, error))?
            .cast::<u8>();
        // SAFETY: the range was just allocated.
        unsafe { ptr::write_bytes(at, 0, bytes) };
        Ok(Pinned { context: context.clone(), at, bytes })
    }

    /// All of it, of which nothing may be changed that the device still reads.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the range is its own, has values, and is borrowed with it.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.context.settle();
        // SAFETY: it was allocated once, and nothing that is under way uses it.
        let _ = unsafe { result::free_host(self.at.cast()) };
    }
}

/// A point in the stream that can be waited for.
pub(super) struct Event {
    context: Arc<Context>,
    raw: sys::CUevent,
}

// SAFETY: the driver takes its handles from any thread.
unsafe impl Send for Event {}

impl Event {
    pub(super) fn new(context: &Arc<Context>) -> Result<Event, DeviceError> {
        context.bind()?;
        let raw = event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)
            .map_err(|error| fault("making an event", error))?;
        Ok(Event { context: context.clone(), raw })
    }

    /// Puts it behind everything asked so far.
    pub(super) fn record(&self) -> Result<(), DeviceError> {
        // SAFETY: both live as long as this.
        unsafe { event::record(self.raw, self.context.stream) }
            .map_err(|error| fault("recording an event", error))
    }

    /// Waits until everything before it is done; not at all where it was never recorded.
    pub(super) fn wait(&self) -> Result<(), DeviceError> {
        // SAFETY: it lives as long as this.
        unsafe { event::synchronize(self.raw) }.map_err(|error| fault("running the last steps", error))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        self.context.settle();
        // SAFETY: it was made once, and nobody has it any more.
        let _ = unsafe { event::destroy(self.raw) };
    }
}

/// Machine code in the device.
pub(super) struct Module {
    context: Arc<Context>,
    raw: sys::CUmodule,
    pub(super) function: sys::CUfunction,
}

// SAFETY: the driver takes its handles from any thread.
unsafe impl Send for Module {}
// SAFETY: as above; nothing of it is changed.
unsafe impl Sync for Module {}

impl Module {
    /// Loads machine code with a function `entry`, whose blocks have so much dynamic shared memory.
    pub(super) fn load(
        context: &Arc<Context>,
        cubin: &[u8],
        entry: &str,
        shared_bytes: u32,
    ) -> Result<Module, DeviceError> {
        context.bind()?;
        let failed = |error| fault("loading its code", error);
        // SAFETY: the bytes are a whole cubin, as NVRTC made it.
        let raw = unsafe { module::load_data(cubin.as_ptr().cast()) }.map_err(failed)?;
        let mut module = Module { context: context.clone(), raw, function: ptr::null_mut() };
        let entry = CString::new(entry).map_err(|error| DeviceError::Other(error.to_string()))?;
        // SAFETY: the module was just loaded.
        module.function = unsafe { module::get_function(raw, entry) }.map_err(failed)?;
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the function is the module's.
        unsafe { result::function::set_function_attribute(module.function, attribute, shared_bytes as i32) }
            .map_err(failed)?;
        Ok(module)
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        self.context.settle();
        // SAFETY: it was loaded once, and nothing that is under way uses it.
        let _ = unsafe { module::unload(self.raw) };
    }
}

/// What an error of the driver means for who asked.
pub(super) fn fault(doing: &str, error: DriverError) -> DeviceError {
    let said = words(error);
    match error.0 {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
            let free = free_bytes().map_or(String::new(), |bytes| format!(", found {bytes} bytes free"));
            DeviceError::Other(format!("{doing}: the device has no memory left{free}"))
        }
        code if is_lost(code) => DeviceError::Lost { reason: format!("{doing}: {said}") },
        _ => DeviceError::Other(format!("{doing}: {said}")),
    }
}

/// As [`fault`], of a launch of a kernel.
pub(super) fn fault_of_launch(kernel: &str, error: DriverError) -> DeviceError {
    match is_lost(error.0) {
        true => fault("launching kernels", error),
        false => DeviceError::Kernel { name: kernel.to_owned(), reason: words(error) },
    }
}

fn no_room(what: &str, bytes: u64, error: DriverError) -> DeviceError {
    match error.0 {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
            DeviceError::OutOfMemory { what: what.to_owned(), bytes, free_bytes: free_bytes() }
        }
        _ => fault(&format!("taking {bytes} bytes of {what}"), error),
    }
}

fn free_bytes() -> Option<u64> {
    result::mem_get_info().ok().map(|(free, _)| free as u64)
}

/// The driver's name of an error, and what it says of it.
pub(super) fn words(error: DriverError) -> String {
    let name = error.error_name().map(|text| text.to_string_lossy().into_owned());
    let text = error.error_string().map(|text| text.to_string_lossy().into_owned());
    match (name, text) {
        (Ok(name), Ok(text)) => format!("{name}, {text}"),
        _ => format!("{:?}", error.0),
    }
}

/// Whether nothing works behind it: the device is gone, or a kernel went wrong, after which the context is of no use.
fn is_lost(code: CUresult) -> bool {
    use CUresult::*;
    matches!(
        code,
        CUDA_ERROR_DEINITIALIZED
            | CUDA_ERROR_NO_DEVICE
            | CUDA_ERROR_DEVICE_UNAVAILABLE
            | CUDA_ERROR_ECC_UNCORRECTABLE
            | CUDA_ERROR_NVLINK_UNCORRECTABLE
            | CUDA_ERROR_CONTEXT_IS_DESTROYED
            | CUDA_ERROR_SYSTEM_NOT_READY
            | CUDA_ERROR_ILLEGAL_ADDRESS
            | CUDA_ERROR_MISALIGNED_ADDRESS
            | CUDA_ERROR_INVALID_ADDRESS_SPACE
            | CUDA_ERROR_INVALID_PC
            | CUDA_ERROR_ILLEGAL_INSTRUCTION
            | CUDA_ERROR_HARDWARE_STACK_ERROR
            | CUDA_ERROR_LAUNCH_FAILED
            | CUDA_ERROR_LAUNCH_TIMEOUT
            | CUDA_ERROR_ASSERT
            | CUDA_ERROR_UNKNOWN
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_that_a_kernel_broke_counts_as_lost_and_a_refused_call_does_not() {
        assert!(is_lost(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS));
        assert!(!is_lost(CUresult::CUDA_ERROR_INVALID_VALUE));
        assert!(!is_lost(CUresult::CUDA_ERROR_OUT_OF_MEMORY));
    }
}
