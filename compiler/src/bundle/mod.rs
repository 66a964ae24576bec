//! A bundle: a folder with the plan, the graph after every pass that changed it, and the packed weights.
mod draft;
mod outline;

pub use draft::Draft;
pub use outline::Outline;

use crate::compile::Compiled;
use crate::error::CompileError;
use crate::import::Checkpoint;
use ir::plan::{Plan, Weight};
use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::ops::Deref;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

const PLAN: &str = "plan.ron";
/// The plan as it was compiled, for who edits it.
const ORIGINAL: &str = "plan.original.ron";
const WEIGHTS: &str = "weights.bin";
const MANIFEST: &str = "manifest.ron";
const GRAPHS: &str = "graphs";
const TOPOLOGY: &str = "topology.ron";

/// What a bundle says of how it was made, beside the plan, which is the same wherever it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Manifest {
    /// The hash of the plan as compiled: another one means that a person edited it.
    plan: String,
    /// SHA-256 of the packed weights; empty where there are none.
    weights: String,
    /// The model file's bytes and time of change, in nanoseconds since 1970: while both are as they
    /// were, the file need not be hashed again.
    model_bytes: u64,
    model_changed: u64,
    /// Where the model lay.
    model_path: PathBuf,
    /// Where it lay as seen from the bundle, so that both can be moved together.
    model_beside: PathBuf,
}

/// A bundle as it lies on disk, ready to run: an outline and its weights.
pub struct Bundle {
    outline: Outline,
    /// The packed weights.
    pub weights: Arc<Mmap>,
}

impl Deref for Bundle {
    type Target = Outline;

    fn deref(&self) -> &Outline {
        &self.outline
    }
}

impl Bundle {
    /// Tidies up what killed processes left of a bundle in `dir`, an absolute path: one that was about to be
    /// replaced stands there again. [`Draft::begin`] does the same.
    pub fn tidy(dir: &Path) -> Result<(), CompileError> {
        draft::tidy(dir)
    }

    /// Whether the folder looks like a bundle.
    pub fn is_at(dir: &Path) -> bool {
        dir.join(PLAN).is_file()
    }

    /// Where the topology lies that describes the devices of the bundle in `dir`; none where it was compiled for this
    /// machine.
    pub fn topology_path(dir: &Path) -> Option<PathBuf> {
        Some(dir.join(TOPOLOGY)).filter(|path| path.is_file())
    }

    /// Where the model lay that the bundle in `dir` was made from; none where the bundle does not say it.
    pub fn model_path(dir: &Path) -> Option<PathBuf> {
        Manifest::read(dir).ok().map(|manifest| manifest.model_path)
    }

    /// Opens a bundle: reads and verifies the plan, maps the weights, and checks that the model file is
    /// the one that was compiled. Where the model is not where it was, it may lie as it lay from the bundle.
    pub fn open(dir: &Path) -> Result<Bundle, CompileError> {
        Outline::open(dir)?.with_weights()
    }

    /// What it is beside its weights.
    pub fn into_outline(self) -> Outline {
        self.outline
    }

    /// Asks the system to map the packed weights that processors read by huge pages, and to have all of them in memory
    /// now: a step must not wait for them page by page. Systems that know neither request are slower, not wrong.
    pub fn make_resident(&self) {
        #[cfg(target_os = "linux")]
        for advice in [memmap2::Advice::HugePage, memmap2::Advice::PopulateRead] {
            if self.plan.devices.iter().all(|device| device.kind.is_cpu()) {
                let _ = self.weights.advise(advice);
                continue;
            }
            for w in self.plan.weights.iter().filter(|w| self.is_read_here(w)) {
                let _ = self.weights.advise_range(advice, w.offset as usize, w.bytes as usize);
            }
        }
    }

    /// Lets go of packed weights that accelerators have: none of their pages need stay in memory.
    pub fn let_go(&self) {
        #[cfg(target_os = "linux")]
        for w in self.plan.weights.iter().filter(|w| !self.is_read_here(w)) {
            let (at, bytes) = (w.offset as usize, w.bytes as usize);
            // SAFETY: the pages are a file's that nobody writes to; what is read again is read from there.
            let _ =
                unsafe { self.weights.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, at, bytes) };
        }
    }

    /// Whether a processor reads it, or what an accelerator shares with one in the file.
    #[cfg(target_os = "linux")]
    fn is_read_here(&self, weight: &Weight) -> bool {
        let is_cpu = |w: &Weight| self.plan.devices.get(w.device.0 as usize).is_none_or(|d| d.kind.is_cpu());
        is_cpu(weight) || self.plan.weights.iter().any(|w| w.offset == weight.offset && is_cpu(w))
    }

    /// Holds the packed weights to the hash that they had when they were written; reads all of them.
    pub fn verify_weights(&self) -> Result<(), CompileError> {
        let found = hex(&Sha256::digest(&self.weights[..]));
        let expected = &self.manifest.weights;
        match found == *expected {
            true => Ok(()),
            false => Err(CompileError::NotABundle {
                path: self.dir.join(WEIGHTS),
                reason: format!("its sha256 is {found}, expected {expected}: compile the model again"),
            }),
        }
    }
}

impl Manifest {
    fn read(dir: &Path) -> Result<Manifest, CompileError> {
        let path = dir.join(MANIFEST);
        let text =
            fs::read_to_string(&path).map_err(|cause| CompileError::Io { path: path.clone(), cause })?;
        ron::from_str(&text).map_err(|e| CompileError::NotABundle { path, reason: e.to_string() })
    }

    fn has_weights(&self) -> bool {
        !self.weights.is_empty()
    }

    /// Of a bundle that is to stand in `dir`, whose packed weights have the SHA-256 `weights`.
    fn of(
        dir: &Path,
        compiled: &Compiled,
        checkpoint: &Checkpoint,
        weights: String,
    ) -> Result<Manifest, CompileError> {
        let (model_bytes, model_changed) = stamp(&checkpoint.files())?;
        let model_path = fs::canonicalize(&checkpoint.source).unwrap_or_else(|_| checkpoint.source.clone());
        Ok(Manifest {
            plan: compiled.plan.hash(),
            weights,
            model_bytes,
            model_changed,
            model_beside: from_folder(dir, &model_path),
            model_path,
        })
    }
}

/// A path as it is gone from `folder`, which need not exist yet; both absolute.
fn from_folder(folder: &Path, path: &Path) -> PathBuf {
    let shared = folder.components().zip(path.components()).take_while(|(a, b)| a == b).count();
    let up = folder.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(path.components().skip(shared)).collect()
}

/// The model that was compiled: where it lay, or else where it lay as seen from the bundle.
fn find_model(dir: &Path, manifest: &Manifest, plan: &Plan) -> Result<Checkpoint, CompileError> {
    let beside = dir.join(&manifest.model_beside);
    let beside = beside.canonicalize().unwrap_or(beside);
    let mut places = vec![&manifest.model_path, &beside];
    places.dedup();
    let mut fault = None;
    for path in places.into_iter().filter(|path| path.exists()) {
        let found = Checkpoint::open(path).map_err(CompileError::from);
        match found.and_then(|found| check_model(manifest, &found, plan).map(|()| found)) {
            Ok(found) => return Ok(found),
            Err(error) => _ = fault.get_or_insert(error),
        }
    }
    let missing =
        || CompileError::ModelMissing { bundle: dir.to_owned(), path: manifest.model_path.clone(), beside };
    Err(fault.unwrap_or_else(missing))
}

/// The model must be what was compiled: same size and time of change, or else the same hash.
fn check_model(manifest: &Manifest, checkpoint: &Checkpoint, plan: &Plan) -> Result<(), CompileError> {
    if stamp(&checkpoint.files())? == (manifest.model_bytes, manifest.model_changed) {
        return Ok(());
    }
    let found = hash(&checkpoint.files())?;
    if found == plan.model.sha256 {
        return Ok(());
    }
    let (path, expected) = (checkpoint.source.clone(), plan.model.sha256.clone());
    Err(CompileError::ModelChanged { path, found, expected })
}

/// Bytes of a model's files in all, and when the last of them changed, in nanoseconds since 1970.
pub fn stamp(files: &[PathBuf]) -> Result<(u64, u64), CompileError> {
    files.iter().try_fold((0, 0), |all, path| {
        let meta = fs::metadata(path).map_err(|cause| CompileError::Io { path: path.clone(), cause })?;
        let changed = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        Ok((all.0 + meta.len(), all.1.max(changed.map_or(0, |t| t.as_nanos() as u64))))
    })
}

/// SHA-256 of a model in hexadecimal: of its one file, or of its files' hashes in order.
pub fn hash(files: &[PathBuf]) -> Result<String, CompileError> {
    let of = |path: &PathBuf| -> Result<String, CompileError> {
        let io = |cause| CompileError::Io { path: path.clone(), cause };
        let mut hasher = Sha256::new();
        std::io::copy(&mut File::open(path).map_err(io)?, &mut Hashing(&mut hasher)).map_err(io)?;
        Ok(hex(&hasher.finalize()))
    };
    match files {
        [one] => of(one),
        many => {
            let hashes = many.iter().map(of).collect::<Result<Vec<_>, _>>()?;
            Ok(hex(&Sha256::digest(hashes.join("\n"))))
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Lets `io::copy` feed a hash.
struct Hashing<'a>(&'a mut Sha256);

impl std::io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
