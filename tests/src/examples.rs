//! The models and machines of the repository's examples: plans of what is too large, or not there, for this machine.
use crate::running::exact;
use compiler::import::Checkpoint;
use compiler::{CompileError, Compiled, compile_over};
use ir::DType;
use ir::plan::{Activations, Device, DeviceId, Options, Partition};
use ir::topology::Topology;
use std::fs;
use std::path::{Path, PathBuf};

/// A file or folder of the examples.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

/// A model of which there is only the config.
pub fn model(name: &str) -> Checkpoint {
    Checkpoint::open(&path(&format!("models/{name}.json"))).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// A machine of which there is only the file.
pub fn machine(name: &str) -> Topology {
    let text =
        fs::read_to_string(path(&format!("topologies/{name}.ron"))).unwrap_or_else(|e| panic!("{name}: {e}"));
    Topology::from_text(&text).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// A model cut over the first devices of a machine, as a user's is, with a sequence for each replica or stage; each
/// device with its own memory, or with so much.
pub fn planned(
    name: &str,
    topology: &Topology,
    cut: &str,
    memory: Option<u64>,
) -> Result<Compiled, CompileError> {
    let partition: Partition = cut.parse().unwrap_or_else(|e| panic!("{cut}: {e}"));
    let batch = partition.data.max(partition.pipeline);
    let options = Options {
        max_batch: batch,
        chunk: 256,
        rows: batch,
        page: 32,
        kv: DType::F16,
        activations: Activations::Int8,
        partition,
        micro_batches: partition.pipeline,
        ..exact(4096)
    };
    let device = |(id, own): (u32, &ir::topology::Device)| Device {
        id: DeviceId(id),
        name: own.name.clone(),
        kind: own.kind,
        threads: own.threads,
        memory: memory.or(Some(own.memory_bytes)),
        driver: own.driver,
    };
    let devices: Vec<Device> = (0..partition.devices()).zip(&topology.devices).map(device).collect();
    compile_over(&model(name), options, &devices, topology)
}
