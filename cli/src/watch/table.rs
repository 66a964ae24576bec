//! `--watch`: a run's edges and devices on standard error; live where that is a terminal, and as they were at last.
use super::{EVERY, Sampler};
use crate::output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ir::live::{EdgeNow, Frame};
use ir::plan::{Edge, End};
use runtime::{Progress, Watch};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;

/// More edges than this are shown together by their ends, so that the table fits a terminal.
const EDGES_MOST: usize = 20;

/// Draws until it is dropped.
pub(crate) struct Live {
    watch: Arc<Watch>,
    /// Dropped to stop the thread that draws.
    stop: Option<mpsc::Sender<()>>,
    drawing: Option<JoinHandle<()>>,
}

impl Live {
    pub(crate) fn start(watch: Arc<Watch>) -> Live {
        let (stop, stopped) = mpsc::channel();
        let shown = watch.clone();
        let drawing = std::io::stderr().is_terminal().then(|| {
            std::thread::spawn(move || {
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
                let style = ProgressStyle::with_template("{msg}");
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                let mut sampler = Sampler::new(shown.clone(), Arc::default());
                while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                    bar.set_message(text(&shown, &sampler.frame()));
                }
                bar.finish_and_clear();
            })
        });
        Live { watch, stop: Some(stop), drawing }
    }

    /// Whether it has the terminal, so that nothing else may be written there.
    pub(crate) fn has_terminal(&self) -> bool {
        self.drawing.is_some() && std::io::stdout().is_terminal()
    }

    /// Stops, and says how things are now.
    pub(crate) fn finish(self) -> String {
        let watch = self.watch.clone();
        drop(self);
        text(&watch, &Sampler::new(watch.clone(), Arc::default()).frame())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(drawing) = self.drawing.take() {
            // All that it could have to say is that it panicked, and that is on the terminal.
            let _ = drawing.join();
        }
    }
}

/// A line for each edge, or where they are many for each pair of ends, and one for each device.
fn text(watch: &Watch, frame: &Frame) -> String {
    let mut rows: Vec<Row> = vec![];
    let edges = &watch.plan().edges;
    let is_short = edges.len() <= EDGES_MOST;
    for (edge, now) in edges.iter().zip(&frame.edges) {
        let row = Row { edges: vec![edge], from: edge.from, to: edge.to, now: now.clone() };
        match rows.iter_mut().find(|r| !is_short && (r.from, r.to) == (edge.from, edge.to)) {
            Some(sum) => sum.add(row),
            None => rows.push(row),
        }
    }
    let headings = [
        "edge",
        "carries",
        "from",
        "to",
        " messages",
        " bytes",
        " queued",
        " writer waited",
        " reader waited",
    ];
    let rows: Vec<_> = rows.into_iter().map(|row| row.cells(watch)).collect();
    let devices: Vec<_> = watch.devices().map(line).collect();
    output::table(&headings, &rows) + &devices.join("\n")
}

/// What a line of the table says, of one edge or several.
struct Row<'a> {
    edges: Vec<&'a Edge>,
    from: End,
    to: End,
    now: EdgeNow,
}

impl<'a> Row<'a> {
    fn add(&mut self, other: Row<'a>) {
        let (now, more) = (&mut self.now, other.now);
        self.edges.extend(other.edges);
        now.sent += more.sent;
        now.received += more.received;
        now.bytes += more.bytes;
        now.writer_waited_ns += more.writer_waited_ns;
        now.reader_waited_ns += more.reader_waited_ns;
        now.writer_waits_ns = now.writer_waits_ns.max(more.writer_waits_ns);
        now.reader_waits_ns = now.reader_waits_ns.max(more.reader_waits_ns);
    }

    fn cells(&self, watch: &Watch) -> Vec<String> {
        let (id, name) = match self.edges[..] {
            [edge] => (edge.id.0.to_string(), edge.name.clone()),
            _ => (format!("{} edges", self.edges.len()), String::new()),
        };
        let capacity: u32 = self.edges.iter().map(|e| e.capacity).sum();
        // A star: it waits now.
        let waited = |ns: u64, now: Option<u64>| {
            format!("{:.3} s{}", ns as f64 / 1e9, if now.is_some() { "*" } else { " " })
        };
        let now = &self.now;
        vec![
            id,
            name,
            watch.name(self.from),
            watch.name(self.to),
            now.sent.to_string(),
            output::bytes(now.bytes),
            format!("{} of {capacity}", now.queued()),
            waited(now.writer_waited_ns, now.writer_waits_ns),
            waited(now.reader_waited_ns, now.reader_waits_ns),
        ]
    }
}

fn line(progress: Progress) -> String {
    let Progress { rounds, at, steps } = progress;
    let (device, what) = (output::plain(&at.device), output::plain(&at.what));
    format!("{device}: {rounds} rounds done, at step {} of {steps}: {what}", at.step)
}
