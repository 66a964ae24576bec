//! The memory of each device over the steps of its thread, buffer by buffer, and what is proven of it.
use super::axis::{Axis, marks};
use super::theme::{self, Palette};
use super::{Action, Side, steps, units};
use crate::document::{BufferLife, DeviceMemory, NodeIx, PlanView};
use eframe::egui::{self, Align2, FontId, Rect, Response, Sense, Stroke, StrokeKind, pos2};
use ir::plan::MemoryProof;

const NAMES: f32 = 110.0;
const HEIGHT_LEAST: f32 = 80.0;
/// What stands above a device's buffers.
const ABOVE: f32 = 54.0;
const HEADER: f32 = 18.0;

/// How the memory is looked at.
#[derive(Debug, Default)]
pub(crate) struct MemoryView {
    axes: Vec<Axis>,
}

impl MemoryView {
    pub(crate) fn draw(
        &mut self,
        ui: &mut egui::Ui,
        (side, plan): (&Side, &PlanView),
        selected: Option<NodeIx>,
        actions: &mut Vec<Action>,
    ) {
        let height = ui.available_height() / plan.memory.len().max(1) as f32 - ABOVE;
        egui::ScrollArea::vertical().id_salt("memory").show(ui, |ui| {
            for (at, memory) in plan.memory.iter().enumerate() {
                let kept = self.axes.get(at).copied();
                let mut axis = Axis::kept(kept, 0.0, f64::from(memory.steps));
                ui.horizontal(|ui| {
                    ui.strong(&memory.name);
                    axis.buttons(ui, &format!("memory of {}", memory.name));
                    ui.label(format!(
                        "arena {} over {} steps, most in use {}",
                        units::bytes(memory.arena_bytes),
                        memory.steps,
                        units::bytes(memory.live_bytes.iter().copied().max().unwrap_or(0)),
                    ));
                });
                proof(ui, memory);
                let response = arena(ui, (side, memory, height), &mut axis, selected, actions);
                steps::listen(ui, &response, (side, Some(at)), selected, actions);
                match self.axes.get_mut(at) {
                    Some(kept) => *kept = axis,
                    None => self.axes.push(axis),
                }
            }
        });
    }
}

/// What takes how much, in the phase that takes most.
fn proof(ui: &mut egui::Ui, memory: &DeviceMemory) {
    let Some(most) = memory.proof.iter().max_by_key(|proof| proof.total) else { return };
    let MemoryProof { weights, states, arena, scratch, staging, process, driver, total, .. } = *most;
    let parts = [
        ("weights", weights),
        ("KV cache", states),
        ("arena", arena),
        ("scratch", scratch),
        ("edges", staging),
        ("process", process),
        ("driver", driver),
    ];
    let palette = Palette::of_ui(ui);
    let (rect, response) = ui.allocate_exact_size(egui::vec2(ui.available_width(), 18.0), Sense::hover());
    let said: Vec<String> = parts
        .iter()
        .filter(|(_, n)| *n > 0)
        .map(|(what, n)| format!("{what} {}", units::bytes(*n)))
        .collect();
    let name = format!(
        "Memory of {} at {}: {} in all, {}",
        memory.name,
        most.phase,
        units::bytes(total),
        said.join(", ")
    );
    super::name(&response, egui::accesskit::Role::Image, &name);
    let mut left = rect.left() + NAMES;
    let width = rect.right() - left;
    let painter = ui.painter_at(rect);
    let font = FontId::proportional(11.0);
    let at = pos2(rect.left() + 4.0, rect.center().y);
    painter.text(
        at,
        Align2::LEFT_CENTER,
        format!("{} {}", most.phase, units::bytes(total)),
        font.clone(),
        palette.text,
    );
    for (index, (what, bytes)) in parts.into_iter().enumerate().filter(|(_, (_, bytes))| *bytes > 0) {
        let right = left + width * (bytes as f32 / total.max(1) as f32);
        let bar = Rect::from_min_max(pos2(left, rect.top()), pos2(right, rect.bottom()));
        let fill = theme::heat(0.15 + 0.12 * index as f32);
        painter.rect_filled(bar, 0.0, fill);
        painter.vline(right, bar.y_range(), Stroke::new(1.0, palette.canvas));
        let text = format!("{what} {}", units::bytes(bytes));
        if bar.width() > 6.5 * text.len() as f32 {
            painter.text(bar.center(), Align2::CENTER_CENTER, text, font.clone(), theme::ink(fill));
        }
        left = right;
    }
    response.on_hover_text(name);
}

/// Buffers where they lie, while they live.
fn arena(
    ui: &mut egui::Ui,
    (side, memory, height): (&Side, &DeviceMemory, f32),
    axis: &mut Axis,
    selected: Option<NodeIx>,
    actions: &mut Vec<Action>,
) -> Response {
    let palette = Palette::of_ui(ui);
    let size = egui::vec2(ui.available_width(), height.clamp(HEIGHT_LEAST, 260.0));
    let (all, response) = ui.allocate_exact_size(size, Sense::click_and_drag());
    super::name(
        &response,
        egui::accesskit::Role::Canvas,
        &format!("Buffers of {} over its steps", memory.name),
    );
    let rect =
        Rect::from_min_max(pos2(all.left() + NAMES, all.top()), pos2(all.right(), all.bottom() - HEADER));
    axis.listen(ui, rect, &response);
    let most = memory.arena_bytes.max(1) as f32;
    let y = |bytes: u64| rect.bottom() - rect.height() * (bytes as f32 / most);
    let place = |life: &BufferLife| {
        let (left, right) = (axis.x(rect, f64::from(life.first)), axis.x(rect, f64::from(life.last) + 1.0));
        Rect::from_min_max(
            pos2(left, y(life.offset.saturating_add(life.bytes))),
            pos2(right.max(left + 1.0), y(life.offset)),
        )
    };
    let painter = ui.painter_at(all);
    painter.rect_filled(rect, 0.0, palette.canvas);
    let font = FontId::proportional(11.0);
    for mark in marks((0.0, f64::from(most)), 3) {
        let level = y(mark as u64);
        painter.hline(rect.x_range(), level, Stroke::new(0.5, palette.outline.gamma_multiply(0.6)));
        painter.text(
            pos2(rect.left() - 6.0, level),
            Align2::RIGHT_CENTER,
            units::bytes(mark as u64),
            font.clone(),
            palette.weak,
        );
    }
    for mark in marks(axis.shown(), 10) {
        let at = pos2(axis.x(rect, mark), rect.bottom() + 2.0);
        painter.text(at, Align2::CENTER_TOP, format!("{mark:.0}"), font.clone(), palette.weak);
    }
    let clipped = painter.with_clip_rect(rect.intersect(painter.clip_rect()));
    let base = theme::device(memory.device);
    for life in memory.buffers.iter().filter(|life| life.slot.is_none()) {
        let bar = place(life);
        if !bar.intersects(rect) {
            continue;
        }
        let shade = if life.id.0 % 2 == 0 { 0.55 } else { 0.38 };
        clipped.rect_filled(bar, 0.0, palette.tinted(base, shade));
        if bar.width() > 3.0 && bar.height() > 3.0 {
            clipped.rect_stroke(bar, 0.0, Stroke::new(0.5, palette.canvas), StrokeKind::Inside);
        }
        if selected.is_some() && life.node == selected {
            clipped.rect_stroke(bar, 0.0, Stroke::new(2.0, palette.text), StrokeKind::Inside);
        }
    }
    let level = |step: usize, live: &u64| {
        [f64::from(step as u32), f64::from(step as u32) + 1.0].map(|x| pos2(axis.x(rect, x), y(*live)))
    };
    let line: Vec<_> =
        memory.live_bytes.iter().enumerate().flat_map(|(step, live)| level(step, live)).collect();
    clipped.line(line, Stroke::new(1.5, palette.text));
    let under = response.hover_pos().and_then(|at| {
        memory.buffers.iter().filter(|life| life.slot.is_none()).find(|life| place(life).contains(at))
    });
    if let Some(life) = under {
        if response.clicked()
            && let Some(node) = life.node
        {
            actions.push(Action::Reveal(side.spot_of_plan(node)));
        }
        response.clone().on_hover_ui_at_pointer(|ui| {
            ui.strong(life.id.to_string());
            ui.label(format!("{}, {} at {}", life.ty, units::bytes(life.bytes), life.offset));
            ui.label(format!("steps {} to {}", life.first, life.last));
        });
    }
    response
}
