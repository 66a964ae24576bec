//! Small controls that every panel has, each with its name for screen readers and tests.
use super::theme::{self, Palette, Pattern};
use super::units;
use eframe::egui::accesskit::Role;
use eframe::egui::text::{LayoutJob, TextWrapping};
use eframe::egui::{
    self, Align2, Color32, EventFilter, FontId, Painter, Pos2, Rect, Response, Sense, Stroke, StrokeKind,
    WidgetInfo, pos2, vec2,
};

/// Letters that fit into a line at most.
const LETTERS_MOST: usize = 1_000;

/// Gives a control its name.
pub(crate) fn name(response: &Response, role: Role, name: &str) {
    response.widget_info(|| WidgetInfo::labeled(role, response.enabled(), name));
}

/// A button whose text is too short to say what it does.
pub(crate) fn named_button(ui: &mut egui::Ui, text: &str, what: &str) -> Response {
    let response = ui.button(text);
    name(&response, Role::Button, what);
    if text == what { response } else { response.on_hover_text(what) }
}

/// A button that stays pressed.
pub(crate) fn named_toggle(ui: &mut egui::Ui, is_on: &mut bool, text: &str, what: &str) -> Response {
    let response = ui.toggle_value(is_on, text);
    response.widget_info(|| WidgetInfo::selected(Role::Button, response.enabled(), *is_on, what));
    if text == what { response } else { response.on_hover_text(what) }
}

/// A line of text to be written.
pub(crate) fn named_edit(
    ui: &mut egui::Ui,
    text: &mut String,
    what: &str,
    hint: &str,
    width: f32,
) -> Response {
    let response = ui.add(egui::TextEdit::singleline(text).hint_text(hint).desired_width(width));
    response.ctx.accesskit_node_builder(response.id, |node| node.set_label(what));
    response
}

/// A button of the panel's width with a title and something smaller beneath.
pub(crate) fn two_lines(
    ui: &mut egui::Ui,
    [title, below]: &[String; 2],
    height: f32,
    is_on: bool,
) -> Response {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::click());
    let visuals = ui.style().interact_selectable(&response, is_on);
    if is_on || response.hovered() || response.has_focus() {
        ui.painter().rect(rect, 3.0, visuals.weak_bg_fill, visuals.bg_stroke, StrokeKind::Inside);
    }
    let palette = Palette::of_ui(ui);
    let room = rect.shrink2(vec2(6.0, 0.0));
    for (text, size, part, colour) in [(title, 13.0, 0.28, palette.text), (below, 11.0, 0.74, palette.weak)] {
        let left = pos2(room.left(), rect.top() + rect.height() * part);
        draw_line(ui.painter(), left, (text, FontId::proportional(size), room.width()), colour);
    }
    response
}

/// A line of text in the middle of whose left side a point is; what does not fit ends with `…`.
pub(crate) fn draw_line(
    painter: &Painter,
    left: Pos2,
    (text, font, room): (&str, FontId, f32),
    colour: Color32,
) {
    // No line has room for more.
    let text = units::shortened(text, LETTERS_MOST);
    let mut job = LayoutJob::simple_singleline(text, font, colour);
    // Steps of a few points, so that panning and zooming find what was laid out before.
    job.wrap = TextWrapping::truncate_at_width((room / 4.0).ceil().max(1.0) * 4.0);
    let galley = painter.layout_job(job);
    painter.galley(left - vec2(0.0, galley.size().y / 2.0), galley, colour);
}

/// Has a control that has the focus hear arrows and Escape itself, instead of losing the focus by them.
pub(crate) fn keep_keys(ui: &egui::Ui, response: &Response) {
    let filter = EventFilter { horizontal_arrows: true, vertical_arrows: true, escape: true, tab: false };
    ui.memory_mut(|memory| memory.set_focus_lock_filter(response.id, filter));
}

/// A device's colour, pattern and letter.
pub(crate) fn badge(ui: &mut egui::Ui, device: u32) -> Response {
    let letters = theme::letters(device);
    let (rect, response) =
        ui.allocate_exact_size(vec2(12.0 + 6.0 * letters.len() as f32, 16.0), Sense::hover());
    draw_badge(ui.painter(), rect, device);
    response
}

/// The same, somewhere on a canvas.
pub(crate) fn draw_badge(painter: &Painter, rect: Rect, device: u32) {
    let colour = theme::device(device);
    painter.rect_filled(rect, 3.0, colour);
    let font = FontId::proportional(rect.height() * 0.72);
    painter.text(rect.center(), Align2::CENTER_CENTER, theme::letters(device), font, theme::ink(colour));
}

/// Lines over a device's colour.
pub(crate) fn draw_pattern(painter: &Painter, rect: Rect, pattern: Pattern, palette: &Palette) {
    let stroke = Stroke::new(1.2, palette.node);
    let (step, width) = (6.0, rect.width());
    let painter = painter.with_clip_rect(rect.intersect(painter.clip_rect()));
    let mut y = rect.top() - width;
    while pattern != Pattern::Plain && y < rect.bottom() + width {
        let (left, right) = match pattern {
            Pattern::Rising => (y + width, y),
            Pattern::Falling => (y, y + width),
            Pattern::Level | Pattern::Plain => (y, y),
        };
        painter.line_segment([pos2(rect.left(), left), pos2(rect.right(), right)], stroke);
        y += step;
    }
}
