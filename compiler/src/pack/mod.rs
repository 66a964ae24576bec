//! Writes the packed weights of a plan: every weight in its layout at its offset, in parallel.
mod source;

use crate::bundle::hex;
use crate::error::CompileError;
use crate::import::Checkpoint;
use crate::models::Derived;
use ir::Dim;
use ir::plan::{Plan, Weight};
use kernels::{layout::Layout, pack::pack_tile};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use source::Source;
use std::fs::File;
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;

/// Bytes that one task packs at most, but for a single tile that is longer.
const TASK_BYTES: usize = 1 << 20;
/// Bytes of tasks that are packed before they are written: bounds what packing holds in memory.
const BATCH_BYTES: usize = 16 << 20;
/// The file is written in multiples of this, so that systems whose file cache has huge pages keep it in those,
/// and then map it by them: weights are read a good deal faster so.
const WRITE_BYTES: usize = 2 << 20;
/// Rows of one tile of a packed layout.
const TILE_ROWS: usize = 16;

/// One stretch of one weight, or of one expert's part of it.
struct Task<'a> {
    weight: &'a Weight,
    source: Source<'a>,
    /// Where in the source the weight, or the expert's part, begins.
    from: usize,
    /// Where in the file the packed part begins.
    base: u64,
    stretch: Stretch,
}

enum Stretch {
    /// Bytes as the source gives them.
    Plain(Range<usize>),
    /// Tiles of a packed layout.
    Tiles(Layout, Range<usize>),
}

/// Writes all weights to a new file and gives its SHA-256; `progress` is told how many bytes were packed.
pub(crate) fn write(
    plan: &Plan,
    checkpoint: &Checkpoint,
    derived: &Derived,
    path: &Path,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<String, CompileError> {
    let io = |cause| CompileError::Io { path: path.to_owned(), cause };
    let mut tasks = vec![];
    for weight in &plan.weights {
        let (dtype, pieces) = match derived.get(&weight.name) {
            Some(tensor) => (tensor.dtype(), vec![tensor.bytes()]),
            None => (checkpoint.tensor(&weight.name)?.dtype, checkpoint.pieces(&weight.name)?),
        };
        split(weight, Source::of(weight, dtype, pieces)?, &mut tasks);
    }
    tasks.sort_by_key(Task::offset);
    // What several devices share is there once.
    tasks.dedup_by_key(|task| task.offset());
    let file = File::create(path).map_err(io)?;
    // A disk without room is found now, not after minutes of packing.
    reserve(&file, plan.model.packed_bytes).map_err(io)?;
    let mut file = Sequential { file, at: 0, pending: vec![], hash: Sha256::new() };
    for batch in tasks.chunks(BATCH_BYTES / TASK_BYTES) {
        let packed: Vec<Vec<u8>> = batch.par_iter().map(Task::run).collect();
        for (task, bytes) in batch.iter().zip(packed) {
            file.put(task.offset(), &bytes).map_err(io)?;
            progress(bytes.len() as u64);
        }
    }
    file.finish(plan.model.packed_bytes).map_err(io)
}

/// A file that is written from its beginning to its end, in large pieces.
struct Sequential {
    file: File,
    /// Where in the file `pending` begins.
    at: u64,
    pending: Vec<u8>,
    /// Of what is before `at`.
    hash: Sha256,
}

impl Sequential {
    /// Puts bytes at an offset that is not before the last; what lies between is zeros.
    fn put(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.pending.resize(offset.saturating_sub(self.at) as usize, 0);
        self.pending.extend_from_slice(bytes);
        self.flush(self.pending.len() / WRITE_BYTES * WRITE_BYTES)
    }

    fn flush(&mut self, bytes: usize) -> std::io::Result<()> {
        self.file.write_all(&self.pending[..bytes])?;
        self.hash.update(&self.pending[..bytes]);
        self.pending.drain(..bytes);
        self.at += bytes as u64;
        Ok(())
    }

    fn finish(mut self, bytes: u64) -> std::io::Result<String> {
        self.put(bytes, &[])?;
        self.flush(self.pending.len())?;
        self.file.sync_all()?;
        Ok(hex(&self.hash.finalize()))
    }
}

/// Takes room on the disk for a file that is to have so many bytes; its length stays as it is.
#[cfg(target_os = "linux")]
fn reserve(file: &File, bytes: u64) -> std::io::Result<()> {
    use std::io::{Error, ErrorKind};
    use std::os::fd::AsRawFd as _;
    let length = i64::try_from(bytes).map_err(|_| Error::from(ErrorKind::FileTooLarge))?;
    // SAFETY: the descriptor is open as long as the file is borrowed.
    if unsafe { libc::fallocate(file.as_raw_fd(), libc::FALLOC_FL_KEEP_SIZE, 0, length) } == 0 {
        return Ok(());
    }
    let error = Error::last_os_error();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Err(error),
        // Not every file system can promise room; writing still tells whether there is any.
        _ => Ok(()),
    }
}

#[cfg(not(target_os = "linux"))]
fn reserve(_: &File, _: u64) -> std::io::Result<()> {
    Ok(())
}

/// Adds the tasks of a weight.
fn split<'a>(weight: &'a Weight, source: Source<'a>, tasks: &mut Vec<Task<'a>>) {
    let ranges =
        |all: usize, step: usize| (0..all).step_by(step).map(move |first| first..all.min(first + step));
    let mut add =
        |from, base, stretch| tasks.push(Task { weight, source: source.clone(), from, base, stretch });
    let Some(layout) = Layout::parse(&weight.layout) else {
        ranges(source.len(), TASK_BYTES).for_each(|part| add(0, weight.offset, Stretch::Plain(part)));
        return;
    };
    let (rows, cols) = matrix(weight);
    let step = (TASK_BYTES / layout.tile_bytes(cols).max(1)).max(1);
    let bytes = weight.ty.dtype.bytes(rows as u64 * cols as u64).unwrap_or(0).max(1) as usize;
    let mut base = weight.offset;
    for from in (0..source.len()).step_by(bytes) {
        ranges(rows.div_ceil(TILE_ROWS), step)
            .for_each(|tiles| add(from, base, Stretch::Tiles(layout, tiles)));
        base += layout.packed_bytes(rows, cols) as u64;
    }
}

impl Task<'_> {
    /// Where in the file its bytes go.
    fn offset(&self) -> u64 {
        let inside = match &self.stretch {
            Stretch::Plain(bytes) => bytes.start,
            Stretch::Tiles(layout, tiles) => tiles.start * layout.tile_bytes(matrix(self.weight).1),
        };
        self.base + inside as u64
    }

    fn run(&self) -> Vec<u8> {
        let (layout, tiles) = match &self.stretch {
            Stretch::Plain(bytes) => return self.source.read(bytes.clone()).into_owned(),
            Stretch::Tiles(layout, tiles) => (layout, tiles),
        };
        let (rows, cols) = matrix(self.weight);
        let tile_bytes = layout.tile_bytes(cols);
        let mut bytes = vec![0; tiles.len() * tile_bytes];
        let row_bytes = self.weight.ty.dtype.bytes(cols as u64).unwrap_or(0) as usize;
        for (tile, out) in tiles.clone().zip(bytes.chunks_exact_mut(tile_bytes)) {
            let own = tile * TILE_ROWS..rows.min((tile + 1) * TILE_ROWS);
            let source = self.from + own.start * row_bytes..self.from + own.end * row_bytes;
            pack_tile(self.weight.ty.dtype, &self.source.read(source), own.len(), cols, 0, out);
        }
        bytes
    }
}

/// The extents of a weight, or of one expert's part of it.
fn matrix(weight: &Weight) -> (usize, usize) {
    let dim =
        |from_last| weight.ty.shape.iter().nth_back(from_last).and_then(Dim::known).unwrap_or(0) as usize;
    (dim(1), dim(0))
}
