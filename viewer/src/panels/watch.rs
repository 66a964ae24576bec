//! A run that is watched: where its threads are, what moves between them, and what stands still.
use super::Action;
use super::tables::{ROWS_MOST, more};
use super::theme::Palette;
use super::units;
use super::widgets::named_button;
use crate::document::{Document, DocumentError, end_name};
use crate::live::{Live, Moment, Seen, State};
use eframe::egui::{self, Grid, RichText, ScrollArea, Sense, Stroke, pos2, vec2};
use ir::live::{EdgeNow, Ending, Frame, Hello};
use ir::plan::End;
use std::path::Path;

/// More edges that stand still are not named in a notice.
const STALLS_NAMED: usize = 3;

/// What a canvas shows of a run.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Edges that stand still though somebody waits.
    pub(crate) stalled: Vec<u32>,
    /// By edge how many messages wait in it.
    pub(crate) queued: Vec<u64>,
    /// By edge whether a message went along it since the frame before.
    pub(crate) moved: Vec<bool>,
}

impl Traffic {
    /// Of the last frame that was heard, if it is of a document's plan.
    pub(crate) fn of(live: Option<&Live>, document: &Document) -> Traffic {
        let Some((live, seen)) = live.and_then(|live| Some((live, live.seen()?))) else {
            return Traffic::default();
        };
        let Some(last) = seen.last.as_ref().filter(|_| is_of(document, &seen.hello)) else {
            return Traffic::default();
        };
        let before = seen.before.as_ref();
        let sent = |at: usize| before.and_then(|frame| frame.edges.get(at)).map_or(0, |edge| edge.sent);
        let edges = || last.edges.iter().enumerate();
        let is_running = matches!(live.state, State::Attached(_)) && live.silence().is_none();
        Traffic {
            stalled: stalled(seen),
            queued: edges().map(|(_, edge)| edge.queued()).collect(),
            moved: edges().map(|(at, edge)| is_running && edge.sent > sent(at)).collect(),
        }
    }
}

/// The edges that stand still though somebody waits.
pub(crate) fn stalled(seen: &Seen) -> Vec<u32> {
    let edges = seen.last.iter().flat_map(|last| last.edges.iter().enumerate());
    edges.filter(|(_, edge)| edge.is_stalled).map(|(at, _)| at as u32).collect()
}

/// That edges stand still, between whom, for a notice.
pub(crate) fn told(seen: &Seen, edges: &[u32]) -> String {
    let ends =
        edges.iter().filter_map(|edge| seen.plan.edges.get(*edge as usize)).take(STALLS_NAMED).map(|edge| {
            let [from, to] = [edge.from, edge.to].map(|end| end_name(&seen.plan, end));
            format!("edge {} with {}, from {from} to {to}", edge.id.0, edge.name)
        });
    let named: Vec<String> = ends.collect();
    let rest = match edges.len().saturating_sub(STALLS_NAMED) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!("nothing moves though somebody waits: {}{rest}", named.join("; "))
}

/// Whether a document is of the plan that runs.
pub(crate) fn is_of(document: &Document, hello: &Hello) -> bool {
    document.plan.as_ref().is_some_and(|plan| plan.hash == hello.plan_hash)
}

/// The document of the plan that runs: of its bundle if that still holds this plan, else of the plan's text alone.
/// Not for a thread that draws: nobody knows what lies where the bundle is said to be.
pub(crate) fn document(socket: &Path, hello: &Hello) -> Result<Document, DocumentError> {
    let folder = hello.bundle.as_ref().map(Path::new).filter(|bundle| bundle.is_dir());
    let bundle = folder.and_then(|bundle| Document::open(bundle).ok());
    match bundle.filter(|document| is_of(document, hello)) {
        Some(document) => Ok(document),
        None => Document::of_plan_text(socket, &hello.plan),
    }
}

/// The panel; `is_elsewhere` says that what is shown is not what runs.
pub(crate) fn draw(ui: &mut egui::Ui, live: &Live, is_elsewhere: bool, actions: &mut Vec<Action>) {
    let palette = Palette::of_ui(ui);
    ui.horizontal(|ui| {
        let (text, colour) = match &live.state {
            State::Waiting => (format!("waiting for {}", live.path().display()), palette.weak),
            State::Attached(seen) => match live.silence() {
                None => (format!("process {} runs", seen.hello.process), palette.added),
                Some(silent) => {
                    let (process, seconds) = (seen.hello.process, silent.as_secs());
                    (format!("nothing heard of process {process} for {seconds} s"), palette.removed)
                }
            },
            State::Ended(_, Ending::Finished {}) => ("the run has finished".to_owned(), palette.text),
            State::Ended(_, Ending::Interrupted {}) => {
                ("the run was interrupted".to_owned(), palette.changed)
            }
            State::Ended(_, Ending::Failed { reason }) => {
                (format!("the run failed: {reason}"), palette.removed)
            }
            State::Lost(_, fault) => (fault.to_string(), palette.removed),
        };
        ui.label(RichText::new(text).color(colour).strong());
        if !matches!(live.state, State::Waiting | State::Attached(_)) {
            let is_wanted = named_button(ui, "Attach again", "Attach again").clicked();
            actions.extend(is_wanted.then_some(Action::Attach));
        }
        if is_elsewhere {
            let is_wanted = named_button(ui, "Show what runs", "Show what runs").clicked();
            actions.extend(is_wanted.then_some(Action::ShowRun));
        }
    });
    let Some((seen, last)) = live.seen().and_then(|seen| Some((seen, seen.last.as_ref()?))) else { return };
    ui.horizontal_wrapped(|ui| {
        let tokens = last.tokens;
        ui.label(format!("{} tokens read, {} written", tokens.read, tokens.written));
        let said = |rate: f64| format!("{rate:.1} tokens/s");
        line(ui, seen, Quantity { what: "tokens a second", of: |moment| moment.tokens_per_second, said });
        let of = |moment: &Moment| moment.resident_bytes as f64;
        let said = |bytes: f64| units::bytes(bytes as u64);
        line(ui, seen, Quantity { what: "resident memory", of, said });
    });
    ScrollArea::both().id_salt("live").auto_shrink([false, false]).show(ui, |ui| {
        threads(ui, seen, last);
        ui.add_space(6.0);
        edges(ui, &palette, seen, last);
    });
}

fn threads(ui: &mut egui::Ui, seen: &Seen, last: &Frame) {
    Grid::new("threads").striped(true).num_columns(5).show(ui, |ui| {
        for title in ["device", "memory taken", "rounds", "step", "at"] {
            ui.strong(title);
        }
        ui.end_row();
        let rows = seen.plan.threads.iter().zip(&last.threads).zip(&seen.hello.held_bytes);
        for ((thread, now), bytes) in rows.take(ROWS_MOST) {
            ui.label(end_name(&seen.plan, End::Device(thread.device)));
            ui.label(units::bytes(*bytes));
            ui.label(now.rounds.to_string());
            ui.label(format!("{} of {}", now.step, thread.steps.len()));
            ui.label(match now.waits_at.and_then(|edge| seen.plan.edges.get(edge.0 as usize)) {
                Some(edge) => format!("waits at edge {} for {}", edge.id.0, edge.name),
                None => match thread.steps.get(now.step as usize) {
                    Some(ir::plan::Step::Run { node, .. }) => node.clone(),
                    _ => String::new(),
                },
            });
            ui.end_row();
        }
        more(ui, last.threads.len());
    });
}

fn edges(ui: &mut egui::Ui, palette: &Palette, seen: &Seen, last: &Frame) {
    Grid::new("edges").striped(true).num_columns(7).show(ui, |ui| {
        for title in ["edge", "from", "to", "sent", "queued", "bytes", "waited: writer / reader"] {
            ui.strong(title);
        }
        ui.end_row();
        let mut rows: Vec<_> = seen.plan.edges.iter().zip(&last.edges).collect();
        rows.sort_by_key(|(_, now)| !now.is_stalled);
        for (edge, now) in rows.iter().take(ROWS_MOST) {
            let EdgeNow { sent, bytes, writer_waited_ns, reader_waited_ns, is_stalled, .. } = **now;
            let colour = if is_stalled { palette.removed } else { palette.text };
            let cell = |ui: &mut egui::Ui, text: String| drop(ui.label(RichText::new(text).color(colour)));
            let stalled = if is_stalled { ", stalled" } else { "" };
            cell(ui, format!("{} {}{stalled}", edge.id.0, edge.name));
            cell(ui, end_name(&seen.plan, edge.from));
            cell(ui, end_name(&seen.plan, edge.to));
            cell(ui, sent.to_string());
            cell(ui, format!("{} of {}", now.queued(), edge.capacity));
            cell(ui, units::bytes(bytes));
            let time = |ns: u64| units::time_us(ns as f64 / 1e3);
            cell(ui, format!("{} / {}", time(writer_waited_ns), time(reader_waited_ns)));
            ui.end_row();
        }
        more(ui, rows.len());
    });
}

/// Something that is told again and again.
struct Quantity {
    what: &'static str,
    of: fn(&Moment) -> f64,
    said: fn(f64) -> String,
}

/// A quantity over the last moments, with what it is now.
fn line(ui: &mut egui::Ui, seen: &Seen, Quantity { what, of, said }: Quantity) {
    let values: Vec<f64> = seen.moments.iter().map(of).collect();
    let now = said(values.last().copied().unwrap_or(0.0));
    let (rect, response) = ui.allocate_exact_size(vec2(140.0, 24.0), Sense::hover());
    super::name(&response, egui::accesskit::Role::Image, &format!("{what} over time, now {now}"));
    let most = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let place = |(at, value): (usize, &f64)| {
        let right = at as f32 / (values.len().max(2) - 1) as f32;
        pos2(
            rect.left() + rect.width() * right,
            rect.bottom() - 2.0 - (rect.height() - 4.0) * (value / most) as f32,
        )
    };
    let palette = Palette::of_ui(ui);
    ui.painter().rect_filled(rect, 2.0, palette.canvas);
    ui.painter().line(values.iter().enumerate().map(place).collect(), Stroke::new(1.5, palette.accent));
    ui.label(now);
}
