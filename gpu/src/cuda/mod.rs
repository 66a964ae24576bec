//! NVIDIA's devices: their list, opening one, and kernels compiled for it.
mod code;
mod context;
mod graphs;
mod nvml;
mod nvrtc;
mod source;
mod staging;

pub use code::{Code, code, compiler, target};
pub(crate) use staging::PINNED_BYTES;

use crate::machine::{Driver, Machine, View};
use crate::program::{ENTRY, Program};
use crate::{Kept, Make};
use context::{Context, Memory, Module, fault_of_launch, words};
use cudarc::driver::DriverError;
use cudarc::driver::result::{self, device};
use cudarc::driver::sys::{self, CUdevice_attribute, CUdeviceptr};
use graphs::{Found as Known, Graph, Graphs};
use nvrtc::nvrtc;
use runtime::{Accelerator, DeviceError};
use source::{INFO_BYTES_MAX, source};
use staging::Staging;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{CStr, c_void};
use std::sync::Arc;

/// The oldest driver that has all that is asked of one, by the version of CUDA that it supports.
const DRIVER_MIN: (i32, i32) = (12, 0);
/// The oldest devices that take what their kernels are given in one piece.
const CAPABILITY_MIN: (i32, i32) = (7, 0);

/// A device as the driver describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What its maker calls it.
    pub name: String,
    /// Its compute capability, as in 9.0.
    pub capability: (i32, i32),
    /// What it is made of.
    pub make: Make,
    /// Where on the PCI bus it is, as in 0000:01:00.0; empty where the driver does not say.
    pub bus: String,
    /// Its memory, in bytes.
    pub memory_bytes: u64,
    /// What of it is free now, where NVML says.
    pub free_bytes: Option<u64>,
    /// The newest version of CUDA that its driver supports.
    pub driver: (i32, i32),
    /// Why it can run nothing yet.
    pub obstacle: Option<String>,
}

/// All devices that NVIDIA's driver finds, or why there is none.
pub fn devices() -> Result<Vec<Found>, String> {
    let (driver, count) = driver()?;
    // One that does not answer hides no other.
    let silent = |reason| Found {
        name: "unknown".into(),
        capability: (0, 0),
        make: Make::Discrete,
        bus: String::new(),
        memory_bytes: 0,
        free_bytes: None,
        driver,
        obstacle: Some(reason),
    };
    Ok((0..count).map(|number| describe(number, driver).unwrap_or_else(silent)).collect())
}

/// The driver's version and how many devices it has; nothing else may be called before this was.
fn driver() -> Result<((i32, i32), i32), String> {
    // SAFETY: it opens the library, which sets itself up on being loaded and does nothing else.
    if !unsafe { sys::is_culib_present() } {
        return Err("no NVIDIA driver is installed (libcuda.so.1 was not found)".into());
    }
    let mut version = 0;
    // SAFETY: the number is there to be written; this may be asked before everything else.
    let asked = unsafe { sys::cuDriverGetVersion(&mut version) }.result();
    asked.map_err(|error| format!("NVIDIA's driver does not answer: {}", words(error)))?;
    let version = (version / 1000, version % 1000 / 10);
    if version < DRIVER_MIN {
        return Err(format!(
            "NVIDIA's driver is too old: found one for CUDA {}, expected {} or newer",
            dotted(version),
            dotted(DRIVER_MIN)
        ));
    }
    result::init().map_err(|error| format!("NVIDIA's driver finds no device: {}", words(error)))?;
    match device::get_count() {
        Ok(0) => Err("NVIDIA's driver finds no device".into()),
        Ok(count) => Ok((version, count)),
        Err(error) => Err(format!("NVIDIA's driver finds no device: {}", words(error))),
    }
}

fn describe(number: i32, driver: (i32, i32)) -> Result<Found, String> {
    let asked = || -> Result<Found, DriverError> {
        let device = device::get(number)?;
        // SAFETY: the device was just found.
        let memory_bytes = unsafe { device::total_mem(device) }? as u64;
        let capability = capability(device)?;
        let obstacle = reach(capability, driver).err();
        let integrated = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_INTEGRATED;
        // SAFETY: as above.
        let is_integrated = unsafe { device::get_attribute(device, integrated) }? != 0;
        let bus = bus(device);
        Ok(Found {
            name: device::get_name(device)?,
            capability,
            make: if is_integrated { Make::Integrated } else { Make::Discrete },
            memory_bytes,
            // A part of a device has less than all of it.
            free_bytes: nvml::free_bytes(&bus).map(|free| free.min(memory_bytes)),
            bus,
            driver,
            obstacle,
        })
    };
    asked().map_err(|error| format!("device {number} does not answer: {}", words(error)))
}

fn bus(device: sys::CUdevice) -> String {
    let mut text = [0u8; 32];
    // SAFETY: there is room for as many bytes as are said, the zero at the end among them.
    let asked = unsafe { sys::cuDeviceGetPCIBusId(text.as_mut_ptr().cast(), text.len() as i32, device) };
    let said = CStr::from_bytes_until_nul(&text).ok().filter(|_| asked.result().is_ok());
    said.map_or(String::new(), |said| said.to_string_lossy().to_ascii_lowercase())
}

fn capability(device: sys::CUdevice) -> Result<(i32, i32), DriverError> {
    use CUdevice_attribute::*;
    let [major, minor] =
        [CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR]
            // SAFETY: the device is one that the driver gave.
            .map(|attribute| unsafe { device::get_attribute(device, attribute) });
    Ok((major?, minor?))
}

/// Finds the compiler, or says why there is none for such a device and driver.
fn reach(capability: (i32, i32), driver: (i32, i32)) -> Result<(), String> {
    let nvrtc = nvrtc()?;
    fits(capability, driver, nvrtc.version, &nvrtc.targets()?)
}

/// Whether code that a compiler of this version makes runs there.
fn fits(
    capability: (i32, i32),
    driver: (i32, i32),
    compiler: (i32, i32),
    targets: &[i32],
) -> Result<(), String> {
    if capability < CAPABILITY_MIN {
        let (found, expected) = (dotted(capability), dotted(CAPABILITY_MIN));
        return Err(format!("its compute capability is {found}, expected {expected} or more"));
    }
    if compiler.0 > driver.0 {
        return Err(format!(
            "NVIDIA's driver is too old for NVRTC: found one for CUDA {}, expected {}.0 or newer for NVRTC {}; \
             an NVRTC of CUDA {} would do, too",
            dotted(driver),
            compiler.0,
            dotted(compiler),
            driver.0
        ));
    }
    match targets.contains(&(capability.0 * 10 + capability.1)) {
        true => Ok(()),
        false => Err(format!(
            "NVRTC {} makes no code for compute capability {}; another version does",
            dotted(compiler),
            dotted(capability)
        )),
    }
}

fn dotted((major, minor): (i32, i32)) -> String {
    format!("{major}.{minor}")
}

/// A device by its place in [`devices`], to run the steps of a plan's thread; what it compiles is kept.
pub fn open(number: usize, kept: Kept) -> Result<Box<dyn Accelerator>, DeviceError> {
    Ok(Box::new(Machine::new(Cuda::open(number, kept)?)))
}

/// An open device.
struct Cuda {
    context: Arc<Context>,
    kept: Kept,
    target: String,
    memory_bytes: u64,
    staging: RefCell<Staging>,
    graphs: RefCell<Graphs<Graph>>,
    /// The code of every text: kernels of the same shape share it.
    loaded: RefCell<HashMap<String, Arc<Loaded>>>,
    /// How many kernels were bound.
    bound: Cell<u64>,
}

/// Code that the device has.
struct Loaded {
    module: Arc<Module>,
    units: u32,
    shared_bytes: u32,
    info_bytes: usize,
}

/// A kernel that was compiled.
pub(crate) struct Kernel {
    name: String,
    loaded: Arc<Loaded>,
}

/// A kernel with what it is given.
pub(crate) struct Ready {
    /// Its number among all that were bound.
    id: u64,
    name: String,
    loaded: Arc<Loaded>,
    pointers: Vec<CUdeviceptr>,
    /// What the pointers point to.
    _memory: Vec<Arc<Memory>>,
}

/// What kernels find behind their pointers, of which none looks at it.
static INFO: [u64; INFO_BYTES_MAX / 8] = [0; INFO_BYTES_MAX / 8];

impl Cuda {
    fn open(number: usize, kept: Kept) -> Result<Cuda, DeviceError> {
        let lost = |reason: String| DeviceError::Lost { reason };
        let (driver, count) = driver().map_err(DeviceError::Other)?;
        let number = i32::try_from(number).ok().filter(|number| *number < count).ok_or_else(|| {
            DeviceError::Other(format!("found {count} CUDA devices, expected cuda:{number} among them"))
        })?;
        let found = describe(number, driver).map_err(lost)?;
        if let Some(obstacle) = found.obstacle {
            return Err(DeviceError::Other(obstacle));
        }
        let device = device::get(number).map_err(|error| context::fault("opening the device", error))?;
        let context = Context::open(device)?;
        Ok(Cuda {
            staging: RefCell::new(Staging::new(&context)?),
            context,
            kept,
            target: target(found.capability.0, found.capability.1),
            memory_bytes: found.memory_bytes,
            graphs: RefCell::new(Graphs::new()),
            loaded: RefCell::default(),
            bound: Cell::new(0),
        })
    }

    /// The machine code of a text: as it is kept, else compiled now.
    fn machine_code(&self, text: &str) -> Result<Vec<u8>, String> {
        let nvrtc = nvrtc()?;
        let version = dotted(nvrtc.version);
        let made_of = [self.target.as_bytes(), version.as_bytes(), text.as_bytes()];
        if let Some(cubin) = self.kept.get(&made_of) {
            return Ok(cubin);
        }
        let cubin = nvrtc.compile(text, &self.target)?.cubin;
        self.kept.put(&made_of, &cubin);
        Ok(cubin)
    }

    fn launch_each(&self, list: &[(&Ready, [u32; 2])]) -> Result<(), DeviceError> {
        for (ready, [x, y]) in list {
            let loaded = &ready.loaded;
            let pointers = ready.pointers.iter().map(|at| std::ptr::from_ref(at).cast_mut().cast());
            let info = (loaded.info_bytes > 0).then_some(INFO.as_ptr().cast_mut().cast());
            let mut arguments: Vec<*mut c_void> = pointers.chain(info).collect();
            // SAFETY: the function has as many arguments, of these sizes, which are copied before the call returns; the
            // memory that they point to lives as long as what is launched, and kernels stay inside of it.
            unsafe {
                result::launch_kernel(
                    loaded.module.function,
                    (*x, *y, 1),
                    (loaded.units, 1, 1),
                    loaded.shared_bytes,
                    self.context.stream,
                    &mut arguments,
                )
            }
            .map_err(|error| fault_of_launch(&ready.name, error))?;
        }
        Ok(())
    }
}

impl Driver for Cuda {
    type Memory = Arc<Memory>;
    type Kernel = Kernel;
    type Ready = Ready;

    fn largest_bytes(&self) -> u64 {
        self.memory_bytes
    }

    fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    fn allocate(&self, what: &str, bytes: u64) -> Result<Arc<Memory>, DeviceError> {
        Memory::zeros(&self.context, what, bytes).map(Arc::new)
    }

    fn write(&self, to: &Arc<Memory>, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.staging.borrow_mut().write(to, offset, bytes)
    }

    fn read(&self, from: &Arc<Memory>, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.staging.borrow_mut().read(from, offset, into)
    }

    fn compile(&self, program: Program) -> Result<Kernel, DeviceError> {
        let name = program.name.clone();
        let failed = |reason: String| DeviceError::Kernel { name: name.clone(), reason };
        let source = source(program).map_err(failed)?;
        if let Some(loaded) = self.loaded.borrow().get(&source.text) {
            return Ok(Kernel { name, loaded: loaded.clone() });
        }
        let cubin = self.machine_code(&source.text).map_err(failed)?;
        let module = Module::load(&self.context, &cubin, ENTRY, source.shared_bytes)
            .map_err(|error| if let DeviceError::Other(reason) = error { failed(reason) } else { error })?;
        let loaded = Arc::new(Loaded {
            module: Arc::new(module),
            units: source.units,
            shared_bytes: source.shared_bytes,
            info_bytes: source.info_bytes,
        });
        self.loaded.borrow_mut().insert(source.text, loaded.clone());
        Ok(Kernel { name, loaded })
    }

    fn bind(&self, kernel: &Kernel, views: &[View<'_, Arc<Memory>>]) -> Result<Ready, DeviceError> {
        let pointers = views.iter().map(|view| view.memory.part(view.offset, view.bytes));
        self.bound.set(self.bound.get() + 1);
        Ok(Ready {
            id: self.bound.get(),
            name: kernel.name.clone(),
            loaded: kernel.loaded.clone(),
            pointers: pointers.collect::<Result<_, _>>()?,
            _memory: views.iter().map(|view| view.memory.clone()).collect(),
        })
    }

    fn launch(&self, list: &[(&Ready, [u32; 2])]) -> Result<(), DeviceError> {
        self.context.bind()?;
        let mut graphs = self.graphs.borrow_mut();
        match graphs.find(list.iter().map(|(ready, cubes)| (ready.id, *cubes)).collect()) {
            Known::Replay(graph) => graph.replay(),
            Known::Launch => self.launch_each(list),
            Known::Record(key) => {
                let modules = list.iter().map(|(ready, _)| ready.loaded.module.clone()).collect();
                let graph = Graph::record(&self.context, modules, || self.launch_each(list))?;
                graphs.keep(key, graph).replay()
            }
        }
    }

    fn wait(&self) -> Result<(), DeviceError> {
        self.context.wait()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_and_a_compiler_that_do_not_go_together_are_told_with_both_versions() {
        let targets = [75, 80, 90, 120];
        let told = |capability, driver, compiler| fits(capability, driver, compiler, &targets).err();
        assert_eq!(told((9, 0), (13, 0), (13, 0)), None);
        assert_eq!(told((9, 0), (13, 0), (12, 4)), None);
        assert_eq!(told((9, 0), (13, 0), (13, 2)), None);
        let old = told((9, 0), (12, 4), (13, 0)).unwrap();
        assert!(old.contains("for CUDA 12.4, expected 13.0") && old.contains("NVRTC 13.0"), "{old}");
        assert!(told((6, 1), (13, 0), (13, 0)).unwrap().contains("capability is 6.1, expected 7.0"));
        assert!(told((10, 0), (13, 0), (13, 0)).unwrap().contains("capability 10.0"));
    }

    #[test]
    fn where_there_is_no_driver_the_reason_is_told_and_nothing_panics() {
        match devices() {
            Ok(found) => assert!(!found.is_empty()),
            Err(reason) => {
                assert!(reason.contains("NVIDIA"), "{reason}");
                assert_eq!(open(0, Kept::default()).err(), Some(DeviceError::Other(reason)));
            }
        }
    }
}
