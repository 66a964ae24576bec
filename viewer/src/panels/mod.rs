//! The window: a canvas, what is known beside it, time and memory beneath it.
//!
//! Panels draw and say what a person wants as [`Action`]s, which [`Viewer`] does when the frame is drawn. Files are
//! read and programs run on threads of their own.
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
mod widgets;

pub use open::Request;
pub use theme::dress;

use crate::document::{Child, Document, GroupIx, NodeIx};
use canvas::Canvas;
use change::Changes;
use compare::Compared;
use eframe::egui::{self, Key, Modifiers};
use heat::Rounds;
use lanes::LanesView;
use memory::MemoryView;
use notices::{Kind, Notices};
use open::Opening;
use search::Search;
use side::Side;
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
    is_help_open: bool,
}

impl Viewer {
    /// A window that opens what it is asked to.
    pub fn new(context: &egui::Context, request: Request) -> Viewer {
        let mut viewer = Viewer::default();
        viewer.opening.extend(request.file.is_some().then(|| Opening::begin(context, request)));
        viewer
    }

    /// A window that shows a document, and beside it another.
    pub fn showing(document: Document, other: Option<Document>) -> Viewer {
        let mut viewer = Viewer::default();
        viewer.show(document, other);
        viewer
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
        self.sides = [Some(document), other].into_iter().flatten().map(|d| Side::new(d, self.rounds)).collect();
        (self.compared, self.active, self.search) = (None, 0, Search::default());
        self.colouring = if self.sides.len() > 1 { Colouring::Difference } else { Colouring::Device };
    }

    /// Draws a frame, and does what was wanted in it.
    pub fn draw(&mut self, ui: &mut egui::Ui) {
        self.receive();
        self.update_comparison();
        let mut actions = vec![];
        self.shortcuts(ui, &mut actions);
        self.shell(ui, &mut actions);
        for action in actions {
            self.act(action);
        }
    }

    /// Takes what was opened meanwhile.
    fn receive(&mut self) {
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
                    self.show(opened.document, opened.other);
                    opened.faults.iter().for_each(|fault| self.notices.error(fault));
                }
                Err(fault) => self.notices.error(&fault),
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

    fn act(&mut self, action: Action) {
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
                side.selected = Some(Child::Group(group));
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
            Action::Why(_) => {}
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
