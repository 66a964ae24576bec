//! Bundles in the cache: `bundles/MODEL/OPTIONS`, one for each path of a model and set of options.
//!
//! Beside a bundle stands by which build it was made (`.key`), for another build makes it anew, and a lock
//! (`.lock`), shared by those who open the bundle and held alone by who makes or drops it. When one is
//! compiled, and when a model is removed, those are dropped whose model is gone; when one is compiled, those
//! of the same model too that another build made. What others hold is left alone.
use super::{Cache, bytes_in, create_folder, is_at};
use anyhow::Context;
use compiler::{Bundle, Outline};
use sha2::{Digest, Sha256};
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Where a bundle in the cache stands, or is to stand.
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    key: PathBuf,
    lock: PathBuf,
}

impl Cache {
    /// Where the bundle stands that is compiled with these options from the model at this absolute path.
    pub(crate) fn place(&self, model: &Path, options: &str) -> Place {
        Place::of(self.bundles_of(model).join(short_hash(options)))
    }

    /// What was compiled from the model at this absolute path, in bytes.
    pub(crate) fn bundle_bytes(&self, model: &Path) -> u64 {
        bytes_in(&self.bundles_of(model))
    }

    /// What was compiled from any model, in bytes.
    pub(crate) fn all_bundle_bytes(&self) -> u64 {
        bytes_in(&self.root.join("bundles"))
    }

    /// Drops the bundles that nobody will ask for again; `compiling` is the model whose bundles have to be
    /// of this build. That one cannot be dropped is no reason to stop: it is tried the next time.
    pub(crate) fn drop_bundles(&self, compiling: Option<&Path>) {
        let compiling = compiling.map(|model| self.bundles_of(model));
        for folder in entries(&self.root.join("bundles")) {
            let locks = entries(&folder).filter(|path| path.extension().is_some_and(|end| end == "lock"));
            for place in locks.map(|lock| Place::of(lock.with_extension(""))) {
                place.drop_unless_useful(compiling.as_ref() == Some(&folder));
            }
            // It stays while anything is in it.
            let _ = fs::remove_dir(&folder);
        }
    }

    fn bundles_of(&self, model: &Path) -> PathBuf {
        let stem = model.file_stem().unwrap_or_default().to_string_lossy();
        self.root.join("bundles").join(format!("{stem}-{}", short_hash(&model.display().to_string())))
    }
}

impl Place {
    fn of(dir: PathBuf) -> Place {
        let (key, lock) = (dir.with_extension("key"), dir.with_extension("lock"));
        Place { dir, key, lock }
    }

    /// The bundle, if it was made by this build from the model as it is, and nobody changed it.
    pub(crate) fn kept(&self) -> Option<Bundle> {
        self.kept_outline()?.with_weights().ok()
    }

    /// The same of a bundle that need not have weights.
    pub(crate) fn kept_outline(&self) -> Option<Outline> {
        if !self.is_of_this_build() {
            return None;
        }
        Outline::open(&self.dir).ok().filter(|bundle| !bundle.is_edited)
    }

    /// Makes the bundle by `make`, which must be locked alone.
    pub(crate) fn make(&self, make: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let _ = fs::remove_file(&self.key);
        make()?;
        fs::write(&self.key, build()).with_context(|| format!("cannot write {}", self.key.display()))
    }

    /// Holds the lock with others until the returned file is dropped; `what` is being waited for.
    pub(crate) fn lock_shared(&self, what: &str) -> anyhow::Result<File> {
        self.lock(what, File::try_lock_shared, File::lock_shared)
    }

    /// Holds the lock alone.
    pub(crate) fn lock_alone(&self, what: &str) -> anyhow::Result<File> {
        self.lock(what, File::try_lock, File::lock)
    }

    fn lock(
        &self,
        what: &str,
        at_once: fn(&File) -> Result<(), TryLockError>,
        patiently: fn(&File) -> std::io::Result<()>,
    ) -> anyhow::Result<File> {
        let fault = || format!("cannot lock {}", self.lock.display());
        loop {
            create_folder(self.lock.parent().context("a bundle of the cache lies in a folder")?)?;
            let lock = match File::create(&self.lock) {
                // Somebody dropped the last bundle of the folder.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                lock => lock.with_context(fault)?,
            };
            match at_once(&lock) {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    note!("waiting for another process that is compiling {what}");
                    patiently(&lock).with_context(fault)?;
                }
                Err(TryLockError::Error(error)) => return Err(error).with_context(fault),
            }
            // Whoever drops a bundle removes its lock too: then this one is worth nothing.
            if is_at(&lock, &self.lock) {
                return Ok(lock);
            }
        }
    }

    fn drop_unless_useful(&self, must_be_of_this_build: bool) {
        let Ok(lock) = File::open(&self.lock) else { return };
        if lock.try_lock().is_err() || !is_at(&lock, &self.lock) {
            return;
        }
        let _ = Bundle::tidy(&self.dir);
        let has_model = Bundle::model_path(&self.dir).is_some_and(|model| model.exists());
        if has_model && (self.is_of_this_build() || !must_be_of_this_build) {
            return;
        }
        let _ = fs::remove_dir_all(&self.dir);
        let _ = fs::remove_file(&self.key);
        let _ = fs::remove_file(&self.lock);
    }

    fn is_of_this_build(&self) -> bool {
        fs::read_to_string(&self.key).is_ok_and(|key| key == build())
    }
}

/// What is in a folder; nothing where it cannot be read.
fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn short_hash(text: &str) -> String {
    Sha256::digest(text)[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What tells one build of heddle from another.
fn build() -> String {
    let binary = std::env::current_exe().and_then(fs::metadata);
    let stamp = binary.ok().map(|binary| {
        let changed = binary.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        (binary.len(), changed.map(|time| time.as_nanos()))
    });
    format!("heddle {}, plan version {}, {stamp:?}", env!("CARGO_PKG_VERSION"), ir::plan::VERSION)
}
