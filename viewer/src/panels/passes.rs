//! The slider through the passes, and what the shown one did.
use super::theme::Palette;
use super::{Action, Side};
use crate::document::{Child, Pass};
use eframe::egui::{self, RichText};

/// The bar; nothing where there is only one pass.
pub(crate) fn draw(ui: &mut egui::Ui, side: &Side, actions: &mut Vec<Action>) {
    let passes = &side.document.passes;
    if passes.len() < 2 {
        return;
    }
    ui.horizontal_wrapped(|ui| {
        let mut at = side.pass;
        ui.spacing_mut().slider_width = 160.0;
        let label = ui.label("Pass");
        let slider = egui::Slider::new(&mut at, 0..=passes.len() - 1).show_value(false).step_by(1.0);
        let response = ui.add(slider).labelled_by(label.id);
        if response.changed() && at != side.pass {
            actions.push(Action::Pass(at));
        }
        for (index, pass) in passes.iter().enumerate() {
            let text = format!("{} {}", pass.number, pass.name);
            let button = ui.selectable_label(index == side.pass, text);
            super::name(&button, egui::accesskit::Role::Button, &format!("Pass {}", pass.name));
            if button.clicked() {
                actions.push(Action::Pass(index));
            }
        }
        let shown = side.shown();
        if let Some(change) = &shown.change {
            let (added, removed, changed) = change.counts();
            let palette = Palette::of_ui(ui);
            ui.separator();
            for (sign, count, word, colour) in [
                ("+", added, "added", palette.added),
                ("−", removed, "removed", palette.removed),
                ("~", changed, "changed", palette.changed),
            ] {
                ui.label(RichText::new(format!("{sign}{count} {word}")).color(colour).strong());
            }
        }
    });
}

/// The nodes that the shown pass removed: they are only in the graph before.
pub(crate) fn removed(ui: &mut egui::Ui, side: &Side, actions: &mut Vec<Action>) {
    let (Some(change), Some(before)) = (&side.shown().change, before(side)) else { return };
    if change.removed.is_empty() {
        return;
    }
    let palette = Palette::of_ui(ui);
    let title = RichText::new(format!("− {} removed by {}", change.removed.len(), side.shown().name))
        .color(palette.removed);
    egui::CollapsingHeader::new(title).id_salt("removed").show(ui, |ui| {
        let height = ui.spacing().interact_size.y;
        egui::ScrollArea::vertical().id_salt("removed nodes").max_height(220.0).show_rows(
            ui,
            height,
            change.removed.len(),
            |ui, rows| {
                for node in &change.removed[rows] {
                    let own = &before.flow[*node];
                    let response = ui.link(format!("− {} · {}", own.title(), own.op));
                    super::name(&response, egui::accesskit::Role::Link, &format!("Removed: {}", own.title()));
                    if response.clicked() {
                        let spot = side.spot_in(side.pass - 1, Child::Node(*node));
                        actions.push(Action::Reveal(spot));
                    }
                }
            },
        );
    });
}

fn before(side: &Side) -> Option<&Pass> {
    side.document.passes.get(side.pass.checked_sub(1)?)
}
