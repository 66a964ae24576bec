//! Small plans over several devices: a table of numbers, looked up by token, doubled here and there, and sent about.
use ir::plan::*;
use ir::{DType, Dim, TensorType};

/// Rows of the table, and numbers in a row.
pub(crate) const WIDTH: usize = 16;

/// How the devices of a plan are joined.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// Each device sends what it computed to the next.
    Pipeline,
    /// A pipeline that goes round several times and ends where it began.
    Ring {
        /// How often.
        laps: usize,
    },
    /// All devices send to the next one and receive from the one before, at once and again and again.
    Exchange {
        /// How often.
        times: usize,
    },
}

/// What a plan is built from.
#[derive(Clone, Debug)]
pub(crate) struct Design {
    pub(crate) shape: Shape,
    pub(crate) devices: u32,
    /// Workers of each device's team.
    pub(crate) threads: u32,
    /// Doublings between messages.
    pub(crate) depth: usize,
    pub(crate) deadline_ms: u32,
    /// Whether messages lie in the slots of edges, rather than being copied there and back.
    pub(crate) in_slots: bool,
}

/// What a kernel does; each step has a kernel of its own, so that a test can single it out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Deed {
    /// Rows of a table by number, as many as the symbol of that number says: tokens, those that something is asked for,
    /// those that come whole.
    Gather(usize),
    Add,
    /// Each number of a row is a stretch, whose greatest it is.
    Peaks,
    /// The greater half of a row.
    TopK,
}

impl Deed {
    /// The symbol that says how many rows it makes.
    pub(crate) fn symbol(self) -> usize {
        match self {
            Deed::Gather(symbol) => symbol,
            Deed::Add => 0,
            Deed::Peaks | Deed::TopK => 1,
        }
    }

    /// Its name, and what else makes the operator.
    fn op(self) -> [&'static str; 2] {
        match self {
            Deed::Gather(_) => ["gather", ""],
            Deed::Add => ["add", ""],
            Deed::Peaks => ["peaks", "stretch:1"],
            Deed::TopK => ["top_k", "k:8,stretch:1"],
        }
    }
}

/// The greater half of a row, then where these numbers stand.
pub(crate) fn top_k(row: [f32; WIDTH]) -> [f32; WIDTH] {
    let mut order: [usize; WIDTH] = std::array::from_fn(|i| i);
    order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
    std::array::from_fn(|i| if i < WIDTH / 2 { row[order[i]] } else { order[i - WIDTH / 2] as f32 })
}

pub(crate) struct Built {
    pub(crate) plan: Plan,
    /// By kernel.
    pub(crate) deeds: Vec<Deed>,
    /// What a number of the table has become in the logits, as a power of two.
    pub(crate) doublings: i32,
}

impl Design {
    pub(crate) fn build(&self) -> Built {
        let mut b = Builder::new(self);
        let feeds = ["tokens", "positions", "slots"].map(|name| b.recv(name, ids("n"), 0));
        b.recv("pages", TensorType::known(DType::I32, &[1, 4]), 0);
        let mut x = b.run(0, Deed::Gather(0), &[Arg::W(WeightId(0)), Arg::B(feeds[0])], rows("n"));
        let (last, mut doublings) = match self.shape {
            Shape::Pipeline => (self.devices - 1, 0),
            Shape::Ring { .. } | Shape::Exchange { .. } => (0, 0),
        };
        let mut double = |b: &mut Builder, device: u32, mut x: BufferId| {
            for _ in 0..self.depth {
                x = b.run(device, Deed::Add, &[Arg::B(x), Arg::B(x)], rows("n"));
            }
            doublings += if device == 0 { self.depth as i32 } else { 0 };
            x
        };
        match self.shape {
            Shape::Pipeline => {
                x = double(&mut b, 0, x);
                for device in 1..self.devices {
                    x = b.pass(device - 1, device, x);
                    x = double(&mut b, device, x);
                }
                doublings *= self.devices as i32;
            }
            Shape::Ring { laps } => {
                for lap in 0..laps as u32 * self.devices {
                    let (from, to) = (lap % self.devices, (lap + 1) % self.devices);
                    x = double(&mut b, from, x);
                    x = b.pass(from, to, x);
                }
                doublings *= self.devices as i32;
            }
            Shape::Exchange { times } => {
                let mut all = vec![x];
                all.extend((1..self.devices).map(|device| b.pass(0, device, x)));
                for _ in 0..times {
                    for device in 0..self.devices {
                        all[device as usize] = double(&mut b, device, all[device as usize]);
                    }
                    all = b.exchange(&all);
                }
                doublings += times as i32;
                x = all[0];
            }
        }
        let wanted = b.recv("rows", ids("m"), last);
        let x = b.run(last, Deed::Gather(1), &[Arg::B(x), Arg::B(wanted)], rows("m"));
        let whole = b.recv("whole", ids("w"), last);
        let logits = b.run(last, Deed::Gather(2), &[Arg::B(x), Arg::B(whole)], rows("w"));
        b.send("logits", last, End::Host, logits);
        let peaks = b.run(last, Deed::Peaks, &[Arg::B(x)], rows("m"));
        let half = [Dim::symbol("m"), 2.into(), (WIDTH as i64 / 2).into()];
        let half = TensorType::new(DType::F32, half);
        let best = b.run(last, Deed::TopK, &[Arg::B(x), Arg::B(peaks)], half);
        b.send("candidates", last, End::Host, best);
        Built { plan: b.finish(), deeds: b.deeds, doublings }
    }
}

fn ids(symbol: &str) -> TensorType {
    TensorType::new(DType::I32, vec![Dim::symbol(symbol)])
}

fn rows(symbol: &str) -> TensorType {
    TensorType::new(DType::F32, vec![Dim::symbol(symbol), (WIDTH as i64).into()])
}

struct Builder {
    plan: Plan,
    deeds: Vec<Deed>,
    deadline_ms: u32,
    in_slots: bool,
}

impl Builder {
    fn new(design: &Design) -> Builder {
        let device = |id| Device::cpu(id, design.threads);
        let thread = |id| Thread {
            device: DeviceId(id),
            arena_bytes: 0,
            state_bytes: 0,
            scratch_bytes: 0,
            shared_bytes: 0,
            steps: vec![],
        };
        let text = String::from;
        let table = TensorType::known(DType::F32, &[WIDTH as i64, WIDTH as i64]);
        let bytes = (WIDTH * WIDTH * 4) as u64;
        let weight = Weight {
            id: WeightId(0),
            name: text("table"),
            device: DeviceId(0),
            ty: table,
            part: None,
            layout: text("plain"),
            offset: 0,
            bytes,
        };
        let [name, architecture, file, sha256] =
            [text("failures"), text("none"), text("none"), "0".repeat(64)];
        let plan = Plan {
            version: VERSION,
            model: Model { name, architecture, file, sha256, packed_bytes: bytes },
            options: Options {
                context: 64,
                max_batch: 1,
                chunk: 8,
                rows: 8,
                page: 16,
                kv: DType::F32,
                activations: Activations::F32,
                partition: ir::plan::Partition::WHOLE,
                all_reduce: Default::default(),
                micro_batches: 1,
                memory: None,
                hints: vec![],
            },
            symbols: ["n", "m", "w"].map(|s| Symbol { name: s.into(), max: 8, decode: 1 }).into(),
            devices: (0..design.devices).map(device).collect(),
            memory: vec![],
            edges: vec![],
            weights: vec![weight],
            states: vec![],
            buffers: vec![],
            kernels: vec![],
            why: vec![],
            threads: (0..design.devices).map(thread).collect(),
        };
        Builder { plan, deeds: vec![], deadline_ms: design.deadline_ms, in_slots: design.in_slots }
    }

    fn step(&mut self, device: u32, step: Step) {
        self.plan.threads[device as usize].steps.push(step);
    }

    fn bytes(&self, ty: &TensorType) -> u64 {
        let symbols = self.plan.max_symbols();
        ty.bytes(|s| symbols.get(s)).expect("only listed symbols")
    }

    fn buffer(&mut self, device: u32, ty: TensorType) -> BufferId {
        let (id, bytes) = (BufferId(self.plan.buffers.len() as u32), self.bytes(&ty));
        self.plan.buffers.push(Buffer { id, device: DeviceId(device), ty, slot: None, offset: 0, bytes });
        id
    }

    /// Lets a buffer lie in a slot, if that is asked for.
    fn put(&mut self, buffer: BufferId, edge: EdgeId) {
        let slot = &mut self.plan.buffers[buffer.0 as usize].slot;
        *slot = slot.or(Some(edge).filter(|_| self.in_slots));
    }

    fn edge(&mut self, name: &str, from: End, to: End, ty: &TensorType) -> EdgeId {
        let (id, bytes) = (EdgeId(self.plan.edges.len() as u32), self.bytes(ty));
        let (ty, name, deadline_ms) = (ty.clone(), name.to_string(), self.deadline_ms);
        self.plan.edges.push(Edge { id, name, from, to, ty, bytes, capacity: 1, deadline_ms });
        id
    }

    fn recv(&mut self, name: &str, ty: TensorType, device: u32) -> BufferId {
        let edge = self.edge(name, End::Host, End::Device(DeviceId(device)), &ty);
        let to = self.buffer(device, ty);
        self.step(device, Step::Recv { edge, to });
        to
    }

    fn send(&mut self, name: &str, device: u32, to: End, from: BufferId) -> EdgeId {
        let ty = self.plan.buffers[from.0 as usize].ty.clone();
        let edge = self.edge(name, End::Device(DeviceId(device)), to, &ty);
        let made = self.plan.threads[device as usize].steps.last();
        if made.is_some_and(|step| matches!(step, Step::Run { .. }) && step.writes() == Some(from)) {
            self.put(from, edge);
        }
        self.step(device, Step::Send { edge, from });
        edge
    }

    /// Sends a buffer from one device to another.
    fn pass(&mut self, from: u32, to: u32, x: BufferId) -> BufferId {
        let edge = self.send("x", from, End::Device(DeviceId(to)), x);
        self.receive(edge, to)
    }

    fn receive(&mut self, edge: EdgeId, device: u32) -> BufferId {
        let to = self.buffer(device, self.plan.edges[edge.0 as usize].ty.clone());
        self.put(to, edge);
        self.step(device, Step::Recv { edge, to });
        to
    }

    /// Every device sends to the next, and adds what it receives.
    fn exchange(&mut self, all: &[BufferId]) -> Vec<BufferId> {
        let count = all.len() as u32;
        let next = |device: u32| End::Device(DeviceId((device + 1) % count));
        let edges: Vec<_> = (0..count).map(|d| self.send("x", d, next(d), all[d as usize])).collect();
        let received: Vec<_> =
            (0..count).map(|d| self.receive(edges[((d + count - 1) % count) as usize], d)).collect();
        let add = |d: u32| {
            self.run(d, Deed::Add, &[Arg::B(all[d as usize]), Arg::B(received[d as usize])], rows("n"))
        };
        (0..count).map(add).collect()
    }

    fn run(&mut self, device: u32, deed: Deed, inputs: &[Arg], output: TensorType) -> BufferId {
        let id = KernelId(self.plan.kernels.len() as u32);
        let ty = |arg: &Arg| match arg {
            Arg::W(id) => self.plan.weights[id.0 as usize].ty.clone(),
            Arg::B(id) => self.plan.buffers[id.0 as usize].ty.clone(),
            Arg::S(_) => unreachable!("there are no states"),
        };
        let [name, attributes] = deed.op();
        self.plan.kernels.push(Kernel {
            id,
            name: name.into(),
            op: OpText(name.into(), attributes.into()),
            inputs: inputs.iter().map(ty).collect(),
            layouts: vec!["plain".into(); inputs.len()],
            output: output.clone(),
            scratch: 0,
            shared: 0,
        });
        self.deeds.push(deed);
        let to = self.buffer(device, output);
        let args = inputs.iter().copied().chain([Arg::B(to)]).collect();
        let node = format!("{name}.{}", id.0);
        self.step(device, Step::Run { kernel: id, args, node });
        to
    }

    fn finish(&mut self) -> Plan {
        for buffer in self.plan.buffers.iter_mut().filter(|b| b.slot.is_none()) {
            let end = &mut self.plan.threads[buffer.device.0 as usize].arena_bytes;
            buffer.offset = *end;
            *end = aligned(*end + buffer.bytes);
        }
        self.plan.memory = self.plan.prove_memory(0);
        self.plan.clone()
    }
}
