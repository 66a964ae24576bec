//! The plan: what every device thread does, over which buffers, joined by which edges.
//!
//! A plan is data: it holds no weights and no code. Its text form ([`Plan::to_text`]) is canonical,
//! one item a line, and its hash is the hash of that text. The runtime adds no decision of its own.
mod driver;
mod edge;
mod hints;
mod memory;
mod pattern;
mod slots;
mod text;
mod verify;

pub use driver::Driver;
pub use edge::{CAPACITY_MAX, DEADLINE_MS, Edge, End};
pub use hints::{Hint, HintsError};
pub use memory::{MemoryProof, Phase};
pub use pattern::Pattern;
pub use slots::SlotUse;
pub use text::{PlanError, Section, line_of};
pub use verify::{Fault, Where};

use crate::topology::Kind;
use crate::{DType, Part, TensorType};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The version of the plan's form that this code writes; it reads no other.
pub const VERSION: u32 = 5;

/// Buffers, weights and states begin at multiples of this many bytes.
pub const ALIGNMENT: u64 = 64;

/// Everything the runtime needs to know, but for weights and code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The form's version.
    pub version: u32,
    /// What was compiled.
    pub model: Model,
    /// Under which options.
    pub options: Options,
    /// The symbols of the step graph, in the order in which kernels are given their values.
    pub symbols: Vec<Symbol>,
    /// Where things run.
    pub devices: Vec<Device>,
    /// The proof of memory: bytes by device and phase.
    pub memory: Vec<MemoryProof>,
    /// Message edges between device threads and the host.
    pub edges: Vec<Edge>,
    /// Packed weights, in the order of the weights file.
    pub weights: Vec<Weight>,
    /// What outlives a step: the KV cache.
    pub states: Vec<State>,
    /// Values within a step, at offsets of their device's arena.
    pub buffers: Vec<Buffer>,
    /// What steps run.
    pub kernels: Vec<Kernel>,
    /// One thread a device.
    pub threads: Vec<Thread>,
    /// What was decided by cost, and what was not taken.
    #[serde(default)]
    pub why: Vec<Why>,
}

/// A decision, with what it was expected to cost and what else there was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// What was decided: `partition`.
    pub about: String,
    /// What was taken.
    pub chosen: String,
    /// What it is expected to cost, in nanoseconds.
    pub predicted_ns: u64,
    /// What that is the cost of.
    pub measure: String,
    /// What was not taken, the best first.
    pub instead: Vec<Instead>,
}

/// What was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instead {
    /// What it is.
    pub what: String,
    /// What it would have cost, in nanoseconds; none where it cannot be.
    pub predicted_ns: Option<u64>,
    /// Why it cannot be.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Bytes of memory that it would take, where it has fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needed_bytes: Option<u64>,
}

/// The model file that a plan was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Its name, as the file gives it.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// The file or folder.
    pub file: String,
    /// SHA-256 of the file, or of its files' hashes in order of name.
    pub sha256: String,
    /// Bytes of the packed weights file.
    pub packed_bytes: u64,
}

/// What the user decided, directly or by default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Tokens that one sequence can hold.
    pub context: u32,
    /// Sequences held at once.
    pub max_batch: u32,
    /// Tokens in one step at most: a longer prompt is prefilled in chunks.
    pub chunk: u32,
    /// Rows of logits in one step at most.
    pub rows: u32,
    /// Tokens in one page of the KV cache.
    pub page: u32,
    /// The KV cache's dtype.
    pub kv: DType,
    /// How activations enter products with quantised weights.
    pub activations: Activations,
    /// How the model is cut: the degrees of data, pipeline and tensor parallelism.
    pub partition: Partition,
    /// How devices that divide tensors add what each has of a sum.
    #[serde(default, skip_serializing_if = "AllReduce::is_direct")]
    pub all_reduce: AllReduce,
    /// Steps that are under way at once, each of other sequences.
    pub micro_batches: u32,
    /// Bytes that the plan may take on each device; none: as many as it takes.
    pub memory: Option<u64>,
    /// What a person said of the cut.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<Hint>,
}

impl Default for Partition {
    fn default() -> Partition {
        Partition::WHOLE
    }
}

impl fmt::Display for Partition {
    /// `pipeline:2,tensor:2`, as it is asked for; `none` for no cut.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = if self.experts { "expert" } else { "tensor" };
        let degrees = [("data", self.data), ("pipeline", self.pipeline), (group, self.tensor)];
        let cuts: Vec<String> =
            degrees.iter().filter(|(_, n)| *n != 1).map(|(kind, n)| format!("{kind}:{n}")).collect();
        f.write_str(if cuts.is_empty() { "none" } else { "" })?;
        f.write_str(&cuts.join(","))
    }
}

impl std::str::FromStr for Partition {
    type Err = String;

    /// Reads what `Display` writes, in any order.
    fn from_str(text: &str) -> Result<Partition, String> {
        let mut partition = Partition::WHOLE;
        if text.trim() == "none" {
            return Ok(partition);
        }
        let mut named = vec![];
        for cut in text.split(',').map(str::trim) {
            let expected = "expected none, or some of data:N, pipeline:N and tensor:N or expert:N, as in pipeline:2,tensor:2";
            let (kind, degree) = cut.split_once(':').ok_or_else(|| format!("found {cut:?}, {expected}"))?;
            let degree = degree.trim().parse().ok().filter(|n| (1..=Partition::DEGREE_MAX).contains(n));
            let degree = degree.ok_or_else(|| {
                format!("found {cut:?}, expected a degree from 1 to {}", Partition::DEGREE_MAX)
            })?;
            if named.contains(&kind) {
                return Err(format!("found {kind} twice, expected it once"));
            }
            named.push(kind);
            match kind {
                "data" => partition.data = degree,
                "pipeline" => partition.pipeline = degree,
                "tensor" | "expert" if named.contains(&"tensor") && named.contains(&"expert") => {
                    return Err(format!("found {cut:?} beside the other of tensor and expert, {expected}"));
                }
                "tensor" => partition.tensor = degree,
                "expert" => (partition.tensor, partition.experts) = (degree, degree > 1),
                _ => return Err(format!("found {cut:?}, {expected}")),
            }
        }
        Ok(partition)
    }
}

impl Options {
    /// Sequences that one replica holds at once.
    pub fn replica_batch(&self) -> u32 {
        self.max_batch.div_ceil(self.partition.data.max(1))
    }
}

/// How a model is cut. Devices are numbered by replica, in it by stage, in that by rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// Replicas, each of which works for sequences of its own: sequence slot `s` is at replica `s % data`.
    pub data: u32,
    /// Stages of layers, one behind the other.
    pub pipeline: u32,
    /// Devices that divide a stage's tensors among themselves.
    pub tensor: u32,
    /// Whether they divide mixtures by whole experts: expert parallelism.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub experts: bool,
}

impl Partition {
    /// The greatest degree of each kind.
    pub const DEGREE_MAX: u32 = 1024;
    /// No cut: all on one device.
    pub const WHOLE: Partition = Partition { data: 1, pipeline: 1, tensor: 1, experts: false };

    /// How many devices it takes; 0 where that is no number.
    pub fn devices(&self) -> u32 {
        [self.pipeline, self.tensor].iter().try_fold(self.data, |all, n| all.checked_mul(*n)).unwrap_or(0)
    }
}

/// How a group of R devices comes to have a sum of which each has a part. It decides in which order things are added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AllReduce {
    /// Each sends all it has to all, and adds in order of rank: one hop, R - 1 times the bytes.
    #[default]
    Direct,
    /// Each adds one stretch, of which all send it theirs, and sends that to all: two hops, twice the bytes.
    Scatter,
    /// Stretches go round, added to by each, and then round again: 2 (R - 1) hops between neighbours only, twice the
    /// bytes.
    Ring,
    /// Two by two up to the first, which sends the sum to all: log2 R + 1 hops, the fewest messages.
    Tree,
}

impl AllReduce {
    /// Every way.
    pub const ALL: [AllReduce; 4] = [AllReduce::Direct, AllReduce::Scatter, AllReduce::Ring, AllReduce::Tree];

    /// Whether it is the way that nobody need name.
    pub fn is_direct(&self) -> bool {
        *self == AllReduce::Direct
    }

    /// In a word, as it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            AllReduce::Direct => "direct",
            AllReduce::Scatter => "scatter",
            AllReduce::Ring => "ring",
            AllReduce::Tree => "tree",
        }
    }
}

/// How activations enter products with quantised weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activations {
    /// As f32: exact.
    #[serde(rename = "f32")]
    F32,
    /// Quantised to int8 in blocks of 32.
    #[serde(rename = "int8")]
    Int8,
}

/// A symbol of the step graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Symbol {
    /// Its name.
    pub name: String,
    /// Its greatest value, for which buffers are sized.
    pub max: i64,
    /// Its greatest value in a decode step.
    pub decode: i64,
}

/// Something that runs steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Its number.
    pub id: DeviceId,
    /// `cpu:0`.
    pub name: String,
    /// What it is.
    #[serde(default, skip_serializing_if = "Kind::is_cpu")]
    pub kind: Kind,
    /// How many threads its team has.
    pub threads: u32,
    /// Bytes that the plan may take there, beside what [`Options::memory`] says; none: as many as it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// What its driver takes and allows.
    #[serde(default, skip_serializing_if = "Driver::is_none")]
    pub driver: Driver,
}

impl Device {
    /// Some threads of this machine's processor.
    pub fn cpu(number: u32, threads: u32) -> Device {
        let (id, name) = (DeviceId(number), format!("cpu:{number}"));
        Device { id, name, kind: Kind::Cpu, threads, memory: None, driver: Driver::default() }
    }
}

impl Plan {
    /// Bytes that the plan may take on a device: the lesser of what the options and the device say.
    pub fn budget(&self, device: DeviceId) -> Option<u64> {
        let own = self.devices.iter().find(|d| d.id == device).and_then(|d| d.memory);
        [own, self.options.memory].into_iter().flatten().min()
    }
}

/// A packed weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weight {
    /// Its number.
    pub id: WeightId,
    /// Its name in the checkpoint.
    pub name: String,
    /// On which device.
    pub device: DeviceId,
    /// Its type there.
    pub ty: TensorType,
    /// Which part of the checkpoint's tensor it is, if it is not all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// How its elements lie in the packed file.
    pub layout: String,
    /// Where, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// What outlives a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Its number.
    pub id: StateId,
    /// The step graph's name for it.
    pub name: String,
    /// On which device.
    pub device: DeviceId,
    /// Its type.
    pub ty: TensorType,
    /// Which part of the whole model's state it is, if it is not all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// Where in the device's state memory, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// A value within a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Buffer {
    /// Its number.
    pub id: BufferId,
    /// On which device.
    pub device: DeviceId,
    /// Its type.
    pub ty: TensorType,
    /// The edge in whose slots it lies, if not in the arena; see [`Plan::slot_uses`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<EdgeId>,
    /// Where in the device's arena, in bytes; 0 in a slot.
    pub offset: u64,
    /// Bytes with every symbol at its greatest.
    pub bytes: u64,
}

/// One kernel: an operator on types. Steps of equal operator, types and layouts share it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kernel {
    /// Its number.
    pub id: KernelId,
    /// What it is called in traces and profiles: the operator and the layouts of its weights.
    pub name: String,
    /// The operator.
    pub op: OpText,
    /// Types of its inputs.
    pub inputs: Vec<TensorType>,
    /// How each input lies: a packed layout, or `plain`.
    pub layouts: Vec<String>,
    /// The type of its result.
    pub output: TensorType,
    /// Bytes of scratch that each worker needs.
    pub scratch: u64,
    /// Bytes that the workers of a device share while it runs.
    #[serde(default, skip_serializing_if = "is_none")]
    pub shared: u64,
}

fn is_none(bytes: &u64) -> bool {
    *bytes == 0
}

/// An operator by name and attributes, as in a graph's text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OpText(pub String, pub String);

/// What one device does in a step, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thread {
    /// The device.
    pub device: DeviceId,
    /// Bytes of its arena.
    pub arena_bytes: u64,
    /// Bytes of its states.
    pub state_bytes: u64,
    /// Bytes of scratch for each worker of its team.
    pub scratch_bytes: u64,
    /// Bytes that its workers share while a kernel runs.
    #[serde(default)]
    pub shared_bytes: u64,
    /// The steps.
    pub steps: Vec<Step>,
}

/// One step of a device thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// Receives a message into a buffer.
    Recv {
        /// From which edge.
        edge: EdgeId,
        /// Into which buffer.
        to: BufferId,
    },
    /// Runs a kernel.
    Run {
        /// Which.
        kernel: KernelId,
        /// Its inputs in order, then its output.
        args: Vec<Arg>,
        /// The path of the node in the graph.
        node: String,
    },
    /// Sends a buffer.
    Send {
        /// Over which edge.
        edge: EdgeId,
        /// From which buffer.
        from: BufferId,
    },
}

/// An argument of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Arg {
    /// A packed weight.
    W(WeightId),
    /// A state.
    S(StateId),
    /// A buffer.
    B(BufferId),
}

macro_rules! ids {
    ($($(#[$doc:meta])* $Name:ident $letter:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $Name(pub u32);

        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($letter, "{}"), self.0)
            }
        }
    )*};
}
ids! {
    /// A device of a plan.
    DeviceId "device ";
    /// A weight of a plan.
    WeightId "weight ";
    /// A state of a plan.
    StateId "state ";
    /// A buffer of a plan.
    BufferId "buffer ";
    /// A kernel of a plan.
    KernelId "kernel ";
    /// An edge of a plan.
    EdgeId "edge ";
}

impl Plan {
    /// The greatest values of the symbols.
    pub fn max_symbols(&self) -> crate::Symbols {
        self.symbols.iter().fold(crate::Symbols::new(), |all, s| all.with(&s.name, s.max))
    }

    /// The greatest values of the symbols in a decode step.
    pub fn decode_symbols(&self) -> crate::Symbols {
        self.symbols.iter().fold(crate::Symbols::new(), |all, s| all.with(&s.name, s.decode))
    }

    /// Which replica a device belongs to.
    pub fn replica_of(&self, device: DeviceId) -> u32 {
        let each = (self.devices.len() as u32 / self.options.partition.data.max(1)).max(1);
        device.0 / each
    }

    /// Pages of the KV cache that one sequence can fill.
    pub fn pages_per_sequence(&self) -> u32 {
        self.options.context.div_ceil(self.options.page)
    }
}

/// `bytes` rounded up to where the next thing may begin.
pub fn aligned(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_tells_the_only_symbol_of_its_type() {
        let tells = |ty: &str| {
            let ty = TensorType::parse(ty).expect("a type");
            let (id, name, from, to) = (EdgeId(0), String::new(), End::Host, End::Host);
            let edge = Edge { id, name, from, to, ty, bytes: 0, capacity: 1, deadline_ms: 1 };
            edge.tells().map(str::to_owned)
        };
        for ty in ["i32[n]", "f32[n, 8]", "q8_a[n, 64]", "f32[2, n]"] {
            assert_eq!(tells(ty).as_deref(), Some("n"), "{ty}");
        }
        for ty in ["i32[4]", "f32[n, m]", "f32[n, n]", "f32[2*n]", "f32[n + 1]", "f32[n + m]", "f32[n, 0]"] {
            assert_eq!(tells(ty), None, "{ty}");
        }
    }
}
