//! A stretch of time or of steps that is looked at more or less closely, by wheel, drag, keys and buttons.
use eframe::egui::{self, Key, Rect, Response};

/// What a key or a button does to an axis at once.
const STEP: f64 = 1.5;
/// Of all that there is, the least that is looked at.
const CLOSEST: f64 = 1e-6;

/// The part of a stretch that is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Axis {
    /// All that there is.
    whole: (f64, f64),
    /// What is looked at.
    shown: (f64, f64),
}

impl Axis {
    pub(crate) fn new(from: f64, to: f64) -> Axis {
        let whole = (from, if to > from { to } else { from + 1.0 });
        Axis { whole, shown: whole }
    }

    /// The same view, if it is of the same stretch.
    pub(crate) fn kept(before: Option<Axis>, from: f64, to: f64) -> Axis {
        let new = Axis::new(from, to);
        before.filter(|axis| axis.whole == new.whole).unwrap_or(new)
    }

    /// Where something lies on the screen.
    pub(crate) fn x(&self, rect: Rect, at: f64) -> f32 {
        let part = (at - self.shown.0) / (self.shown.1 - self.shown.0);
        rect.left() + (part * f64::from(rect.width())) as f32
    }

    /// What lies at a point of the screen.
    pub(crate) fn at(&self, rect: Rect, x: f32) -> f64 {
        let part = f64::from((x - rect.left()) / rect.width().max(1.0));
        self.shown.0 + part * (self.shown.1 - self.shown.0)
    }

    pub(crate) fn shown(&self) -> (f64, f64) {
        self.shown
    }

    pub(crate) fn zoom(&mut self, around: f64, factor: f64) {
        let least = (self.whole.1 - self.whole.0) * CLOSEST;
        let width = ((self.shown.1 - self.shown.0) / factor).clamp(least, self.whole.1 - self.whole.0);
        let part = (around - self.shown.0) / (self.shown.1 - self.shown.0);
        self.shown = (around - part * width, around + (1.0 - part) * width);
        self.stay_inside();
    }

    pub(crate) fn pan(&mut self, by: f64) {
        self.shown = (self.shown.0 + by, self.shown.1 + by);
        self.stay_inside();
    }

    /// Shows a part, with something around it.
    pub(crate) fn reveal(&mut self, from: f64, to: f64) {
        if from < self.shown.0 || to > self.shown.1 {
            let width = (self.shown.1 - self.shown.0).max((to - from) * STEP);
            let middle = (from + to) / 2.0;
            self.shown = (middle - width / 2.0, middle + width / 2.0);
            self.stay_inside();
        }
    }

    /// What pointer and keys say of it.
    pub(crate) fn listen(&mut self, ui: &egui::Ui, rect: Rect, response: &Response) {
        let width = self.shown.1 - self.shown.0;
        if response.dragged() {
            self.pan(-f64::from(response.drag_delta().x / rect.width().max(1.0)) * width);
        }
        if let Some(pointer) = response.hover_pos() {
            let (scroll, zoom) = ui.input(|input| (input.smooth_scroll_delta(), input.zoom_delta()));
            let factor = f64::from(zoom) * f64::from(scroll.y / 200.0).exp();
            if factor != 1.0 {
                self.zoom(self.at(rect, pointer.x), factor);
            }
            self.pan(-f64::from(scroll.x / rect.width().max(1.0)) * width);
        }
        if response.has_focus() {
            super::widgets::keep_keys(ui, response);
            let stroke = egui::Stroke::new(1.5, ui.visuals().hyperlink_color);
            ui.painter().rect_stroke(response.rect, 0.0, stroke, egui::StrokeKind::Inside);
            let middle = (self.shown.0 + self.shown.1) / 2.0;
            ui.input(|input| {
                for (key, by) in [(Key::ArrowLeft, -0.2), (Key::ArrowRight, 0.2)] {
                    if input.key_pressed(key) {
                        self.pan(by * width);
                    }
                }
                for (key, by) in [(Key::Plus, STEP), (Key::Equals, STEP), (Key::Minus, 1.0 / STEP)] {
                    if input.key_pressed(key) {
                        self.zoom(middle, by);
                    }
                }
                if input.key_pressed(Key::Home) {
                    self.shown = self.whole;
                }
            });
        }
    }

    /// Buttons for those who have no wheel; `of` is what the axis is of.
    pub(crate) fn buttons(&mut self, ui: &mut egui::Ui, of: &str) {
        let middle = (self.shown.0 + self.shown.1) / 2.0;
        for (sign, name, by) in [("+", "Closer", STEP), ("−", "Farther", 1.0 / STEP)] {
            if super::named_button(ui, sign, &format!("{name}: {of}")).clicked() {
                self.zoom(middle, by);
            }
        }
        if super::named_button(ui, "All", &format!("All: {of}")).clicked() {
            self.shown = self.whole;
        }
    }

    fn stay_inside(&mut self) {
        let width = self.shown.1 - self.shown.0;
        let from = self.shown.0.clamp(self.whole.0, (self.whole.1 - width).max(self.whole.0));
        self.shown = (from, from + width);
    }
}

/// Round numbers for marks on an axis, about as many as asked for.
pub(crate) fn marks((from, to): (f64, f64), about: usize) -> Vec<f64> {
    let rough = (to - from) / about.max(1) as f64;
    if !rough.is_finite() || rough <= 0.0 {
        return vec![];
    }
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| *step >= rough).unwrap_or(rough);
    let first = (from / step).ceil();
    (0..).map(|n| (first + f64::from(n)) * step).take_while(|mark| *mark <= to).take(4 * about + 4).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use eframe::egui::{pos2, vec2};

    #[test]
    fn an_axis_never_leaves_what_there_is() {
        let mut axis = Axis::new(0.0, 100.0);
        axis.zoom(90.0, 4.0);
        assert_eq!(axis.shown(), (67.5, 92.5));
        axis.pan(1e6);
        assert_eq!(axis.shown(), (75.0, 100.0));
        axis.reveal(10.0, 12.0);
        assert!(axis.shown().0 <= 10.0 && axis.shown().1 >= 12.0);
        axis.zoom(0.0, 1e-9);
        assert_eq!(axis.shown(), (0.0, 100.0));
        let rect = Rect::from_min_size(pos2(10.0, 0.0), vec2(200.0, 10.0));
        assert_eq!(axis.at(rect, axis.x(rect, 25.0)), 25.0);
    }

    #[test]
    fn marks_are_round_and_few() {
        assert_eq!(marks((0.0, 100.0), 5), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(marks((0.3, 1.1), 4), [0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(marks((1.0, 1.0), 4), Vec::<f64>::new());
    }
}
