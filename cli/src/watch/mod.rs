//! A run seen while it goes on: in a table on the terminal, and by whoever attaches to its socket.
mod peer;
mod socket;
mod station;
mod table;

pub(crate) use socket::Socket;
pub(crate) use station::Station;
pub(crate) use table::Live;

use clap::Args;
use ir::live::{self, EdgeNow, Frame, ThreadNow, Tokens};
use ir::plan::{EdgeId, End};
use runtime::{Monitor, Progress, Role, Watch};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often a run is looked at.
const EVERY: Duration = Duration::from_millis(live::EVERY_MS as u64);
/// Of how many looks the speed is that a frame states.
const LATELY: usize = 10;

/// Who may watch a run.
#[derive(Args, Debug)]
pub(crate) struct Watched {
    /// Open a Unix socket there, for this user alone, to which `heddle view --watch PATH` attaches; it is removed at the
    /// end
    #[arg(long, value_name = "PATH")]
    watch_socket: Option<PathBuf>,
}

impl Watched {
    /// Opens the socket, if one is asked for.
    pub(crate) fn open(&self) -> anyhow::Result<Option<Socket>> {
        self.watch_socket.as_deref().map(Socket::bind).transpose()
    }
}

/// What was read and written so far: kept by who answers, looked at by who watches.
#[derive(Default)]
pub(crate) struct Tally {
    read: AtomicU64,
    written: AtomicU64,
}

impl Tally {
    /// So many tokens of a prompt were read.
    pub(crate) fn read(&self, tokens: usize) {
        self.read.fetch_add(tokens as u64, Ordering::Relaxed);
    }

    /// One more token was written.
    pub(crate) fn wrote(&self) {
        self.written.fetch_add(1, Ordering::Relaxed);
    }
}

/// Makes frames of a run, and remembers from one to the next what they tell of time.
struct Sampler {
    watch: Arc<Watch>,
    tally: Arc<Tally>,
    start: Instant,
    next: u64,
    /// Where each thread was, and since when.
    places: Vec<(u64, u32, Instant)>,
    /// How many tokens were written at the last looks.
    written: VecDeque<(Instant, u64)>,
}

impl Sampler {
    fn new(watch: Arc<Watch>, tally: Arc<Tally>) -> Sampler {
        let start = Instant::now();
        let places = vec![(0, 0, start); watch.plan().threads.len()];
        Sampler { watch, tally, start, next: 0, places, written: VecDeque::new() }
    }

    /// How things are now.
    fn frame(&mut self) -> Frame {
        let (now, watch) = (Instant::now(), self.watch.clone());
        let edges: Vec<EdgeNow> = watch.edges().iter().map(edge).collect();
        let mut threads = vec![];
        for (progress, thread) in watch.devices().zip(&watch.plan().threads) {
            let waits_at = waits_at(&watch, End::Device(thread.device), &edges);
            threads.push(self.thread(threads.len(), &progress, waits_at, now));
        }
        let mut frame = Frame {
            number: self.next,
            at_ms: (now - self.start).as_millis() as u64,
            threads,
            edges,
            tokens: self.tokens(now),
            resident_bytes: runtime::memory::resident().map(|resident| resident.now_bytes),
        };
        frame.find_stalls(watch.plan());
        self.next += 1;
        frame
    }

    fn thread(
        &mut self,
        at: usize,
        progress: &Progress,
        waits_at: Option<EdgeId>,
        now: Instant,
    ) -> ThreadNow {
        let (rounds, step) = (progress.rounds, progress.at.step as u32);
        let place = &mut self.places[at];
        if (place.0, place.1) != (rounds, step) {
            *place = (rounds, step, now);
        }
        ThreadNow { rounds, step, still_ms: (now - place.2).as_millis() as u64, waits_at }
    }

    fn tokens(&mut self, now: Instant) -> Tokens {
        let Tally { read, written } = &*self.tally;
        let (read, written) = (read.load(Ordering::Relaxed), written.load(Ordering::Relaxed));
        let (since, before) = self.written.front().copied().unwrap_or((self.start, 0));
        self.written.push_back((now, written));
        if self.written.len() > LATELY {
            self.written.pop_front();
        }
        let seconds = (now - since).as_secs_f64();
        let per_second = if seconds > 0.0 { (written - before) as f64 / seconds } else { 0.0 };
        Tokens { read, written, per_second }
    }
}

/// What has passed over an edge.
fn edge(monitor: &Monitor) -> EdgeNow {
    let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let counters = monitor.counters();
    EdgeNow {
        sent: counters.sent,
        received: counters.received,
        bytes: counters.bytes,
        writer_waited_ns: ns(counters.writer_waited),
        reader_waited_ns: ns(counters.reader_waited),
        writer_waits_ns: monitor.waiting(Role::Writer).map(ns),
        reader_waits_ns: monitor.waiting(Role::Reader).map(ns),
        is_stalled: false,
    }
}

/// The edge at which an end waits.
fn waits_at(watch: &Watch, end: End, now: &[EdgeNow]) -> Option<EdgeId> {
    let edges = watch.plan().edges.iter().zip(now);
    let mut waits = edges.filter(|(edge, now)| {
        edge.from == end && now.writer_waits_ns.is_some() || edge.to == end && now.reader_waits_ns.is_some()
    });
    waits.next().map(|(edge, _)| edge.id)
}
