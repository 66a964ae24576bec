//! The canvas: what a person does to it, and what is drawn there.
use super::camera::Camera;
use super::change::Carried;
use super::paint::Scene;
use super::side::{self, Side};
use super::theme::Palette;
use super::tint::{Colouring, Differences};
use super::watch::Traffic;
use super::{Action, units, widgets};
use crate::document::{Child, Hit};
use crate::layout::Picture;
use eframe::egui::accesskit::Role;
use eframe::egui::{self, Key, PointerButton, Rect, Response, Sense, Stroke, StrokeKind, pos2, vec2};
use std::collections::HashSet;

/// Smaller boxes cannot be pointed at, in points.
const POINTED_LEAST: f32 = 7.0;
/// More hits are not marked.
const MARKED_MOST: usize = 2_000;
/// Points of the screen that a key moves the drawing.
const KEY_PAN: f32 = 80.0;
/// What a key comes closer by.
pub(crate) const KEY_ZOOM: f32 = 1.4;

/// What a canvas is told beside its document.
pub(crate) struct Look<'a> {
    /// What it is called, where there are two.
    pub(crate) name: &'a str,
    pub(crate) colouring: Colouring,
    pub(crate) differences: Option<&'a Differences>,
    pub(crate) hits: &'a [Hit],
    pub(crate) traffic: &'a Traffic,
    /// Whether boxes can be dragged onto devices.
    pub(crate) can_carry: bool,
}

/// What of a canvas is kept from frame to frame.
#[derive(Debug, Default)]
pub(crate) struct Canvas {
    marked: HashSet<usize>,
    /// For which picture and which hits.
    marked_for: Option<(u64, usize, Option<Hit>)>,
    /// Where it was drawn.
    pub(crate) rect: Option<Rect>,
}

impl Canvas {
    pub(crate) fn draw(
        &mut self,
        ui: &mut egui::Ui,
        side: &mut Side,
        look: &Look<'_>,
        actions: &mut Vec<Action>,
    ) {
        let palette = Palette::of_ui(ui);
        let canvas = ui.available_rect_before_wrap();
        self.rect = Some(canvas);
        let response = ui.interact(canvas, ui.scope_id().with(look.name), Sense::click_and_drag());
        widgets::name(&response, Role::Canvas, look.name);
        side.prepare();
        side.tint(look.colouring, &palette, look.differences);
        let mut camera = aim(side, canvas);
        listen(ui, &response, &mut camera, canvas);
        side.camera = Some(camera);
        self.mark(side, look.hits);
        let side = &*side;
        let Some((picture, crossings)) = side.picture() else { return };
        if response.has_focus() {
            keys(ui, side, picture, actions);
        }
        let scene = Scene {
            side,
            picture,
            crossings,
            colouring: look.colouring,
            tints: side.tints(),
            canvas,
            camera,
            palette,
            selected: side.selected.and_then(|child| side.item(child)),
            hits: &self.marked,
            traffic: look.traffic,
            time: ui.input(|input| input.time),
        };
        let painter = ui.painter_at(canvas);
        painter.rect_filled(canvas, 0.0, palette.canvas);
        let visible = scene.visible();
        scene.draw(&painter, &visible);
        for (at, rect) in
            visible.iter().filter(|(_, rect)| rect.height() > POINTED_LEAST && rect.width() > POINTED_LEAST)
        {
            point(ui, &scene, (*at, *rect), look, &response, actions);
        }
        // Keys that open a group count as clicks, too, of what has the focus.
        if response.clicked_by(PointerButton::Primary) {
            response.request_focus();
            actions.push(Action::Select(None));
        }
        if response.has_focus() {
            ui.painter().rect_stroke(canvas, 0.0, Stroke::new(1.5, palette.accent), StrokeKind::Inside);
        }
    }

    /// Finds the boxes of what was found.
    fn mark(&mut self, side: &Side, hits: &[Hit]) {
        let of = Some((side.generation, hits.len(), hits.first().copied()));
        if self.marked_for == of {
            return;
        }
        let tree = &side.shown().tree;
        let find = |hit: &Hit| side.picture().and_then(|(picture, _)| picture.item_of(tree, hit.node));
        self.marked = hits.iter().take(MARKED_MOST).filter_map(find).collect();
        self.marked_for = of;
    }
}

/// Where to look: where one looked before, at what is wanted, or at all of it.
fn aim(side: &mut Side, canvas: Rect) -> Camera {
    let whole = side.picture().map(|(picture, _)| {
        Rect::from_min_size(pos2(0.0, 0.0), vec2(picture.size.width, picture.size.height))
    });
    let mut camera = side.camera.unwrap_or_else(|| Camera::fitting(whole.unwrap_or(canvas), canvas));
    let wanted = side.wanted.take().and_then(|child| side.item(child));
    if let Some(item) = wanted.and_then(|at| side.picture().map(|(picture, _)| picture.items[at])) {
        camera.reveal(canvas, side::rect(&item.rect));
    }
    camera
}

/// Pointer, wheel and the keys that move the drawing.
fn listen(ui: &egui::Ui, response: &Response, camera: &mut Camera, canvas: Rect) {
    if response.dragged() {
        camera.pan(response.drag_delta());
    }
    let over =
        ui.rect_contains_pointer(canvas).then(|| ui.input(|input| input.pointer.hover_pos())).flatten();
    if let Some(pointer) = over {
        let (scroll, zoom) = ui.input(|input| (input.smooth_scroll_delta(), input.zoom_delta()));
        let factor = zoom * (scroll.y / 240.0).exp();
        if factor != 1.0 {
            camera.zoom_at(canvas, pointer, factor);
        }
        camera.pan(vec2(scroll.x, 0.0));
    }
    if !response.has_focus() {
        return;
    }
    widgets::keep_keys(ui, response);
    ui.input(|input| {
        for (key, by) in [(Key::Plus, KEY_ZOOM), (Key::Equals, KEY_ZOOM), (Key::Minus, 1.0 / KEY_ZOOM)] {
            if input.key_pressed(key) {
                camera.zoom_at(canvas, canvas.center(), by);
            }
        }
        for (key, by) in [
            (Key::W, vec2(0.0, KEY_PAN)),
            (Key::S, vec2(0.0, -KEY_PAN)),
            (Key::A, vec2(KEY_PAN, 0.0)),
            (Key::D, vec2(-KEY_PAN, 0.0)),
        ] {
            if input.modifiers.is_none() && input.key_pressed(key) {
                camera.pan(by);
            }
        }
    });
}

/// The keys that go from box to box.
fn keys(ui: &egui::Ui, side: &Side, picture: &Picture, actions: &mut Vec<Action>) {
    let pressed = |key| ui.input(|input| input.key_pressed(key));
    if pressed(Key::Home) {
        actions.push(Action::Fit);
    }
    if pressed(Key::Escape) {
        actions.push(Action::Select(None));
    }
    if let (true, Some(group @ Child::Group(_))) = (pressed(Key::Enter) || pressed(Key::Space), side.selected)
    {
        actions.push(Action::Toggle(side.spot(group)));
    }
    for (key, by) in [(Key::OpenBracket, -1isize), (Key::CloseBracket, 1)] {
        if let (true, Some(pass)) = (pressed(key), side.pass.checked_add_signed(by)) {
            actions.push(Action::Pass(pass));
        }
    }
    let ways = [
        (Key::ArrowUp, vec2(0.0, -1.0)),
        (Key::ArrowDown, vec2(0.0, 1.0)),
        (Key::ArrowLeft, vec2(-1.0, 0.0)),
        (Key::ArrowRight, vec2(1.0, 0.0)),
    ];
    for (_, way) in ways.into_iter().filter(|(key, _)| pressed(*key)) {
        let at = side.selected.and_then(|child| side.item(child));
        if let Some(next) = neighbour(picture, at, way) {
            actions.push(Action::Reveal(side.spot(picture.items[next].what)));
        }
    }
}

/// The next box in a direction: near, and rather straight on.
fn neighbour(picture: &Picture, from: Option<usize>, way: egui::Vec2) -> Option<usize> {
    let Some(from) = from else { return (!picture.items.is_empty()).then_some(0) };
    let rect = side::rect(&picture.items[from].rect);
    let cost = |at: usize| {
        let other = side::rect(&picture.items[at].rect);
        let to = other.center() - rect.center();
        let (along, across) = (to.dot(way), (to.x * way.y - to.y * way.x).abs());
        (along > 1.0).then_some(along + 2.0 * across)
    };
    let others = (0..picture.items.len()).filter(|at| *at != from && !picture.items[*at].is_open);
    others.filter_map(|at| Some((cost(at)?, at))).min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, at)| at)
}

/// A box as a control.
fn point(
    ui: &mut egui::Ui,
    scene: &Scene<'_>,
    (at, rect): (usize, Rect),
    look: &Look<'_>,
    canvas: &Response,
    actions: &mut Vec<Action>,
) {
    let item = &scene.picture.items[at];
    let spot = scene.side.spot(item.what);
    let shown = scene.side.shown();
    let area = if item.is_open { scene.title_rect(rect) } else { rect }.intersect(scene.canvas);
    let (id, title) = match item.what {
        Child::Node(node) => (
            canvas.id.with(("node", node.0)),
            format!("{}, {}", shown.flow[node].title(), shown.flow[node].op),
        ),
        Child::Group(group) => {
            let own = &shown.tree[group];
            let times = if item.times > 1 { format!(", {} equal ones", item.times) } else { String::new() };
            (canvas.id.with(("group", group.0)), format!("Group {}, {} nodes{times}", own.path, own.count))
        }
    };
    let sense = if look.can_carry { Sense::click_and_drag() } else { Sense::click() };
    let response = ui.interact(area, id, sense);
    let is_selected = scene.selected == Some(at);
    response.widget_info(|| egui::WidgetInfo::selected(Role::Button, true, is_selected, &title));
    if look.can_carry {
        response.dnd_set_drag_payload(Carried(spot));
        if response.drag_started() {
            // So that the panel is about the document from which it is dragged.
            actions.push(Action::Select(Some(spot)));
        }
        if response.dragged()
            && let Some(pointer) = ui.input(|input| input.pointer.hover_pos())
        {
            let ghost = Rect::from_min_size(pointer + vec2(8.0, 8.0), vec2(140.0, 24.0));
            let over = ui.ctx().layer_painter(egui::LayerId::new(egui::Order::Tooltip, response.id));
            over.rect_filled(ghost, 4.0, scene.palette.accent);
            over.text(
                ghost.center(),
                egui::Align2::CENTER_CENTER,
                &title,
                egui::FontId::proportional(11.0),
                scene.palette.canvas,
            );
        }
    }
    if response.has_focus() {
        let stroke = Stroke::new(2.0, scene.palette.accent);
        ui.painter().rect_stroke(area, 3.0, stroke, StrokeKind::Outside);
    }
    if let Child::Group(_) = item.what {
        let is_on_sign = response
            .interact_pointer_pos()
            .is_some_and(|pos| pos.x < rect.left() + 26.0 * scene.camera.zoom.min(1.0));
        if response.double_clicked() || (response.clicked() && is_on_sign) {
            actions.push(Action::Toggle(spot));
        }
    }
    if response.clicked() {
        canvas.request_focus();
        actions.push(Action::Select(Some(spot)));
    }
    response.on_hover_ui_at_pointer(|ui| {
        ui.strong(&title);
        if let Child::Node(node) = item.what {
            let ty = shown.flow[node].ty.as_ref().map(ToString::to_string).unwrap_or_default();
            ui.label(units::shortened(&ty, 400));
        }
        if let Some(note) = &scene.tints[at].note {
            ui.label(note);
        }
    });
}
