//! `--spans`: when each step of each thread, and each message, should be, of a prefill and of a decode step behind it.
use ir::plan::EdgeId;
use passes::simulate::{Flight, Predicted, Simulated, Span};
use serde::Serialize;

/// What happens on one line of time, in nanoseconds from when the first prompt is fed.
#[derive(Serialize)]
pub(super) struct Timeline {
    /// The rounds of the prefill, and behind them one of decode as it is when decode has gone on for a while.
    rounds: Vec<Round>,
    /// Every step of every thread in these rounds, by thread and in order.
    spans: Vec<Step>,
    /// Every message in these rounds, by edge and in order.
    messages: Vec<Message>,
}

#[derive(Serialize)]
struct Round {
    round: usize,
    is_decode: bool,
    /// When the host fed it.
    start_ns: f64,
    /// When its logits were at the host.
    end_ns: f64,
}

/// Of a kernel how long it runs; of a message how long the thread waits for it, or for room for it.
#[derive(Serialize)]
struct Step {
    /// Which of the plan's threads.
    thread: usize,
    /// Which of its steps.
    step: usize,
    round: usize,
    start_ns: f64,
    ns: f64,
}

#[derive(Serialize)]
struct Message {
    /// Which of the plan's edges.
    edge: u32,
    round: usize,
    /// When the writer had it ready and there was room for it.
    sent_ns: f64,
    /// When it was at the reader's end.
    arrived_ns: f64,
}

impl Timeline {
    pub(super) fn of(predicted: &Predicted) -> Timeline {
        let mut timeline = Timeline { rounds: vec![], spans: vec![], messages: vec![] };
        let Predicted { prefill, decode, .. } = predicted;
        for of in Part::all(prefill) {
            timeline.add(&of, 0.0, false);
        }
        if let Some(last) = Part::all(decode).pop() {
            timeline.add(&last, prefill.end_ns() - last.fed_ns(), true);
        }
        timeline.spans.sort_by_key(|span| (span.thread, span.round, span.step));
        timeline.messages.sort_by_key(|message| message.edge);
        timeline
    }

    /// Adds a round of a run, so much later than it was there.
    fn add(&mut self, part: &Part, later_ns: f64, is_decode: bool) {
        let round = self.rounds.len();
        let (start_ns, end_ns) = (part.fed_ns() + later_ns, part.finished_ns + later_ns);
        self.rounds.push(Round { round, is_decode, start_ns, end_ns });
        // Who waits since before the round was fed waited for the round before.
        let at = |ns: f64| (ns + later_ns).max(start_ns);
        self.spans.extend(part.spans.iter().map(|span| {
            let (start_ns, end_ns) = (at(span.start_ns), at(span.start_ns + span.ns));
            Step { thread: span.thread, step: span.step, round, start_ns, ns: end_ns - start_ns }
        }));
        self.messages.extend(part.messages.iter().map(|message| {
            let EdgeId(edge) = message.edge;
            let (sent_ns, arrived_ns) = (message.sent_ns + later_ns, message.arrived_ns + later_ns);
            Message { edge, round, sent_ns, arrived_ns }
        }));
    }
}

/// What happened in one round of a run.
struct Part<'r> {
    finished_ns: f64,
    spans: Vec<&'r Span>,
    messages: Vec<&'r Flight>,
}

impl Part<'_> {
    /// The rounds of a run, in order.
    fn all(run: &Simulated) -> Vec<Part<'_>> {
        let part = |&finished_ns| Part { finished_ns, spans: vec![], messages: vec![] };
        let mut parts: Vec<_> = run.finished_ns.iter().map(part).collect();
        run.spans.iter().for_each(|span| parts[span.round].spans.push(span));
        run.messages.iter().for_each(|message| parts[message.round].messages.push(message));
        parts
    }

    /// When it was fed.
    fn fed_ns(&self) -> f64 {
        let first = self.messages.iter().map(|message| message.sent_ns).fold(f64::INFINITY, f64::min);
        if first.is_finite() { first } else { 0.0 }
    }
}
