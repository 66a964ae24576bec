//! Changes by hand: nodes dragged onto devices, formats from a menu, as hints that can be tried and saved.
use super::side::Side;
use super::widgets::{self, named_button};
use crate::document::{Child, Document, Pass, Provenance, Role};
use eframe::egui::accesskit::Role as ControlRole;
use eframe::egui::{self, RichText};
use ir::plan::{Hint, Pattern};
use std::collections::BTreeSet;
use std::path::Path;

/// What is dragged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Carried(pub(crate) Child);

/// What a person did in the panel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Wish {
    /// Try the hints: compile, verify, predict.
    Try,
    /// Write them beside the document.
    Save,
    /// Run the model before and after.
    Run,
}

/// What came of trying hints: a sentence a line, or why they were refused.
pub(crate) type Verdict = Result<Vec<String>, String>;

/// Hints that are being made.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) is_on: bool,
    pub(crate) hints: Vec<Hint>,
    /// What came of trying them; none where they were not tried since they changed.
    pub(crate) verdict: Option<Verdict>,
    /// The hints of which the verdict is, or is being asked.
    pub(crate) asked_for: Vec<Hint>,
    pub(crate) is_busy: bool,
}

impl Changes {
    /// The panel: devices to drop on, formats, the hints so far.
    pub(crate) fn draw(&mut self, ui: &mut egui::Ui, side: &Side) -> Option<Wish> {
        let Some(plan) = &side.document.plan else {
            ui.label("Only a plan can be changed; this is a graph.");
            return None;
        };
        ui.label("Drag a node, a group or a layer onto a device, or select it and press the device.");
        let mut put = None;
        for device in &plan.plan.devices {
            let frame = egui::Frame::group(ui.style()).inner_margin(8);
            let inner = frame.show(ui, |ui| {
                ui.horizontal(|ui| {
                    widgets::badge(ui, device.id.0);
                    let button = ui.add_enabled(side.selected.is_some(), egui::Button::new(&device.name));
                    widgets::name(
                        &button,
                        ControlRole::Button,
                        &format!("Put the selected on {}", device.name),
                    );
                    if let (true, Some(child)) = (button.clicked(), side.selected) {
                        put = Some((child, device.name.clone()));
                    }
                    ui.label(RichText::new("drop here").weak());
                    ui.add_space(ui.available_width());
                });
            });
            let area = ui.interact(
                inner.response.rect,
                ui.scope_id().with(("device", device.id.0)),
                egui::Sense::hover(),
            );
            widgets::name(&area, ControlRole::Group, &format!("Device {}", device.name));
            if area.dnd_hover_payload::<Carried>().is_some() {
                ui.painter().rect_stroke(
                    area.rect,
                    4.0,
                    egui::Stroke::new(3.0, ui.visuals().hyperlink_color),
                    egui::StrokeKind::Inside,
                );
            }
            if let Some(carried) = area.dnd_release_payload::<Carried>() {
                put = Some((carried.0, device.name.clone()));
            }
        }
        if let Some((child, device)) = put {
            self.place(side, child, &device);
        }
        self.formats(ui, side);
        ui.separator();
        self.hints(ui);
        self.wishes(ui)
    }

    /// Puts a node or all of a group on a device.
    pub(crate) fn place(&mut self, side: &Side, child: Child, device: &str) {
        for text in patterns(side, child, false) {
            self.hints.retain(|hint| !matches!(hint, Hint::Place { nodes, .. } if nodes.text() == text));
            if let Ok(nodes) = Pattern::try_from(text) {
                self.hints.push(Hint::Place { nodes, device: device.to_owned() });
            }
        }
        self.verdict = None;
    }

    fn formats(&mut self, ui: &mut egui::Ui, side: &Side) {
        let Some(child) = side.selected else { return };
        let weights = patterns(side, child, true);
        if weights.is_empty() {
            return;
        }
        let menu = ui.menu_button("Weights in another format", |ui| {
            for format in Hint::FORMATS {
                if ui.button(format.name()).clicked() {
                    for text in &weights {
                        self.hints.retain(
                            |hint| !matches!(hint, Hint::Format { weights, .. } if weights.text() == text),
                        );
                        if let Ok(weights) = Pattern::try_from(text.clone()) {
                            self.hints.push(Hint::Format { weights, format });
                        }
                    }
                    self.verdict = None;
                }
            }
        });
        widgets::name(&menu.response, ControlRole::Button, "Weights in another format");
    }

    fn hints(&mut self, ui: &mut egui::Ui) {
        ui.strong(if self.hints.is_empty() { "No hints yet" } else { "Hints" });
        let mut gone = None;
        egui::ScrollArea::vertical().id_salt("hints").max_height(160.0).show(ui, |ui| {
            for (at, hint) in self.hints.iter().enumerate() {
                ui.horizontal(|ui| {
                    if named_button(ui, "×", &format!("Forget hint {}", at + 1)).clicked() {
                        gone = Some(at);
                    }
                    ui.add(egui::Label::new(RichText::new(hint.to_string()).monospace()).truncate());
                });
            }
        });
        if let Some(at) = gone {
            self.hints.remove(at);
            self.verdict = None;
        }
    }

    fn wishes(&mut self, ui: &mut egui::Ui) -> Option<Wish> {
        let mut wish = None;
        ui.add_enabled_ui(!self.hints.is_empty() && !self.is_busy, |ui| {
            ui.horizontal(|ui| {
                for (text, what, then) in [
                    ("Try again", "Try the hints again", Wish::Try),
                    ("Save hints.ron", "Save hints.ron", Wish::Save),
                    ("Run both", "Run before and after", Wish::Run),
                ] {
                    if named_button(ui, text, what).clicked() {
                        wish = Some(then);
                    }
                }
            });
        });
        if self.is_busy {
            ui.horizontal(|ui| {
                ui.spinner();
                ui.label("asking heddle");
            });
        }
        let palette = super::theme::Palette::of_ui(ui);
        match &self.verdict {
            None => {}
            Some(Ok(lines)) => {
                ui.label(RichText::new("The verifier accepts it").strong().color(palette.added));
                lines.iter().for_each(|line| drop(ui.label(line)));
            }
            Some(Err(reason)) => {
                ui.label(RichText::new("Refused").strong().color(palette.removed));
                ui.label(reason);
            }
        }
        wish
    }

    /// The hints as a file's text.
    pub(crate) fn text(&self) -> String {
        let lines: Vec<String> = self.hints.iter().map(|hint| format!("    {hint},\n")).collect();
        format!("(hints: [\n{}])\n", lines.concat())
    }

    /// Where the hints of a document are saved: in a bundle's folder, or beside a file.
    pub(crate) fn path(document: &Document) -> std::path::PathBuf {
        let folder =
            if document.path.is_dir() { Some(document.path.as_path()) } else { document.path.parent() };
        folder.unwrap_or(Path::new("")).join("hints.ron")
    }
}

/// Patterns that mean the nodes of the model that stand behind a node or a group, or their weights. Equal layers that
/// are drawn as one are meant together.
fn patterns(side: &Side, child: Child, is_weights: bool) -> Vec<String> {
    let (shown, first) = (side.shown(), &side.document.passes[0]);
    let provenance = Provenance::of(&first.flow);
    let mut paths: BTreeSet<String> = BTreeSet::new();
    for child in side.members(child) {
        if let (Child::Group(group), false) = (child, is_weights)
            && let Some(path) = whole(shown, first, &shown.tree[group].path)
        {
            paths.insert(path);
            continue;
        }
        for node in shown.tree.nodes(child) {
            let origins = provenance.related(&shown.flow[node]);
            for origin in origins {
                let own = &first.flow[origin];
                let meant = match (is_weights, own.role) {
                    (false, Role::Value) => own.path.as_str(),
                    (true, Role::Weight) => own.name.trim_end_matches(".weight"),
                    _ => "",
                };
                if !meant.is_empty() {
                    paths.insert(meant.to_owned());
                }
            }
        }
    }
    paths.into_iter().collect()
}

/// The group's path, if what begins with it in the model's own graph is exactly the group: a layer, not a part of one.
fn whole(shown: &Pass, first: &Pass, path: &str) -> Option<String> {
    let last = path.rsplit('.').next()?;
    let is_layer = last.bytes().all(|b| b.is_ascii_digit()) && !last.is_empty();
    (is_layer && shown.tree.find(path).is_some() && first.tree.find(path).is_some()).then(|| path.to_owned())
}
