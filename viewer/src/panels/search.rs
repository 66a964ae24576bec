//! The search box and what it found.
use super::{Action, Side, Spot, named_edit};
use crate::document::{Child, GroupIx, Hit, Query};
use eframe::egui::{self, Key, ScrollArea, TextStyle};

/// What is looked for, and what was found.
#[derive(Debug, Default)]
pub(crate) struct Search {
    pub(crate) text: String,
    hits: Vec<Hit>,
    /// For which text the hits are, and in which document and pass.
    of: Option<(String, Spot)>,
    /// Which of the hits was gone to last.
    at: Option<usize>,
    pub(crate) wants_focus: bool,
}

impl Search {
    /// The field, in the bar above.
    pub(crate) fn field(&mut self, ui: &mut egui::Ui, side: &Side, actions: &mut Vec<Action>) {
        let hint = "Search: name, op:…, dtype:…, device:…, pass:…";
        let response = named_edit(ui, &mut self.text, "Search", hint, 300.0);
        if std::mem::take(&mut self.wants_focus) {
            response.request_focus();
        }
        self.update(side);
        if response.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter)) && !self.hits.is_empty() {
            self.go(side, 1, actions);
            response.request_focus();
        }
        // A field gives up the focus by itself at this key.
        if (response.has_focus() || response.lost_focus()) && ui.input(|input| input.key_pressed(Key::Escape))
        {
            self.text.clear();
            response.surrender_focus();
        }
    }

    /// The nodes that were found, the best first.
    pub(crate) fn hits(&self) -> &[Hit] {
        &self.hits
    }

    fn update(&mut self, side: &Side) {
        let of = Some((self.text.clone(), side.spot(Child::Group(GroupIx::ROOT))));
        if self.of != of {
            self.hits = side.document.search(side.pass, &Query::new(&self.text));
            (self.of, self.at) = (of, None);
        }
    }

    fn go(&mut self, side: &Side, by: isize, actions: &mut Vec<Action>) {
        let count = self.hits.len() as isize;
        let at = self.at.map_or(0, |at| (at as isize + by).rem_euclid(count));
        self.at = Some(at as usize);
        if let Some(hit) = self.hits.get(at as usize) {
            actions.push(Action::Reveal(side.spot(Child::Node(hit.node))));
        }
    }

    /// The list, beside the canvas.
    pub(crate) fn list(&mut self, ui: &mut egui::Ui, side: &Side, actions: &mut Vec<Action>) {
        ui.horizontal(|ui| {
            ui.strong(match self.hits.len() {
                0 => "Nothing found".to_owned(),
                1 => "1 node".to_owned(),
                count => format!("{count} nodes"),
            });
            if !self.hits.is_empty() {
                for (sign, name, by) in [("Before", "Previous result", -1), ("Next", "Next result", 1)] {
                    if super::named_button(ui, sign, name).clicked() {
                        self.go(side, by, actions);
                    }
                }
            }
        });
        let flow = &side.shown().flow;
        let height = ui.text_style_height(&TextStyle::Body) * 2.0 + 8.0;
        ScrollArea::vertical().id_salt("hits").auto_shrink([false, false]).show_rows(
            ui,
            height,
            self.hits.len(),
            |ui, rows| {
                for at in rows {
                    let Some(node) = flow.nodes.get(self.hits[at].node.at()) else { continue };
                    let ty = node.ty.as_ref().map(ToString::to_string).unwrap_or_default();
                    let text = [node.title().to_owned(), format!("{} {ty}", node.op)];
                    let response = super::widgets::two_lines(ui, &text, height - 5.0, self.at == Some(at));
                    super::name(
                        &response,
                        egui::accesskit::Role::Button,
                        &format!("Result {}: {}", at + 1, node.title()),
                    );
                    if response.clicked() {
                        self.at = Some(at);
                        let hit = Child::Node(self.hits[at].node);
                        actions.push(Action::Reveal(side.spot(hit)));
                    }
                }
            },
        );
    }
}
