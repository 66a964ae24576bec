//! A bundle: a folder with the plan, the graph after every pass that changed it, and the packed weights.
mod draft;

pub use draft::Draft;

use crate::compile::Compiled;
use crate::error::CompileError;
use crate::import::Checkpoint;
use crate::verify;
use ir::plan::Plan;
use ir::{Graph, text};
use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
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
    /// The plan as it was compiled, where it was edited since.
    pub original: Option<Plan>,
    /// The model that it was made from, for its tokeniser and its chat template.
    pub checkpoint: Checkpoint,
    /// The packed weights.
    pub weights: Arc<Mmap>,
    /// SHA-256 of the packed weights as they were written.
    weights_hash: String,
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
        if !Self::is_at(dir) {
            let found = match (dir.is_dir(), dir.exists()) {
                (true, _) => "a folder without it",
                (false, true) => "a file",
                (false, false) => "nothing there",
            };
            let reason = format!("it is no bundle: found {found}, expected a folder with {PLAN}");
            return Err(CompileError::NotABundle { path: dir.to_owned(), reason });
        }
        let path = dir.join(PLAN);
        let text =
            fs::read_to_string(&path).map_err(|cause| CompileError::Io { path: path.clone(), cause })?;
        let plan =
            Plan::from_text(&text).map_err(|cause| CompileError::Plan { path: path.clone(), cause })?;
        let manifest = Manifest::read(dir)?;
        let is_edited = plan.hash() != manifest.plan;
        let original = if is_edited { Some(original(dir, &manifest.plan)?) } else { None };
        let mut faults = original.as_ref().map_or(vec![], |original| verify::packed(&plan, original, dir));
        faults.extend(verify::plan(&plan).err().unwrap_or_default());
        if !faults.is_empty() {
            return Err(verify::unsound(&path, &text, &faults));
        }
        if manifest.weights.is_empty() {
            let device = plan.devices.first().map_or(String::new(), |device| device.name.clone());
            return Err(CompileError::Outline { path: dir.to_owned(), device });
        }
        let path = dir.join(WEIGHTS);
        let io = |cause| CompileError::Io { path: path.clone(), cause };
        let file = File::open(&path).map_err(io)?;
        let found = file.metadata().map_err(io)?.len();
        if found != plan.model.packed_bytes {
            let expected = plan.model.packed_bytes;
            let reason = format!("it has {found} bytes, the plan says {expected}: compile the model again");
            return Err(CompileError::NotABundle { path, reason });
        }
        // SAFETY: the file is ours; that nobody cuts it short while it is mapped is the user's promise.
        let weights = Arc::new(unsafe { Mmap::map(&file) }.map_err(io)?);
        let checkpoint = find_model(dir, &manifest, &plan)?;
        let (weights_hash, dir) = (manifest.weights, dir.to_owned());
        Ok(Bundle { dir, plan, text, is_edited, original, checkpoint, weights, weights_hash })
    }

    /// Asks the system to map the packed weights by huge pages, and to have all of them in memory now: a step
    /// must not wait for them page by page. Systems that know neither request are slower, not wrong.
    pub fn make_resident(&self) {
        #[cfg(target_os = "linux")]
        for advice in [memmap2::Advice::HugePage, memmap2::Advice::PopulateRead] {
            let _ = self.weights.advise(advice);
        }
    }

    /// The graph after each pass that changed it, by the pass's name; the first is the one before any pass, which
    /// must be `reference`.
    pub(crate) fn stages(&self, reference: &Graph) -> Result<Vec<(String, Graph)>, CompileError> {
        let dir = self.dir.join(GRAPHS);
        let io = |path: &Path| {
            let path = path.to_owned();
            move |cause| CompileError::Io { path, cause }
        };
        let mut names = vec![];
        for entry in fs::read_dir(&dir).map_err(io(&dir))? {
            names.push(entry.map_err(io(&dir))?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        let mut stages = vec![];
        for name in names {
            let path = dir.join(&name);
            let refuse = |reason| CompileError::NotABundle { path: path.clone(), reason };
            let pass = name.strip_suffix(".ir").and_then(|name| Some(name.split_once('-')?.1));
            let pass = pass.ok_or_else(|| refuse("expected a name like 03-duplicates.ir".into()))?;
            let text = fs::read_to_string(&path).map_err(io(&path))?;
            let read = text::read(&text).map_err(|e| refuse(e.to_string()))?.graph;
            let problems = ir::verify::verify(&read);
            if !problems.is_empty() {
                return Err(refuse(ir::verify::explain(&read, &problems)));
            }
            if stages.is_empty() && read.to_string() != reference.to_string() {
                let reason = "it is not the graph that this version makes of the model: compile it again";
                return Err(refuse(reason.into()));
            }
            stages.push((pass.to_owned(), read));
        }
        match stages.is_empty() {
            true => Err(CompileError::NotABundle { path: dir, reason: "it holds no graph".into() }),
            false => Ok(stages),
        }
    }

    /// Where the plan's text lies.
    pub(crate) fn plan_path(&self) -> PathBuf {
        self.dir.join(PLAN)
    }

    /// Holds the packed weights to the hash that they had when they were written; reads all of them.
    pub fn verify_weights(&self) -> Result<(), CompileError> {
        let found = hex(&Sha256::digest(&self.weights[..]));
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

/// The plan of a bundle as it was compiled, which has the hash `expected`.
fn original(dir: &Path, expected: &str) -> Result<Plan, CompileError> {
    let path = dir.join(ORIGINAL);
    let text = fs::read_to_string(&path).map_err(|cause| CompileError::Io { path: path.clone(), cause })?;
    let plan = Plan::from_text(&text).map_err(|cause| CompileError::Plan { path: path.clone(), cause })?;
    let found = plan.hash();
    if found != expected {
        let reason =
            format!("it is not the plan that was compiled: its hash is {found}, expected {expected}");
        return Err(CompileError::NotABundle { path, reason });
    }
    Ok(plan)
}

impl Manifest {
    fn read(dir: &Path) -> Result<Manifest, CompileError> {
        let path = dir.join(MANIFEST);
        let text =
            fs::read_to_string(&path).map_err(|cause| CompileError::Io { path: path.clone(), cause })?;
        ron::from_str(&text).map_err(|e| CompileError::NotABundle { path, reason: e.to_string() })
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
