//! A bundle: a folder with the plan, the graph after every pass that changed it, and the packed weights.
use crate::compile::Compiled;
use crate::error::CompileError;
use crate::import::Checkpoint;
use crate::pack;
use ir::plan::Plan;
use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

const PLAN: &str = "plan.ron";
const WEIGHTS: &str = "weights.bin";
const MANIFEST: &str = "manifest.ron";
const GRAPHS: &str = "graphs";

/// What a bundle says of how it was made, beside the plan, which is the same wherever it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Manifest {
    /// The hash of the plan as compiled: another one means that a person edited it.
    plan: String,
    /// SHA-256 of the packed weights.
    weights: String,
    /// The model file's bytes and time of change, in nanoseconds since 1970: while both are as they
    /// were, the file need not be hashed again.
    model_bytes: u64,
    model_changed: u64,
    /// Where the model lay.
    model_path: PathBuf,
}

/// A bundle as it lies on disk, ready to run.
pub struct Bundle {
    /// The folder.
    pub dir: PathBuf,
    /// The plan, verified.
    pub plan: Plan,
    /// The plan's text as it stands in the folder.
    pub text: String,
    /// Whether the plan is another than was compiled.
    pub is_edited: bool,
    /// The model that it was made from, for its tokeniser and its chat template.
    pub checkpoint: Checkpoint,
    /// The packed weights.
    pub weights: Mmap,
    /// SHA-256 of the packed weights as they were written.
    weights_hash: String,
}

impl Bundle {
    /// Writes a bundle to `dir`, which appears whole or not at all; a bundle that was there is replaced.
    pub fn write(
        dir: &Path,
        compiled: &Compiled,
        checkpoint: &Checkpoint,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), CompileError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| CompileError::Io { path, source }
        };
        if dir.exists() && !dir.join(PLAN).exists() && fs::read_dir(dir).map_err(io(dir))?.next().is_some() {
            return Err(CompileError::NotABundle {
                path: dir.to_owned(),
                reason: "it exists and holds something else".into(),
            });
        }
        let partial = Self::partial(dir);
        let _ = fs::remove_dir_all(&partial);
        let written = Self::fill(&partial, compiled, checkpoint, progress).and_then(|()| {
            let old = sibling(dir, "old");
            let had_old = fs::rename(dir, &old).is_ok();
            let renamed = fs::rename(&partial, dir).map_err(io(dir));
            if had_old {
                let _ = fs::remove_dir_all(&old);
            }
            renamed
        });
        if written.is_err() {
            let _ = fs::remove_dir_all(&partial);
        }
        written
    }

    fn fill(
        dir: &Path,
        compiled: &Compiled,
        checkpoint: &Checkpoint,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), CompileError> {
        let put = |name: &str, text: &str| {
            let path = dir.join(name);
            fs::write(&path, text).map_err(|source| CompileError::Io { path, source })
        };
        let graphs = dir.join(GRAPHS);
        fs::create_dir_all(&graphs).map_err(|source| CompileError::Io { path: graphs.clone(), source })?;
        put(&format!("{GRAPHS}/00-import.ir"), &compiled.reference.to_string())?;
        for (at, stage) in compiled.stages.iter().enumerate() {
            if let Some(graph) = &stage.graph {
                put(&format!("{GRAPHS}/{:02}-{}.ir", at + 1, stage.pass), &graph.to_string())?;
            }
        }
        let (model_bytes, model_changed) = stamp(&checkpoint.files())?;
        let model_path = fs::canonicalize(&checkpoint.source).unwrap_or_else(|_| checkpoint.source.clone());
        let packed = dir.join(WEIGHTS);
        pack::write(&compiled.plan, checkpoint, &compiled.derived, &packed, progress)?;
        let (plan, weights) = (compiled.plan.hash(), hash(&[packed])?);
        let manifest = Manifest { plan, weights, model_bytes, model_changed, model_path };
        put(MANIFEST, &ron::to_string(&manifest).expect("a manifest is plain data"))?;
        put(PLAN, &compiled.plan.to_text())
    }

    /// Where a bundle stands while [`Bundle::write`] fills it: what an interrupted process has to remove.
    pub fn partial(dir: &Path) -> PathBuf {
        sibling(dir, "partial")
    }

    /// Whether the folder looks like a bundle.
    pub fn is_at(dir: &Path) -> bool {
        dir.join(PLAN).is_file()
    }

    /// Opens a bundle: reads and verifies the plan, maps the weights, and checks that the model file is
    /// the one that was compiled.
    pub fn open(dir: &Path) -> Result<Bundle, CompileError> {
        let read = |name: &str| {
            let path = dir.join(name);
            fs::read_to_string(&path).map_err(|source| CompileError::Io { path, source })
        };
        let text = read(PLAN)?;
        let path = dir.join(PLAN);
        let plan =
            Plan::from_text(&text).map_err(|source| CompileError::Plan { path: path.clone(), source })?;
        plan.verify().map_err(|faults| CompileError::Unsound {
            path: path.clone(),
            faults: faults.iter().map(|f| f.explain(&text)).collect::<Vec<_>>().join("\n"),
        })?;
        let manifest: Manifest = ron::from_str(&read(MANIFEST)?)
            .map_err(|e| CompileError::NotABundle { path: dir.join(MANIFEST), reason: e.to_string() })?;
        let path = dir.join(WEIGHTS);
        let io = |source| CompileError::Io { path: path.clone(), source };
        let file = File::open(&path).map_err(io)?;
        let found = file.metadata().map_err(io)?.len();
        if found != plan.model.packed_bytes {
            let expected = plan.model.packed_bytes;
            let reason = format!("it has {found} bytes, the plan says {expected}: compile the model again");
            return Err(CompileError::NotABundle { path, reason });
        }
        // SAFETY: the file is ours; that nobody cuts it short while it is mapped is the user's promise.
        let weights = unsafe { Mmap::map(&file) }.map_err(io)?;
        let checkpoint = Checkpoint::open(&manifest.model_path)?;
        check_model(&manifest, &checkpoint, &plan)?;
        let is_edited = plan.hash() != manifest.plan;
        let weights_hash = manifest.weights;
        Ok(Bundle { dir: dir.to_owned(), plan, text, is_edited, checkpoint, weights, weights_hash })
    }

    /// Asks the system to map the packed weights by huge pages, and to have all of them in memory now: a step
    /// must not wait for them page by page. Systems that know neither request are slower, not wrong.
    pub fn make_resident(&self) {
        #[cfg(target_os = "linux")]
        for advice in [memmap2::Advice::HugePage, memmap2::Advice::PopulateRead] {
            let _ = self.weights.advise(advice);
        }
    }

    /// Holds the packed weights to the hash that they had when they were written; reads all of them.
    pub fn verify_weights(&self) -> Result<(), CompileError> {
        let found = hex(&Sha256::digest(&self.weights));
        match found == self.weights_hash {
            true => Ok(()),
            false => Err(CompileError::NotABundle {
                path: self.dir.join(WEIGHTS),
                reason: format!(
                    "its sha256 is {found}, expected {}: compile the model again",
                    self.weights_hash
                ),
            }),
        }
    }
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
    Err(CompileError::ModelChanged {
        path: manifest.model_path.clone(),
        found,
        expected: plan.model.sha256.clone(),
    })
}

/// Bytes of a model's files in all, and when the last of them changed, in nanoseconds since 1970.
pub fn stamp(files: &[PathBuf]) -> Result<(u64, u64), CompileError> {
    files.iter().try_fold((0, 0), |all, path| {
        let meta = fs::metadata(path).map_err(|source| CompileError::Io { path: path.clone(), source })?;
        let changed = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        Ok((all.0 + meta.len(), all.1.max(changed.map_or(0, |t| t.as_nanos() as u64))))
    })
}

/// SHA-256 of a model in hexadecimal: of its one file, or of its files' hashes in order.
pub fn hash(files: &[PathBuf]) -> Result<String, CompileError> {
    let of = |path: &PathBuf| -> Result<String, CompileError> {
        let io = |source| CompileError::Io { path: path.clone(), source };
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

fn hex(bytes: &[u8]) -> String {
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

/// `dir` with a suffix of this process', beside it, so that renaming stays on one file system.
fn sibling(dir: &Path, suffix: &str) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    dir.with_file_name(format!(".{name}.{suffix}-{}", std::process::id()))
}
