//! Where panels stand, and the bars above and beneath them.
use super::canvas::{KEY_ZOOM, Look};
use super::heat::{Heat, Rounds};
use super::theme::{self, Palette};
use super::tint::Colouring;
use super::watch::{self, Traffic};
use super::widgets::{name, named_button, named_toggle};
use super::{Action, Bottom, Viewer, badge, passes, tables};
use eframe::egui::accesskit::Role;
use eframe::egui::{self, Align2, CentralPanel, FontId, Panel, Rect, RichText, Sense, pos2, vec2};

/// What can be done with keys.
const HELP: &[(&str, &str)] = &[
    ("drag, W A S D", "move the drawing"),
    ("wheel, + −", "closer, farther"),
    ("Home", "all of the drawing"),
    ("arrows", "the next box in that direction"),
    ("Enter, double click", "open or close a group"),
    ("[ and ]", "the pass before, the next one"),
    ("/ or Ctrl+F", "search; Enter for the next result"),
    ("Escape", "select nothing"),
    ("↑ ↓ in lanes and memory", "the step before, the next one"),
    ("Tab", "the next control"),
    ("F1", "this list"),
];

impl Viewer {
    pub(super) fn shell(&mut self, ui: &mut egui::Ui, actions: &mut Vec<Action>) {
        Panel::top("bar").show(ui, |ui| {
            ui.add_space(3.0);
            self.bar(ui, actions);
            if let Some(side) = self.sides.get(self.active) {
                passes::draw(ui, side, actions);
            }
            if !self.notices.is_empty() {
                self.notices.draw(ui);
            }
            ui.add_space(3.0);
        });
        if self.sides.is_empty() {
            if self.live.is_some() {
                let panel = Panel::bottom("bottom").resizable(true).default_size(230.0).min_size(80.0);
                panel.show(ui, |ui| self.watched(ui, actions));
            }
            CentralPanel::default().show(ui, |ui| self.empty(ui));
            return;
        }
        Panel::bottom("status").show(ui, |ui| self.status(ui));
        if self.bottom != Bottom::Nothing {
            let panel = Panel::bottom("bottom").resizable(true).default_size(230.0).min_size(80.0);
            panel.show(ui, |ui| self.beneath(ui, actions));
        }
        if self.compared.is_some() || !self.search.text.is_empty() {
            let panel = Panel::left("list").resizable(true).default_size(270.0);
            panel.show(ui, |ui| self.list(ui, actions));
        }
        let panel = Panel::right("details").resizable(true).default_size(310.0).min_size(180.0);
        panel.show(ui, |ui| self.beside(ui, actions));
        CentralPanel::no_frame().show(ui, |ui| self.canvases(ui, actions));
        if self.is_help_open {
            egui::Window::new("Help").open(&mut self.is_help_open).collapsible(false).show(ui.ctx(), |ui| {
                egui::Grid::new("help").num_columns(2).striped(true).show(ui, |ui| {
                    for (keys, what) in HELP {
                        ui.label(RichText::new(*keys).strong());
                        ui.label(*what);
                        ui.end_row();
                    }
                });
            });
        }
    }

    fn empty(&self, ui: &mut egui::Ui) {
        ui.vertical_centered(|ui| {
            ui.add_space(ui.available_height() / 3.0);
            match self.opening.first() {
                Some(opening) => {
                    ui.spinner();
                    ui.label(format!("Opening {}", opening.what));
                }
                None => {
                    ui.heading("Nothing is open");
                    ui.label(
                        "Drop a bundle's folder, a plan or a graph here, or start with one: heddle-view FILE",
                    );
                }
            }
        });
    }

    fn bar(&mut self, ui: &mut egui::Ui, actions: &mut Vec<Action>) {
        ui.horizontal_wrapped(|ui| {
            let Some(side) = self.sides.get_mut(self.active) else {
                ui.strong("Heddle");
                return;
            };
            ui.strong(&side.document.name);
            self.search.field(ui, side, actions);
            for (sign, what, action) in [
                ("+", "Closer", Action::Zoom(KEY_ZOOM)),
                ("−", "Farther", Action::Zoom(1.0 / KEY_ZOOM)),
                ("All", "Show all", Action::Fit),
            ] {
                if named_button(ui, sign, what).clicked() {
                    actions.push(action);
                }
            }
            named_toggle(ui, &mut side.view.is_folded, "Fold ×N", "Fold equal layers");
            named_toggle(ui, &mut side.view.has_weights, "Weights", "Show weights");
            let (folded, weights) = (side.view.is_folded, side.view.has_weights);
            let is_compared = self.compared.is_some();
            let label = ui.label("Colour by");
            let combo = egui::ComboBox::from_id_salt("colouring").selected_text(self.colouring.name());
            let shown = combo.show_ui(ui, |ui| {
                for colouring in Colouring::ALL {
                    let applies =
                        self.sides.get(self.active).is_some_and(|side| colouring.applies(side, is_compared));
                    ui.add_enabled_ui(applies, |ui| {
                        ui.selectable_value(&mut self.colouring, colouring, colouring.name());
                    });
                }
            });
            name(&shown.response.labelled_by(label.id), Role::ComboBox, "Colour by");
            if self.sides.len() > 1 {
                for side in &mut self.sides {
                    (side.view.is_folded, side.view.has_weights) = (folded, weights);
                }
                named_toggle(ui, &mut self.is_overlaid, "Overlay", "Draw both as one");
            }
            named_toggle(ui, &mut self.is_changing, "Change", "Change the plan");
            let is_dark = ui.visuals().dark_mode;
            if named_button(ui, if is_dark { "Light" } else { "Dark" }, "Light or dark").clicked() {
                ui.ctx().set_theme(if is_dark { egui::Theme::Light } else { egui::Theme::Dark });
            }
            named_toggle(ui, &mut self.is_help_open, "Help", "Help");
        });
    }

    /// Which list is open beneath, and what colours mean.
    fn status(&mut self, ui: &mut egui::Ui) {
        ui.horizontal_wrapped(|ui| {
            let Some(side) = self.sides.get(self.active) else { return };
            let of_plan = [
                (Bottom::Lanes, "Lanes"),
                (Bottom::Memory, "Memory"),
                (Bottom::Messages, "Messages"),
                (Bottom::Misses, "Misses"),
            ];
            let live = self.live.is_some().then_some((Bottom::Live, "Live"));
            let of_plan = of_plan.into_iter().filter(|_| side.document.plan.is_some());
            let tabs: Vec<_> = of_plan.chain(live).collect();
            if !tabs.is_empty() {
                for (tab, text) in tabs {
                    let is_open = self.bottom == tab;
                    let response = ui.selectable_label(is_open, text);
                    name(&response, Role::Button, &format!("Panel {text}"));
                    if response.clicked() {
                        self.bottom = if is_open { Bottom::Nothing } else { tab };
                    }
                }
                ui.separator();
            }
            self.legend(ui);
        });
    }

    fn legend(&mut self, ui: &mut egui::Ui) {
        let Some(side) = self.sides.get(self.active) else { return };
        let palette = Palette::of_ui(ui);
        match self.colouring {
            Colouring::Device => {
                for device in side.document.plan.iter().flat_map(|view| &view.plan.devices) {
                    badge(ui, device.id.0);
                    ui.label(&device.name);
                }
            }
            Colouring::Change | Colouring::Difference => {
                // What a pass removed is not in its graph: it is listed.
                let is_seen = self.colouring == Colouring::Difference;
                let removed = is_seen.then_some(("− removed", palette.removed));
                let [added, changed] = [("+ added", palette.added), ("~ changed", palette.changed)].map(Some);
                for (text, colour) in [added, removed, changed].into_iter().flatten() {
                    ui.label(RichText::new(text).color(colour).strong());
                }
            }
            Colouring::Predicted | Colouring::Measured => ramp(ui, ("little time", "most")),
            Colouring::Miss => ramp(ui, ("¼ of the prediction", "four times")),
            Colouring::Error => ramp(ui, ("exact", "at tolerance")),
        }
        if matches!(self.colouring, Colouring::Predicted | Colouring::Measured | Colouring::Miss) {
            let before = self.rounds;
            for (rounds, text) in [(Rounds::Decode, "of a token"), (Rounds::Prefill, "of a prompt")] {
                ui.selectable_value(&mut self.rounds, rounds, text);
            }
            if before != self.rounds {
                for side in &mut self.sides {
                    side.heat = Heat::of(&side.document, self.rounds);
                    side.repaint();
                }
            }
        }
    }

    fn beneath(&mut self, ui: &mut egui::Ui, actions: &mut Vec<Action>) {
        if self.bottom == Bottom::Live {
            self.watched(ui, actions);
            return;
        }
        let selected = self.selected_node();
        let Some(side) = self.sides.get(self.active) else { return };
        let Some(plan) = &side.document.plan else { return };
        match self.bottom {
            Bottom::Lanes => self.lanes.draw(ui, side, selected, actions),
            Bottom::Memory => self.memory.draw(ui, (side, plan), selected, actions),
            Bottom::Messages => {
                let traffic = Traffic::of(self.live.as_ref(), &side.document);
                tables::messages(ui, side, plan, &traffic.queued, actions);
            }
            Bottom::Misses => tables::misses(ui, side, actions),
            Bottom::Live | Bottom::Nothing => {}
        }
    }

    /// What is heard of a run.
    fn watched(&self, ui: &mut egui::Ui, actions: &mut Vec<Action>) {
        let is_elsewhere = self.is_run_elsewhere() && self.opening.is_empty();
        if let Some(live) = &self.live {
            watch::draw(ui, live, is_elsewhere, actions);
        }
    }

    fn list(&mut self, ui: &mut egui::Ui, actions: &mut Vec<Action>) {
        match (&self.compared, self.sides.get(self.active)) {
            (_, Some(side)) if !self.search.text.is_empty() => self.search.list(ui, side, actions),
            (Some(compared), _) => compared.list(ui, actions),
            _ => {}
        }
    }

    fn beside(&mut self, ui: &mut egui::Ui, actions: &mut Vec<Action>) {
        let Some(side) = self.sides.get(self.active) else { return };
        if self.is_changing {
            let wish = self.changes[side.at()].draw(ui, side, &self.asked);
            actions.extend(wish.map(Action::Change));
            return;
        }
        let why = self.selected_node().and_then(|node| self.asked.said(side, &side.shown().flow[node].path));
        passes::removed(ui, side, actions);
        self.known.draw(ui, side, (why, self.asked.is_checking()), actions);
    }

    fn canvases(&mut self, ui: &mut egui::Ui, actions: &mut Vec<Action>) {
        let whole = ui.available_rect_before_wrap();
        let count = self.sides.len();
        let is_one = count == 1 || self.is_overlaid;
        if let Some(compared) = self.compared.as_ref().filter(|_| self.is_overlaid) {
            self.overlay.prepare(&mut self.sides, compared, self.canvases[1].rect);
        }
        for (at, side) in self.sides.iter_mut().enumerate() {
            if is_one && at + 1 < count {
                continue;
            }
            let part = if is_one { whole } else { half(whole, at) };
            let differences = self.compared.as_ref().map(|compared| &compared.differences[at]);
            let traffic = Traffic::of(self.live.as_ref(), &side.document);
            if !traffic.stalled.is_empty() || traffic.moved.contains(&true) {
                ui.ctx().request_repaint_after(std::time::Duration::from_millis(50));
            }
            let canvas_name = ["Graph", "Other graph"][at];
            let look = Look {
                name: canvas_name,
                colouring: self.colouring,
                differences,
                hits: if at == self.active { self.search.hits() } else { &[] },
                traffic: &traffic,
                can_carry: self.is_changing,
            };
            let mut own = vec![];
            let mut inner = ui.new_child(egui::UiBuilder::new().max_rect(part).id_salt(canvas_name));
            inner.set_clip_rect(part.intersect(ui.clip_rect()));
            self.canvases[at].draw(&mut inner, side, &look, &mut own);
            if count > 1 {
                let text = format!("{}: {}", ["before", "after"][at], side.document.path.display());
                let font = FontId::proportional(12.0);
                let palette = Palette::of_ui(ui);
                inner.painter().text(
                    part.left_top() + vec2(8.0, 6.0),
                    Align2::LEFT_TOP,
                    text,
                    font,
                    palette.weak,
                );
            }
            if !own.is_empty() {
                self.active = at;
            }
            actions.extend(own);
        }
        if let ([first, second], true) = (&self.sides[..], self.is_overlaid)
            && let Some(camera) = second.camera
        {
            let mut over = ui.new_child(egui::UiBuilder::new().max_rect(whole).id_salt("overlay"));
            self.overlay.draw(&mut over, whole, camera, first.selected);
        }
        if !is_one {
            ui.painter().vline(
                whole.center().x,
                whole.y_range(),
                ui.visuals().widgets.noninteractive.bg_stroke,
            );
        }
    }
}

fn half(whole: Rect, at: usize) -> Rect {
    let middle = whole.center().x;
    match at {
        0 => Rect::from_min_max(whole.min, pos2(middle - 1.0, whole.bottom())),
        _ => Rect::from_min_max(pos2(middle + 1.0, whole.top()), whole.max),
    }
}

/// The ramp of heat with what its ends mean.
fn ramp(ui: &mut egui::Ui, (least, most): (&str, &str)) {
    ui.label(least);
    let (rect, response) = ui.allocate_exact_size(vec2(120.0, 12.0), Sense::hover());
    name(&response, Role::Image, &format!("Colours from {least} to {most}"));
    const STEPS: usize = 24;
    for step in 0..STEPS {
        let part = step as f32 / (STEPS - 1) as f32;
        let left = rect.left() + rect.width() * step as f32 / STEPS as f32;
        let bar = Rect::from_min_size(
            pos2(left, rect.top()),
            vec2(rect.width() / STEPS as f32 + 0.5, rect.height()),
        );
        ui.painter().rect_filled(bar, 0.0, theme::heat(part));
    }
    ui.label(most);
}
