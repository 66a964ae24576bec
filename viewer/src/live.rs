//! Attaches to a run by its socket, on a thread, and keeps what it tells. Nothing here knows of windows.
use crate::wake::Wake;
use ir::live::{Ending, Frame, Hello, Line, Lines, LiveError};
use ir::plan::Plan;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::Shutdown;
use std::ops::RangeInclusive;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Moments that are kept: a minute's.
pub const MOMENTS_KEPT: usize = 600;
/// A run is silent when so many frames in a row did not come.
const MISSED: u64 = 10;
/// How long it may be silent in any case, and how long it may not, whatever it says of its frames.
const SILENT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);
/// Frames that wait for [`Live::poll`]; more wait at the other end, which then leaves some out.
const AHEAD: usize = 64;

/// A run that somebody watches.
pub struct Live {
    path: PathBuf,
    wake: Wake,
    /// What there is to see, as of the last [`Live::poll`].
    pub state: State,
    heard: Receiver<(Instant, Heard)>,
    /// Closed to make the thread leave.
    line: Arc<Mutex<Connection>>,
}

/// How far watching has come.
#[derive(Debug)]
pub enum State {
    /// Nothing was heard yet: whoever runs may still be compiling.
    Waiting,
    /// It is told how the run goes.
    Attached(Box<Seen>),
    /// The run ended.
    Ended(Box<Seen>, Ending),
    /// There is nothing more to hear, and no word of an end.
    Lost(Option<Box<Seen>>, LiveFault),
}

/// What was told of a run.
#[derive(Debug)]
pub struct Seen {
    /// The greeting.
    pub hello: Hello,
    /// The plan that runs, whose text stands in the greeting: verified.
    pub plan: Arc<Plan>,
    /// The last frame, with as many threads and edges as the plan.
    pub last: Option<Frame>,
    /// The one before it.
    pub before: Option<Frame>,
    /// What is drawn over time, the oldest first.
    pub moments: VecDeque<Moment>,
    /// When something was heard last.
    heard: Instant,
}

/// What is kept of every frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Tokens of answers a second.
    pub tokens_per_second: f64,
    /// Resident bytes of the process; 0 where the system does not say.
    pub resident_bytes: u64,
}

impl Seen {
    fn take(&mut self, frame: Frame) {
        if self.moments.len() == MOMENTS_KEPT {
            self.moments.pop_front();
        }
        self.moments.push_back(Moment {
            tokens_per_second: frame.tokens.per_second,
            resident_bytes: frame.resident_bytes.unwrap_or(0),
        });
        self.before = self.last.replace(frame);
    }
}

/// Why nothing more is heard of a run.
#[derive(Debug, thiserror::Error)]
pub enum LiveFault {
    /// Nobody is there.
    #[error("cannot attach to {}: {cause}: is `heddle run --watch-socket` still there?", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// The stream broke.
    #[error("{}: {cause}", path.display())]
    Read {
        /// The socket.
        path: PathBuf,
        /// How.
        cause: io::Error,
    },
    /// The stream ended before the run did.
    #[error("{} went away: the run was killed, or had no time for one more viewer", path.display())]
    Gone {
        /// The socket.
        path: PathBuf,
    },
    /// It is no stream of ours.
    #[error("{}: {cause}", path.display())]
    Stream {
        /// The socket.
        path: PathBuf,
        /// What is wrong.
        cause: LiveError,
    },
    /// What is said to run is no sound plan.
    #[error("{}: the plan that is said to run is refused: {reason}", path.display())]
    Plan {
        /// The socket.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A frame is of another plan.
    #[error("{}: frame {number} is not of the plan that is said to run", path.display())]
    Frame {
        /// The socket.
        path: PathBuf,
        /// The frame's number.
        number: u64,
    },
}

/// What the thread hears.
enum Heard {
    Hello(Box<Seen>),
    Frame(Frame),
    End(Ending),
    Fault(LiveFault),
}

/// What the thread listens to.
enum Connection {
    Opening,
    Open(UnixStream),
    Closed,
}

impl Live {
    /// Begins to watch the run whose socket is at `path`.
    pub fn attach(path: &Path, wake: Wake) -> Live {
        let (tell, heard) = mpsc::sync_channel(AHEAD);
        let line = Arc::new(Mutex::new(Connection::Opening));
        let (own, own_path, own_wake) = (line.clone(), path.to_owned(), wake.clone());
        thread::spawn(move || {
            let listener = Listener { path: own_path, tell, wake: own_wake };
            if let Err(fault) = listener.listen(&own) {
                listener.say(Heard::Fault(fault));
            }
        });
        Live { path: path.to_owned(), wake, state: State::Waiting, heard, line }
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins anew; what was seen before is forgotten.
    pub fn reconnect(&mut self) {
        *self = Live::attach(&self.path, self.wake.clone());
    }

    /// Takes in what was heard since the last time, and says whether there was anything.
    pub fn poll(&mut self) -> bool {
        let mut is_new = false;
        while let Ok((at, heard)) = self.heard.try_recv() {
            is_new = true;
            let before = std::mem::replace(&mut self.state, State::Waiting);
            self.state = before.after(heard, at);
        }
        is_new
    }

    /// For how long nothing was heard of a run that goes on, where that is longer than can be.
    pub fn silence(&self) -> Option<Duration> {
        let State::Attached(seen) = &self.state else { return None };
        let most = Duration::from_millis(MISSED * u64::from(seen.hello.every_ms));
        let silent = seen.heard.elapsed();
        (silent > most.clamp(*SILENT.start(), *SILENT.end())).then_some(silent)
    }

    /// What was told so far.
    pub fn seen(&self) -> Option<&Seen> {
        match &self.state {
            State::Attached(seen) | State::Ended(seen, _) | State::Lost(Some(seen), _) => Some(seen),
            State::Waiting | State::Lost(None, _) => None,
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut line = lock(&self.line);
        if let Connection::Open(stream) = &*line {
            // One that the other end has closed is as good.
            let _ = stream.shutdown(Shutdown::Both);
        }
        *line = Connection::Closed;
    }
}

impl State {
    fn after(self, heard: Heard, at: Instant) -> State {
        match (self, heard) {
            (_, Heard::Hello(seen)) => State::Attached(seen),
            (State::Attached(mut seen), Heard::Frame(frame)) => {
                seen.heard = at;
                seen.take(frame);
                State::Attached(seen)
            }
            (State::Attached(seen), Heard::End(ending)) => State::Ended(seen, ending),
            (State::Attached(seen), Heard::Fault(fault)) => State::Lost(Some(seen), fault),
            (State::Waiting, Heard::Fault(fault)) => State::Lost(None, fault),
            // Nothing comes before the greeting, and nothing behind the end.
            (state, _) => state,
        }
    }
}

/// The thread's side.
struct Listener {
    path: PathBuf,
    tell: SyncSender<(Instant, Heard)>,
    wake: Wake,
}

impl Listener {
    /// Tells on, and says whether anybody is there to hear it.
    fn say(&self, heard: Heard) -> bool {
        let is_heard = self.tell.send((Instant::now(), heard)).is_ok();
        (self.wake)();
        is_heard
    }

    /// Listens until the run has ended, or nobody wants to know any more.
    fn listen(&self, line: &Mutex<Connection>) -> Result<(), LiveFault> {
        let path = || self.path.clone();
        let connect = || {
            let stream = UnixStream::connect(&self.path)?;
            Ok((stream.try_clone()?, stream))
        };
        let (kept, mut stream) = connect().map_err(|cause| LiveFault::Connect { path: path(), cause })?;
        {
            let mut line = lock(line);
            if let Connection::Closed = *line {
                return Ok(());
            }
            *line = Connection::Open(kept);
        }
        let (mut lines, mut bytes) = (Lines::default(), vec![0; 1 << 16]);
        let mut runs = None;
        loop {
            let read = match stream.read(&mut bytes) {
                Ok(0) => return Err(LiveFault::Gone { path: path() }),
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(|cause| LiveFault::Read { path: path(), cause })?,
            };
            let taken = lines.take(&bytes[..read]);
            for line in taken.map_err(|cause| LiveFault::Stream { path: path(), cause })? {
                let heard = self.heard(line, &mut runs)?;
                let is_last = matches!(heard, Heard::End(_));
                if !self.say(heard) || is_last {
                    return Ok(());
                }
            }
        }
    }

    /// What a line means, of the plan that is said to run once that was told.
    fn heard(&self, line: Line, runs: &mut Option<Arc<Plan>>) -> Result<Heard, LiveFault> {
        let path = || self.path.clone();
        Ok(match line {
            Line::Hello(hello) => {
                let plan = sound(&hello.plan).map_err(|reason| LiveFault::Plan { path: path(), reason })?;
                let (said, threads) = (hello.held_bytes.len(), plan.threads.len());
                if said != threads {
                    let reason = format!("it has {threads} threads, and the memory of {said} is told");
                    return Err(LiveFault::Plan { path: path(), reason });
                }
                let plan = runs.insert(Arc::new(plan)).clone();
                let (last, before, moments, heard) = (None, None, VecDeque::new(), Instant::now());
                Heard::Hello(Box::new(Seen { hello: *hello, plan, last, before, moments, heard }))
            }
            Line::Frame(frame) => match runs.as_ref().is_some_and(|plan| frame.is_of(plan)) {
                true => Heard::Frame(frame),
                false => return Err(LiveFault::Frame { path: path(), number: frame.number }),
            },
            Line::End(ending) => Heard::End(ending),
        })
    }
}

/// The plan of a text, verified; or what is wrong with it.
fn sound(text: &str) -> Result<Plan, String> {
    let mut plan = Plan::from_text(text).map_err(|error| error.to_string())?;
    crate::document::cut_names(&mut plan);
    match plan.verify() {
        Ok(()) => Ok(plan),
        Err(faults) => Err(faults.first().map_or(String::new(), |fault| fault.explain(text))),
    }
}

fn lock(line: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}
