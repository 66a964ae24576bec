//! What a person wants, and how it is done.
use super::change::Wish;
use super::open::{Opened, Opening};
use super::{Kind, Side, Viewer, watch};
use crate::document::{Child, NodeIx};
use crate::live::Live;
use crate::live::State;
use eframe::egui;
use std::time::Duration;

/// A node or group of one pass of one document. In another its number means something else, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    /// Which of two documents.
    pub(super) side: usize,
    pub(super) pass: usize,
    pub(super) child: Child,
}

/// What a person wants.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Looks at a node or group where it is.
    Select(Option<Spot>),
    /// Goes to a node or group.
    Reveal(Spot),
    /// Opens a group that is closed, closes one that is open.
    Toggle(Spot),
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
    /// Runs the plan beside the reference interpreter, or gives that up.
    Numerics,
    /// Asks when each step should be.
    Predict,
    /// Attaches to the socket again.
    Attach,
    /// Shows the plan that runs instead of what is shown.
    ShowRun,
}

/// How often it is looked whether a run has fallen silent.
const LISTEN: Duration = Duration::from_millis(500);

impl Viewer {
    /// Which document is meant where nobody says.
    pub(super) fn active(&self) -> usize {
        self.active.min(self.sides.len().saturating_sub(1))
    }

    pub(super) fn act(&mut self, context: &egui::Context, action: Action) {
        let active = self.active();
        match action {
            Action::Select(Some(spot)) => {
                if let Some(side) = self.at(spot) {
                    side.selected = Some(spot.child);
                    self.follow(spot.side);
                }
            }
            Action::Select(None) => {
                if let Some(side) = self.sides.get_mut(active) {
                    side.selected = None;
                }
            }
            Action::Reveal(spot) => self.reveal(spot),
            Action::Toggle(spot) => {
                if let (Some(side), Child::Group(group)) = (self.at(spot), spot.child) {
                    side.toggle(group);
                    (side.selected, side.wanted) = (Some(spot.child), Some(spot.child));
                }
            }
            Action::Pass(pass) => self.go(active, pass),
            Action::Fit => self.sides.iter_mut().for_each(|side| side.camera = None),
            Action::Zoom(factor) => {
                if let (Some(camera), Some(rect)) = (
                    self.sides.get_mut(active).and_then(|side| side.camera.as_mut()),
                    self.canvases[active].rect,
                ) {
                    camera.zoom_at(rect, rect.center(), factor);
                }
            }
            Action::Change(wish) => self.wish(context, wish),
            Action::Why(_) | Action::Numerics | Action::Predict => self.ask_heddle(context, &action),
            Action::Attach => {
                self.is_run_met = false;
                self.live.iter_mut().for_each(Live::reconnect);
            }
            Action::ShowRun => self.show_run(context),
        }
    }

    fn ask_heddle(&mut self, context: &egui::Context, action: &Action) {
        let active = self.active();
        let Some(side) = self.sides.get(active) else { return };
        let asked = match action {
            Action::Why(what) => {
                self.asked.why(context, side, what);
                return;
            }
            Action::Numerics => self.asked.numerics(context, side),
            _ => self.asked.predict(context, side),
        };
        if let Err(fault) = asked {
            self.notices.error(&fault);
        }
    }

    fn wish(&mut self, context: &egui::Context, wish: Wish) {
        let active = self.active();
        let Some(side) = self.sides.get(active) else { return };
        let changes = &mut self.changes[active];
        match wish {
            Wish::Try => changes.asked_for = None,
            Wish::Save => match changes.save(&side.document) {
                Ok(said) => self.notices.push(Kind::Done, said),
                Err(reason) => self.notices.push(Kind::Error, reason),
            },
            Wish::Run => {
                if let Err(fault) = self.asked.run_both(context, side, &changes.hints) {
                    self.notices.error(&fault);
                }
            }
            Wish::Stop => self.asked.stop(),
        }
    }

    /// Shows a pass of a document.
    fn go(&mut self, at: usize, pass: usize) {
        let Some(side) = self.sides.get_mut(at) else { return };
        side.go(pass);
        if self.colouring == super::Colouring::Device && self.sides.len() == 1 {
            self.colouring = super::Colouring::Change;
        }
    }

    /// The document in which a spot is, with its pass shown; none where there is no such node or group.
    fn at(&mut self, spot: Spot) -> Option<&mut Side> {
        let side = self.sides.get(spot.side).filter(|side| side.has(spot))?;
        if side.pass != spot.pass {
            self.go(spot.side, spot.pass);
        }
        self.sides.get_mut(spot.side)
    }

    fn reveal(&mut self, spot: Spot) {
        let Some(side) = self.at(spot) else { return };
        side.open_around(spot.child);
        (side.selected, side.wanted) = (Some(spot.child), Some(spot.child));
        if let (Child::Node(node), true) = (spot.child, side.is_last())
            && spot.side == self.active()
        {
            self.lanes.reveal(&self.sides[spot.side].document, node);
        }
        self.follow(spot.side);
        self.share_view(spot.side);
    }

    /// Opens in the second what was opened in the first, which is drawn into it where both are drawn as one.
    fn share_view(&mut self, at: usize) {
        if let ([first, second], true) = (&mut self.sides[..], self.is_overlaid && at == 0) {
            second.view = first.view.clone();
        }
    }

    /// Selects in the other of two documents what was selected in this one.
    fn follow(&mut self, at: usize) {
        // Another pass may have come to be shown since the last comparison.
        self.update_comparison();
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

    /// The selected node, where it is one of what runs.
    pub(super) fn selected_node(&self) -> Option<NodeIx> {
        let side = self.sides.get(self.active())?;
        match side.selected {
            Some(Child::Node(node)) if side.is_last() => Some(node),
            _ => None,
        }
    }

    /// Takes what was heard of a run. Its plan is opened where nothing else is.
    pub(super) fn hear(&mut self, context: &egui::Context) {
        let Some(live) = &mut self.live else { return };
        let is_new = live.poll();
        if let (true, State::Lost(_, fault)) = (is_new, &live.state) {
            self.notices.error(fault);
        }
        if let (true, Some(seen)) = (is_new, live.seen()) {
            let stalled = watch::stalled(seen);
            if stalled.iter().any(|edge| !self.stalled.contains(edge)) {
                self.notices.push(Kind::Error, watch::told(seen, &stalled));
            }
            self.stalled = stalled;
        }
        if matches!(live.state, State::Attached(_)) {
            context.request_repaint_after(LISTEN);
        }
        if self.is_run_met || !self.opening.is_empty() || live.seen().is_none() {
            return;
        }
        self.is_run_met = true;
        if self.sides.is_empty() {
            self.show_run(context);
        } else if self.is_run_elsewhere() {
            let text = "what runs is another plan than what is shown: the panel Live can show it";
            self.notices.push(Kind::Remark, text);
        }
        context.request_repaint();
    }

    /// Whether something runs whose plan is not shown.
    pub(super) fn is_run_elsewhere(&self) -> bool {
        let Some(seen) = self.live.as_ref().and_then(Live::seen) else { return false };
        !self.sides.iter().any(|side| watch::is_of(&side.document, &seen.hello))
    }

    fn show_run(&mut self, context: &egui::Context) {
        let Some((path, seen)) = self.live.as_ref().and_then(|live| Some((live.path(), live.seen()?))) else {
            return;
        };
        let (path, hello) = (path.to_owned(), seen.hello.clone());
        let what = hello.bundle.clone().unwrap_or_else(|| path.display().to_string());
        self.opening.push(Opening::by(context, what, move || {
            let document = watch::document(&path, &hello)?;
            Ok(Opened { document, other: None, faults: vec![] })
        }));
    }
}
