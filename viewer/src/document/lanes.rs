//! Swim lanes: what each device thread did, and what it should have done, in time.
use super::DocumentError;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What the rows of a run hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lanes {
    /// The hash of the plan that they are of; empty where it is not said.
    pub plan_hash: String,
    /// By what times are predicted, or why there are none.
    pub predictions: String,
    /// What was measured: the host, then the plan's threads in order.
    pub measured: Vec<Lane>,
    /// What was predicted, likewise.
    pub predicted: Vec<Lane>,
}

/// A row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lane {
    /// `host`, or a device's name.
    pub name: String,
    /// Which of the plan's threads; none for the host.
    pub thread: Option<u32>,
    /// What happened in it, in order of time; what contains others stands before them.
    pub spans: Vec<Span>,
}

/// Something that took time.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// What it is.
    pub kind: SpanKind,
    /// What it is called: a node's path, `send x`, `decode of token 39`.
    pub name: String,
    /// From when, in microseconds from the trace's beginning.
    pub begin_us: f64,
    /// For how long, in microseconds.
    pub us: f64,
    /// Which of the thread's steps.
    pub step: Option<u32>,
    /// Which of the lane's rounds, from 0.
    pub round: u32,
    /// Whether that is a decode step; its round's name says so.
    pub is_decode: bool,
    /// What it should have taken, in microseconds, where that was predicted.
    pub predicted_us: Option<f64>,
    /// Bytes of a message.
    pub bytes: Option<u64>,
}

/// What a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpanKind {
    /// A step of the model: contains what it takes.
    Round,
    /// A kernel.
    Kernel,
    /// Sends a message.
    Send,
    /// Waits for a message.
    Receive,
}

#[derive(Deserialize)]
struct TraceFile {
    #[serde(rename = "traceEvents")]
    events: Vec<Event>,
    #[serde(rename = "otherData", default)]
    about: About,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct About {
    plan: String,
    predictions: String,
}

#[derive(Deserialize)]
struct Event {
    ph: String,
    pid: u32,
    tid: u32,
    #[serde(default)]
    ts: f64,
    #[serde(default)]
    dur: f64,
    name: String,
    #[serde(default)]
    cat: String,
    #[serde(default)]
    args: Args,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Args {
    name: Option<String>,
    step: Option<u32>,
    predicted_us: Option<f64>,
    bytes: Option<u64>,
    round: Option<String>,
}

/// The groups of rows of a trace, as `heddle trace` numbers them.
const MEASURED: u32 = 1;
const PREDICTED: u32 = 2;

/// Reads what `heddle trace` wrote.
pub(super) fn of_trace(path: &Path, text: &str) -> Result<Lanes, DocumentError> {
    let file: TraceFile = json(path, text, "trace of `heddle trace`")?;
    let mut groups: BTreeMap<u32, BTreeMap<u32, Lane>> = BTreeMap::new();
    for event in file.events {
        if event.pid != MEASURED && event.pid != PREDICTED {
            return Err(other(path, format!("a row of group {}, expected 1 or 2", event.pid)));
        }
        let lane = groups.entry(event.pid).or_default().entry(event.tid).or_default();
        match (event.ph.as_str(), event.name.as_str()) {
            ("M", "thread_name") => lane.name = event.args.name.unwrap_or_default(),
            ("X", _) => lane.push(event).map_err(|reason| other(path, reason))?,
            _ => {}
        }
    }
    let mut lanes = |group| -> Vec<Lane> {
        let rows = groups.remove(&group).unwrap_or_default();
        rows.into_iter().map(|(row, lane)| Lane { thread: row.checked_sub(1), ..lane }).collect()
    };
    let (measured, predicted) = (lanes(MEASURED), lanes(PREDICTED));
    if measured.iter().all(|lane| lane.spans.is_empty()) {
        return Err(other(path, "nothing was measured in it, expected a trace of `heddle trace`".into()));
    }
    Ok(Lanes { plan_hash: file.about.plan, predictions: file.about.predictions, measured, predicted })
}

impl Lane {
    fn push(&mut self, event: Event) -> Result<(), String> {
        let Event { ts, dur, name, cat, args, .. } = event;
        if !ts.is_finite() || !dur.is_finite() || dur < 0.0 {
            return Err(format!("{name:?} takes {dur} us from {ts} us, expected a stretch of time"));
        }
        let kind = match cat.as_str() {
            "round" => SpanKind::Round,
            "kernel" => SpanKind::Kernel,
            "send" => SpanKind::Send,
            "receive" => SpanKind::Receive,
            found => {
                return Err(format!(
                    "{name:?} is of category {found:?}, expected round, kernel, send or receive"
                ));
            }
        };
        let before = self.spans.last().map(|span| (span.round, span.is_decode));
        let is_decode = |name: &str| name.starts_with("decode");
        let (round, is_decode) = match (kind, &args.round, before) {
            // Of the host, every span says its round.
            (_, Some(round), Some((last, _))) => (last + 1, is_decode(round)),
            (_, Some(round), None) => (0, is_decode(round)),
            (SpanKind::Round, None, Some((last, _))) => (last + 1, is_decode(&name)),
            (SpanKind::Round, None, None) => (0, is_decode(&name)),
            (_, None, before) => before.unwrap_or((0, false)),
        };
        let Args { step, predicted_us, bytes, .. } = args;
        self.spans.push(Span {
            kind,
            name,
            begin_us: ts,
            us: dur,
            step,
            round,
            is_decode,
            predicted_us,
            bytes,
        });
        Ok(())
    }
}

#[derive(Deserialize)]
struct SpansFile {
    #[serde(default)]
    plan_hash: String,
    spans: Vec<SpanOf>,
}

#[derive(Deserialize)]
struct SpanOf {
    thread: u32,
    step: u32,
    round: u32,
    start_ns: f64,
    ns: f64,
}

/// Rounds that are looked at.
const ROUNDS_MAX: u32 = 1 << 16;
/// Threads that a plan can have.
const THREADS_MAX: u32 = 1 << 16;

/// Reads what `heddle simulate --json --spans` wrote.
pub(super) fn of_spans(path: &Path, text: &str) -> Result<Lanes, DocumentError> {
    let file: SpansFile = json(path, text, "answer of `heddle simulate --json --spans`")?;
    let mut lanes: BTreeMap<u32, Lane> = BTreeMap::new();
    for SpanOf { thread, step, round, start_ns, ns } in file.spans {
        if thread > THREADS_MAX || round > ROUNDS_MAX || !start_ns.is_finite() || !ns.is_finite() || ns < 0.0
        {
            return Err(other(path, format!("step {step} of thread {thread}, round {round}, takes {ns} ns")));
        }
        let lane = lanes.entry(thread).or_insert_with(|| Lane { thread: Some(thread), ..Lane::default() });
        lane.spans.push(Span {
            kind: SpanKind::Kernel,
            name: String::new(),
            begin_us: start_ns / 1e3,
            us: ns / 1e3,
            step: Some(step),
            round,
            is_decode: false,
            predicted_us: Some(ns / 1e3),
            bytes: None,
        });
    }
    Ok(Lanes { plan_hash: file.plan_hash, predicted: lanes.into_values().collect(), ..Lanes::default() })
}

/// Reads JSON; other fields than those that are asked for do not matter.
pub(super) fn json<'a, T: Deserialize<'a>>(
    path: &Path,
    text: &'a str,
    expected: &'static str,
) -> Result<T, DocumentError> {
    serde_json::from_str(text).map_err(|source| DocumentError::Json {
        path: path.to_owned(),
        expected,
        source,
    })
}

fn other(path: &Path, reason: String) -> DocumentError {
    DocumentError::Other { path: path.to_owned(), reason }
}
