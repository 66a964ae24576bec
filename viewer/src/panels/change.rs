//! Changes by hand: nodes dragged onto devices, formats from a menu, as hints that can be tried and saved.
use super::asked::Asked;
use super::side::Selection;
use super::theme::Palette;
use super::widgets::{self, named_button};
use super::{Side, Spot, units};
use crate::document::{Child, Document, Flow, Node, NodeIx, Pass, Role};
use crate::heddle;
use eframe::egui::accesskit::Role as ControlRole;
use eframe::egui::{self, RichText};
use ir::DType;
use ir::plan::{Hint, Pattern};
use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::PathBuf;

/// What is dragged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Carried(pub(crate) Spot);

/// What a person did in the panel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Wish {
    /// Try the hints: compile, verify, predict.
    Try,
    /// Write them beside the document.
    Save,
    /// Run the model before and after.
    Run,
    /// Give that up.
    Stop,
}

/// What came of trying hints: a sentence a line, or why they were refused.
pub(crate) type Verdict = Result<Vec<String>, String>;

/// Hints that are being made for a document.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) hints: Vec<Hint>,
    /// What came of trying them; none where they were not tried since they changed.
    pub(crate) verdict: Option<Verdict>,
    /// The hints of which the verdict is, or is being asked; those of the document itself need none.
    pub(crate) asked_for: Option<Vec<Hint>>,
    /// What a person should know of what they last did.
    remark: Option<String>,
    file: File,
    /// The weights that are meant by what is selected.
    weights: Option<(Selection, Vec<Pattern>)>,
}

/// What is known of the file in which hints are saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum File {
    #[default]
    Nothing,
    /// It was there before, and the person knows.
    Theirs,
    /// It was written here.
    Ours,
}

impl Changes {
    /// The hints that a document has.
    pub(crate) fn of(document: &Document) -> Changes {
        let hints = document.hints.clone();
        Changes { asked_for: Some(hints.clone()), hints, ..Changes::default() }
    }

    /// The panel: devices to drop on, formats, the hints so far.
    pub(crate) fn draw(&mut self, ui: &mut egui::Ui, side: &Side, asked: &Asked) -> Option<Wish> {
        let all = egui::ScrollArea::vertical().id_salt("change").auto_shrink([false, false]);
        all.show(ui, |ui| self.draw_all(ui, side, asked)).inner
    }

    fn draw_all(&mut self, ui: &mut egui::Ui, side: &Side, asked: &Asked) -> Option<Wish> {
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
                        put = Some((side.spot(child), device.name.clone()));
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
        if let Some((spot, device)) = put {
            self.place(side, spot, &device);
        }
        self.formats(ui, side);
        if let Some(remark) = &self.remark {
            ui.label(RichText::new(remark).color(Palette::of_ui(ui).changed));
        }
        ui.separator();
        self.hints(ui);
        self.wishes(ui, side, asked)
    }

    /// Puts a node or all of a group on a device.
    pub(crate) fn place(&mut self, side: &Side, spot: Spot, device: &str) {
        self.remark = None;
        if spot.pass != side.pass || !side.has(spot) {
            self.remark = Some("What was dragged is not in the graph that is shown now.".to_owned());
            return;
        }
        let nodes = patterns(side, spot.child, false);
        if nodes.is_empty() {
            self.remark = Some("Nothing in it is computed by the model: there is nothing to put.".to_owned());
            return;
        }
        let texts: HashSet<&str> = nodes.iter().map(Pattern::text).collect();
        self.hints.retain(|hint| !matches!(hint, Hint::Place { nodes, .. } if texts.contains(nodes.text())));
        let place = |nodes: &Pattern| Hint::Place { nodes: nodes.clone(), device: device.to_owned() };
        self.hints.extend(nodes.iter().map(place));
        self.verdict = None;
    }

    fn format(&mut self, weights: &[Pattern], format: DType) {
        let texts: HashSet<&str> = weights.iter().map(Pattern::text).collect();
        self.hints
            .retain(|hint| !matches!(hint, Hint::Format { weights, .. } if texts.contains(weights.text())));
        self.hints.extend(weights.iter().map(|weights| Hint::Format { weights: weights.clone(), format }));
        (self.verdict, self.remark) = (None, None);
    }

    fn formats(&mut self, ui: &mut egui::Ui, side: &Side) {
        let Some(child) = side.selected else { return };
        let selection = side.selection();
        if self.weights.as_ref().is_none_or(|(of, _)| *of != selection) {
            self.weights = Some((selection, patterns(side, child, true)));
        }
        let weights = self.weights.as_ref().map(|(_, weights)| weights.clone()).unwrap_or_default();
        if weights.is_empty() {
            return;
        }
        let menu = ui.menu_button("Weights in another format", |ui| {
            for format in Hint::FORMATS {
                if ui.button(format.name()).clicked() {
                    self.format(&weights, format);
                }
            }
        });
        widgets::name(&menu.response, ControlRole::Button, "Weights in another format");
    }

    fn hints(&mut self, ui: &mut egui::Ui) {
        ui.strong(if self.hints.is_empty() { "No hints yet" } else { "Hints" });
        let mut gone = None;
        let height = ui.spacing().interact_size.y;
        let list = egui::ScrollArea::vertical().id_salt("hints").max_height(160.0);
        list.show_rows(ui, height, self.hints.len(), |ui, rows| {
            for at in rows {
                ui.horizontal(|ui| {
                    if named_button(ui, "×", &format!("Forget hint {}", at + 1)).clicked() {
                        gone = Some(at);
                    }
                    let text = units::shortened(&self.hints[at].to_string(), 400);
                    let text = RichText::new(text).monospace();
                    ui.add(egui::Label::new(text).truncate());
                });
            }
        });
        if let Some(at) = gone {
            self.hints.remove(at);
            (self.verdict, self.remark) = (None, None);
        }
    }

    fn wishes(&mut self, ui: &mut egui::Ui, side: &Side, asked: &Asked) -> Option<Wish> {
        let mut wish = None;
        let is_something = !self.hints.is_empty() || !side.document.hints.is_empty();
        let is_busy = asked.is_trying() || asked.is_running();
        let save = if self.file == File::Theirs { "Replace hints.ron" } else { "Save hints.ron" };
        ui.add_enabled_ui(is_something && !is_busy, |ui| {
            ui.horizontal_wrapped(|ui| {
                for (text, what, then) in [
                    ("Try again", "Try the hints again", Wish::Try),
                    (save, save, Wish::Save),
                    ("Run both", "Run before and after", Wish::Run),
                ] {
                    if named_button(ui, text, what).clicked() {
                        wish = Some(then);
                    }
                }
            });
        });
        if is_busy {
            ui.horizontal(|ui| {
                ui.spinner();
                ui.label(if asked.is_running() { "heddle runs both" } else { "asking heddle" });
                if asked.is_running() && named_button(ui, "Stop", "Stop running both").clicked() {
                    wish = Some(Wish::Stop);
                }
            });
        }
        let palette = Palette::of_ui(ui);
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

    /// Writes the hints into a bundle's folder, or beside a file; what was done, or why not. A file that is there
    /// already is left alone the first time.
    pub(crate) fn save(&mut self, document: &Document) -> Result<String, String> {
        let Some(path) = path(document) else {
            return Err("there is no bundle to save hints in: what is shown came through a socket".to_owned());
        };
        if self.file == File::Nothing && path.exists() {
            self.file = File::Theirs;
            return Err(format!("{} is there already: press Replace to lose what it says", path.display()));
        }
        self.file = File::Ours;
        match fs::write(&path, heddle::written(&self.hints)) {
            Ok(()) => Ok(format!("saved {}", path.display())),
            Err(fault) => Err(format!("cannot write {}: {fault}", path.display())),
        }
    }
}

/// Where the hints of a document are saved, if it lies anywhere: in a bundle's folder, or beside a file.
fn path(document: &Document) -> Option<PathBuf> {
    let own = document.path.as_path();
    let folder = if own.is_dir() { Some(own) } else { own.parent().filter(|_| own.is_file()) };
    folder.map(|folder| folder.join("hints.ron"))
}

/// Patterns that mean the nodes of the model that stand behind a node or a group, or their weights. Equal layers that
/// are drawn as one are meant together.
fn patterns(side: &Side, child: Child, is_weights: bool) -> Vec<Pattern> {
    let (shown, first) = (side.shown(), &side.document.passes[0]);
    let provenance = first.provenance();
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for child in side.members(child) {
        if let (Child::Group(group), false) = (child, is_weights)
            && let Some(path) = whole(shown, first, &shown.tree[group].path)
        {
            names.insert(path);
            continue;
        }
        for node in shown.tree.nodes(child) {
            let origins = provenance.related(&shown.flow[node]);
            names.extend(origins.iter().flat_map(|origin| meant(&first.flow, *origin, is_weights)));
            // Plans that come without graphs do not say what their steps stand for; these go by the same names.
            if origins.is_empty() {
                names.extend(meant(&shown.flow, node, is_weights));
            }
        }
    }
    names.into_iter().filter_map(|name| Pattern::try_from(name.to_owned()).ok()).collect()
}

/// What a node is called that computes something; or what the weights are called that a node is, or reads.
fn meant(flow: &Flow, node: NodeIx, is_weights: bool) -> Vec<&str> {
    let own = &flow[node];
    if !is_weights {
        return if own.role == Role::Value && !own.path.is_empty() { vec![&own.path] } else { vec![] };
    }
    let all = own.inputs.iter().map(|input| &flow[*input]).chain([own]);
    let is_weight = |node: &&Node| node.role == Role::Weight && !node.name.starts_with('%');
    all.filter(is_weight).map(|weight| weight.name.trim_end_matches(".weight")).collect()
}

/// The group's path, if what begins with it in the model's own graph is exactly the group: a layer, not a part of one.
fn whole<'a>(shown: &Pass, first: &Pass, path: &'a str) -> Option<&'a str> {
    let last = path.rsplit('.').next()?;
    let is_layer = last.bytes().all(|b| b.is_ascii_digit()) && !last.is_empty();
    (is_layer && shown.tree.find(path).is_some() && first.tree.find(path).is_some()).then_some(path)
}
