//! A bundle but for its weights: the plan, the graphs, and the model that they were made from.
use super::{Bundle, GRAPHS, Manifest, ORIGINAL, PLAN, WEIGHTS, find_model};
use crate::error::CompileError;
use crate::import::Checkpoint;
use crate::verify;
use ir::plan::Plan;
use ir::{Graph, text};
use memmap2::Mmap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A bundle without its packed weights, which need not be there: what it says, and the model that it was made from.
pub struct Outline {
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
    pub(super) manifest: Manifest,
}

impl Outline {
    /// Opens a bundle, with weights or without: reads and verifies the plan, and checks that the model file is the one
    /// that was compiled.
    pub fn open(dir: &Path) -> Result<Outline, CompileError> {
        if !Bundle::is_at(dir) {
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
        let packed = original.as_ref().filter(|_| manifest.has_weights());
        let mut faults = packed.map_or(vec![], |original| verify::packed(&plan, original, dir));
        faults.extend(verify::plan(&plan).err().unwrap_or_default());
        if !faults.is_empty() {
            return Err(verify::unsound(&path, &text, &faults));
        }
        let checkpoint = find_model(dir, &manifest, &plan)?;
        Ok(Outline { dir: dir.to_owned(), plan, text, is_edited, original, checkpoint, manifest })
    }

    /// Whether the bundle has packed weights.
    pub fn has_weights(&self) -> bool {
        self.manifest.has_weights()
    }

    /// The bundle with its weights mapped.
    pub fn with_weights(self) -> Result<Bundle, CompileError> {
        if !self.has_weights() {
            let device = self.plan.devices.first().map_or(String::new(), |device| device.name.clone());
            return Err(CompileError::Outline { path: self.dir, device });
        }
        let path = self.dir.join(WEIGHTS);
        let io = |cause| CompileError::Io { path: path.clone(), cause };
        let file = File::open(&path).map_err(io)?;
        let (found, expected) = (file.metadata().map_err(io)?.len(), self.plan.model.packed_bytes);
        if found != expected {
            let reason = format!("it has {found} bytes, the plan says {expected}: compile the model again");
            return Err(CompileError::NotABundle { path, reason });
        }
        // SAFETY: the file is ours; that nobody cuts it short while it is mapped is the user's promise.
        let weights = Arc::new(unsafe { Mmap::map(&file) }.map_err(io)?);
        Ok(Bundle { outline: self, weights })
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
