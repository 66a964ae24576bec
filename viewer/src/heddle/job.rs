//! One question to `heddle`: a process, and the threads that listen to it.
use super::{Heddle, HeddleError};
use crate::scratch::Scratch;
use crate::wake::Wake;
use std::ffi::OsString;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes of an answer at most.
const ANSWER_BYTES_MOST: u64 = 256 << 20;
/// Bytes that are kept of what it complains about.
const COMPLAINT_BYTES_MOST: u64 = 1 << 20;
/// How often it is looked whether a process that has said everything has ended, and whether anybody still waits.
const LOOK: Duration = Duration::from_millis(5);

/// A question that is being answered. Dropping it gives it up.
#[derive(Debug)]
pub struct Job<T> {
    answer: Receiver<Result<T, HeddleError>>,
    process: Arc<Mutex<Process>>,
    /// What the process reads. Goes with the job, for nobody waits for its thread where a program ends.
    _folder: Option<Scratch>,
}

/// What became of the process.
#[derive(Debug)]
enum Process {
    Starting,
    Runs(Child),
    Ended,
    Cancelled,
}

/// What a process that ended left.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) out: Vec<u8>,
    pub(super) err: Vec<u8>,
    /// Whether there was more of an answer than is read.
    pub(super) is_cut: bool,
}

impl<T: Send + 'static> Job<T> {
    /// Starts `heddle command args` on a thread, where `read` makes an answer of what it left.
    pub(super) fn start(
        heddle: &Heddle,
        command: &'static str,
        args: impl IntoIterator<Item = OsString>,
        wake: Wake,
        read: impl FnOnce(&str, Ended) -> Result<T, HeddleError> + Send + 'static,
    ) -> Job<T> {
        let mut line = Command::new(&heddle.program);
        line.arg(command).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let process = Arc::new(Mutex::new(Process::Starting));
        let (told, answer) = mpsc::channel();
        let own = process.clone();
        let program = heddle.program.clone();
        thread::spawn(move || {
            let ended = run(line, &own).map_err(|cause| HeddleError::Start { program, cause });
            let found = match ended {
                Ok(Some(ended)) => read(command, ended),
                Ok(None) => Err(HeddleError::Cancelled),
                Err(error) => Err(error),
            };
            // Nobody may want to know any more.
            let _ = told.send(found);
            wake();
        });
        Job { answer, process, _folder: None }
    }
}

impl<T> Job<T> {
    /// The same, with a folder that vanishes with it.
    pub(super) fn with_folder(self, folder: Scratch) -> Job<T> {
        let mut job = self;
        job._folder = Some(folder);
        job
    }

    /// A question that could not be asked.
    pub(super) fn failed(fault: HeddleError) -> Job<T> {
        let (told, answer) = mpsc::channel();
        // The other end is in the job.
        let _ = told.send(Err(fault));
        Job { answer, process: Arc::new(Mutex::new(Process::Ended)), _folder: None }
    }

    /// The answer, once, if it is there.
    pub fn poll(&self) -> Option<Result<T, HeddleError>> {
        self.answer.try_recv().ok()
    }

    /// Waits for the answer. Not for a thread that draws.
    pub fn wait(self) -> Result<T, HeddleError> {
        self.answer.recv().unwrap_or(Err(HeddleError::Cancelled))
    }

    /// Waits for the answer until nobody wants it any more. Not for a thread that draws.
    pub fn wait_unless(self, is_given_up: &AtomicBool) -> Result<T, HeddleError> {
        loop {
            if is_given_up.load(Ordering::Relaxed) {
                return Err(HeddleError::Cancelled);
            }
            match self.answer.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(HeddleError::Cancelled),
                Ok(answer) => return answer,
            }
        }
    }

    /// Gives it up: the process is killed, and the answer is [`HeddleError::Cancelled`] unless it is there already.
    pub fn cancel(&self) {
        let mut process = lock(&self.process);
        match &mut *process {
            Process::Runs(child) => {
                // One that has just ended cannot be killed, and need not be.
                let _ = child.kill();
                let _ = child.wait();
            }
            Process::Ended => return,
            Process::Starting | Process::Cancelled => {}
        }
        *process = Process::Cancelled;
    }
}

impl<T> Drop for Job<T> {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Runs a process to its end; none where it was given up.
fn run(mut line: Command, process: &Mutex<Process>) -> std::io::Result<Option<Ended>> {
    let (out, err) = {
        let mut process = lock(process);
        if let Process::Cancelled = *process {
            return Ok(None);
        }
        let mut child = line.spawn()?;
        let ends = (child.stdout.take(), child.stderr.take());
        *process = Process::Runs(child);
        ends
    };
    // What it complains about is taken meanwhile, for it waits where nobody does.
    let complaint = thread::spawn(move || all(err, COMPLAINT_BYTES_MOST));
    let (out, is_cut) = all(out, ANSWER_BYTES_MOST);
    let (err, _) = complaint.join().unwrap_or_default();
    loop {
        let mut process = lock(process);
        let Process::Runs(child) = &mut *process else { return Ok(None) };
        if let Some(status) = child.try_wait()? {
            *process = Process::Ended;
            return Ok(Some(Ended { status, out, err, is_cut }));
        }
        drop(process);
        thread::sleep(LOOK);
    }
}

/// What comes until the end, of which `most` bytes are kept, and whether there was more.
fn all(from: Option<impl Read>, most: u64) -> (Vec<u8>, bool) {
    let Some(mut from) = from else { return (vec![], false) };
    let mut bytes = vec![];
    // What could be read until then is all that there is.
    let _ = (&mut from).take(most).read_to_end(&mut bytes);
    let more = std::io::copy(&mut from, &mut std::io::sink()).unwrap_or(0);
    (bytes, more > 0)
}

fn lock(process: &Mutex<Process>) -> MutexGuard<'_, Process> {
    process.lock().unwrap_or_else(PoisonError::into_inner)
}
