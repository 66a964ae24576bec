//! Swim lanes: what each device thread did, and what it should have done, in time.
use super::misses::{self, Miss};
use super::names::cut;
use super::{DocumentError, PlanView, Stretch, Track};
use ir::plan::{EdgeId, End, Plan, Step, Thread};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap, HashSet};
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
    /// Messages that were measured.
    pub measured_arrows: Track<Arrow>,
    /// Messages that were predicted.
    pub predicted_arrows: Track<Arrow>,
    misses: Vec<Miss>,
}

/// A message on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrow {
    /// What it carries.
    pub name: String,
    /// The thread that sends it; none for the host.
    pub from: Option<u32>,
    /// The thread that has it; none for the host.
    pub to: Option<u32>,
    /// When it left, in microseconds.
    pub sent_us: f64,
    /// When it was there.
    pub arrived_us: f64,
}

/// A row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lane {
    /// `host`, or a device's name.
    pub name: String,
    /// Which of the plan's threads; none for the host.
    pub thread: Option<u32>,
    /// The steps of the model, in order of time.
    pub rounds: Track<Span>,
    /// What happened in them, in order of time.
    pub spans: Track<Span>,
}

impl Stretch for Span {
    fn begin_us(&self) -> f64 {
        self.begin_us
    }
    fn end_us(&self) -> f64 {
        self.begin_us + self.us
    }
}

impl Stretch for Arrow {
    fn begin_us(&self) -> f64 {
        self.sent_us
    }
    fn end_us(&self) -> f64 {
        self.arrived_us
    }
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
    id: u64,
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
    let mut groups: BTreeMap<u32, BTreeMap<u32, Row>> = BTreeMap::new();
    let mut arrows: HashMap<u64, Arrow> = HashMap::new();
    let mut measured_arrows = vec![];
    for event in file.events {
        if event.pid != MEASURED && event.pid != PREDICTED {
            return Err(other(path, format!("a row of group {}, expected 1 or 2", event.pid)));
        }
        let row = groups.entry(event.pid).or_default().entry(event.tid).or_default();
        match (event.ph.as_str(), event.name.as_str()) {
            ("M", "thread_name") => row.name = cut(event.args.name.unwrap_or_default()),
            ("X", _) => row.push(event).map_err(|reason| other(path, reason))?,
            ("s", _) => {
                let Event { id, name, tid, ts, .. } = event;
                let from = tid.checked_sub(1);
                arrows.insert(id, Arrow { name, from, to: None, sent_us: ts, arrived_us: ts });
            }
            ("f", _) => measured_arrows.extend(arrows.remove(&event.id).map(|arrow| Arrow {
                to: event.tid.checked_sub(1),
                arrived_us: event.ts,
                ..arrow
            })),
            _ => {}
        }
    }
    let mut lanes = |group| -> Vec<Lane> {
        let rows = groups.remove(&group).unwrap_or_default();
        rows.into_iter().map(|(number, row)| row.lane(number.checked_sub(1))).collect()
    };
    let (measured, predicted) = (lanes(MEASURED), lanes(PREDICTED));
    if measured.iter().all(|lane| lane.spans.is_empty() && lane.rounds.is_empty()) {
        return Err(other(path, "nothing was measured in it, expected a trace of `heddle trace`".into()));
    }
    let About { plan: plan_hash, predictions } = file.about;
    let (misses, measured_arrows) = (misses::of(&measured), Track::new(measured_arrows));
    Ok(Lanes { plan_hash, predictions, measured, predicted, measured_arrows, misses, ..Lanes::default() })
}

impl Lanes {
    /// How long a token took to be written, on average, in microseconds; none where no answer was measured.
    pub fn token_us(&self) -> Option<f64> {
        self.measured.iter().find_map(|lane| {
            let decodes: Vec<&Span> = lane.rounds.iter().filter(|round| round.is_decode).collect();
            let (first, last) = (decodes.first()?, decodes.last()?);
            Some((last.end_us() - first.begin_us) / decodes.len() as f64)
        })
    }

    /// Every step that was measured and predicted, the greatest miss first.
    pub fn misses(&self) -> &[Miss] {
        &self.misses
    }

    /// From when to when there is something.
    pub fn extent_us(&self) -> (f64, f64) {
        let lanes = self.measured.iter().chain(&self.predicted);
        let extents = lanes.flat_map(|lane| [lane.rounds.extent_us(), lane.spans.extent_us()]).flatten();
        extents.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or_default()
    }
}

/// A row while it is read: its spans as they come, what contains others before them.
#[derive(Default)]
struct Row {
    name: String,
    spans: Vec<Span>,
}

impl Row {
    fn lane(self, thread: Option<u32>) -> Lane {
        let (rounds, spans) = self.spans.into_iter().partition(|span| span.kind == SpanKind::Round);
        Lane { name: self.name, thread, rounds: Track::new(rounds), spans: Track::new(spans) }
    }

    fn push(&mut self, event: Event) -> Result<(), String> {
        let Event { ts, dur, name, cat, args, .. } = event;
        let name = cut(name);
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
    rounds: Vec<RoundOf>,
    spans: Vec<SpanOf>,
    #[serde(default)]
    messages: Vec<MessageOf>,
}

#[derive(Deserialize)]
struct RoundOf {
    is_decode: bool,
    start_ns: f64,
    end_ns: f64,
}

#[derive(Deserialize)]
struct SpanOf {
    thread: usize,
    step: usize,
    round: usize,
    start_ns: f64,
    ns: f64,
}

#[derive(Deserialize)]
struct MessageOf {
    edge: usize,
    sent_ns: f64,
    arrived_ns: f64,
}

/// Reads what `heddle simulate --json --spans` wrote of a plan.
pub(super) fn of_spans(path: &Path, text: &str, view: &PlanView) -> Result<Lanes, DocumentError> {
    let file: SpansFile = json(path, text, "answer of `heddle simulate --json --spans`")?;
    let plan = &view.plan;
    if !file.plan_hash.is_empty() && file.plan_hash != view.hash {
        return Err(other(path, format!("it is of the plan {}, expected {}", file.plan_hash, view.hash)));
    }
    let is_time = |ns: f64| ns.is_finite() && ns >= 0.0;
    let row = |thread: &Thread| Row { name: view.end(End::Device(thread.device)), spans: vec![] };
    let mut rows: Vec<Row> = plan.threads.iter().map(row).collect();
    let mut seen: HashSet<(usize, usize)> = HashSet::new();
    for SpanOf { thread, step, round, start_ns, ns } in file.spans {
        let what = plan.threads.get(thread).and_then(|of| of.steps.get(step)).zip(file.rounds.get(round));
        let Some((what, of)) = what.filter(|_| is_time(start_ns) && is_time(ns)) else {
            let found =
                format!("step {step} of thread {thread} in round {round}, {ns} ns from {start_ns} ns");
            return Err(other(path, format!("{found}: the plan has no such step, or that is no time")));
        };
        let (kind, name) = described(plan, what);
        let span = Span {
            kind,
            name,
            begin_us: start_ns / 1e3,
            us: ns / 1e3,
            step: Some(step as u32),
            round: round as u32,
            is_decode: of.is_decode,
            predicted_us: Some(ns / 1e3),
            bytes: None,
        };
        let row = &mut rows[thread].spans;
        if seen.insert((thread, round)) && is_time(of.start_ns) && is_time(of.end_ns - of.start_ns) {
            let name = if of.is_decode { "decode" } else { "prefill" }.to_owned();
            let (begin_us, us) = (of.start_ns / 1e3, (of.end_ns - of.start_ns) / 1e3);
            let kind = SpanKind::Round;
            row.push(Span { kind, name, begin_us, us, step: None, predicted_us: Some(us), ..span.clone() });
        }
        row.push(span);
    }
    let mut predicted_arrows = vec![];
    for MessageOf { edge, sent_ns, arrived_ns } in file.messages {
        let Some(about) = plan.edges.get(edge).filter(|_| is_time(sent_ns) && is_time(arrived_ns)) else {
            return Err(other(path, format!("a message over edge {edge}, which the plan has not")));
        };
        let thread = |end: End| {
            plan.threads.iter().position(|of| End::Device(of.device) == end).map(|thread| thread as u32)
        };
        predicted_arrows.push(Arrow {
            name: about.name.clone(),
            from: thread(about.from),
            to: thread(about.to),
            sent_us: sent_ns / 1e3,
            arrived_us: arrived_ns / 1e3,
        });
    }
    let predicted = rows.into_iter().zip(0..).map(|(row, thread)| row.lane(Some(thread))).collect();
    let predicted_arrows = Track::new(predicted_arrows);
    Ok(Lanes { plan_hash: file.plan_hash, predicted, predicted_arrows, ..Lanes::default() })
}

fn described(plan: &Plan, step: &Step) -> (SpanKind, String) {
    let edge = |edge: EdgeId| plan.edges.get(edge.0 as usize).map_or("", |edge| edge.name.as_str());
    match step {
        Step::Run { node, .. } => (SpanKind::Kernel, node.clone()),
        Step::Recv { edge: id, .. } => (SpanKind::Receive, format!("receive {}", edge(*id))),
        Step::Send { edge: id, .. } => (SpanKind::Send, format!("send {}", edge(*id))),
    }
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
