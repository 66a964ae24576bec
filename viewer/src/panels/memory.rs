//! The memory of each device over the steps of its thread, buffer by buffer, and what is proven of it.
use super::axis::{Axis, marks};
use super::theme::{self, Palette};
use super::{Action, Side, steps, units};
use crate::document::{BufferLife, DeviceMemory, NodeIx, PlanView};
use eframe::egui::{self, Align2, FontId, Pos2, Rect, Response, Sense, Stroke, StrokeKind, pos2};
use std::collections::HashSet;

const NAMES: f32 = 110.0;
const HEIGHT_LEAST: f32 = 80.0;
/// What stands above a device's buffers.
const ABOVE: f32 = 54.0;
const HEADER: f32 = 18.0;
/// How high the row of an edge is in whose slots buffers lie, and all of these rows at most.
const SLOT: f32 = 10.0;
const SLOTS_MOST: f32 = 60.0;

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
                        units::bytes(memory.most_live_bytes),
                    ));
                });
                proof(ui, memory);
                let response = buffers(ui, (side, memory, height), &mut axis, selected, actions);
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
    let Some((proof, parts)) = memory.most() else { return };
    let total = proof.total;
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
        proof.phase,
        units::bytes(total),
        said.join(", ")
    );
    super::name(&response, egui::accesskit::Role::Image, &name);
    if !ui.is_rect_visible(rect) {
        return;
    }
    let mut left = rect.left() + NAMES;
    let width = rect.right() - left;
    let painter = ui.painter_at(rect);
    let font = FontId::proportional(11.0);
    let at = pos2(rect.left() + 4.0, rect.center().y);
    painter.text(
        at,
        Align2::LEFT_CENTER,
        format!("{} {}", proof.phase, units::bytes(total)),
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

/// Where a device's buffers are drawn: those of the arena at their offsets, beneath them those in slots of edges, a row
/// for each edge.
struct Place<'a> {
    memory: &'a DeviceMemory,
    axis: Axis,
    arena: Rect,
    slots: Rect,
}

/// A buffer as it is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bar {
    rect: Rect,
    /// Its place among the device's buffers.
    at: usize,
}

impl Place<'_> {
    /// How far up so many bytes of the arena lie.
    fn y(&self, bytes: u64) -> f32 {
        let most = self.memory.arena_bytes.max(1) as f32;
        self.arena.bottom() - self.arena.height() * (bytes as f32 / most)
    }

    fn bar(&self, at: usize, life: &BufferLife) -> Bar {
        let [left, right] =
            [f64::from(life.first), f64::from(life.last) + 1.0].map(|step| self.axis.x(self.arena, step));
        let (top, bottom) =
            match life.slot.and_then(|edge| self.memory.slots.iter().position(|at| *at == edge)) {
                Some(row) => {
                    let each = self.slots.height() / self.memory.slots.len() as f32;
                    let top = self.slots.top() + each * row as f32;
                    (top, top + (each - 1.0).max(1.0))
                }
                None => (self.y(life.offset.saturating_add(life.bytes)), self.y(life.offset)),
            };
        let rect = Rect::from_min_max(pos2(left, top), pos2(right.max(left + 1.0), bottom));
        Bar { rect, at }
    }

    /// The buffers that can be seen. Of those that are narrower than a pixel and lie in the same pixels, one is.
    fn bars(&self) -> Vec<Bar> {
        let (from, to) = self.axis.shown();
        // They stand in the order in which they are written first.
        let last = self.memory.buffers.partition_point(|life| f64::from(life.first) <= to);
        let mut bars = vec![];
        let mut column = (0, HashSet::new());
        for (at, life) in self.memory.buffers[..last].iter().enumerate() {
            if f64::from(life.last) + 1.0 < from {
                continue;
            }
            let bar = self.bar(at, life);
            if bar.rect.width() < 1.01 {
                let [left, top, bottom] =
                    [bar.rect.left(), bar.rect.top(), bar.rect.bottom()].map(|side| side.round() as i32);
                if column.0 != left {
                    column = (left, HashSet::new());
                }
                if !column.1.insert((top, bottom)) {
                    continue;
                }
            }
            bars.push(bar);
        }
        bars
    }

    /// What is in use over the steps that can be seen; where several share a pixel, the most of them.
    fn level(&self) -> Vec<Pos2> {
        let (from, to) = self.axis.shown();
        let live = &self.memory.live_bytes;
        let (from, to) =
            ((from.max(0.0) as usize).min(live.len()), (to.max(0.0).ceil() as usize).min(live.len()));
        let each = ((to - from) / self.arena.width().max(1.0) as usize).max(1);
        let columns = live[from..to].chunks(each).enumerate();
        let level = columns.flat_map(|(at, steps)| {
            let most = self.y(steps.iter().copied().max().unwrap_or(0));
            let begin = from + at * each;
            [begin, begin + steps.len()].map(|step| pos2(self.axis.x(self.arena, step as f64), most))
        });
        level.collect()
    }

    /// The buffer at a point.
    fn under(&self, at: Pos2) -> Option<&BufferLife> {
        let step = self.axis.at(self.arena, at.x);
        let pixel = (self.axis.at(self.arena, 1.0) - self.axis.at(self.arena, 0.0)).abs();
        let is_there = |life: &BufferLife| {
            (f64::from(life.first) - pixel..=f64::from(life.last) + 1.0 + pixel).contains(&step)
        };
        let mut near = self.memory.buffers.iter().enumerate().filter(|(_, life)| is_there(life));
        near.find(|(index, life)| self.bar(*index, life).rect.contains(at)).map(|(_, life)| life)
    }
}

/// Buffers where they lie, while they live.
fn buffers(
    ui: &mut egui::Ui,
    (side, memory, height): (&Side, &DeviceMemory, f32),
    axis: &mut Axis,
    selected: Option<NodeIx>,
    actions: &mut Vec<Action>,
) -> Response {
    let below = SLOTS_MOST.min(SLOT * memory.slots.len() as f32);
    let size = egui::vec2(ui.available_width(), height.clamp(HEIGHT_LEAST, 260.0) + below);
    let (all, response) = ui.allocate_exact_size(size, Sense::click_and_drag());
    super::name(
        &response,
        egui::accesskit::Role::Canvas,
        &format!("Buffers of {} over its steps", memory.name),
    );
    if !ui.is_rect_visible(all) {
        return response;
    }
    let foot = all.bottom() - HEADER;
    let left = all.left() + NAMES;
    let arena = Rect::from_min_max(pos2(left, all.top()), pos2(all.right(), foot - below));
    let slots = Rect::from_min_max(pos2(left, arena.bottom() + 1.0), pos2(all.right(), foot));
    axis.listen(ui, arena, &response);
    let place = Place { memory, axis: *axis, arena, slots };
    draw_buffers(ui, all, &place, selected);
    if let Some(life) = response.hover_pos().and_then(|at| place.under(at)) {
        if response.clicked()
            && let Some(node) = life.node
        {
            actions.push(Action::Reveal(side.spot_of_plan(node)));
        }
        response.clone().on_hover_ui_at_pointer(|ui| {
            ui.strong(life.id.to_string());
            let lies = life
                .slot
                .map_or_else(|| format!("at {}", life.offset), |edge| format!("in a slot of {edge}"));
            ui.label(format!("{}, {} {lies}", life.ty, units::bytes(life.bytes)));
            ui.label(format!("steps {} to {}", life.first, life.last));
        });
    }
    response
}

fn draw_buffers(ui: &egui::Ui, all: Rect, place: &Place<'_>, selected: Option<NodeIx>) {
    let palette = Palette::of_ui(ui);
    let (memory, arena, slots) = (place.memory, place.arena, place.slots);
    let painter = ui.painter_at(all);
    painter.rect_filled(arena, 0.0, palette.canvas);
    let font = FontId::proportional(11.0);
    for mark in marks((0.0, memory.arena_bytes.max(1) as f64), 3) {
        let level = place.y(mark as u64);
        painter.hline(arena.x_range(), level, Stroke::new(0.5, palette.outline.gamma_multiply(0.6)));
        painter.text(
            pos2(arena.left() - 6.0, level),
            Align2::RIGHT_CENTER,
            units::bytes(mark as u64),
            font.clone(),
            palette.weak,
        );
    }
    if !memory.slots.is_empty() {
        let at = pos2(slots.left() - 6.0, slots.top() + 4.0);
        painter.text(at, Align2::RIGHT_TOP, "in edges", font.clone(), palette.weak);
    }
    for mark in marks(place.axis.shown(), 10) {
        let at = pos2(place.axis.x(arena, mark), slots.bottom() + 2.0);
        painter.text(at, Align2::CENTER_TOP, format!("{mark:.0}"), font.clone(), palette.weak);
    }
    let clipped = painter.with_clip_rect(arena.union(slots).intersect(painter.clip_rect()));
    let base = theme::device(memory.device);
    for Bar { rect, at } in place.bars() {
        let life = &memory.buffers[at];
        let shade = if life.id.0 % 2 == 0 { 0.55 } else { 0.38 };
        clipped.rect_filled(rect, 0.0, palette.tinted(base, shade));
        if rect.width() > 3.0 && rect.height() > 3.0 {
            clipped.rect_stroke(rect, 0.0, Stroke::new(0.5, palette.canvas), StrokeKind::Inside);
        }
    }
    let lives = memory.buffers.iter().enumerate();
    for (at, life) in lives.filter(|(_, life)| selected.is_some() && life.node == selected) {
        let rect = place.bar(at, life).rect;
        clipped.rect_stroke(rect, 0.0, Stroke::new(2.0, palette.text), StrokeKind::Inside);
    }
    clipped.line(place.level(), Stroke::new(1.5, palette.text));
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::plan::{BufferId, EdgeId};

    fn life(at: u32, slot: Option<EdgeId>) -> BufferLife {
        let (first, last, offset) = (at, at + 1, u64::from(at % 3) * 64);
        BufferLife { id: BufferId(at), node: None, ty: String::new(), offset, bytes: 64, slot, first, last }
    }

    #[test]
    fn buffers_in_slots_are_drawn_and_what_shares_a_pixel_once() {
        const STEPS: u32 = 100_000;
        let slot = |at: u32| at.is_multiple_of(10).then_some(EdgeId(at / 10 % 2));
        let buffers: Vec<BufferLife> = (0..STEPS).map(|at| life(at, slot(at))).collect();
        let live_bytes: Vec<u64> = (0..u64::from(STEPS)).collect();
        let memory = DeviceMemory {
            device: 0,
            name: "cpu:0".into(),
            arena_bytes: 192,
            steps: STEPS,
            buffers,
            slots: vec![EdgeId(0), EdgeId(1)],
            most_live_bytes: u64::from(STEPS) - 1,
            live_bytes,
            proof: vec![],
        };
        let arena = Rect::from_min_max(pos2(0.0, 0.0), pos2(1000.0, 99.0));
        let slots = Rect::from_min_max(pos2(0.0, 100.0), pos2(1000.0, 120.0));
        let mut axis = Axis::new(0.0, f64::from(STEPS));
        let whole = Place { memory: &memory, axis, arena, slots };
        assert!(whole.bars().len() < 10 * 1001, "{} bars", whole.bars().len());
        assert!(whole.level().len() <= 2 * 1001, "{} points", whole.level().len());
        axis.zoom(500.0, 10_000.0);
        let near = Place { memory: &memory, axis, arena, slots };
        let bars = near.bars();
        assert!((10..20).contains(&bars.len()), "{} bars", bars.len());
        let row = |at: usize| bars.iter().find(|bar| bar.at == at).expect("a bar").rect.top();
        assert_eq!(
            (row(500), row(501)),
            (slots.top(), near.y(64)),
            "in the first edge's row, and in the arena"
        );
        let at = |bar: &Bar| near.under(bar.rect.center()).map(|life| life.slot);
        assert!(bars.iter().any(|bar| at(bar) == Some(Some(EdgeId(0)))));
    }
}
