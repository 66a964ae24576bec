//! From the drawing's coordinates to the screen's and back: where the canvas is looked at, and how closely.
use eframe::egui::{Pos2, Rect, Vec2, pos2};

/// The widest view: a point of the drawing is that much of a point of the screen.
const ZOOM_LEAST: f32 = 0.002;
/// The closest view.
const ZOOM_MOST: f32 = 8.0;
/// Text can be read well.
const LEGIBLE: f32 = 0.8;
/// Text can still be read.
const LEGIBLE_LEAST: f32 = 0.55;
/// What is left around a drawing that is fitted, in points of the screen.
const MARGIN: f32 = 28.0;

/// Where the canvas is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Camera {
    /// The drawing's point in the middle of the canvas.
    pub(crate) centre: Pos2,
    /// Points of the screen for a point of the drawing.
    pub(crate) zoom: f32,
}

impl Camera {
    /// Shows all of a drawing, no larger than it is.
    pub(crate) fn fitting(drawing: Rect, canvas: Rect) -> Camera {
        let room = (canvas.size() - Vec2::splat(2.0 * MARGIN)).max(Vec2::splat(1.0));
        let size = drawing.size().max(Vec2::splat(1.0));
        let zoom = (room.x / size.x).min(room.y / size.y).clamp(ZOOM_LEAST, 1.0);
        Camera { centre: drawing.center(), zoom }
    }

    pub(crate) fn to_screen(self, canvas: Rect, point: Pos2) -> Pos2 {
        canvas.center() + (point - self.centre) * self.zoom
    }

    pub(crate) fn to_drawing(self, canvas: Rect, point: Pos2) -> Pos2 {
        self.centre + (point - canvas.center()) / self.zoom
    }

    pub(crate) fn rect_to_screen(self, canvas: Rect, rect: Rect) -> Rect {
        Rect::from_min_max(self.to_screen(canvas, rect.min), self.to_screen(canvas, rect.max))
    }

    /// What of the drawing can be seen.
    pub(crate) fn visible(self, canvas: Rect) -> Rect {
        Rect::from_min_max(self.to_drawing(canvas, canvas.min), self.to_drawing(canvas, canvas.max))
    }

    /// Moves the drawing by so many points of the screen.
    pub(crate) fn pan(&mut self, by: Vec2) {
        self.centre -= by / self.zoom;
    }

    /// Comes closer by a factor, while a point of the screen stays where it is.
    pub(crate) fn zoom_at(&mut self, canvas: Rect, point: Pos2, factor: f32) {
        let fixed = self.to_drawing(canvas, point);
        self.zoom = (self.zoom * factor).clamp(ZOOM_LEAST, ZOOM_MOST);
        self.centre = fixed - (point - canvas.center()) / self.zoom;
    }

    /// Moves no more than is needed to see a part of the drawing, as closely as its text can be read; of what is too
    /// large for that, the beginning.
    pub(crate) fn reveal(&mut self, canvas: Rect, part: Rect) {
        let fits = Camera::fitting(part, canvas).zoom;
        self.zoom = self.zoom.max(fits.min(LEGIBLE)).min(fits.max(LEGIBLE_LEAST));
        let visible = self.visible(canvas).shrink(MARGIN / self.zoom);
        if !visible.contains_rect(part) {
            let size = visible.size();
            let from = |middle: f32, begin: f32, own: f32, room: f32| {
                if own > room { begin + room / 2.0 } else { middle }
            };
            self.centre = pos2(
                from(part.center().x, part.left(), part.width(), size.x),
                from(part.center().y, part.top(), part.height(), size.y),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eframe::egui::vec2;

    const CANVAS: Rect = Rect { min: pos2(100.0, 50.0), max: pos2(900.0, 650.0) };

    #[test]
    fn what_is_under_the_pointer_stays_there_while_zooming() {
        let mut camera = Camera { centre: pos2(30.0, -20.0), zoom: 0.7 };
        let pointer = pos2(211.0, 300.0);
        let before = camera.to_drawing(CANVAS, pointer);
        camera.zoom_at(CANVAS, pointer, 1.7);
        assert!((camera.to_screen(CANVAS, before) - pointer).length() < 1e-3);
        camera.zoom_at(CANVAS, pointer, 1e9);
        assert_eq!(camera.zoom, ZOOM_MOST);
    }

    #[test]
    fn a_fitted_drawing_is_seen_whole_and_never_enlarged() {
        for size in [vec2(10.0, 10.0), vec2(90_000.0, 40.0), vec2(3.0, 70_000.0)] {
            let drawing = Rect::from_min_size(pos2(-5.0, 12.0), size);
            let camera = Camera::fitting(drawing, CANVAS);
            assert!(CANVAS.contains_rect(camera.rect_to_screen(CANVAS, drawing)), "{size}");
            assert!(camera.zoom <= 1.0);
        }
    }

    #[test]
    fn what_is_revealed_can_be_seen_and_read() {
        let mut camera = Camera { centre: pos2(0.0, 0.0), zoom: 0.05 };
        let part = Rect::from_min_size(pos2(5000.0, 5000.0), vec2(160.0, 40.0));
        camera.reveal(CANVAS, part);
        assert!(camera.visible(CANVAS).contains_rect(part) && camera.zoom >= 0.8);
        let still = camera;
        camera.reveal(CANVAS, part);
        assert_eq!(camera, still);
    }
}
