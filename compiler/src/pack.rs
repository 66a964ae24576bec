//! Writes the packed weights of a plan: every weight in its layout at its offset, in parallel.
use crate::error::CompileError;
use crate::import::Checkpoint;
use crate::models::Derived;
use ir::plan::{Plan, Weight};
use kernels::{layout::Layout, pack::pack_tile};
use rayon::prelude::*;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Bytes that one task packs before it writes: bounds what packing holds in memory.
const TASK_BYTES: usize = 1 << 20;
/// Rows of one tile of a packed layout.
const TILE_ROWS: usize = 16;

/// One stretch of one weight.
struct Task<'a> {
    weight: &'a Weight,
    source: &'a [u8],
    /// Tiles of a packed layout; the whole of a plain weight is tile 0.
    tiles: std::ops::Range<usize>,
}

/// Writes all weights to a new file; `progress` is told how many bytes were written, from any thread.
pub(crate) fn write(
    plan: &Plan,
    checkpoint: &Checkpoint,
    derived: &Derived,
    path: &Path,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(), CompileError> {
    let io = |source| CompileError::Io { path: path.to_owned(), source };
    let file = File::create(path).map_err(io)?;
    file.set_len(plan.model.packed_bytes).map_err(io)?;
    let mut tasks = vec![];
    for weight in &plan.weights {
        let source = match derived.get(&weight.name) {
            Some(tensor) => tensor.bytes(),
            None => checkpoint.bytes(&weight.name)?,
        };
        tasks.extend(split(weight, source));
    }
    tasks.par_iter().try_for_each(|task| {
        let (offset, bytes) = run(task);
        file.write_all_at(&bytes, offset).map_err(io)?;
        progress(bytes.len() as u64);
        Ok::<_, CompileError>(())
    })?;
    file.sync_all().map_err(io)
}

fn split<'a>(weight: &'a Weight, source: &'a [u8]) -> Vec<Task<'a>> {
    let (tiles, step) = match Layout::parse(&weight.layout) {
        None => (1, 1),
        Some(layout) => {
            let (rows, cols) = matrix(weight);
            (rows.div_ceil(TILE_ROWS), (TASK_BYTES / layout.tile_bytes(cols).max(1)).max(1))
        }
    };
    (0..tiles)
        .step_by(step)
        .map(|first| Task { weight, source, tiles: first..tiles.min(first + step) })
        .collect()
}

/// Where in the file the task's bytes go, and what they are.
fn run(task: &Task<'_>) -> (u64, Vec<u8>) {
    let Some(layout) = Layout::parse(&task.weight.layout) else {
        return (task.weight.offset, task.source.to_vec());
    };
    let (rows, cols) = matrix(task.weight);
    let tile_bytes = layout.tile_bytes(cols);
    let mut bytes = vec![0; task.tiles.len() * tile_bytes];
    for (tile, out) in task.tiles.clone().zip(bytes.chunks_exact_mut(tile_bytes)) {
        pack_tile(task.weight.ty.dtype, task.source, rows, cols, tile, out);
    }
    (task.weight.offset + (task.tiles.start * tile_bytes) as u64, bytes)
}

fn matrix(weight: &Weight) -> (usize, usize) {
    let dim = |at: usize| weight.ty.shape[at].known().unwrap_or(0) as usize;
    (dim(0), dim(1))
}
