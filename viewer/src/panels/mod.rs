//! The window: a canvas, what is known beside it, time and memory beneath it.
//!
//! Panels draw and say what a person wants as [`Action`]s, which [`Viewer`] does when the frame is drawn. Files are
//! read and programs run on threads of their own.
mod act;
mod asked;
mod axis;
mod both;
mod camera;
mod canvas;
mod change;
mod compare;
mod details;
mod heat;
mod lanes;
mod memory;
mod notices;
mod open;
mod overlay;
mod paint;
mod passes;
mod search;
mod shell;
mod side;
mod steps;
mod tables;
mod theme;
mod tint;
mod units;
mod watch;
mod widgets;

pub use open::Request;
pub use theme::dress;

use crate::document::{Child, Document, Numbers};
use crate::heddle::Heddle;
use crate::live::Live;
use act::{Action, Spot};
use asked::{Asked, Told};
use canvas::Canvas;
use change::Changes;
use compare::Compared;
use details::Known;
use eframe::egui::{self, Key, Modifiers};
use heat::{Heat, Rounds};
use lanes::LanesView;
use memory::MemoryView;
use notices::{Kind, Notices};
use open::{Opened, Opening};
use overlay::Overlay;
use search::Search;
use side::Side;
use std::path::Path;
use tint::Colouring;
use widgets::{badge, name, named_button, named_edit};

/// What is drawn beneath the canvas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bottom {
    /// Nothing.
    #[default]
    Nothing,
    /// What each device did when.
    Lanes,
    /// The memory of each device over its steps.
    Memory,
    /// The messages of a step.
    Messages,
    /// Where predictions miss most.
    Misses,
    /// The run that is watched.
    Live,
}

/// The application.
#[derive(Default)]
pub struct Viewer {
    /// What is looked at: nothing, a document, or two that are compared.
    sides: Vec<Side>,
    canvases: [Canvas; 2],
    /// Which of two was pointed at last.
    active: usize,
    opening: Vec<Opening>,
    notices: Notices,
    search: Search,
    colouring: Colouring,
    rounds: Rounds,
    bottom: Bottom,
    lanes: LanesView,
    memory: MemoryView,
    compared: Option<Compared>,
    /// Of what is selected.
    known: Known,
    /// Whether two documents are drawn as one.
    is_overlaid: bool,
    overlay: Overlay,
    /// Whether hints are made.
    is_changing: bool,
    /// Of each document.
    changes: [Changes; 2],
    asked: Asked,
    live: Option<Live>,
    /// Whether it was seen what runs, since it was attached to.
    is_run_met: bool,
    /// The edges that were told to stand still.
    stalled: Vec<u32>,
    is_help_open: bool,
}

impl Viewer {
    /// A window that opens what it is asked to.
    pub fn new(context: &egui::Context, request: Request) -> Viewer {
        let mut viewer = Viewer::default();
        if let Some(socket) = &request.watch {
            viewer.watch(context, socket);
        }
        viewer.opening.extend(request.file.is_some().then(|| Opening::begin(context, request)));
        viewer
    }

    /// Attaches to the socket of a run.
    pub fn watch(&mut self, context: &egui::Context, socket: &Path) {
        self.live = Some(Live::attach(socket, asked::wake(context)));
        self.bottom = Bottom::Live;
    }

    /// A window that shows a document, and beside it another.
    pub fn showing(document: Document, other: Option<Document>) -> Viewer {
        let mut viewer = Viewer::default();
        viewer.show(document, other);
        viewer
    }

    /// Asks this program instead of the one that is found.
    pub fn ask(&mut self, heddle: Heddle) {
        self.asked.heddle = Some(heddle);
    }

    /// Draws equal layers apart, and opens as many groups, outer ones first.
    pub fn spread(&mut self, groups: usize) {
        for side in &mut self.sides {
            side.view.is_folded = false;
            let paths = side.shown().tree.groups.iter().skip(1).take(groups).map(|group| group.path.clone());
            side.view.open = paths.collect();
            side.camera = None;
        }
    }

    /// Selects the first node of a path, and opens a panel beneath.
    pub fn look_at(&mut self, path: &str, beneath: Bottom) {
        if let Some(side) = self.sides.first_mut() {
            let node = side.document.named(side.pass, path).first().copied();
            side.selected = node.map(Child::Node);
        }
        self.bottom = beneath;
    }

    /// Whether files are still being read.
    pub fn is_opening(&self) -> bool {
        !self.opening.is_empty()
    }

    fn show(&mut self, document: Document, other: Option<Document>) {
        for remark in document.remarks.iter().chain(other.iter().flat_map(|other| &other.remarks)) {
            self.notices.push(Kind::Remark, remark.clone());
        }
        let changes = |document: Option<&Document>| document.map(Changes::of).unwrap_or_default();
        self.changes = [changes(Some(&document)), changes(other.as_ref())];
        let documents = [Some(document), other].into_iter().flatten().enumerate();
        self.sides = documents.map(|(at, document)| Side::new(at, document, self.rounds)).collect();
        (self.compared, self.active, self.search) = (None, 0, Search::default());
        (self.is_changing, self.is_overlaid) = (false, false);
        self.asked.forget();
        self.colouring = match &self.sides[..] {
            [_, _] => Colouring::Difference,
            [side] if side.document.numbers.is_some() => Colouring::Error,
            _ => Colouring::Device,
        };
    }

    /// Draws a frame, and does what was wanted in it.
    pub fn draw(&mut self, ui: &mut egui::Ui) {
        self.receive(ui.ctx());
        self.hear(ui.ctx());
        if self.is_overlaid {
            // The first is only there in what the second has no longer.
            self.active = 1;
        }
        self.update_comparison();
        let mut actions = vec![];
        self.shortcuts(ui, &mut actions);
        self.shell(ui, &mut actions);
        for action in actions {
            self.act(ui.ctx(), action);
        }
        self.try_hints(ui.ctx());
    }

    /// Takes what was opened and answered meanwhile.
    fn receive(&mut self, context: &egui::Context) {
        let mut done = vec![];
        self.opening.retain(|opening| match opening.done() {
            Some(result) => {
                done.push(result);
                false
            }
            None => true,
        });
        for result in done {
            match result {
                Ok(opened) => {
                    let Opened { document, other, faults } = opened;
                    self.show(document, other);
                    faults.iter().for_each(|fault| self.notices.error(fault));
                }
                Err(fault) => self.notices.error(&fault),
            }
        }
        for told in self.asked.receive() {
            match told {
                Told::Verdict(at, verdict) => self.changes[at].verdict = Some(verdict),
                Told::Fault(fault) => self.notices.push(Kind::Error, fault),
                Told::Numbers(at, numbers) => self.show_numbers(at, *numbers),
                Told::Spans(at, text) => self.show_spans(at, &text),
                Told::Runs(at, runs) => {
                    let token_us =
                        |document: &Document| document.trace.as_ref().and_then(|trace| trace.token_us());
                    if let Some((before, after)) = token_us(&runs.before).zip(token_us(&runs.after)) {
                        let (was, is) = (units::time_us(before), units::time_us(after));
                        let part = 100.0 * (after / before - 1.0);
                        let text = format!("Measured: a token takes {was} before, {is} after ({part:+.1}%)");
                        self.notices.push(Kind::Done, text);
                    }
                    let (changes, is_changing) = (std::mem::take(&mut self.changes[at]), self.is_changing);
                    self.show(runs.before, Some(runs.after));
                    // They are about the bundle as it was, which goes on being there to be changed.
                    (self.changes[0], self.is_changing) = (changes, is_changing);
                    self.sides[1].lies_in(runs.folder);
                    self.bottom = Bottom::Lanes;
                    context.request_repaint();
                }
            }
        }
    }

    fn show_numbers(&mut self, at: usize, numbers: Numbers) {
        let text = match &numbers.first {
            Some(first) => {
                format!("{} is the first value beyond tolerance: error {:.2e}", first.node, first.error)
            }
            None => format!("{} values are what the model means, within tolerance", numbers.compared),
        };
        self.notices.push(if numbers.first.is_some() { Kind::Error } else { Kind::Done }, text);
        if let Some(side) = self.sides.get_mut(at) {
            side.document.numbers = Some(numbers);
            side.repaint();
            self.colouring = Colouring::Error;
        }
    }

    fn show_spans(&mut self, at: usize, text: &str) {
        let Some(side) = self.sides.get_mut(at) else { return };
        if let Err(fault) = side.document.set_spans(Path::new("heddle simulate --spans"), text) {
            self.notices.error(&fault);
        }
        side.heat = Heat::of(&side.document, self.rounds);
        side.repaint();
    }

    /// Asks for the verdict on hints that have changed.
    fn try_hints(&mut self, context: &egui::Context) {
        let active = self.active();
        let Some(side) = self.sides.get(active) else { return };
        let changes = &mut self.changes[active];
        let is_new = self.is_changing && changes.asked_for.as_ref() != Some(&changes.hints);
        if !is_new || self.asked.is_trying() || self.asked.is_running() {
            return;
        }
        changes.asked_for = Some(changes.hints.clone());
        changes.verdict = None;
        if let Err(fault) = self.asked.what_if(context, side, &changes.hints) {
            self.notices.error(&fault);
        }
    }

    fn update_comparison(&mut self) {
        let [a, b] = &mut self.sides[..] else { return };
        if self.compared.as_ref().is_some_and(|compared| compared.is_of(a, b)) {
            return;
        }
        self.compared = Compared::of(a, b);
        a.repaint();
        b.repaint();
    }

    /// Keys that work wherever one is.
    fn shortcuts(&mut self, ui: &egui::Ui, actions: &mut Vec<Action>) {
        let is_typing = ui.ctx().text_edit_focused();
        let pressed = |modifiers, key| ui.input_mut(|input| input.consume_key(modifiers, key));
        if pressed(Modifiers::COMMAND, Key::F) || (!is_typing && pressed(Modifiers::NONE, Key::Slash)) {
            self.search.wants_focus = true;
        }
        if pressed(Modifiers::NONE, Key::F1) {
            self.is_help_open = !self.is_help_open;
        }
        if pressed(Modifiers::COMMAND, Key::Num0) {
            actions.push(Action::Fit);
        }
        let dropped = ui.input(|input| input.raw.dropped_files.clone());
        if let Some(path) = dropped.first().map(|file| file.path().to_owned()) {
            let request = Request { file: Some(path), ..Request::default() };
            self.opening.push(Opening::begin(ui.ctx(), request));
        }
    }
}

impl eframe::App for Viewer {
    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        self.draw(ui);
    }
}
