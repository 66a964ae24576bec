//! A bundle on its way: filled beside its place, and moved there when it is whole.
//!
//! `DIR` is filled as `.DIR.partial-PID`, and a bundle that it replaces waits as `.DIR.old-PID`. Whoever works
//! in such a folder holds a lock on the folder itself, which ends with the process however that ends: what
//! nobody holds was left by a killed process, and the next draft of the same bundle tidies it up.
use super::{Bundle, GRAPHS, MANIFEST, Manifest, ORIGINAL, PLAN, TOPOLOGY, WEIGHTS};
use crate::compile::Compiled;
use crate::error::CompileError;
use crate::import::Checkpoint;
use crate::pack;
use ir::topology::Topology;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// A bundle that is being written. Dropping it leaves nothing.
pub struct Draft {
    /// Where the bundle is to stand, absolute.
    dir: PathBuf,
    partial: PathBuf,
    /// Tells others that this process lives.
    _lock: File,
}

impl Draft {
    /// Begins a bundle that is to stand in `dir`: refuses a place where none can be put, before anybody
    /// works for it, and tidies up what killed processes left there.
    pub fn begin(dir: &Path) -> Result<Draft, CompileError> {
        let refuse = |reason: &str| CompileError::NotABundle { path: dir.to_owned(), reason: reason.into() };
        let name = dir.file_name().ok_or_else(|| refuse("expected a path that ends in a name"))?;
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let parent = parent.canonicalize().map_err(io(parent))?;
        let dir = parent.join(name);
        tidy(&dir)?;
        let is_other = match fs::read_dir(&dir) {
            Ok(mut entries) => !Bundle::is_at(&dir) && entries.next().is_some(),
            Err(cause) if cause.kind() == ErrorKind::NotFound => false,
            Err(cause) => return Err(io(&dir)(cause)),
        };
        if is_other {
            return Err(refuse("it exists and holds something else"));
        }
        let partial = beside(&dir, &format!("partial-{}", std::process::id()));
        let lock = claim(&partial).map_err(io(&partial))?;
        Ok(Draft { dir, partial, _lock: lock })
    }

    /// Where the draft stands: what an interrupted process has to remove.
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// Writes the bundle, which appears whole or not at all; a bundle that was there is replaced. A topology that
    /// describes its devices is kept beside the plan. `progress` is told how many bytes of weights were written, from
    /// any thread.
    pub fn finish(
        self,
        compiled: &Compiled,
        checkpoint: &Checkpoint,
        topology: Option<&Topology>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), CompileError> {
        self.write_graphs(compiled)?;
        let packed = self.partial.join(WEIGHTS);
        let weights = pack::write(&compiled.plan, checkpoint, &compiled.derived, &packed, progress)?;
        self.write_plan(compiled, checkpoint, topology, weights)
    }

    /// The same without weights, of a plan that cannot be run here: to look at, to compare and to simulate.
    pub fn finish_outline(
        self,
        compiled: &Compiled,
        checkpoint: &Checkpoint,
        topology: Option<&Topology>,
    ) -> Result<(), CompileError> {
        self.write_graphs(compiled)?;
        self.write_plan(compiled, checkpoint, topology, String::new())
    }

    fn write_graphs(&self, compiled: &Compiled) -> Result<(), CompileError> {
        let graphs = self.partial.join(GRAPHS);
        fs::create_dir(&graphs).map_err(io(&graphs))?;
        self.put(&format!("{GRAPHS}/00-import.ir"), &compiled.reference.to_string())?;
        for (at, stage) in compiled.stages.iter().enumerate() {
            if let Some(graph) = &stage.graph {
                self.put(&format!("{GRAPHS}/{:02}-{}.ir", at + 1, stage.pass), &graph.to_string())?;
            }
        }
        Ok(())
    }

    /// Writes all that is left, and moves the draft to its place.
    fn write_plan(
        &self,
        compiled: &Compiled,
        checkpoint: &Checkpoint,
        topology: Option<&Topology>,
        weights: String,
    ) -> Result<(), CompileError> {
        let manifest = Manifest::of(&self.dir, compiled, checkpoint, weights)?;
        self.put(MANIFEST, &ron::to_string(&manifest).expect("a manifest is plain data"))?;
        if let Some(topology) = topology {
            self.put(TOPOLOGY, &topology.to_text())?;
        }
        self.put(ORIGINAL, &compiled.plan.to_text())?;
        self.put(PLAN, &compiled.plan.to_text())?;
        self.publish()
    }

    fn put(&self, name: &str, text: &str) -> Result<(), CompileError> {
        let path = self.partial.join(name);
        fs::write(&path, text).map_err(io(&path))
    }

    /// Moves the draft to its place.
    fn publish(&self) -> Result<(), CompileError> {
        let old = beside(&self.dir, &format!("old-{}", std::process::id()));
        let replaced = File::open(&self.dir).ok();
        // So that nobody takes for left behind what is only away for a moment.
        let _ = replaced.as_ref().map(File::try_lock);
        let moved = loop {
            match fs::rename(&self.partial, &self.dir) {
                // A bundle is there; another process may even put one there between two renames.
                Err(cause) if is_taken(&cause) => {
                    let _ = fs::remove_dir_all(&old);
                    if let Err(cause) = fs::rename(&self.dir, &old)
                        && cause.kind() != ErrorKind::NotFound
                    {
                        break Err(cause);
                    }
                }
                moved => break moved,
            }
        };
        match moved {
            Ok(()) => drop(fs::remove_dir_all(&old)),
            Err(_) => drop(fs::rename(&old, &self.dir)),
        }
        moved.map_err(io(&self.dir))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Nothing is there any more if it was finished.
        let _ = fs::remove_dir_all(&self.partial);
    }
}

/// Tidies up what killed processes left of bundles for `dir`, an absolute path: a bundle that was to be
/// replaced by one that did not come is put back, all else removed.
pub(super) fn tidy(dir: &Path) -> Result<(), CompileError> {
    let parent = dir.parent().unwrap_or(Path::new("/"));
    for entry in fs::read_dir(parent).map_err(io(parent))? {
        let entry = entry.map_err(io(parent))?;
        let name = entry.file_name();
        let is = |kind: &str| {
            let prefix = beside(dir, kind);
            let prefix = prefix.file_name().unwrap_or_default().as_encoded_bytes();
            let pid = name.as_encoded_bytes().strip_prefix(prefix);
            pid.is_some_and(|pid| !pid.is_empty() && pid.iter().all(u8::is_ascii_digit))
        };
        let (is_old, path) = (is("old-"), entry.path());
        if !is_old && !is("partial-") {
            continue;
        }
        let Ok(folder) = File::open(&path) else { continue };
        if folder.try_lock().is_err() {
            continue;
        }
        // Only a folder moves to a place where none is, so this takes nothing from anybody.
        if !(is_old && !dir.exists() && fs::rename(&path, dir).is_ok()) {
            match fs::remove_dir_all(&path) {
                Err(cause) if cause.kind() != ErrorKind::NotFound => return Err(io(&path)(cause)),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Makes a folder that is ours as long as the file lives.
fn claim(path: &Path) -> io::Result<File> {
    loop {
        match fs::create_dir(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => fs::remove_dir_all(path)?,
            made => made?,
        }
        let folder = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            folder => folder?,
        };
        // A file system that cannot lock folders cannot tidy them up either. What was made but not yet
        // locked can be taken for left behind: then it is made again.
        let _ = folder.lock();
        if path.exists() {
            return Ok(folder);
        }
    }
}

/// A name beside `dir`, so that renaming stays on one file system.
fn beside(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(dir.file_name().unwrap_or_default());
    name.push(format!(".{suffix}"));
    dir.with_file_name(name)
}

/// Whether a folder could not be moved because something is where it was to go.
fn is_taken(cause: &io::Error) -> bool {
    matches!(cause.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists | ErrorKind::NotADirectory)
}

fn io(path: &Path) -> impl FnOnce(io::Error) -> CompileError + use<> {
    let path = path.to_owned();
    move |cause| CompileError::Io { path, cause }
}
