//! What `heddle` is being asked, and what it answered: why, what a change would cost, how runs compare.
use super::both::{Both, Runs};
use super::change::Verdict as Shown;
use super::{Side, units};
use crate::document::Numbers;
use crate::heddle::{Change, Heddle, HeddleError, Job, Verdict, Why};
use crate::wake::Wake;
use eframe::egui;
use ir::plan::Hint;
use std::collections::HashMap;
use std::sync::Arc;

/// What runs are given to read: long enough to be measured, short enough to wait for.
const PROMPT: &str = "Why is the sky blue?";
/// How long the prompt is that predictions are about.
const PROMPT_TOKENS: u32 = 36;

/// Questions that are under way, each with which of two documents it is about, and answers.
#[derive(Default)]
pub(crate) struct Asked {
    /// The program that is asked; none: the one that is found.
    pub(crate) heddle: Option<Heddle>,
    why: HashMap<(usize, String), Answer>,
    verdict: Option<(usize, Job<Verdict>)>,
    numbers: Option<(usize, Job<Numbers>)>,
    spans: Option<(usize, Job<String>)>,
    runs: Option<(usize, Both)>,
}

/// An answer to one `why`.
enum Answer {
    Asked(Job<Vec<Why>>),
    Answered(String),
}

/// What there is to be told, once, of which document.
pub(crate) enum Told {
    Verdict(usize, Shown),
    Numbers(usize, Box<Numbers>),
    /// JSON of `heddle simulate --spans`.
    Spans(usize, String),
    Runs(usize, Box<Runs>),
    Fault(String),
}

/// Draws the window again when an answer comes.
pub(crate) fn wake(context: &egui::Context) -> Wake {
    let context = context.clone();
    Arc::new(move || context.request_repaint())
}

impl Asked {
    fn program(&self) -> Result<Heddle, HeddleError> {
        self.heddle.clone().map_or_else(Heddle::find, Ok)
    }

    pub(crate) fn why(&mut self, context: &egui::Context, side: &Side, what: &str) {
        let answer = match self.program() {
            Ok(heddle) => Answer::Asked(heddle.why(&side.document.path, Some(what), wake(context))),
            Err(fault) => Answer::Answered(fault.to_string()),
        };
        self.why.insert((side.at(), what.to_owned()), answer);
    }

    /// What was said of it, or that it is being asked.
    pub(crate) fn said(&self, side: &Side, what: &str) -> Option<&str> {
        match self.why.get(&(side.at(), what.to_owned()))? {
            Answer::Asked(_) => Some("asking heddle …"),
            Answer::Answered(text) => Some(text),
        }
    }

    /// Asks what hints would change; a fault where nobody can be asked.
    pub(crate) fn what_if(
        &mut self,
        context: &egui::Context,
        side: &Side,
        hints: &[Hint],
    ) -> Result<(), HeddleError> {
        let job = self.program()?.what_if(&side.document.path, hints, wake(context));
        self.verdict = Some((side.at(), job));
        Ok(())
    }

    /// Has the numbers of a plan compared; gives it up where that is being done.
    pub(crate) fn numerics(&mut self, context: &egui::Context, side: &Side) -> Result<(), HeddleError> {
        self.numbers = match self.numbers.take() {
            Some(_) => None,
            None => {
                let job = self.program()?.numerics(&side.document.path, PROMPT, wake(context));
                Some((side.at(), job))
            }
        };
        Ok(())
    }

    /// Asks when each step should be.
    pub(crate) fn predict(&mut self, context: &egui::Context, side: &Side) -> Result<(), HeddleError> {
        let job = self.program()?.spans(&side.document.path, PROMPT_TOKENS, wake(context));
        self.spans = Some((side.at(), job));
        Ok(())
    }

    /// Runs a bundle as it is and with hints.
    pub(crate) fn run_both(
        &mut self,
        context: &egui::Context,
        side: &Side,
        hints: &[Hint],
    ) -> Result<(), HeddleError> {
        let both = Both::begin(self.program()?, (&side.document.path, hints), PROMPT, wake(context));
        self.runs = Some((side.at(), both));
        Ok(())
    }

    /// Gives up running both.
    pub(crate) fn stop(&mut self) {
        self.runs = None;
    }

    /// Whether a verdict is being asked.
    pub(crate) fn is_trying(&self) -> bool {
        self.verdict.is_some()
    }

    /// Whether a bundle is run as it is and as it is changed.
    pub(crate) fn is_running(&self) -> bool {
        self.runs.is_some()
    }

    /// Whether the numbers of a document are being compared.
    pub(crate) fn is_checking(&self) -> bool {
        self.numbers.is_some()
    }

    /// Takes what was answered meanwhile.
    pub(crate) fn receive(&mut self) -> Vec<Told> {
        for answer in self.why.values_mut() {
            let Answer::Asked(job) = answer else { continue };
            if let Some(result) = job.poll() {
                *answer =
                    Answer::Answered(result.map_or_else(|fault| fault.to_string(), |why| in_words(&why)));
            }
        }
        let fault = |fault: HeddleError| Told::Fault(fault.to_string());
        let mut told = vec![];
        if let Some((at, result)) = answered(&mut self.verdict, Job::poll) {
            told.push(match result {
                Ok(Verdict::Sound(change)) => Told::Verdict(at, Ok(lines(&change))),
                Ok(Verdict::Refused { reason }) => Told::Verdict(at, Err(reason)),
                Err(error) => fault(error),
            });
        }
        if let Some((at, result)) = answered(&mut self.numbers, Job::poll) {
            told.push(result.map_or_else(fault, |numbers| Told::Numbers(at, Box::new(numbers))));
        }
        if let Some((at, result)) = answered(&mut self.spans, Job::poll) {
            told.push(result.map_or_else(fault, |text| Told::Spans(at, text)));
        }
        if let Some((at, result)) = answered(&mut self.runs, Both::poll) {
            told.push(result.map_or_else(Told::Fault, |runs| Told::Runs(at, Box::new(runs))));
        }
        told
    }

    /// Forgets what was about another document.
    pub(crate) fn forget(&mut self) {
        *self = Asked { heddle: self.heddle.take(), ..Asked::default() };
    }
}

/// What came of a question, which is then none any more.
fn answered<Q, A>(question: &mut Option<(usize, Q)>, poll: impl Fn(&Q) -> Option<A>) -> Option<(usize, A)> {
    let (at, answer) = question.as_ref().and_then(|(at, question)| Some((*at, poll(question)?)))?;
    *question = None;
    Some((at, answer))
}

fn time(ns: u64) -> String {
    units::time_us(ns as f64 / 1e3)
}

fn in_words(answers: &[Why]) -> String {
    let mut text = String::new();
    for why in answers {
        text += &format!("{}: {}.\n", why.about, why.decision);
        if let Some(ns) = why.cost_ns {
            text += &format!("It takes {}.\n", time(ns));
        }
        if let Some(limit) = &why.limit {
            text += &format!("It is bound by {limit}.\n");
        }
        if let (Some(measure), Some(ns)) = (&why.measure, why.whole_ns) {
            text += &format!("The whole plan: {} {measure}.\n", time(ns));
        }
        for instead in &why.instead {
            let cost = instead.predicted_ns.map_or_else(|| instead.reason.clone(), time);
            text += &format!("Instead {}: {cost}.\n", instead.what);
        }
        if let Some(reason) = &why.no_alternative {
            text += &format!("There is nothing else: {reason}.\n");
        }
    }
    text
}

/// What a change comes to, a sentence a line.
fn lines(change: &Change) -> Vec<String> {
    if change.is_equal {
        return vec!["Nothing changes".to_owned()];
    }
    let mut lines = vec![];
    let ms = |ms: Option<f64>| ms.map_or_else(|| "not known".to_owned(), |ms| units::time_us(ms * 1e3));
    let pairs = [
        (
            format!("a prompt of {} tokens", change.prompt_tokens),
            change.before.prefill_ms,
            change.after.prefill_ms,
        ),
        ("a token".to_owned(), change.before.decode_ms, change.after.decode_ms),
    ];
    for (what, before, after) in pairs.into_iter().filter(|(_, before, after)| before.or(*after).is_some()) {
        let part =
            before.zip(after).map(|(a, b)| format!(" ({:+.1}%)", 100.0 * (b / a - 1.0))).unwrap_or_default();
        lines.push(format!("{what}: {} to {}{part}", ms(before), ms(after)));
    }
    lines.extend(change.untimed.iter().map(|why| format!("times are not predicted: {why}")));
    let (before, after) = (change.before.edge_bytes, change.after.edge_bytes);
    lines.push(format!("messages for a token: {} to {}", units::bytes(before), units::bytes(after)));
    for after in &change.after.devices {
        let before = change.before.devices.iter().find(|device| device.name == after.name);
        let before = before.map_or_else(|| "nothing".to_owned(), |device| units::bytes(device.peak_bytes));
        lines.push(format!("memory of {}: {before} to {}", after.name, units::bytes(after.peak_bytes)));
    }
    for moved in &change.moved {
        let (from, to) = (moved.from.join(", "), moved.to.join(", "));
        lines.push(format!("{} nodes move from {from} to {to}", moved.count));
    }
    for format in &change.formats {
        let bytes = format!("{} to {}", units::bytes(format.before_bytes), units::bytes(format.after_bytes));
        lines.push(format!("{} weights from {} to {}: {bytes}", format.count, format.from, format.to));
    }
    lines
}
