//! What GPUs are made of, and what their drivers take beside what a plan states.
use crate::cuda;
use ir::plan::Driver;

/// What a GPU is made of, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Make {
    /// A device with a memory of its own.
    Discrete,
    /// It has the host's memory.
    Integrated,
    /// A processor plays it: correct, and slow.
    Software,
}

impl Make {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Make::Discrete => "discrete",
            Make::Integrated => "integrated",
            Make::Software => "software",
        }
    }
}

/// What the driver of a device is taken to take where nobody measured it.
pub fn driver(make: Make, is_cuda: bool) -> Driver {
    let (device_bytes, host_bytes) = match (make, is_cuda) {
        // A context, the code of some dozen kernels and their recorded steps; nobody has measured one yet.
        (_, true) => (512 << 20, cuda::PINNED_BYTES + (160 << 20)),
        // Nor one of these.
        (Make::Discrete | Make::Integrated, false) => (64 << 20, 96 << 20),
        // Mesa's llvmpipe with its compiler and the kernels of a model of 30 layers, as measured.
        (Make::Software, false) => (0, 210_000_000),
    };
    Driver { device_bytes, host_bytes, value_bytes: None, is_on_host: make != Make::Discrete }
}

/// The same of another device on a GPU that has one: the context and the code of the driver are there already.
pub fn driver_of_another(make: Make, is_cuda: bool) -> Driver {
    let host_bytes = match is_cuda {
        true => cuda::PINNED_BYTES,
        false => driver(make, false).host_bytes / 4,
    };
    Driver { device_bytes: 0, host_bytes, ..driver(make, is_cuda) }
}
