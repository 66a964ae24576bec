//! Two documents: which of their nodes differ, side by side or one over the other.
use super::theme::Palette;
use super::tint::{self, Differences, Mark};
use super::{Action, Side, Spot, units, widgets};
use crate::document::{self, Child, Comparison, NodeIx, PlanDifference, Role};
use eframe::egui::accesskit::Role as ControlRole;
use eframe::egui::{self, RichText, ScrollArea};

/// What two documents have in common and what not.
#[derive(Debug)]
pub(crate) struct Compared {
    of: (usize, usize),
    /// The graphs that run, which plans are about.
    lasts: [usize; 2],
    found: Comparison,
    /// What differs, one a line.
    rows: Vec<Row>,
    /// By document and node.
    pub(crate) differences: [Differences; 2],
}

/// A node that differs: where it is in the first document and in the second.
#[derive(Debug)]
struct Row {
    mark: Mark,
    nodes: [Option<NodeIx>; 2],
    title: String,
    text: String,
}

impl Compared {
    /// Compares what is shown of two documents.
    pub(crate) fn of(a: &Side, b: &Side) -> Option<Compared> {
        let found = document::compare((&a.document, a.pass), (&b.document, b.pass))?;
        let empty = |side: &Side| vec![None; side.shown().flow.nodes.len()];
        let mut differences = [empty(a), empty(b)];
        let title = |side: &Side, node: NodeIx| side.shown().flow[node].title().to_owned();
        let only = |side: &Side, node: NodeIx| side.shown().flow[node].op.clone();
        let mut rows = vec![];
        for node in &found.removed {
            differences[0][node.at()] = Some(Mark::Removed);
            rows.push(Row {
                mark: Mark::Removed,
                nodes: [Some(*node), None],
                title: title(a, *node),
                text: only(a, *node),
            });
        }
        for node in &found.added {
            differences[1][node.at()] = Some(Mark::Added);
            rows.push(Row {
                mark: Mark::Added,
                nodes: [None, Some(*node)],
                title: title(b, *node),
                text: only(b, *node),
            });
        }
        for (before, after, what) in &found.changed {
            differences[0][before.at()] = Some(Mark::Changed);
            differences[1][after.at()] = Some(Mark::Changed);
            let changes: Vec<String> = what
                .iter()
                .map(|d| format!("{} {} to {}", d.what, or_none(&d.before), or_none(&d.after)))
                .collect();
            let (nodes, text) = ([Some(*before), Some(*after)], changes.join("; "));
            rows.push(Row { mark: Mark::Changed, nodes, title: title(b, *after), text });
        }
        // What is computed says more than the weights that go with it.
        rows.sort_by_key(|row| {
            let is_value = |side: &Side, node: Option<NodeIx>| {
                node.is_some_and(|node| side.shown().flow[node].role == Role::Value)
            };
            !(is_value(a, row.nodes[0]) || is_value(b, row.nodes[1]))
        });
        let lasts = [a, b].map(|side| side.document.passes.len() - 1);
        Some(Compared { of: (a.pass, b.pass), lasts, found, rows, differences })
    }

    /// Whether it is about what is shown.
    pub(crate) fn is_of(&self, a: &Side, b: &Side) -> bool {
        self.of == (a.pass, b.pass)
    }

    /// The node of the other document that a node was matched with.
    pub(crate) fn partner(&self, side: usize, node: NodeIx) -> Option<NodeIx> {
        let table = if side == 0 { &self.found.to } else { &self.found.from };
        table.get(node.at()).copied().flatten()
    }

    /// The list of what differs.
    pub(crate) fn list(&self, ui: &mut egui::Ui, actions: &mut Vec<Action>) {
        let palette = Palette::of_ui(ui);
        ui.strong(match self.rows.len() {
            0 => "No node differs".to_owned(),
            1 => "1 node differs".to_owned(),
            count => format!("{count} nodes differ"),
        });
        if !self.found.is_by_provenance {
            ui.label(RichText::new("The models' graphs differ: nodes are matched by name alone.").weak());
        }
        if !self.found.plans.is_empty() {
            egui::CollapsingHeader::new(format!("Plans: {} differences", self.found.plans.len())).show(
                ui,
                |ui| {
                    ScrollArea::vertical().id_salt("plans").max_height(180.0).show(ui, |ui| {
                        for PlanDifference { about, made_by } in &self.found.plans {
                            let (before, after) = (or_none(&about.before), or_none(&about.after));
                            let text = format!("{}: {before} to {after}", about.what);
                            if made_by.iter().all(Option::is_none) {
                                ui.label(text);
                            } else if ui.link(text).clicked() {
                                reveal(*made_by, self.lasts, actions);
                            }
                        }
                    });
                },
            );
        }
        let height = 38.0;
        ScrollArea::vertical().id_salt("differences").auto_shrink([false, false]).show_rows(
            ui,
            height,
            self.rows.len(),
            |ui, rows| {
                for row in &self.rows[rows] {
                    let (sign, colour) = tint::look(row.mark, &palette);
                    let title = &row.title;
                    let text = [format!("{sign}  {title}"), row.text.clone()];
                    let response = widgets::two_lines(ui, &text, height - 4.0, false);
                    ui.painter().vline(
                        response.rect.left() + 1.0,
                        response.rect.y_range(),
                        egui::Stroke::new(3.0, colour),
                    );
                    let word = match row.mark {
                        Mark::Added => "Added",
                        Mark::Removed => "Removed",
                        Mark::Changed => "Changed",
                    };
                    widgets::name(&response, ControlRole::Button, &format!("{word}: {title}"));
                    let response = response
                        .on_hover_text(format!("{word}: {title}\n{}", units::shortened(&row.text, 2_000)));
                    if response.clicked() {
                        reveal(row.nodes, [self.of.0, self.of.1], actions);
                    }
                }
            },
        );
    }
}

/// Goes to a node in each document that has it.
fn reveal(nodes: [Option<NodeIx>; 2], passes: [usize; 2], actions: &mut Vec<Action>) {
    for (side, (node, pass)) in nodes.into_iter().zip(passes).enumerate() {
        let child = node.map(Child::Node);
        actions.extend(child.map(|child| Action::Reveal(Spot { side, pass, child })));
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "nothing" } else { text }
}
