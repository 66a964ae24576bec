//! The window: a canvas, what is known beside it, time and memory beneath it.
//!
//! Panels draw and say what a person wants as [`Action`]s, which [`Viewer`] does when the frame is drawn. Files are
//! read and programs run on threads of their own.
mod asked;
mod axis;
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
mod paint;
mod passes;
mod search;
mod shell;
mod side;
mod tables;
mod theme;
mod tint;
mod units;
mod watch;
mod widgets;

pub use open::Request;
pub use theme::dress;

use crate::document::{Child, Document, GroupIx, NodeIx};
use crate::heddle::Heddle;
use crate::live::{Live, State};
use asked::{Asked, Told};
use canvas::Canvas;
use change::{Changes, Wish};
use compare::Compared;
use eframe::egui::{self, Key, Modifiers};
use heat::{Heat, Rounds};
use lanes::LanesView;
use memory::MemoryView;
use notices::{Kind, Notices};
use open::{Opened, Opening};
use search::Search;
use side::Side;
use std::path::Path;
use tint::Colouring;
use widgets::{badge, name, named_button, named_edit};

/// What a person wants.
#[derive(Clone, Debug, PartialEq)]
enum Action {
    /// Looks at a node or group where it is.
    Select(Option<Child>),
    /// Goes to a node or group.
    Reveal(Child),
    /// The same, in one of two documents.
    RevealIn(usize, Child),
    /// Opens a group that is closed, closes one that is open.
    Toggle(GroupIx),
    /// Shows another pass.
    Pass(usize),
    /// Shows all of the drawing.
    Fit,
    /// Comes closer by a factor.
    Zoom(f32),
    /// Asks why something is as it is.
    Why(String),
    /// Does something with the hints.
    Change(Wish),
    /// Runs the plan beside the reference interpreter.
    Numerics,
    /// Asks when each step should be.
    Predict,
    /// Attaches to the socket again.
    Attach,
}

/// What is drawn beneath the canvas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Bottom {
    #[default]
    Nothing,
    Lanes,
    Memory,
    Messages,
    Misses,
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
    /// Whether two documents are drawn as one.
    is_overlaid: bool,
    changes: Changes,
    asked: Asked,
    live: Option<Live>,
    /// Whether the document of what runs was asked for.
    is_live_shown: bool,
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

    /// Whether files are still being read.
    pub fn is_opening(&self) -> bool {
        !self.opening.is_empty()
    }

    fn show(&mut self, document: Document, other: Option<Document>) {
        for remark in document.remarks.iter().chain(other.iter().flat_map(|other| &other.remarks)) {
            self.notices.push(Kind::Remark, remark.clone());
        }
        self.changes = Changes { hints: document.hints.clone(), ..Changes::default() };
        self.sides =
            [Some(document), other].into_iter().flatten().map(|d| Side::new(d, self.rounds)).collect();
        (self.compared, self.active, self.search) = (None, 0, Search::default());
        self.asked.forget();
        self.colouring = if self.sides.len() > 1 { Colouring::Difference } else { Colouring::Device };
    }

    /// Draws a frame, and does what was wanted in it.
    pub fn draw(&mut self, ui: &mut egui::Ui) {
        self.receive(ui.ctx());
        self.hear(ui.ctx());
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
                Told::Verdict(verdict) => self.changes.verdict = Some(verdict),
                Told::Fault(fault) => self.notices.push(Kind::Error, fault),
                Told::Numbers(numbers) => self.show_numbers(*numbers),
                Told::Spans(text) => self.show_spans(&text),
                Told::Runs(runs) => {
                    let (before, after) = self.asked.keep(*runs);
                    self.show(before, Some(after));
                    self.bottom = Bottom::Lanes;
                    context.request_repaint();
                }
            }
        }
        self.changes.is_busy = self.asked.is_busy();
    }

    fn show_numbers(&mut self, numbers: crate::document::Numbers) {
        let text = match &numbers.first {
            Some(first) => {
                format!("{} is the first value beyond tolerance: error {:.2e}", first.node, first.error)
            }
            None => format!("{} values are what the model means, within tolerance", numbers.compared),
        };
        self.notices.push(if numbers.first.is_some() { Kind::Error } else { Kind::Done }, text);
        if let Some(side) = self.sides.first_mut() {
            side.document.numbers = Some(numbers);
            side.repaint();
            self.colouring = Colouring::Error;
        }
    }

    fn show_spans(&mut self, text: &str) {
        let Some(side) = self.sides.first_mut() else { return };
        if let Err(fault) = side.document.set_spans(Path::new("heddle simulate --spans"), text) {
            self.notices.error(&fault);
        }
        side.heat = Heat::of(&side.document, self.rounds);
        side.repaint();
    }

    /// Takes what was heard of a run.
    fn hear(&mut self, context: &egui::Context) {
        let Some(live) = &mut self.live else { return };
        let is_new = live.poll();
        if let (true, State::Lost(_, fault)) = (is_new, &live.state) {
            self.notices.error(fault);
        }
        if let (false, Some(seen)) = (self.is_live_shown, live.seen()) {
            self.is_live_shown = true;
            let is_shown = self.sides.iter().any(|side| {
                side.document.plan.as_ref().is_some_and(|plan| plan.hash == seen.hello.plan_hash)
            });
            if !is_shown {
                let opened = watch::document(live.path(), seen);
                match opened {
                    Ok(document) => self.show(document, None),
                    Err(fault) => self.notices.error(&fault),
                }
            }
            context.request_repaint();
        }
    }

    /// Asks for the verdict on hints that have changed.
    fn try_hints(&mut self, context: &egui::Context) {
        let Some(side) = self.sides.first() else { return };
        let is_new = self.changes.is_on && self.changes.hints != self.changes.asked_for;
        if !is_new || self.changes.is_busy {
            return;
        }
        self.changes.asked_for.clone_from(&self.changes.hints);
        self.changes.verdict = None;
        if let Err(fault) = self.asked.what_if(context, &side.document, &self.changes.hints) {
            self.notices.error(&fault);
        }
        self.changes.is_busy = self.asked.is_busy();
    }

    fn wish(&mut self, context: &egui::Context, wish: Wish) {
        let Some(side) = self.sides.first() else { return };
        match wish {
            Wish::Try => self.changes.asked_for.clear(),
            Wish::Save => {
                let path = Changes::path(&side.document);
                match std::fs::write(&path, self.changes.text()) {
                    Ok(()) => self.notices.push(Kind::Done, format!("saved {}", path.display())),
                    Err(fault) => {
                        self.notices.push(Kind::Error, format!("cannot write {}: {fault}", path.display()))
                    }
                }
            }
            Wish::Run => {
                if let Err(fault) = self.asked.run_both(context, &side.document, &self.changes.hints) {
                    self.notices.error(&fault);
                }
            }
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

    fn act(&mut self, context: &egui::Context, action: Action) {
        let active = self.active.min(self.sides.len().saturating_sub(1));
        let Some(side) = self.sides.get_mut(active) else { return };
        match action {
            Action::Select(child) => {
                side.selected = child;
                self.follow(active);
            }
            Action::Reveal(child) => self.reveal(active, child),
            Action::RevealIn(at, child) => self.reveal(at, child),
            Action::Toggle(group) => {
                side.toggle(group);
                (side.selected, side.wanted) = (Some(Child::Group(group)), Some(Child::Group(group)));
            }
            Action::Pass(pass) => {
                side.go(pass);
                if self.colouring == Colouring::Device && self.sides.len() == 1 {
                    self.colouring = Colouring::Change;
                }
            }
            Action::Fit => self.sides.iter_mut().for_each(|side| side.camera = None),
            Action::Zoom(factor) => {
                if let (Some(camera), Some(rect)) = (&mut side.camera, self.canvases[active].rect) {
                    camera.zoom_at(rect, rect.center(), factor);
                }
            }
            Action::Why(what) => self.asked.why(context, &side.document, &what),
            Action::Change(wish) => self.wish(context, wish),
            Action::Numerics => {
                if let Err(fault) = self.asked.numerics(context, &side.document) {
                    self.notices.error(&fault);
                }
            }
            Action::Predict => {
                if let Err(fault) = self.asked.predict(context, &side.document) {
                    self.notices.error(&fault);
                }
            }
            Action::Attach => {
                self.is_live_shown = false;
                self.live.iter_mut().for_each(Live::reconnect);
            }
        }
    }

    fn reveal(&mut self, at: usize, child: Child) {
        let Some(side) = self.sides.get_mut(at) else { return };
        side.open_around(child);
        (side.selected, side.wanted) = (Some(child), Some(child));
        if let Child::Node(node) = child {
            self.lanes.reveal(&side.document, node);
        }
        self.follow(at);
    }

    /// Selects in the other of two documents what was selected in this one.
    fn follow(&mut self, at: usize) {
        let selected = self.sides.get(at).and_then(|side| side.selected);
        let partner = match (selected, &self.compared) {
            (Some(Child::Node(node)), Some(compared)) => compared.partner(at, node),
            _ => None,
        };
        if let (Some(partner), Some(other)) = (partner, self.sides.get_mut(1 - at.min(1))) {
            let child = Child::Node(partner);
            other.open_around(child);
            (other.selected, other.wanted) = (Some(child), Some(child));
        }
    }

    fn selected_node(&self) -> Option<NodeIx> {
        let side = self.sides.get(self.active)?;
        match side.selected {
            Some(Child::Node(node)) if side.is_last() => Some(node),
            _ => None,
        }
    }
}

impl eframe::App for Viewer {
    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        self.draw(ui);
    }
}
