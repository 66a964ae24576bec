//! Swim lanes: each device thread in time, what was predicted above what was measured.
use super::axis::{Axis, marks};
use super::theme::{self, Palette};
use super::{Action, Side, steps, units};
use crate::document::{Document, Lane, Lanes, NodeIx, Span, SpanKind};
use eframe::egui::{self, Align2, Color32, FontId, Rangef, Rect, Sense, Stroke, StrokeKind, Vec2, pos2};

const ROW: f32 = 20.0;
const GAP: f32 = 8.0;
/// Width of the names of rows.
const NAMES: f32 = 110.0;
const HEADER: f32 = 20.0;
/// Of messages that are sent within so many pixels, not all are drawn.
const ARROWS: f64 = 2.0;

/// How the lanes are looked at.
#[derive(Debug, Default)]
pub(crate) struct LanesView {
    axis: Option<Axis>,
}

/// A row as it is drawn.
struct Row<'a> {
    lane: &'a Lane,
    is_measured: bool,
    top: f32,
}

impl LanesView {
    pub(crate) fn draw(
        &mut self,
        ui: &mut egui::Ui,
        side: &Side,
        selected: Option<NodeIx>,
        actions: &mut Vec<Action>,
    ) {
        let document = &side.document;
        let Some(lanes) = lanes_of(document) else {
            ui.label("Nothing was measured: open with --trace TRACE.json of `heddle trace`.");
            if super::named_button(ui, "Predict", "Predict when each step should be").clicked() {
                actions.push(Action::Predict);
            }
            return;
        };
        let (from, to) = lanes.extent_us();
        let mut axis = Axis::kept(self.axis, from, to);
        ui.horizontal(|ui| {
            axis.buttons(ui, "lanes");
            ui.label(match (lanes.measured.is_empty(), lanes.predictions.is_empty()) {
                (true, _) => "predicted; nothing was measured".to_owned(),
                (false, true) => "predicted above, measured below".to_owned(),
                (false, false) => format!("predicted above, measured below; {}", lanes.predictions),
            });
        });
        egui::ScrollArea::vertical().id_salt("lanes").show(ui, |ui| {
            let rows = rows(lanes);
            let height = rows.last().map_or(0.0, |row| row.top + ROW) + GAP;
            let size = egui::vec2(ui.available_width(), height.max(ui.available_height() - 4.0));
            let (all, response) = ui.allocate_exact_size(size, Sense::click_and_drag());
            super::name(&response, egui::accesskit::Role::Canvas, "Lanes in time");
            let rect = Rect::from_min_max(pos2(all.left() + NAMES, all.top()), all.max);
            axis.listen(ui, rect, &response);
            steps::listen(ui, &response, (side, None), selected, actions);
            let under = response.hover_pos().filter(|at| at.x > rect.left()).and_then(|at| {
                let row = rows.iter().find(|row| (row.top..row.top + ROW).contains(&(at.y - all.top())))?;
                let pixel = (axis.at(rect, 1.0) - axis.at(rect, 0.0)).abs();
                found(row.lane, axis.at(rect, at.x), pixel).map(|span| (row, span))
            });
            draw_rows(ui, (all, rect), &axis, &rows, document, selected);
            if let Some((row, span)) = under {
                if response.clicked()
                    && let Some(node) = node_of(document, row.lane, span)
                {
                    actions.push(Action::Reveal(side.spot_of_plan(node)));
                }
                response.on_hover_ui_at_pointer(|ui| about(ui, row, span));
            }
        });
        self.axis = Some(axis);
    }

    /// Shows the first span of a node's step.
    pub(crate) fn reveal(&mut self, document: &Document, node: NodeIx) {
        let (Some(axis), Some(lanes), Some(plan)) = (&mut self.axis, &document.trace, &document.plan) else {
            return;
        };
        let Some(step) = plan.steps.get(&node).and_then(|steps| steps.first()) else { return };
        let lane = lanes.measured.iter().find(|lane| lane.thread == Some(step.thread));
        let span = lane.and_then(|lane| lane.spans.iter().find(|span| span.step == Some(step.step)));
        if let Some(span) = span {
            axis.reveal(span.begin_us, span.begin_us + span.us);
        }
    }
}

/// What is drawn: a run with what was predicted of it, else the prediction alone.
fn lanes_of(document: &Document) -> Option<&Lanes> {
    document.trace.as_ref().or(document.spans.as_ref())
}

/// Each thread's prediction above what was measured of it.
fn rows(lanes: &Lanes) -> Vec<Row<'_>> {
    let mut threads: Vec<Option<u32>> =
        lanes.measured.iter().chain(&lanes.predicted).map(|lane| lane.thread).collect();
    threads.sort_unstable();
    threads.dedup();
    let mut rows = vec![];
    let mut top = HEADER;
    for thread in threads {
        for (all, is_measured) in [(&lanes.predicted, false), (&lanes.measured, true)] {
            let is_it =
                |lane: &&Lane| lane.thread == thread && !(lane.spans.is_empty() && lane.rounds.is_empty());
            if let Some(lane) = all.iter().find(is_it) {
                rows.push(Row { lane, is_measured, top });
                top += ROW;
            }
        }
        top += GAP;
    }
    rows
}

/// The innermost span at a time; where it is too thin to be hit, the one next to it.
fn found(lane: &Lane, at: f64, pixel: f64) -> Option<&Span> {
    let hit = |span: &&Span| span.begin_us - pixel <= at && at <= span.begin_us + span.us + pixel;
    let near = [&lane.rounds, &lane.spans].map(|track| track.between(at - pixel, at + pixel));
    near.into_iter().flatten().filter(hit).min_by(|a, b| a.us.total_cmp(&b.us))
}

fn node_of(document: &Document, lane: &Lane, span: &Span) -> Option<NodeIx> {
    let plan = document.plan.as_ref()?;
    plan.nodes.get(lane.thread? as usize)?.get(span.step? as usize).copied().flatten()
}

fn about(ui: &mut egui::Ui, row: &Row<'_>, span: &Span) {
    match span.kind {
        SpanKind::Kernel => ui.strong(format!("kernel {}", span.name)),
        // Their names say what they are.
        SpanKind::Round | SpanKind::Send | SpanKind::Receive => ui.strong(&span.name),
    };
    ui.label(format!("on {}, from {}", row.lane.name, units::time_us(span.begin_us)));
    let kind = if row.is_measured { "measured" } else { "predicted" };
    ui.label(format!("{} {kind}", units::time_us(span.us)));
    if let (true, Some(predicted)) = (row.is_measured, span.predicted_us) {
        ui.label(format!("{} predicted", units::time_us(predicted)));
    }
    if let Some(bytes) = span.bytes {
        ui.label(units::bytes(bytes));
    }
}

fn draw_rows(
    ui: &egui::Ui,
    (all, rect): (Rect, Rect),
    axis: &Axis,
    rows: &[Row<'_>],
    document: &Document,
    selected: Option<NodeIx>,
) {
    let palette = Palette::of_ui(ui);
    let painter = ui.painter_at(all);
    let font = FontId::proportional(11.0);
    for mark in marks(axis.shown(), 8) {
        let x = axis.x(rect, mark);
        painter.vline(
            x,
            rect.top() + HEADER..=rect.bottom(),
            Stroke::new(0.5, palette.outline.gamma_multiply(0.5)),
        );
        painter.text(
            pos2(x + 2.0, rect.top() + 2.0),
            Align2::LEFT_TOP,
            units::time_us(mark),
            font.clone(),
            palette.weak,
        );
    }
    let clipped = painter.with_clip_rect(rect.intersect(painter.clip_rect()));
    for row in rows {
        let top = all.top() + row.top;
        if !clipped.clip_rect().y_range().intersects(Rangef::new(top, top + ROW)) {
            continue;
        }
        let what = if row.is_measured { "measured" } else { "predicted" };
        let at = pos2(all.left() + 4.0, top + ROW / 2.0);
        painter.text(
            at,
            Align2::LEFT_CENTER,
            format!("{} {what}", row.lane.name),
            font.clone(),
            palette.text,
        );
        draw_row(
            &clipped,
            Rect::from_min_size(pos2(rect.left(), top), Vec2::new(rect.width(), ROW - 2.0)),
            axis,
            row,
            (document, selected, &palette),
        );
    }
    if let Some(lanes) = lanes_of(document) {
        draw_arrows(&clipped, (all, rect), axis, rows, (lanes, &palette));
    }
}

fn draw_row(
    painter: &egui::Painter,
    rect: Rect,
    axis: &Axis,
    row: &Row<'_>,
    (document, selected, palette): (&Document, Option<NodeIx>, &Palette),
) {
    let base =
        match row.lane.thread.and_then(|thread| document.plan.as_ref()?.plan.threads.get(thread as usize)) {
            Some(thread) => theme::device(thread.device.0),
            None => palette.outline,
        };
    let (from, to) = axis.shown();
    let pixel = (axis.at(rect, 1.0) - axis.at(rect, 0.0)).abs();
    let bar = |span: &Span| {
        let (left, right) = (axis.x(rect, span.begin_us), axis.x(rect, span.begin_us + span.us));
        Rect::from_min_max(
            pos2(left.max(rect.left() - 4.0), rect.top()),
            pos2(right.max(left + 1.0).min(rect.right() + 4.0), rect.bottom()),
        )
    };
    for round in row.lane.rounds.apart(from, to, pixel) {
        painter.rect_filled(bar(round), 1.0, base.gamma_multiply(0.18));
    }
    // What is narrower than a pixel is drawn once for all that share the pixel.
    for span in row.lane.spans.apart(from, to, pixel) {
        let bar = bar(span);
        let (bar, fill) = match span.kind {
            SpanKind::Kernel if row.is_measured => (bar.shrink2(Vec2::new(0.0, 2.0)), base),
            SpanKind::Kernel => (bar.shrink2(Vec2::new(0.0, 2.0)), base.gamma_multiply(0.6)),
            SpanKind::Send => (bar.shrink2(Vec2::new(0.0, 5.0)), palette.text),
            SpanKind::Receive | SpanKind::Round => (bar.shrink2(Vec2::new(0.0, 7.5)), palette.weak),
        };
        painter.rect_filled(bar, 1.0, fill);
        let is_selected = selected.is_some() && node_of(document, row.lane, span) == selected;
        if bar.width() > 3.0 && span.kind == SpanKind::Kernel {
            painter.rect_stroke(bar, 1.0, Stroke::new(0.5, palette.canvas), StrokeKind::Inside);
        }
        if is_selected {
            painter.rect_stroke(bar.expand(1.0), 1.0, Stroke::new(2.0, palette.text), StrokeKind::Outside);
        }
        if bar.width() > 40.0 && span.kind == SpanKind::Kernel {
            label(painter, bar, span, theme::ink(fill));
        }
    }
}

/// Messages, from the row of who sends to the row of who has them.
fn draw_arrows(
    painter: &egui::Painter,
    (all, rect): (Rect, Rect),
    axis: &Axis,
    rows: &[Row<'_>],
    (lanes, palette): (&Lanes, &Palette),
) {
    let (from, to) = axis.shown();
    let pixel = (axis.at(rect, 1.0) - axis.at(rect, 0.0)).abs();
    for (arrows, is_measured) in [(&lanes.predicted_arrows, false), (&lanes.measured_arrows, true)] {
        let middle = |thread: Option<u32>| {
            let row = rows.iter().find(|row| row.lane.thread == thread && row.is_measured == is_measured)?;
            Some(all.top() + row.top + ROW / 2.0)
        };
        for arrow in arrows.apart(from, to, ARROWS * pixel) {
            let (Some(sender), Some(reader)) = (middle(arrow.from), middle(arrow.to)) else { continue };
            let begin = pos2(axis.x(rect, arrow.sent_us), sender);
            let end = pos2(axis.x(rect, arrow.arrived_us), reader);
            painter.line_segment([begin, end], Stroke::new(1.0, palette.accent));
            painter.circle_filled(end, 2.0, palette.accent);
        }
    }
}

fn label(painter: &egui::Painter, bar: Rect, span: &Span, colour: Color32) {
    let seen = bar.intersect(painter.clip_rect());
    let text = units::shortened(&span.name, (seen.width() / 6.0) as usize);
    painter.text(
        seen.left_center() + Vec2::new(3.0, 0.0),
        Align2::LEFT_CENTER,
        text,
        FontId::proportional(10.0),
        colour,
    );
}
