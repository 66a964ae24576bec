//! `--watch`: a run's edges and devices on standard error; live where that is a terminal, and as they were at last.
use crate::output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ir::plan::{Edge, End};
use runtime::{EdgeCounters, Monitor, Progress, Role, Watch};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a live table is drawn.
const EVERY: Duration = Duration::from_millis(100);
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
                while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                    bar.set_message(text(&shown));
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
        text(&watch)
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
fn text(watch: &Watch) -> String {
    let mut rows: Vec<Row> = vec![];
    let is_short = watch.edges().len() <= EDGES_MOST;
    for (monitor, edge) in watch.edges().iter().map(|m| (m, m.edge())) {
        let row = Row::new(monitor);
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
    counters: EdgeCounters,
    waits_now: [bool; 2],
}

impl<'a> Row<'a> {
    fn new(monitor: &'a Monitor) -> Row<'a> {
        let edge = monitor.edge();
        let waits_now = [Role::Writer, Role::Reader].map(|role| monitor.waiting(role).is_some());
        Row { edges: vec![edge], from: edge.from, to: edge.to, counters: monitor.counters(), waits_now }
    }

    fn add(&mut self, other: Row<'a>) {
        let (c, o) = (&mut self.counters, other.counters);
        self.edges.extend(other.edges);
        c.sent += o.sent;
        c.received += o.received;
        c.bytes += o.bytes;
        c.writer_waited += o.writer_waited;
        c.reader_waited += o.reader_waited;
        self.waits_now = [0, 1].map(|end| self.waits_now[end] || other.waits_now[end]);
    }

    fn cells(&self, watch: &Watch) -> Vec<String> {
        let (id, name) = match self.edges[..] {
            [edge] => (edge.id.0.to_string(), edge.name.clone()),
            _ => (format!("{} edges", self.edges.len()), String::new()),
        };
        let capacity: u32 = self.edges.iter().map(|e| e.capacity).sum();
        // A star: it waits now.
        let waited =
            |time: Duration, now: bool| format!("{:.3} s{}", time.as_secs_f64(), if now { "*" } else { " " });
        let c = &self.counters;
        vec![
            id,
            name,
            watch.name(self.from),
            watch.name(self.to),
            c.sent.to_string(),
            output::bytes(c.bytes),
            format!("{} of {capacity}", c.depth()),
            waited(c.writer_waited, self.waits_now[0]),
            waited(c.reader_waited, self.waits_now[1]),
        ]
    }
}

fn line(progress: Progress) -> String {
    let Progress { rounds, at, steps } = progress;
    let (device, what) = (output::plain(&at.device), output::plain(&at.what));
    format!("{device}: {rounds} rounds done, at step {} of {steps}: {what}", at.step)
}
