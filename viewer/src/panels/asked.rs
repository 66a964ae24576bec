//! What `heddle` is being asked, and what it answered: why, what a change would cost, how runs compare.
use super::change::Verdict as Shown;
use super::units;
use crate::document::{Document, Numbers};
use crate::heddle::{Change, Heddle, HeddleError, Job, Verdict, Why};
use crate::wake::Wake;
use eframe::egui;
use ir::plan::Hint;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// What runs are given to read: long enough to be measured, short enough to wait for.
const PROMPT: &str = "Why is the sky blue?";
/// How long the prompt is that predictions are about.
const PROMPT_TOKENS: u32 = 36;

/// Questions that are under way, and answers.
#[derive(Default)]
pub(crate) struct Asked {
    /// The program that is asked; none: the one that is found.
    pub(crate) heddle: Option<Heddle>,
    why: HashMap<String, Answer>,
    verdict: Option<Job<Verdict>>,
    numbers: Option<Job<Numbers>>,
    spans: Option<Job<String>>,
    runs: Option<Receiver<Result<Runs, String>>>,
    /// Where changed bundles lie that were run.
    folders: Vec<Folder>,
}

/// An answer to one `why`.
enum Answer {
    Asked(Job<Vec<Why>>),
    Answered(String),
}

/// What came of running a bundle as it was and as it was changed.
pub(crate) struct Runs {
    pub(crate) before: Document,
    pub(crate) after: Document,
    folder: Folder,
}

/// A folder that vanishes with its owner.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans the system's folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What there is to be told, once.
pub(crate) enum Told {
    Verdict(Shown),
    Numbers(Box<Numbers>),
    /// JSON of `heddle simulate --spans`.
    Spans(String),
    Runs(Box<Runs>),
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

    pub(crate) fn why(&mut self, context: &egui::Context, document: &Document, what: &str) {
        let answer = match self.program() {
            Ok(heddle) => Answer::Asked(heddle.why(&document.path, Some(what), wake(context))),
            Err(fault) => Answer::Answered(fault.to_string()),
        };
        self.why.insert(what.to_owned(), answer);
    }

    /// What was said of it, or that it is being asked.
    pub(crate) fn said(&self, what: &str) -> Option<&str> {
        match self.why.get(what)? {
            Answer::Asked(_) => Some("asking heddle …"),
            Answer::Answered(text) => Some(text),
        }
    }

    /// Asks what hints would change; a fault where nobody can be asked.
    pub(crate) fn what_if(
        &mut self,
        context: &egui::Context,
        document: &Document,
        hints: &[Hint],
    ) -> Result<(), HeddleError> {
        self.verdict = Some(self.program()?.what_if(&document.path, hints, wake(context)));
        Ok(())
    }

    pub(crate) fn numerics(
        &mut self,
        context: &egui::Context,
        document: &Document,
    ) -> Result<(), HeddleError> {
        self.numbers = Some(self.program()?.numerics(&document.path, PROMPT, wake(context)));
        Ok(())
    }

    /// Asks when each step should be.
    pub(crate) fn predict(
        &mut self,
        context: &egui::Context,
        document: &Document,
    ) -> Result<(), HeddleError> {
        self.spans = Some(self.program()?.spans(&document.path, PROMPT_TOKENS, wake(context)));
        Ok(())
    }

    /// Runs a bundle as it is and with hints.
    pub(crate) fn run_both(
        &mut self,
        context: &egui::Context,
        document: &Document,
        hints: &[Hint],
    ) -> Result<(), HeddleError> {
        let (heddle, bundle, hints) = (self.program()?, document.path.clone(), hints.to_vec());
        let (sender, receiver) = channel();
        let wake = wake(context);
        thread::spawn(move || {
            // Nobody waits any more where the window was closed.
            drop(sender.send(run_both(&heddle, &bundle, &hints)));
            wake();
        });
        self.runs = Some(receiver);
        Ok(())
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.verdict.is_some() || self.runs.is_some() || self.numbers.is_some() || self.spans.is_some()
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
        let mut told = vec![];
        if let Some(result) = self.verdict.as_ref().and_then(Job::poll) {
            self.verdict = None;
            told.push(match result {
                Ok(Verdict::Sound(change)) => Told::Verdict(Ok(lines(&change))),
                Ok(Verdict::Refused { reason }) => Told::Verdict(Err(reason)),
                Err(fault) => Told::Fault(fault.to_string()),
            });
        }
        if let Some(result) = self.numbers.as_ref().and_then(Job::poll) {
            self.numbers = None;
            told.push(result.map_or_else(
                |fault| Told::Fault(fault.to_string()),
                |numbers| Told::Numbers(Box::new(numbers)),
            ));
        }
        if let Some(result) = self.spans.as_ref().and_then(Job::poll) {
            self.spans = None;
            told.push(result.map_or_else(|fault| Told::Fault(fault.to_string()), Told::Spans));
        }
        if let Some(result) = self.runs.as_ref().and_then(|runs| runs.try_recv().ok()) {
            self.runs = None;
            told.push(result.map_or_else(Told::Fault, |runs| Told::Runs(Box::new(runs))));
        }
        told
    }

    /// Keeps the folder of a changed bundle as long as it can be looked at.
    pub(crate) fn keep(&mut self, runs: Runs) -> (Document, Document) {
        self.folders.push(runs.folder);
        (runs.before, runs.after)
    }

    /// Forgets what was about another document.
    pub(crate) fn forget(&mut self) {
        let (heddle, folders) = (self.heddle.take(), std::mem::take(&mut self.folders));
        *self = Asked { heddle, folders, ..Asked::default() };
    }
}

fn run_both(heddle: &Heddle, bundle: &Path, hints: &[Hint]) -> Result<Runs, String> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = Folder(std::env::temp_dir().join(format!("heddle-view-{}-{number}", std::process::id())));
    let changed = folder.0.join("changed.heddle");
    copy(bundle, &changed)
        .map_err(|fault| format!("cannot copy {} to {}: {fault}", bundle.display(), changed.display()))?;
    let nobody = crate::wake::nobody;
    heddle.edit(&changed, hints, nobody()).wait().map_err(|fault| fault.to_string())?;
    let run = |bundle: &Path, name: &str| {
        let trace = folder.0.join(name);
        heddle.trace(bundle, PROMPT, &trace, nobody()).wait().map_err(|fault| fault.to_string())?;
        let mut document = Document::open(bundle).map_err(|fault| fault.to_string())?;
        document.add_trace(&trace).map_err(|fault| fault.to_string())?;
        Ok::<_, String>(document)
    };
    let (before, after) = (run(bundle, "before.json")?, run(&changed, "after.json")?);
    Ok(Runs { before, after, folder })
}

/// A bundle is a folder with files and one level of folders with files.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => drop(fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
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
