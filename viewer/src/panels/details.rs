//! What is known of the node or group that was selected.
use super::side::Selection;
use super::theme::{self, Palette};
use super::{Action, Side, named_button, units};
use crate::document::{Child, Details, GroupIx, NodeIx};
use eframe::egui::{self, RichText, ScrollArea};
use std::collections::BTreeMap;

/// More of a list are not drawn.
const LISTED: usize = 40;
/// Longer facts are cut: attributes can be as long as they like.
const LETTERS_MOST: usize = 2_000;

/// What is known of what is selected, found when something else is.
#[derive(Debug, Default)]
pub(crate) struct Known(Option<(Selection, Found)>);

#[derive(Debug)]
enum Found {
    Nothing,
    Node(Details),
    Group(About),
}

/// What is known of a group.
#[derive(Debug)]
struct About {
    facts: Vec<(&'static str, String)>,
    /// How many nodes there are of each operator.
    operators: Vec<(String, usize)>,
}

impl Known {
    /// The panel; `why` is what `heddle why` said of the node, or that it is being asked; `is_checking` says that numbers
    /// are being compared.
    pub(crate) fn draw(
        &mut self,
        ui: &mut egui::Ui,
        side: &Side,
        (why, is_checking): (Option<&str>, bool),
        actions: &mut Vec<Action>,
    ) {
        ScrollArea::vertical().id_salt("details").auto_shrink([false, false]).show(ui, |ui| {
            match (self.of(side), side.selected) {
                (Found::Group(about), Some(Child::Group(group))) => {
                    of_group(ui, side, (group, about), actions);
                }
                (Found::Node(details), Some(Child::Node(node))) => {
                    of_node(ui, side, (node, details), why, actions);
                }
                _ => overview(ui, side, is_checking, actions),
            }
        });
    }

    fn of(&mut self, side: &Side) -> &Found {
        let selection = side.selection();
        if self.0.as_ref().is_some_and(|(of, _)| *of != selection) {
            self.0 = None;
        }
        &self.0.get_or_insert_with(|| (selection, found(side))).1
    }
}

fn found(side: &Side) -> Found {
    match side.selected {
        None => Found::Nothing,
        Some(Child::Group(group)) => Found::Group(about(side, group)),
        Some(Child::Node(node)) => side.document.details(side.pass, node).map_or(Found::Nothing, Found::Node),
    }
}

fn fact(ui: &mut egui::Ui, name: &str, value: &str) {
    ui.label(RichText::new(name).weak());
    let value = units::shortened(value, LETTERS_MOST);
    ui.add(egui::Label::new(RichText::new(value).monospace()).wrap());
    ui.end_row();
}

fn facts<'a>(ui: &mut egui::Ui, id: &str, facts: impl Iterator<Item = (&'a str, String)>) {
    egui::Grid::new(id).num_columns(2).spacing([10.0, 4.0]).striped(true).show(ui, |ui| {
        facts.for_each(|(name, value)| fact(ui, name, &value));
    });
}

fn overview(ui: &mut egui::Ui, side: &Side, is_checking: bool, actions: &mut Vec<Action>) {
    let document = &side.document;
    ui.heading(&document.name);
    let shown = side.shown();
    let mut known = vec![
        ("file", document.path.display().to_string()),
        ("pass", format!("{} of {}: {}", side.pass + 1, document.passes.len(), shown.name)),
        ("nodes", shown.flow.nodes.len().to_string()),
    ];
    if let Some(view) = &document.plan {
        let plan = &view.plan;
        known.push(("model", format!("{}, {}", plan.model.name, plan.model.architecture)));
        known.push(("partition", plan.options.partition.to_string()));
        known.push(("context", format!("{} tokens", plan.options.context)));
        known.push(("messages", view.messages.len().to_string()));
        known.push(("plan", units::shortened(&view.hash, 13)));
    }
    facts(ui, "overview", known.into_iter());
    ui.add_space(8.0);
    if let Some(view) = &document.plan {
        ui.strong("Devices");
        for (device, memory) in view.plan.devices.iter().zip(&view.memory) {
            let most = memory.proof.iter().map(|proof| proof.total).max().unwrap_or(0);
            ui.horizontal(|ui| {
                super::badge(ui, device.id.0);
                ui.label(format!("{}: {} threads, {}", device.name, device.threads, units::bytes(most)));
            });
        }
        for why in &view.plan.why {
            let time = units::time_us(why.predicted_ns as f64 / 1e3);
            ui.label(format!("{}: {}, {time} {}", why.about, why.chosen, why.measure));
        }
    }
    if is_checking {
        ui.horizontal(|ui| {
            ui.spinner();
            ui.label("comparing every value");
            let is_given_up = named_button(ui, "Stop", "Stop comparing").clicked();
            actions.extend(is_given_up.then_some(Action::Numerics));
        });
    } else if document.plan.is_some()
        && document.path.is_dir()
        && named_button(ui, "Check numbers", "Run beside the reference interpreter and compare every value")
            .clicked()
    {
        actions.push(Action::Numerics);
    }
    ui.add_space(8.0);
    ui.label(RichText::new("Click a node to see what is known of it. Double-click a group to open it. Drag to move, turn the wheel to come closer; keys are listed under Help.").weak());
}

fn about(side: &Side, group: GroupIx) -> About {
    let shown = side.shown();
    let own = &shown.tree[group];
    let devices: Vec<String> = own.devices.iter().map(|device| side.document.device(*device)).collect();
    let nodes = shown.tree.nodes(Child::Group(group));
    let (predicted, measured) = side.heat.sum(&nodes);
    let time = |us: Option<f64>| us.map_or_else(|| "not known".to_owned(), units::time_us);
    let mut facts = vec![("nodes", own.count.to_string()), ("devices", devices.join(", "))];
    if side.is_last() && !side.heat.is_empty() {
        facts.push(("predicted", time(predicted)));
        facts.push(("measured", time(measured)));
    }
    if let Some(worst) = side.document.numbers.as_ref().and_then(|numbers| numbers.of(&own.path)) {
        facts.push(("error", format!("{:.2e} at {}", worst.error, worst.node)));
    }
    let mut operators: BTreeMap<&str, usize> = BTreeMap::new();
    nodes.iter().for_each(|node| *operators.entry(&shown.flow[*node].op).or_default() += 1);
    let operators = operators.into_iter().map(|(op, count)| (op.to_owned(), count));
    About { facts, operators: operators.collect() }
}

fn of_group(ui: &mut egui::Ui, side: &Side, (group, about): (GroupIx, &About), actions: &mut Vec<Action>) {
    let shown = side.shown();
    let own = &shown.tree[group];
    ui.heading(if own.path.is_empty() { &shown.flow.name } else { &own.path });
    let is_open = side.view.open.contains(&own.path);
    if named_button(ui, if is_open { "Close group" } else { "Open group" }, "Open or close the group")
        .clicked()
    {
        actions.push(Action::Toggle(side.spot(Child::Group(group))));
    }
    facts(ui, "group", about.facts.iter().map(|(name, value)| (*name, value.clone())));
    ui.add_space(8.0);
    ui.strong("Operators");
    facts(ui, "operators", about.operators.iter().map(|(op, count)| (op.as_str(), count.to_string())));
}

fn of_node(
    ui: &mut egui::Ui,
    side: &Side,
    (node, details): (NodeIx, &Details),
    why: Option<&str>,
    actions: &mut Vec<Action>,
) {
    let own = &side.shown().flow[node];
    ui.horizontal_top(|ui| {
        super::badge(ui, own.device);
        ui.add(egui::Label::new(RichText::new(&details.title).heading()).wrap());
    });
    let first = side.document.numbers.as_ref().and_then(|numbers| numbers.first.as_ref());
    if let Some(first) = first.filter(|first| first.node == own.path) {
        let palette = Palette::of_ui(ui);
        let text = format!(
            "the first value beyond tolerance: error {:.2e}, found {:?}, expected {:?}; made by {}",
            first.error, first.found, first.expected, first.made_by
        );
        ui.label(RichText::new(text).color(palette.removed).strong());
    }
    if side.document.plan.is_some() && side.is_last() {
        match why {
            Some(text) => {
                ui.strong("Why");
                ui.label(text);
            }
            None if named_button(ui, "Why is it so?", "Why is it so?").clicked() => {
                actions.push(Action::Why(own.path.clone()));
            }
            None => {}
        }
    }
    let error = side.document.numbers.as_ref().and_then(|numbers| numbers.at(&own.path));
    let error = error.map(|error| ("error", format!("{error:.2e}")));
    facts(ui, "node", details.facts.iter().map(|fact| (fact.name, fact.value.clone())).chain(error));
    let (predicted, measured) = side.heat.sum(&[node]);
    if let (true, Some(us)) = (side.is_last(), predicted.or(measured)) {
        let most = side.heat.most();
        let (rect, _) =
            ui.allocate_exact_size(egui::vec2(ui.available_width().min(200.0), 6.0), egui::Sense::hover());
        let part = (us / most.max(f64::MIN_POSITIVE)) as f32;
        ui.painter().rect_filled(rect, 2.0, ui.visuals().widgets.inactive.bg_fill);
        ui.painter().rect_filled(
            egui::Rect::from_min_size(rect.min, egui::vec2(rect.width() * part.min(1.0), 6.0)),
            2.0,
            theme::heat(part),
        );
    }
    links(ui, side, "Computed from", (side.pass, &details.inputs), actions);
    links(ui, side, "Used by", (side.pass, &details.users), actions);
    if side.pass > 0 {
        let title = format!("Made of, before {}", side.shown().name);
        links(ui, side, &title, (side.pass - 1, &details.before), actions);
    }
    if side.pass > 1 {
        links(ui, side, "In the model's own graph", (0, &details.origins), actions);
    }
    if side.pass + 1 < side.document.passes.len() {
        let title = format!("Became, by {}", side.document.passes[side.pass + 1].name);
        links(ui, side, &title, (side.pass + 1, &details.after), actions);
    }
}

fn links(
    ui: &mut egui::Ui,
    side: &Side,
    title: &str,
    (pass, nodes): (usize, &[NodeIx]),
    actions: &mut Vec<Action>,
) {
    let Some(shown) = side.document.passes.get(pass).filter(|_| !nodes.is_empty()) else { return };
    ui.add_space(6.0);
    ui.strong(title);
    for node in nodes.iter().take(LISTED) {
        let own = &shown.flow[*node];
        let response = ui.link(format!("{} · {}", own.title(), own.op));
        super::name(&response, egui::accesskit::Role::Link, &format!("{title}: {}", own.title()));
        if response.clicked() {
            actions.push(Action::Reveal(side.spot_in(pass, Child::Node(*node))));
        }
    }
    if nodes.len() > LISTED {
        ui.label(RichText::new(format!("and {} more", nodes.len() - LISTED)).weak());
    }
}
