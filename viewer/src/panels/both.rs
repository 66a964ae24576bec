//! Runs a bundle as it is and as hints change it, on a thread of its own that can be stopped.
use crate::document::Document;
use crate::heddle::{Heddle, Job};
use crate::scratch::Scratch;
use crate::wake::{Wake, nobody};
use ir::plan::Hint;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread::{self, JoinHandle};

/// What came of it.
pub(crate) struct Runs {
    pub(crate) before: Document,
    pub(crate) after: Document,
    /// Where the changed bundle lies.
    pub(crate) folder: Scratch,
}

/// Runs that are under way. Dropping it stops them and takes away what they wrote.
pub(crate) struct Both {
    receiver: Receiver<Result<Runs, String>>,
    is_stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread is to do.
struct Task {
    heddle: Heddle,
    bundle: PathBuf,
    hints: Vec<Hint>,
    prompt: &'static str,
    is_stopped: Arc<AtomicBool>,
}

impl Both {
    pub(crate) fn begin(
        heddle: Heddle,
        (bundle, hints): (&Path, &[Hint]),
        prompt: &'static str,
        wake: Wake,
    ) -> Both {
        let (sender, receiver) = channel();
        let is_stopped = Arc::new(AtomicBool::new(false));
        let (bundle, hints) = (bundle.to_owned(), hints.to_vec());
        let task = Task { heddle, bundle, hints, prompt, is_stopped: is_stopped.clone() };
        let thread = thread::spawn(move || {
            // Nobody waits any more where it was stopped.
            drop(sender.send(task.run()));
            wake();
        });
        Both { receiver, is_stopped, thread: Some(thread) }
    }

    /// What came of it, once that is known.
    pub(crate) fn poll(&self) -> Option<Result<Runs, String>> {
        match self.receiver.try_recv() {
            Ok(result) => Some(result),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                Some(Err("running both failed, which it never should; please report it".to_owned()))
            }
        }
    }
}

impl Drop for Both {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        // What it has begun is gone when this returns. Of a thread that panicked there is nothing to be had.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Task {
    fn run(&self) -> Result<Runs, String> {
        let folder = Scratch::new().map_err(|fault| format!("cannot make a folder: {fault}"))?;
        let changed = folder.path().join("changed.heddle");
        self.copy(&self.bundle, &changed).map_err(|fault| {
            format!("cannot copy {} to {}: {fault}", self.bundle.display(), changed.display())
        })?;
        self.wait(self.heddle.edit(&changed, &self.hints, nobody()))?;
        let before = self.traced(&self.bundle, &folder.path().join("before.json"))?;
        let after = self.traced(&changed, &folder.path().join("after.json"))?;
        Ok(Runs { before, after, folder })
    }

    /// A bundle with what was measured of it.
    fn traced(&self, bundle: &Path, trace: &Path) -> Result<Document, String> {
        self.wait(self.heddle.trace(bundle, self.prompt, trace, nobody()))?;
        let mut document = Document::open(bundle).map_err(|fault| fault.to_string())?;
        document.add_trace(trace).map_err(|fault| fault.to_string())?;
        Ok(document)
    }

    fn wait<T>(&self, job: Job<T>) -> Result<T, String> {
        job.wait_unless(&self.is_stopped).map_err(|fault| fault.to_string())
    }

    /// A bundle is a folder with files and one level of folders with files. Who changes one writes it anew, so that
    /// large files need not be copied where both places are of one file system.
    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            if self.is_stopped.load(Ordering::Relaxed) {
                return Err(io::Error::other("it was stopped"));
            }
            let entry = entry?;
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.copy(&from, &to)?;
            } else if !(kind.is_file() && fs::hard_link(&from, &to).is_ok()) {
                fs::copy(&from, &to)?;
            }
        }
        Ok(())
    }
}
