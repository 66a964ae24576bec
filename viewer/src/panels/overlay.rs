//! What only the first of two documents has, in the picture of the second.
use super::Side;
use super::camera::Camera;
use super::compare::Compared;
use super::theme::Palette;
use super::tint::Mark;
use super::widgets;
use crate::document::{Child, NodeIx};
use eframe::egui::accesskit::Role;
use eframe::egui::{self, FontId, Rect, Sense, Shape, Stroke, Vec2, pos2, vec2};

/// Between what is gone and what took its place, in points of the drawing.
const GAP: f32 = 20.0;
/// Letters are not drawn smaller, in points.
const TEXT_LEAST: f32 = 6.0;

/// Boxes that are gone, found anew where one of both pictures is another.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    of: Option<(u64, u64)>,
    ghosts: Vec<Ghost>,
}

/// A box of the first document whose nodes the second has no longer.
#[derive(Debug)]
struct Ghost {
    what: Child,
    title: String,
    /// Where, in the second's drawing.
    rect: Rect,
}

impl Overlay {
    /// Draws both as one: prepares the pictures, and goes to what is wanted of the first.
    pub(crate) fn prepare(&mut self, sides: &mut [Side], compared: &Compared, canvas: Option<Rect>) {
        let [first, second] = sides else { return };
        first.view = second.view.clone();
        first.prepare();
        second.prepare();
        let of = Some((first.generation, second.generation));
        if self.of != of {
            (self.of, self.ghosts) = (of, ghosts(first, second, compared));
        }
        let wanted = first.wanted.take();
        let ghost = self.ghosts.iter().find(|ghost| Some(ghost.what) == wanted);
        if let (Some(ghost), Some(camera), Some(canvas)) = (ghost, &mut second.camera, canvas) {
            camera.reveal(canvas, ghost.rect);
        }
    }

    /// Draws what is gone over the second's picture.
    pub(crate) fn draw(&self, ui: &mut egui::Ui, canvas: Rect, camera: Camera, selected: Option<Child>) {
        let palette = Palette::of_ui(ui);
        let painter = ui.painter_at(canvas);
        for (at, ghost) in self.ghosts.iter().enumerate() {
            let rect = camera.rect_to_screen(canvas, ghost.rect);
            if !rect.intersects(canvas) || rect.width() < 1.0 {
                continue;
            }
            let width = if Some(ghost.what) == selected { 3.0 } else { 1.5 };
            let corners =
                [rect.left_top(), rect.right_top(), rect.right_bottom(), rect.left_bottom(), rect.left_top()];
            painter.rect_filled(rect, 0.0, palette.canvas.gamma_multiply(0.6));
            painter.extend(Shape::dashed_line(&corners, Stroke::new(width, palette.removed), 6.0, 4.0));
            let size = 13.0 * camera.zoom;
            if size > TEXT_LEAST {
                let left = pos2(rect.left() + 8.0 * camera.zoom, rect.center().y);
                let text = format!("− {}", ghost.title);
                let room = rect.width() - 12.0 * camera.zoom;
                widgets::draw_line(
                    &painter,
                    left,
                    (&text, FontId::proportional(size.round()), room),
                    palette.removed,
                );
            }
            let response =
                ui.interact(rect.intersect(canvas), ui.scope_id().with(("gone", at)), Sense::hover());
            widgets::name(&response, Role::Label, &format!("Gone: {}", ghost.title));
            response.on_hover_text(format!("{}: only in what is compared with", ghost.title));
        }
    }
}

fn ghosts(first: &Side, second: &Side, compared: &Compared) -> Vec<Ghost> {
    let (Some((before, _)), Some((after, _))) = (first.picture(), second.picture()) else { return vec![] };
    let (old, new) = (first.shown(), second.shown());
    let is_gone = |node: &NodeIx| compared.differences[0].get(node.at()) == Some(&Some(Mark::Removed));
    // Where a node's box has moved to, if it has one in both pictures.
    let shift = |node: NodeIx| {
        let partner = compared.partner(0, node)?;
        let [from, to] = [(before, old, node), (after, new, partner)].map(|(picture, pass, node)| {
            let item = picture.items[picture.item_of(&pass.tree, node)?];
            Some(super::side::rect(&item.rect).center())
        });
        Some(to? - from?)
    };
    let mut ghosts = vec![];
    let mut taken: Vec<Rect> =
        after.items.iter().filter(|item| !item.is_open).map(|item| super::side::rect(&item.rect)).collect();
    // What stands beside nothing that is still there has moved as what stands before it.
    let mut last = Vec2::ZERO;
    for item in &before.items {
        let nodes = old.tree.nodes(item.what);
        if nodes.is_empty() || !nodes.iter().all(is_gone) {
            continue;
        }
        let beside = nodes.iter().flat_map(|node| old.flow[*node].inputs.iter().chain(old.flow.users(*node)));
        last = beside.copied().find_map(shift).unwrap_or(last);
        let title = match item.what {
            Child::Node(node) => format!("{}, {}", old.flow[node].title(), old.flow[node].op),
            Child::Group(group) => format!("group {}", old.tree[group].path),
        };
        let mut rect = super::side::rect(&item.rect).translate(last);
        // Beside what stands there now. Every step goes on to the right, past another box.
        while let Some(taken) = taken.iter().find(|taken| taken.intersects(rect)) {
            rect = rect.translate(vec2(taken.right() + GAP - rect.left(), 0.0));
        }
        taken.push(rect);
        ghosts.push(Ghost { what: item.what, title, rect });
    }
    ghosts
}
