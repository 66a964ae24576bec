//! What a device can do at most: bytes and operations a second, by kernels of no other use.
use ir::expr::{Body, Expr, axes, f32, load};
use ir::ops::Fused;
use ir::plan::{
    Activations, Arg, Buffer, BufferId, Device, DeviceId, Kernel, KernelId, Model, OpText, Options,
    Partition, Plan, Step, Thread, VERSION, aligned,
};
use ir::topology::Kind;
use ir::{DType, Op, TensorType};
use runtime::{Accelerator, DeviceError};

/// Kernels that a device runs again and again, all of the same length.
pub struct Ceiling {
    accelerator: Box<dyn Accelerator>,
    /// How many steps a run has.
    steps: usize,
    /// Bytes that a step reads and writes.
    pub bytes: u64,
    /// Operations that a step computes.
    pub operations: u64,
}

/// What a step does to each value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Copies it.
    Copy,
    /// Multiplies and adds, so many times.
    Fma(u32),
    /// Takes its exponential, so many times.
    Exp(u32),
}

impl Work {
    /// The value of a point, and operations that it takes.
    fn value(self, x: Expr) -> (Expr, u64) {
        match self {
            Work::Copy => (x, 0),
            Work::Fma(times) => {
                let next = |y: Expr, _| y * f32(0.999) + f32(0.001);
                ((0..times).fold(x, next), 2 * u64::from(times))
            }
            Work::Exp(times) => {
                let next = |y: Expr, _| (-y).exp();
                ((0..times).fold(x, next), u64::from(times))
            }
        }
    }
}

impl Ceiling {
    /// Makes a device ready that was just opened: steps of so many f32, each of which reads what the one before wrote.
    pub fn new(
        mut accelerator: Box<dyn Accelerator>,
        work: Work,
        values: u64,
        steps: usize,
    ) -> Result<Ceiling, DeviceError> {
        let ty = TensorType::f32(&[values as i64]);
        let at = axes(1);
        let (value, operations) = work.value(load(0, at));
        let op: Op = Fused { anchor: None, body: Body::new(&value), ty: ty.clone() }.into();
        let bytes = aligned(4 * values);
        let buffer = |id: u32| Buffer {
            id: BufferId(id),
            device: DeviceId(0),
            ty: ty.clone(),
            slot: None,
            offset: u64::from(id) * bytes,
            bytes,
        };
        let step = |index: u32| Step::Run {
            kernel: KernelId(0),
            args: vec![Arg::B(BufferId(index % 2)), Arg::B(BufferId(1 - index % 2))],
            node: String::new(),
        };
        let kernel = Kernel {
            id: KernelId(0),
            name: format!("{work:?}"),
            op: OpText(op.name().to_owned(), op.attributes()),
            inputs: vec![ty.clone()],
            layouts: vec!["plain".to_owned()],
            output: ty.clone(),
            scratch: 0,
            shared: 0,
        };
        let thread = Thread {
            device: DeviceId(0),
            arena_bytes: 2 * bytes,
            state_bytes: 0,
            scratch_bytes: 0,
            shared_bytes: 0,
            steps: (0..steps as u32).map(step).collect(),
        };
        let plan = plan(vec![buffer(0), buffer(1)], kernel, thread);
        accelerator.load(&plan, &plan.threads[0], &[])?;
        let mut ceiling = Ceiling { accelerator, steps, bytes: 8 * values, operations: operations * values };
        // The first run makes ready what drivers leave until then.
        ceiling.run()?;
        Ok(ceiling)
    }

    /// Bytes that it has taken of the device's memory.
    pub fn held_bytes(&self) -> u64 {
        self.accelerator.held_bytes()
    }

    /// Takes every step once, and waits.
    pub fn run(&mut self) -> Result<(), DeviceError> {
        self.accelerator.run(0..self.steps, &[])?;
        self.accelerator.wait()
    }

    /// Copies the first bytes of its values to the device, and waits.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), DeviceError> {
        self.accelerator.write(BufferId(0), bytes)?;
        self.accelerator.wait()
    }

    /// Copies the first bytes of its values back.
    pub fn read(&mut self, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.accelerator.read(Arg::B(BufferId(0)), bytes)
    }
}

fn plan(buffers: Vec<Buffer>, kernel: Kernel, thread: Thread) -> Plan {
    let text = String::new;
    Plan {
        version: VERSION,
        model: Model { name: text(), architecture: text(), file: text(), sha256: text(), packed_bytes: 0 },
        options: Options {
            context: 1,
            max_batch: 1,
            chunk: 1,
            rows: 1,
            page: 1,
            kv: DType::F32,
            activations: Activations::F32,
            partition: Partition::WHOLE,
            all_reduce: Default::default(),
            micro_batches: 1,
            memory: None,
            hints: vec![],
        },
        symbols: vec![],
        devices: vec![Device { kind: Kind::Gpu, ..Device::cpu(0, 1) }],
        memory: vec![],
        edges: vec![],
        weights: vec![],
        states: vec![],
        buffers,
        kernels: vec![kernel],
        threads: vec![thread],
        why: vec![],
    }
}
