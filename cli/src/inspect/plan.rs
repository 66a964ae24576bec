//! A plan in short: what each device has, what it takes, what crosses between them, which kernels run how often.
use crate::diff::traffic;
use crate::{load, output};
use ir::plan::{Device, DeviceId, End, MemoryProof, Model, Options, Phase, Plan, Step, Thread};
use passes::partition::layer_of;
use serde::Serialize;
use std::collections::BTreeMap;

/// What a plan consists of.
#[derive(Serialize)]
pub(super) struct Summary<'a> {
    format: &'static str,
    version: u32,
    hash: String,
    model: &'a Model,
    options: &'a Options,
    devices: Vec<OfDevice<'a>>,
    memory: &'a [MemoryProof],
    predicted_peak_bytes: u64,
    weights: usize,
    states: usize,
    buffers: usize,
    edges: usize,
    traffic: Vec<Traffic>,
    kernels: Vec<Kernel<'a>>,
    #[serde(skip)]
    plan: &'a Plan,
}

/// What one device has.
#[derive(Serialize)]
struct OfDevice<'a> {
    name: &'a str,
    replica: u32,
    /// The first and the last of its layers.
    layers: Option<(u64, u64)>,
    steps: usize,
    weights: usize,
    weight_bytes: u64,
    peak_bytes: u64,
}

/// What crosses all edges of a kind: between devices, from the host, or to it.
#[derive(Serialize)]
struct Traffic {
    kind: &'static str,
    #[serde(rename = "type")]
    ty: String,
    edges: usize,
    /// In a step of one token, of each replica.
    messages: usize,
    bytes: u64,
    names: Vec<String>,
}

/// A kernel, and how many steps run it.
#[derive(Serialize)]
struct Kernel<'a> {
    name: &'a str,
    output: String,
    steps: usize,
}

/// The first and the last layer of which a thread runs steps.
pub(crate) fn layers(thread: &Thread) -> Option<(u64, u64)> {
    let layers = thread.steps.iter().filter_map(|step| match step {
        Step::Run { node, .. } => layer_of(node),
        _ => None,
    });
    Some((layers.clone().min()?, layers.max()?))
}

/// The most that a plan takes on a device while it runs.
pub(crate) fn peak_bytes(plan: &Plan, device: DeviceId) -> u64 {
    let proofs = plan.memory.iter().filter(|proof| proof.device == device && proof.phase != Phase::Load);
    proofs.map(|proof| proof.total).max().unwrap_or(0)
}

impl<'a> Summary<'a> {
    pub(super) fn of(plan: &'a Plan) -> Summary<'a> {
        let runs = |id| {
            let steps = plan.threads.iter().flat_map(|thread| &thread.steps);
            steps.filter(|step| matches!(step, Step::Run { kernel, .. } if *kernel == id)).count()
        };
        let kernel = |k: &'a ir::plan::Kernel| Kernel {
            name: &k.name,
            output: k.output.to_string(),
            steps: runs(k.id),
        };
        Summary {
            format: "plan",
            version: plan.version,
            hash: plan.hash(),
            model: &plan.model,
            options: &plan.options,
            devices: plan.threads.iter().filter_map(|thread| of_device(plan, thread)).collect(),
            memory: &plan.memory,
            predicted_peak_bytes: load::predicted_peak(plan),
            weights: plan.weights.len(),
            states: plan.states.len(),
            buffers: plan.buffers.len(),
            edges: plan.edges.len(),
            traffic: all_traffic(plan),
            kernels: plan.kernels.iter().map(kernel).collect(),
            plan,
        }
    }

    /// As tables.
    pub(super) fn text(&self) -> String {
        let o = self.options;
        let lists =
            [self.device_table(), memory_table(&self.plan.devices, self.memory), self.traffic_table()];
        format!(
            "{}, {}: context {}, batch {}, steps of {} tokens, KV cache {}\n\
             cut {}: {} weights, {} states, {} buffers, {} edges; at most {} of memory\n\n{}\n{}",
            self.model.file,
            self.model.architecture,
            o.context,
            o.max_batch,
            o.chunk,
            o.kv,
            o.partition,
            self.weights,
            self.states,
            self.buffers,
            self.edges,
            output::bytes(self.predicted_peak_bytes),
            lists.join("\n"),
            self.kernel_table(),
        )
    }

    fn device_table(&self) -> String {
        let row = |d: &OfDevice<'_>| {
            let layers = d.layers.map_or("none".to_owned(), |(first, last)| match first == last {
                true => first.to_string(),
                false => format!("{first} to {last}"),
            });
            let bytes = [d.weight_bytes, d.peak_bytes].map(output::bytes);
            let [weights, peak] = bytes;
            vec![d.name.to_owned(), d.replica.to_string(), layers, d.steps.to_string(), weights, peak]
        };
        let rows: Vec<_> = self.devices.iter().map(row).collect();
        output::table(&["DEVICE", " REPLICA", " LAYERS", " STEPS", " WEIGHTS", " MEMORY"], &rows)
    }

    fn traffic_table(&self) -> String {
        let row = |t: &Traffic| {
            vec![
                t.kind.to_owned(),
                t.ty.clone(),
                t.edges.to_string(),
                t.messages.to_string(),
                output::bytes(t.bytes),
                t.names.join(", "),
            ]
        };
        let rows: Vec<_> = self.traffic.iter().map(row).collect();
        output::table(&["EDGES", "TYPE", " NUMBER", " MESSAGES A STEP", " BYTES", "CARRY"], &rows)
    }

    fn kernel_table(&self) -> String {
        let row = |k: &Kernel<'_>| vec![k.name.to_owned(), k.output.clone(), k.steps.to_string()];
        let rows: Vec<_> = self.kernels.iter().map(row).collect();
        output::table(&["KERNEL", "RESULT", " STEPS"], &rows)
    }
}

fn of_device<'a>(plan: &'a Plan, thread: &Thread) -> Option<OfDevice<'a>> {
    let device = plan.devices.iter().find(|device| device.id == thread.device)?;
    let weights = plan.weights.iter().filter(|weight| weight.device == device.id);
    Some(OfDevice {
        name: &device.name,
        replica: plan.replica_of(device.id),
        layers: layers(thread),
        steps: thread.steps.len(),
        weights: weights.clone().count(),
        weight_bytes: weights.fold(0, |sum, weight| sum.saturating_add(weight.bytes)),
        peak_bytes: peak_bytes(plan, device.id),
    })
}

/// Edges of a kind and type together.
fn all_traffic(plan: &Plan) -> Vec<Traffic> {
    let mut all: BTreeMap<(&str, String), Traffic> = BTreeMap::new();
    for edge in &plan.edges {
        let kind = match (edge.from, edge.to) {
            (End::Host, _) => "from the host",
            (_, End::Host) => "to the host",
            _ => "between devices",
        };
        let ty = edge.ty.to_string();
        let none = || Traffic { kind, ty: ty.clone(), edges: 0, messages: 0, bytes: 0, names: vec![] };
        let own = all.entry((kind, ty.clone())).or_insert_with(none);
        let crosses = traffic(plan, edge);
        own.edges += 1;
        own.messages += crosses.messages;
        own.bytes = own.bytes.saturating_add(crosses.bytes);
        for name in edge.name.split('+').map(str::to_owned) {
            if !own.names.contains(&name) {
                own.names.push(name);
            }
        }
    }
    all.into_values().collect()
}

/// The proof of memory: a row for each device and phase.
pub(crate) fn memory_table(devices: &[Device], memory: &[MemoryProof]) -> String {
    // Processors have no driver to count.
    let has_driver = memory.iter().any(|m| m.driver > 0);
    let row = |m: &MemoryProof| {
        let parts = [m.weights, m.states, m.arena, m.scratch, m.staging, m.process];
        let parts = parts.into_iter().chain(has_driver.then_some(m.driver)).chain([m.total]);
        let device = devices.iter().find(|d| d.id == m.device).map_or("", |d| &d.name);
        [device.to_string(), m.phase.to_string()].into_iter().chain(parts.map(output::bytes)).collect()
    };
    let rows: Vec<Vec<String>> = memory.iter().map(row).collect();
    let headings = ["DEVICE", "PHASE", " WEIGHTS", " KV CACHE", " ARENA", " SCRATCH", " EDGES", " PROCESS"];
    let headings: Vec<&str> =
        headings.into_iter().chain(has_driver.then_some(" DRIVER")).chain([" TOTAL"]).collect();
    output::table(&headings, &rows)
}
