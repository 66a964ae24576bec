//! The cost model: how long the steps of a plan take on the devices of a topology, at least and as expected.
//!
//! At least, a roofline for each step: what it must move over the bandwidth, or what it must compute over the
//! rates, whichever takes longer. Weights and states come round once in a step of the whole plan, and are read as
//! fast as so many bytes are that are read over and over; values between steps as fast as so many bytes as one step
//! touches.
//!
//! As expected, with what kernels were measured to reach where the topology says it, else the roofline; and beside
//! it what the launch costs.
mod measured;
mod message;

pub use message::Message;

use ir::Op;
use ir::plan::{Arg, EdgeId, KernelId, Plan, Step, Thread};
use ir::topology::{Kind, Route, Team, Topology};
use ir::work::{Operations, StepSize, Work};
use measured::Demand;
use std::ops::AddAssign;

/// Why there is no cost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CostError {
    /// The topology lacks a device of the plan.
    #[error("the plan runs on {found}, the topology has {}", .expected.join(", "))]
    Device {
        /// The plan's name for it.
        found: String,
        /// The names in the topology.
        expected: Vec<String>,
    },
    /// What a kernel must do cannot be said.
    #[error("{id} ({name}): {reason}")]
    Kernel {
        /// Which.
        id: KernelId,
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// Devices must talk that nothing joins.
    #[error(
        "no way leads {}: expected a link between the two, or of each to switches that are linked",
        .missing.iter().map(|(from, to)| format!("from {from} to {to}")).collect::<Vec<_>>().join(", ")
    )]
    Links {
        /// Which, by name; each two once.
        missing: Vec<(String, String)>,
    },
    /// How long messages are cannot be said.
    #[error("{id} ({name}): the length of its messages is not known for these sizes")]
    Message {
        /// Which edge.
        id: EdgeId,
        /// Its name.
        name: String,
    },
}

/// What a step takes, or several together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Bytes that it must move.
    pub bytes: u64,
    /// Operations that it must compute.
    pub operations: Operations,
    /// What moving takes, of weights and states, and of values between steps; in nanoseconds.
    pub memory_ns: f64,
    /// See `memory_ns`.
    pub cache_ns: f64,
    /// What computing takes, by kind, in nanoseconds.
    pub int8_ns: f64,
    /// See `int8_ns`.
    pub f16_ns: f64,
    /// See `int8_ns`.
    pub f32_ns: f64,
    /// See `int8_ns`.
    pub exp_ns: f64,
    /// The longer of moving and computing, in nanoseconds: no kernel can be faster.
    pub bound_ns: f64,
    /// What it takes as far as kernels were measured, else the bound; in nanoseconds.
    pub expected_ns: f64,
    /// What the launch costs beside, in nanoseconds.
    pub launch_ns: f64,
}

/// What a step's bound comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Weights and states are read no faster.
    Memory,
    /// Values between steps are moved no faster.
    Cache,
    /// Bytes are multiplied no faster.
    Int8,
    /// Halves are multiplied no faster.
    F16,
    /// f32 are computed no faster.
    F32,
    /// Exponentials are computed no faster.
    Exp,
}

impl Limit {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Limit::Memory => "memory",
            Limit::Cache => "cache",
            Limit::Int8 => "int8",
            Limit::F16 => "f16",
            Limit::F32 => "f32",
            Limit::Exp => "exp",
        }
    }
}

impl Cost {
    /// How long it is expected to take, in nanoseconds.
    pub fn predicted_ns(&self) -> f64 {
        self.expected_ns + self.launch_ns
    }

    /// What most of the bound comes from.
    pub fn limit(&self) -> Limit {
        let moving = [(Limit::Memory, self.memory_ns), (Limit::Cache, self.cache_ns)];
        let computing = [
            (Limit::Int8, self.int8_ns),
            (Limit::F16, self.f16_ns),
            (Limit::F32, self.f32_ns),
            (Limit::Exp, self.exp_ns),
        ];
        let sum = |parts: &[(Limit, f64)]| parts.iter().map(|part| part.1).sum::<f64>();
        let parts = if sum(&moving) >= sum(&computing) { &moving[..] } else { &computing[..] };
        parts.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(Limit::Memory, |part| part.0)
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.operations += other.operations;
        let own = [
            (&mut self.memory_ns, other.memory_ns),
            (&mut self.cache_ns, other.cache_ns),
            (&mut self.int8_ns, other.int8_ns),
            (&mut self.f16_ns, other.f16_ns),
            (&mut self.f32_ns, other.f32_ns),
            (&mut self.exp_ns, other.exp_ns),
            (&mut self.bound_ns, other.bound_ns),
            (&mut self.expected_ns, other.expected_ns),
            (&mut self.launch_ns, other.launch_ns),
        ];
        own.into_iter().for_each(|(sum, more)| *sum += more);
    }
}

/// A plan on the devices of a topology.
pub struct CostModel<'a> {
    plan: &'a Plan,
    ops: Vec<Op>,
    /// What each of the plan's devices reaches with its threads.
    teams: Vec<Team>,
    /// What each of them is.
    kinds: Vec<Kind>,
    /// The way of each of its edges.
    routes: Vec<Option<Route>>,
}

/// Bytes of a step, by where they are.
struct Moved {
    /// Weights and states.
    memory: u64,
    /// Values between steps.
    cache: u64,
    operations: Operations,
}

impl<'a> CostModel<'a> {
    /// The plan must have passed [`Plan::verify`].
    pub fn new(plan: &'a Plan, topology: &Topology) -> Result<CostModel<'a>, CostError> {
        let team = |device: &ir::plan::Device| {
            let unknown = || CostError::Device {
                found: device.name.clone(),
                expected: topology.devices.iter().map(|device| device.name.clone()).collect(),
            };
            let found = topology.device(&device.name);
            found.and_then(|found| Some((found.team(device.threads)?, found.kind))).ok_or_else(unknown)
        };
        let teams = plan.devices.iter().map(team).collect::<Result<Vec<_>, _>>()?;
        let (teams, kinds) = teams.into_iter().unzip();
        Ok(CostModel { plan, ops: ops(plan)?, teams, kinds, routes: message::routes(plan, topology)? })
    }

    /// What each step of a thread takes; nothing for messages, which [`CostModel::message`] says.
    pub fn steps(&self, thread: &Thread, size: &StepSize) -> Result<Vec<Cost>, CostError> {
        let works = works(self.plan, &self.ops, size)?;
        let of = |(work, (kernel, op))| Demand::of(kernel, op, work, size);
        let demands: Vec<Demand> =
            works.iter().zip(self.plan.kernels.iter().zip(&self.ops)).map(of).collect();
        let of_step = |step: &Step| match step {
            Step::Run { kernel, args, .. } => {
                Some((*kernel, moved(self.plan, &works[kernel.0 as usize], args)))
            }
            _ => None,
        };
        let moved: Vec<Option<(KernelId, Moved)>> = thread.steps.iter().map(of_step).collect();
        let round = moved.iter().flatten().fold(0, |sum: u64, (_, moved)| sum.saturating_add(moved.memory));
        let device = thread.device.0 as usize;
        let (team, kind) = (&self.teams[device], self.kinds[device]);
        let cost = |(kernel, moved): (KernelId, Moved)| {
            let mut cost = cost(team, &moved, round);
            let demand = &demands[kernel.0 as usize];
            let expected = demand.expected_ns(team, cost.memory_ns + cost.cache_ns);
            cost.expected_ns = expected.unwrap_or(cost.bound_ns);
            if kind == Kind::Cpu && !demand.starts_team() {
                cost.launch_ns = 0.0;
            }
            cost
        };
        Ok(moved.into_iter().map(|moved| moved.map_or(Cost::default(), cost)).collect())
    }
}

/// Bytes of weights and states that steps of these sizes move on all devices: what decode brings from memory.
pub fn memory_bytes(plan: &Plan, sizes: &[StepSize]) -> Result<u64, CostError> {
    let ops = ops(plan)?;
    let mut bytes = 0u64;
    for size in sizes {
        let works = works(plan, &ops, size)?;
        for step in plan.threads.iter().flat_map(|thread| &thread.steps) {
            if let Step::Run { kernel, args, .. } = step {
                bytes = bytes.saturating_add(moved(plan, &works[kernel.0 as usize], args).memory);
            }
        }
    }
    Ok(bytes)
}

fn ops(plan: &Plan) -> Result<Vec<Op>, CostError> {
    let op = |kernel: &ir::plan::Kernel| {
        let unknown = |reason| CostError::Kernel { id: kernel.id, name: kernel.name.clone(), reason };
        Op::parse(&kernel.op.0, &kernel.op.1).map_err(unknown)
    };
    plan.kernels.iter().map(op).collect()
}

fn works(plan: &Plan, ops: &[Op], size: &StepSize) -> Result<Vec<Work>, CostError> {
    let of = |(kernel, op): (&ir::plan::Kernel, &Op)| {
        let reason = || format!("what {} must do is not known for these sizes", op.name());
        op.work(&kernel.inputs, size).ok_or_else(|| CostError::Kernel {
            id: kernel.id,
            name: kernel.name.clone(),
            reason: reason(),
        })
    };
    plan.kernels.iter().zip(ops).map(of).collect()
}

/// A weight's bytes are those that it has where it is packed.
fn moved(plan: &Plan, work: &Work, args: &[Arg]) -> Moved {
    let mut moved = Moved { memory: 0, cache: 0, operations: work.operations };
    let mut add = |arg: &Arg, bytes: u64| match arg {
        Arg::W(id) => {
            let weight = &plan.weights[id.0 as usize];
            let whole = weight.ty.bytes(|_| None).unwrap_or(weight.bytes).max(1);
            let packed = u128::from(bytes) * u128::from(weight.bytes) / u128::from(whole);
            moved.memory = moved.memory.saturating_add(u64::try_from(packed).unwrap_or(u64::MAX));
        }
        Arg::S(_) => moved.memory = moved.memory.saturating_add(bytes),
        Arg::B(_) => moved.cache = moved.cache.saturating_add(bytes),
    };
    if let Some((output, inputs)) = args.split_last() {
        inputs.iter().zip(&work.reads).for_each(|(arg, bytes)| add(arg, *bytes));
        add(output, work.writes);
    }
    moved
}

/// What a step takes that moves and computes so much, where `round` bytes of weights and states come round.
fn cost(team: &Team, moved: &Moved, round: u64) -> Cost {
    let read = |bytes, working_set| ns(bytes, team.read_rate(working_set).unwrap_or(0));
    let (memory_ns, cache_ns) = (read(moved.memory, round), read(moved.cache, moved.cache));
    let [(_, int8_ns), (_, f16_ns), (_, f32_ns), (_, exp_ns)] = computing_ns(team, moved.operations);
    let bound_ns = (memory_ns + cache_ns).max(int8_ns + f16_ns + f32_ns + exp_ns);
    Cost {
        bytes: moved.memory.saturating_add(moved.cache),
        operations: moved.operations,
        memory_ns,
        cache_ns,
        int8_ns,
        f16_ns,
        f32_ns,
        exp_ns,
        bound_ns,
        expected_ns: bound_ns,
        launch_ns: team.launch_ns as f64,
    }
}

/// Nanoseconds for each kind of operation, with arithmetic at its best.
fn computing_ns(team: &Team, operations: Operations) -> [(Limit, f64); 4] {
    let (of, rates) = (operations, team.operations);
    [
        (Limit::Int8, ns(of.int8, rates.int8)),
        (Limit::F16, ns(of.f16, rates.f16)),
        (Limit::F32, ns(of.f32, rates.f32)),
        (Limit::Exp, ns(of.exp, rates.exp)),
    ]
}

fn ns(much: u64, per_second: u64) -> f64 {
    match per_second {
        0 => 0.0,
        rate => much as f64 * 1e9 / rate as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{self, tests::request};
    use crate::{Cx, memory};
    use ir::plan::{Device, DeviceId, Edge, End, Partition};
    use ir::topology::{Kind, Link, Rate, RateAt, Read, VERSION};
    use ir::{Symbols, text};

    fn plan() -> Plan {
        let text = "graph g {
           x = input(): f32[n, 64]
           w = weight(): q4_1[32, 64]
           g = weight(): f32[64]
           %0 = rms_norm(x, g) {eps:1e-5}: f32[n, 64]
           %1 = linear(%0, w): f32[n, 32]
           return %1
         }";
        let mut graph = text::read(text).expect("the text is one of a graph").graph;
        crate::run_one(&Cx::default(), "layout", &mut graph).expect("every weight lies plainly");
        let request = request(Partition::WHOLE, 1, 16, &[Device::cpu(0, 1)]);
        let mut plan = schedule::run(&Cx::default(), &graph, request).expect("a plan");
        memory::run(&Cx::default(), &mut plan, 0).expect("offsets");
        plan
    }

    fn topology(name: &str) -> Topology {
        let read = |bytes, bytes_per_second| Read { bytes, bytes_per_second };
        let operations =
            Operations { int8: 4_000_000_000, f16: 2_000_000_000, f32: 1_000_000_000, exp: 1_000_000_000 };
        // A byte in a nanosecond from memory, ten from the cache.
        let reads = vec![read(1024, 10_000_000_000), read(1025, 1_000_000_000)];
        let teams = vec![Team { threads: 1, launch_ns: 7, operations, reads, rates: vec![] }];
        let device = ir::topology::Device {
            name: name.into(),
            kind: Kind::Cpu,
            model: String::new(),
            kernels: String::new(),
            memory_bytes: 1,
            driver: Default::default(),
            threads: 1,
            teams,
        };
        Topology { version: VERSION, devices: vec![device], switches: vec![], links: vec![] }
    }

    #[test]
    fn a_step_takes_as_long_as_its_bytes_or_its_operations_and_its_launch() {
        let (plan, topology) = (plan(), topology("cpu:0"));
        let model = CostModel::new(&plan, &topology).unwrap();
        let steps = |n| {
            let size = StepSize { symbols: Symbols::new().with("n", n), sequences: vec![] };
            model.steps(&plan.threads[0], &size).unwrap()
        };
        // Receive, norm, product, send. The weights that come round are 256 + 1280 bytes: more than the cache.
        let one = steps(1);
        assert_eq!(one.iter().map(|c| c.bytes).collect::<Vec<_>>(), [0, 256 + 2 * 256, 1280 + 256 + 128, 0]);
        assert_eq!(one[2].operations, Operations { f16: 2 * 64 * 32, ..Operations::default() });
        assert_eq!((one[2].memory_ns, one[2].cache_ns, one[2].f16_ns), (1280.0, 38.4, 2048.0));
        assert_eq!((one[2].bound_ns, one[2].predicted_ns(), one[2].limit()), (2048.0, 2055.0, Limit::F16));
        assert_eq!((one[1].memory_ns, one[1].limit()), (256.0, Limit::Memory));
        assert_eq!(one[0], Cost::default());
        // Ten tokens: the values between no longer fit the cache, the weights are read once all the same.
        let ten = steps(10);
        assert_eq!((ten[2].memory_ns, ten[2].cache_ns, ten[2].f16_ns), (1280.0, 3840.0, 20480.0));
        let mut both = ten[1];
        both += ten[2];
        assert_eq!(both.bound_ns, ten[1].bound_ns + ten[2].bound_ns);
        assert_eq!((both.launch_ns, both.limit()), (14.0, Limit::F16));
    }

    #[test]
    fn what_kernels_were_measured_to_reach_is_expected_of_them() {
        let (plan, mut topology) = (plan(), topology("cpu:0"));
        let at = |rows, operations_per_second, exposed_percent| {
            vec![RateAt { rows, operations_per_second, exposed_percent }]
        };
        let rate = |kernel: &str, at| Rate { kernel: kernel.into(), at, start_ns: 0, queries_per_second: 0 };
        topology.devices[0].teams[0].rates =
            vec![rate("plain f32", at(1, 1_000_000_000, 25)), rate("bodies", at(1, 100_000_000, 0))];
        let size = StepSize { symbols: Symbols::new().with("n", 1), sequences: vec![] };
        let steps = CostModel::new(&plan, &topology).unwrap().steps(&plan.threads[0], &size).unwrap();
        // The product: 4096 operations at one in a nanosecond; reading takes less, even with a quarter of that.
        assert_eq!((steps[2].expected_ns, steps[2].bound_ns), (4096.0, 2048.0));
        // The norm: 260 operations of f32, ten nanoseconds each; for one row no team of cores starts.
        assert_eq!(steps[1].operations.f32, 260);
        assert_eq!((steps[1].expected_ns, steps[1].predicted_ns()), (2600.0, 2600.0));
        assert_eq!(steps[2].predicted_ns(), 4103.0);
        // Where products are fast, reading takes the time, and what it does not hide of them.
        topology.devices[0].teams[0].rates[0].at = at(1, 8_000_000_000, 25);
        let steps = CostModel::new(&plan, &topology).unwrap().steps(&plan.threads[0], &size).unwrap();
        assert_eq!(steps[2].expected_ns, 1280.0 + 38.4 + 128.0);
        topology.devices[0].teams[0].rates[0].start_ns = 500;
        let steps = CostModel::new(&plan, &topology).unwrap().steps(&plan.threads[0], &size).unwrap();
        assert_eq!(steps[2].expected_ns, 1280.0 + 38.4 + 128.0 + 500.0);
        // What was not measured is expected at its bound.
        topology.devices[0].teams[0].rates = vec![rate("another", at(1, 1, 0))];
        let steps = CostModel::new(&plan, &topology).unwrap().steps(&plan.threads[0], &size).unwrap();
        assert_eq!(steps[2].expected_ns, steps[2].bound_ns);
    }

    #[test]
    fn messages_take_the_way_between_their_ends_and_those_of_the_host_stay_on_the_device() {
        let (mut plan, mut topology) = (plan(), topology("cpu:0"));
        let second = topology.devices[0].clone();
        topology.devices.push(ir::topology::Device { name: "gpu:1".into(), kind: Kind::Gpu, ..second });
        plan.devices.push(Device { name: "gpu:1".into(), ..Device::cpu(1, 1) });
        let device = |id| End::Device(DeviceId(id));
        let id = EdgeId(plan.edges.len() as u32);
        plan.edges.push(Edge { id, from: device(0), to: device(1), ..plan.edges[0].clone() });
        let id = EdgeId(plan.edges.len() as u32);
        plan.edges.push(Edge { id, from: device(1), to: device(0), ..plan.edges[0].clone() });
        let refused = CostModel::new(&plan, &topology).err().map(|e| e.to_string());
        let expected = "no way leads from cpu:0 to gpu:1: expected a link between the two, or of each to switches that are linked";
        assert_eq!(refused.as_deref(), Some(expected));

        let link = |from: &str, to: &str, latency_ns, bytes_per_second, wake_ns| Link {
            from: from.into(),
            to: to.into(),
            latency_ns,
            bytes_per_second,
            wake_ns,
        };
        topology.switches.push("bus".into());
        topology.links = vec![
            link("bus", "cpu:0", 100, 2_000_000_000, 0),
            link("gpu:1", "bus", 50, 500_000_000, 0),
            link("cpu:0", "cpu:0", 10, 1_000_000_000, 5000),
        ];
        let model = CostModel::new(&plan, &topology).unwrap();
        let size = StepSize { symbols: Symbols::new().with("n", 2), sequences: vec![] };
        let message = |edge: usize| model.message(&plan.edges[edge], &size).unwrap();
        // x is 2 rows of 64 f32, what is returned 2 rows of 32.
        assert_eq!((message(0).bytes, message(0).latency_ns, message(0).transfer_ns), (512, 10.0, 512.0));
        assert_eq!((message(2).latency_ns, message(2).transfer_ns), (150.0, 1024.0));
        assert_eq!(message(3), message(2));
        assert_eq!(message(1).predicted_ns(), 10.0 + 256.0);
        assert_eq!(model.host_ns(&size).unwrap(), 10.0 + 512.0 + 10.0 + 256.0 + 5000.0);
        topology.links.pop();
        let model = CostModel::new(&plan, &topology).unwrap();
        assert_eq!(model.host_ns(&size), Ok(0.0), "nobody says what it takes");
        let unknown = model.message(&plan.edges[0], &StepSize::default()).unwrap_err().to_string();
        assert_eq!(unknown, "edge 0 (x): the length of its messages is not known for these sizes");
    }

    #[test]
    fn what_cannot_be_costed_is_refused_by_name() {
        let plan = plan();
        let refused = CostModel::new(&plan, &topology("gpu:1")).err().map(|e| e.to_string());
        assert_eq!(refused.as_deref(), Some("the plan runs on cpu:0, the topology has gpu:1"));
        let topology = topology("cpu:0");
        let unknown = CostModel::new(&plan, &topology).unwrap().steps(&plan.threads[0], &StepSize::default());
        assert!(unknown.unwrap_err().to_string().starts_with("kernel 0 (rms_norm): "));
    }
}
