//! Lists beneath the canvas: messages between devices, and where predictions miss most.
use super::theme::Palette;
use super::{Action, Side, units, widgets};
use crate::document::PlanView;
use eframe::egui::accesskit::Role;
use eframe::egui::{self, Grid, RichText, ScrollArea};

/// More rows are not drawn.
pub(crate) const ROWS_MOST: usize = 200;

/// How many rows of a table are not drawn.
pub(crate) fn more(ui: &mut egui::Ui, rows: usize) {
    if rows > ROWS_MOST {
        ui.label(RichText::new(format!("and {} more", rows - ROWS_MOST)).weak());
        ui.end_row();
    }
}

/// The messages of a step, those between devices first.
pub(crate) fn messages(
    ui: &mut egui::Ui,
    side: &Side,
    plan: &PlanView,
    queued: &[u64],
    actions: &mut Vec<Action>,
) {
    ScrollArea::both().id_salt("messages").auto_shrink([false, false]).show(ui, |ui| {
        Grid::new("messages").striped(true).num_columns(8).show(ui, |ui| {
            for title in [
                "edge",
                "what",
                "from",
                "to",
                "for a token",
                "at most",
                "holds",
                "wait: predicted / measured",
            ] {
                ui.strong(title);
            }
            ui.end_row();
            for message in plan.by_size().take(ROWS_MOST) {
                let response = ui.link(message.edge.0.to_string());
                widgets::name(&response, Role::Link, &format!("Edge {}: {}", message.edge.0, message.name));
                if let (true, Some(node)) = (response.clicked(), message.made_by.first()) {
                    actions.push(Action::Reveal(side.spot_of_plan(*node)));
                }
                ui.label(format!("{} {}", message.name, message.ty));
                ui.label(&message.from_name);
                ui.label(&message.to_name);
                ui.label(message.token_bytes.map_or_else(|| "–".to_owned(), units::bytes));
                ui.label(units::bytes(message.bytes));
                ui.label(match queued.get(message.edge.0 as usize) {
                    Some(waiting) => format!("{waiting} of {}", message.capacity),
                    None => message.capacity.to_string(),
                });
                let times = side.heat.edge(message.edge.0);
                let time = |us: Option<f64>| us.map_or_else(|| "–".to_owned(), units::time_us);
                ui.label(
                    times.map_or_else(String::new, |t| {
                        format!("{} / {}", time(t.predicted), time(t.measured))
                    }),
                );
                ui.end_row();
            }
            more(ui, plan.messages.len());
        });
    });
}

/// Where predictions miss most.
pub(crate) fn misses(ui: &mut egui::Ui, side: &Side, actions: &mut Vec<Action>) {
    let Some(trace) = &side.document.trace else {
        ui.label("Nothing was measured. Open with --trace TRACE.json of `heddle trace`.");
        return;
    };
    let palette = Palette::of_ui(ui);
    ScrollArea::both().id_salt("misses").auto_shrink([false, false]).show(ui, |ui| {
        Grid::new("misses").striped(true).num_columns(6).show(ui, |ui| {
            for title in ["step", "device", "rounds", "predicted", "measured", "longer by"] {
                ui.strong(title);
            }
            ui.end_row();
            for (rank, miss) in trace.misses().iter().take(ROWS_MOST).enumerate() {
                let plan = side.document.plan.as_ref();
                let node = plan.and_then(|plan| {
                    plan.nodes.get(miss.at.thread as usize)?.get(miss.at.step as usize).copied().flatten()
                });
                let response = ui.link(&miss.name);
                widgets::name(&response, Role::Link, &format!("Miss {}: {}", rank + 1, miss.name));
                if let (true, Some(node)) = (response.clicked(), node) {
                    actions.push(Action::Reveal(side.spot_of_plan(node)));
                }
                let thread = plan.and_then(|plan| plan.plan.threads.get(miss.at.thread as usize));
                ui.label(thread.map_or_else(String::new, |thread| side.document.device(thread.device.0)));
                ui.label(format!(
                    "{} {}",
                    miss.rounds,
                    if miss.is_decode { "of a token" } else { "of a prompt" }
                ));
                ui.label(units::time_us(miss.predicted_us));
                ui.label(units::time_us(miss.measured_us));
                let ratio = miss.ratio().map_or_else(String::new, |ratio| format!(" (×{ratio:.2})"));
                let colour = if miss.by_us() > 0.0 { palette.removed } else { palette.added };
                let sign = if miss.by_us() > 0.0 { "+" } else { "−" };
                let by = units::time_us(miss.by_us().abs());
                ui.label(RichText::new(format!("{sign}{by}{ratio}")).color(colour));
                ui.end_row();
            }
            more(ui, trace.misses().len());
        });
    });
}
