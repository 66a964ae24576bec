//! Devices that Vulkan finds: their list, opening one, and kernels compiled for it.
use crate::Make;
use crate::machine::{Driver, Machine, View};
use crate::program::{Program, UNITS_MAX};
use ash::vk;
use cubecl::ir::{DeviceProperties, HardwareProperties, MemoryDeviceProperties};
use cubecl::prelude::AddressType;
use cubecl::profile::TimingMethod;
use cubecl::wgpu::vulkan::{VkSpirvCompiler, register_vulkan_features, request_vulkan_device};
use cubecl::{Compiler as _, ExecutionMode, MemoryConfiguration, WgpuCompilationOptions, future::block_on};
use runtime::{Accelerator, DeviceError};
use std::borrow::Cow;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use wgpu::hal::api;

/// A device as the driver describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What its maker calls it.
    pub name: String,
    /// The driver and its version.
    pub driver: String,
    /// Its own memory, in bytes; of a device that has none the host's that it may use.
    pub memory_bytes: u64,
    /// What of it is free now, where the driver says.
    pub free_bytes: Option<u64>,
    /// Bytes of one value at most that a kernel can be given.
    pub value_bytes: u64,
    /// What it is made of.
    pub make: Make,
    /// Where on the PCI bus it is, as in 0000:01:00.0; empty where the driver does not say.
    pub bus: String,
}

/// All devices that Vulkan finds, those of their own memory first; or why there is none.
pub fn devices() -> Result<Vec<Found>, String> {
    Ok(adapters()?.iter().map(describe).collect())
}

fn adapters() -> Result<Vec<wgpu::Adapter>, String> {
    let backends = wgpu::Backends::VULKAN;
    let descriptor =
        wgpu::InstanceDescriptor { backends, ..wgpu::InstanceDescriptor::new_without_display_handle() };
    let mut found = block_on(wgpu::Instance::new(descriptor).enumerate_adapters(backends));
    found.sort_by_key(|adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::Cpu => 2,
        _ => 1,
    });
    match found.is_empty() {
        true => Err("no Vulkan driver is installed, or none finds a device \
                     (the packages libvulkan1 and mesa-vulkan-drivers bring one that needs no GPU)"
            .into()),
        false => Ok(found),
    }
}

fn describe(adapter: &wgpu::Adapter) -> Found {
    let info = adapter.get_info();
    let (memory_bytes, free_bytes) = memory(adapter).unwrap_or((0, None));
    Found {
        name: info.name,
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        memory_bytes,
        free_bytes,
        value_bytes: value_bytes(&adapter.limits()),
        make: match info.device_type {
            wgpu::DeviceType::DiscreteGpu | wgpu::DeviceType::VirtualGpu => Make::Discrete,
            wgpu::DeviceType::Cpu => Make::Software,
            _ => Make::Integrated,
        },
        bus: info.device_pci_bus_id.to_ascii_lowercase(),
    }
}

/// Bytes of the largest memory that is the device's own, and what of it is free.
fn memory(adapter: &wgpu::Adapter) -> Option<(u64, Option<u64>)> {
    // SAFETY: the handle is used while the adapter lives, and nothing of it is destroyed.
    let hal = unsafe { adapter.as_hal::<api::Vulkan>() }?;
    let (instance, device) = (hal.shared_instance().raw_instance(), hal.raw_physical_device());
    // SAFETY: the physical device is the instance's own.
    let extensions = unsafe { instance.enumerate_device_extension_properties(device) }.unwrap_or_default();
    let budget_name = Ok(ash::ext::memory_budget::NAME);
    let has_budget = extensions.iter().any(|known| known.extension_name_as_c_str() == budget_name);
    let mut budget = vk::PhysicalDeviceMemoryBudgetPropertiesEXT::default();
    let mut asked = vk::PhysicalDeviceMemoryProperties2::default();
    if has_budget {
        asked = asked.push_next(&mut budget);
    }
    // SAFETY: as above, and the chain has what the device knows.
    unsafe { instance.get_physical_device_memory_properties2(device, &mut asked) };
    let memory = asked.memory_properties;
    let heaps = memory.memory_heaps.iter().take(memory.memory_heap_count as usize).enumerate();
    let own = heaps.filter(|(_, heap)| heap.flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL));
    let (at, heap) = own.max_by_key(|(_, heap)| heap.size)?;
    let free = || budget.heap_budget[at].saturating_sub(budget.heap_usage[at]).min(heap.size);
    Some((heap.size, has_budget.then(free)))
}

fn value_bytes(limits: &wgpu::Limits) -> u64 {
    limits.max_buffer_size.min(limits.max_storage_buffer_binding_size)
}

/// A device by its place in [`devices`], to run the steps of a plan's thread.
pub fn open(index: usize) -> Result<Box<dyn Accelerator>, DeviceError> {
    Ok(Box::new(Machine::new(Vulkan::open(index)?)))
}

/// An open device.
pub(crate) struct Vulkan {
    device: wgpu::Device,
    queue: wgpu::Queue,
    options: WgpuCompilationOptions,
    memory_bytes: u64,
    /// What the compiler wants to know of what is bound, which code does not ask for.
    info: wgpu::Buffer,
    /// Bytes that pass through memory of the host since that was given back.
    staged: Cell<usize>,
    /// What went wrong that no call told.
    fault: Arc<Mutex<Option<DeviceError>>>,
}

/// A kernel that the device can launch.
pub(crate) struct Pipeline {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

/// Bytes of what the compiler wants to know of bindings.
const INFO_BYTES: u64 = 1024;
/// So many bytes are uploaded at once, in one piece or in many, for all of them pass through memory of the host.
const PIECE_BYTES: usize = 16 << 20;

impl Vulkan {
    pub(crate) fn open(index: usize) -> Result<Vulkan, DeviceError> {
        let lost = |reason: String| DeviceError::Lost { reason };
        let adapters = adapters().map_err(DeviceError::Other)?;
        let count = adapters.len();
        let adapter = adapters.into_iter().nth(index).ok_or_else(|| {
            DeviceError::Other(format!("found {count} Vulkan devices, expected vulkan:{index} among them"))
        })?;
        // A driver that refuses makes this panic.
        let opened = catch_unwind(AssertUnwindSafe(|| block_on(request_vulkan_device(&adapter))));
        let opened = opened.map_err(|_| lost("its driver would not open it".into()))?;
        let (device, queue) =
            opened.ok_or_else(|| lost("its driver lacks what kernels need of Vulkan 1.1".into()))?;
        let found = device.limits().min_storage_buffer_offset_alignment;
        if u64::from(found) > ir::plan::ALIGNMENT {
            let reason = format!(
                "it binds memory at multiples of {found}, plans lie at those of {}",
                ir::plan::ALIGNMENT
            );
            return Err(DeviceError::Unsupported { what: "the plan's memory".into(), reason });
        }
        let units = device.limits().max_compute_invocations_per_workgroup;
        if units < UNITS_MAX {
            let reason = format!("its cubes have {units} units at most, kernels take up to {UNITS_MAX}");
            return Err(DeviceError::Unsupported { what: "a kernel".into(), reason });
        }
        let fault = Arc::new(Mutex::new(None));
        let (gone, failed) = (fault.clone(), fault.clone());
        let note = |fault: &Mutex<Option<DeviceError>>, what: DeviceError| {
            fault.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(what);
        };
        device.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                note(&gone, DeviceError::Lost { reason: one_line(&message) });
            }
        });
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let told = match &error {
                wgpu::Error::OutOfMemory { .. } => {
                    DeviceError::OutOfMemory { what: "what a step needs".into(), bytes: 0, free_bytes: None }
                }
                other => DeviceError::Other(one_line(other)),
            };
            note(&failed, told);
        }));
        let info = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("info"),
            size: INFO_BYTES,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::UNIFORM,
            mapped_at_creation: false,
        });
        let (options, memory_bytes) = (options(&adapter), describe(&adapter).memory_bytes);
        Ok(Vulkan { device, queue, options, memory_bytes, info, staged: Cell::new(0), fault })
    }

    /// What went wrong since this was asked last.
    fn check(&self) -> Result<(), DeviceError> {
        match self.fault.lock().unwrap_or_else(|e| e.into_inner()).take() {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    /// Runs `make`, and gives the first error of that kind that it had.
    fn guarded<T>(&self, filter: wgpu::ErrorFilter, make: impl FnOnce() -> T) -> Result<T, wgpu::Error> {
        let scope = self.device.push_error_scope(filter);
        let made = make();
        match block_on(scope.pop()) {
            Some(error) => Err(error),
            None => Ok(made),
        }
    }

    fn pipeline(&self, name: &str, bindings: usize, words: &[u32], uniform_info: bool) -> Pipeline {
        let descriptor = wgpu::ShaderModuleDescriptorPassthrough {
            label: Some(name),
            spirv: Some(Cow::Borrowed(words)),
            ..Default::default()
        };
        // SAFETY: kernels bound what they read and write by what they are given.
        let module = unsafe { self.device.create_shader_module_passthrough(descriptor) };
        let info = match uniform_info {
            true => wgpu::BufferBindingType::Uniform,
            false => wgpu::BufferBindingType::Storage { read_only: true },
        };
        // Inputs and outputs are parts of the same memory, which is either read alone or written, too.
        let storage = wgpu::BufferBindingType::Storage { read_only: false };
        let entry = |(ty, binding)| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
            count: None,
        };
        let entries: Vec<_> =
            std::iter::repeat_n(storage, bindings).chain([info]).zip(0..).map(entry).collect();
        let descriptor = wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries };
        let layout = self.device.create_bind_group_layout(&descriptor);
        let whole = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(name),
            layout: Some(&whole),
            module: &module,
            entry_point: Some(crate::program::ENTRY),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        Pipeline { pipeline, layout }
    }
}

/// What is said in several lines, as one.
fn one_line(said: &impl ToString) -> String {
    let said = said.to_string();
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.fold(String::new(), |all, line| match all.is_empty() {
        true => line.to_owned(),
        false if all.ends_with([':', ';', ',']) => format!("{all} {line}"),
        false => format!("{all}; {line}"),
    })
}

/// What the compiler may use of a device.
fn options(adapter: &wgpu::Adapter) -> WgpuCompilationOptions {
    let limits = adapter.limits();
    let memory =
        MemoryDeviceProperties { max_page_size: limits.max_storage_buffer_binding_size, alignment: 64 };
    let cubes = limits.max_compute_workgroups_per_dimension;
    let hardware = HardwareProperties {
        load_width: 128,
        plane_size_min: adapter.get_info().subgroup_min_size,
        plane_size_max: adapter.get_info().subgroup_max_size,
        max_bindings: limits.max_storage_buffers_per_shader_stage,
        max_shared_memory_size: limits.max_compute_workgroup_storage_size as usize,
        max_cube_count: (cubes, cubes, cubes),
        max_units_per_cube: limits.max_compute_invocations_per_workgroup,
        max_cube_dim: (limits.max_compute_workgroup_size_x, 1, 1),
        num_streaming_multiprocessors: None,
        num_tensor_cores: None,
        min_tensor_cores_dim: None,
        num_cpu_cores: None,
        max_vector_size: 4,
    };
    let mut properties = DeviceProperties::new(Default::default(), memory, hardware, TimingMethod::System);
    let mut options = WgpuCompilationOptions::default();
    register_vulkan_features(adapter, &mut properties, &mut options, &MemoryConfiguration::default());
    options
}

impl Driver for Vulkan {
    type Memory = wgpu::Buffer;
    type Kernel = Pipeline;
    type Ready = (wgpu::ComputePipeline, wgpu::BindGroup);

    fn largest_bytes(&self) -> u64 {
        value_bytes(&self.device.limits())
    }

    fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    fn allocate(&self, what: &str, bytes: u64) -> Result<wgpu::Buffer, DeviceError> {
        let largest = self.largest_bytes();
        if bytes > largest {
            let what = format!("{bytes} bytes of {what} in one piece");
            return Err(DeviceError::Unsupported { what, reason: format!("it gives {largest} at most") });
        }
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let descriptor =
            wgpu::BufferDescriptor { label: Some(what), size: bytes, usage, mapped_at_creation: false };
        self.guarded(wgpu::ErrorFilter::OutOfMemory, || self.device.create_buffer(&descriptor))
            .map_err(|_| DeviceError::OutOfMemory { what: what.to_owned(), bytes, free_bytes: None })
    }

    fn write(&self, to: &wgpu::Buffer, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        for (at, piece) in (offset..).step_by(PIECE_BYTES).zip(bytes.chunks(PIECE_BYTES)) {
            let (whole, rest) = piece.split_at(piece.len() / 4 * 4);
            self.queue.write_buffer(to, at, whole);
            if !rest.is_empty() {
                let mut last = [0; 4];
                last[..rest.len()].copy_from_slice(rest);
                self.queue.write_buffer(to, at + whole.len() as u64, &last);
            }
            self.staged.set(self.staged.get() + piece.len());
            if self.staged.get() >= PIECE_BYTES {
                self.staged.set(0);
                self.queue.submit([]);
                self.wait()?;
            }
        }
        self.check()
    }

    fn read(&self, from: &wgpu::Buffer, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        let size = (into.len() as u64).next_multiple_of(4).max(4);
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let descriptor =
            wgpu::BufferDescriptor { label: Some("staging"), size, usage, mapped_at_creation: false };
        let staging = self.device.create_buffer(&descriptor);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(from, offset, &staging, 0, size);
        self.queue.submit([encoder.finish()]);
        let (told, heard) = std::sync::mpsc::channel();
        staging.slice(..).map_async(wgpu::MapMode::Read, move |mapped| drop(told.send(mapped)));
        self.wait()?;
        match heard.try_recv() {
            Ok(Ok(())) => into.copy_from_slice(&staging.slice(..).get_mapped_range()[..into.len()]),
            _ => return Err(DeviceError::Lost { reason: "what was to be read never came".into() }),
        }
        Ok(())
    }

    fn compile(&self, program: Program) -> Result<Pipeline, DeviceError> {
        let failed = |reason: String| DeviceError::Kernel { name: program.name.clone(), reason };
        let (address, mode) = (AddressType::U32.unsigned_type(), ExecutionMode::Unchecked);
        let compiled = VkSpirvCompiler::default()
            .compile(program.definition, &self.options, mode, address)
            .map_err(|e| failed(format!("{e:?}")))?;
        let make = || {
            self.pipeline(
                &program.name,
                program.bindings.len(),
                &compiled.assembled_module,
                compiled.uniform_info,
            )
        };
        self.guarded(wgpu::ErrorFilter::Validation, make).map_err(|e| failed(one_line(&e)))
    }

    fn bind(&self, kernel: &Pipeline, views: &[View<'_, wgpu::Buffer>]) -> Result<Self::Ready, DeviceError> {
        fn part<'a>(view: &View<'a, wgpu::Buffer>) -> wgpu::BufferBinding<'a> {
            let size = std::num::NonZeroU64::new(view.bytes.next_multiple_of(4));
            wgpu::BufferBinding { buffer: view.memory, offset: view.offset, size }
        }
        let info = wgpu::BufferBinding { buffer: &self.info, offset: 0, size: None };
        let parts = views.iter().map(part).chain([info]).zip(0..);
        let entries: Vec<_> = parts
            .map(|(part, binding)| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(part),
            })
            .collect();
        let descriptor = wgpu::BindGroupDescriptor { label: None, layout: &kernel.layout, entries: &entries };
        let group = self
            .guarded(wgpu::ErrorFilter::Validation, || self.device.create_bind_group(&descriptor))
            .map_err(|e| DeviceError::Other(one_line(&e)))?;
        Ok((kernel.pipeline.clone(), group))
    }

    fn launch(&self, list: &[(&Self::Ready, [u32; 2])]) -> Result<(), DeviceError> {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for ((pipeline, group), [x, y]) in list {
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, group, &[]);
            pass.dispatch_workgroups(*x, *y, 1);
        }
        drop(pass);
        self.queue.submit([encoder.finish()]);
        self.check()
    }

    fn wait(&self) -> Result<(), DeviceError> {
        let waited = self.device.poll(wgpu::PollType::wait_indefinitely());
        self.check()?;
        waited.map(drop).map_err(|e| DeviceError::Lost { reason: one_line(&e) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wgpu_says_in_several_lines_is_one() {
        let said = "Validation Error\n\nCaused by:\n  In create_bind_group\n    it is too large\n";
        assert_eq!(one_line(&said), "Validation Error; Caused by: In create_bind_group; it is too large");
    }
}
