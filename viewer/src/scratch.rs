//! Folders of our own in the system's temporary folder.
use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder for this user alone, which vanishes with its owner.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// A new folder, with nothing in it.
    pub(crate) fn new() -> io::Result<Scratch> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("heddle-view-{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                // One of a process that had this number before.
                Err(cause) if cause.kind() == ErrorKind::AlreadyExists => {}
                made => return made.map(|()| Scratch(path)),
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans the system's folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
