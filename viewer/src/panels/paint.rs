//! Draws a picture: boxes, open groups and the lines between them, as closely as the camera looks.
use super::camera::Camera;
use super::heat::{Times, part_of_most, part_of_ratio};
use super::side::{self, Crossing, Side};
use super::theme::{self, Palette};
use super::tint::{Colouring, Tint};
use super::watch::Traffic;
use super::{units, widgets};
use crate::document::{Child, Role};
use crate::layout::{Item, Picture};
use eframe::egui::epaint::CubicBezierShape;
use eframe::egui::{
    Align2, Color32, FontId, Painter, Pos2, Rect, Shape, Stroke, StrokeKind, Vec2, pos2, vec2,
};
use ir::plan::End;
use std::collections::HashSet;

/// Text is not drawn where it would be smaller, in points.
const TEXT_LEAST: f32 = 6.0;
/// How large text is drawn where the drawing is as large as it is.
const TITLE: f32 = 13.0;
const SMALL: f32 = 10.5;
/// Titles are not drawn smaller where they have room.
const TITLE_LEAST: f32 = 8.0;

/// What is drawn, and how it is looked at.
pub(crate) struct Scene<'a> {
    pub(crate) side: &'a Side,
    pub(crate) picture: &'a Picture,
    pub(crate) crossings: &'a [Option<Crossing>],
    pub(crate) colouring: Colouring,
    pub(crate) tints: &'a [Tint],
    pub(crate) canvas: Rect,
    pub(crate) camera: Camera,
    pub(crate) palette: Palette,
    /// The box of what is selected.
    pub(crate) selected: Option<usize>,
    /// Boxes in which something was found.
    pub(crate) hits: &'a HashSet<usize>,
    /// What moves along edges, where something runs.
    pub(crate) traffic: &'a Traffic,
    /// Seconds, for what flashes and moves.
    pub(crate) time: f64,
}

/// A size that few others share, so that each letter is drawn in few sizes.
fn font(size: f32) -> FontId {
    let step = if size < 24.0 { 1.0 } else { 4.0 };
    FontId::proportional((size / step).round() * step)
}

impl Scene<'_> {
    /// The boxes that can be seen, in the order in which they are drawn.
    pub(crate) fn visible(&self) -> Vec<(usize, Rect)> {
        let visible = self.camera.visible(self.canvas);
        let all = self.picture.items.iter().enumerate();
        all.map(|(at, item)| (at, side::rect(&item.rect)))
            .filter(|(_, rect)| rect.intersects(visible))
            .map(|(at, rect)| (at, self.camera.rect_to_screen(self.canvas, rect)))
            .filter(|(_, rect)| rect.width() > 1.0)
            .collect()
    }

    pub(crate) fn draw(&self, painter: &Painter, visible: &[(usize, Rect)]) {
        for (at, rect) in visible.iter().filter(|(at, _)| self.picture.items[*at].is_open) {
            self.frame(painter, *at, *rect);
        }
        self.wires(painter);
        for (at, rect) in visible {
            let item = &self.picture.items[*at];
            match item.is_open {
                true => self.title(painter, *at, *rect),
                false => self.closed(painter, item, *at, *rect),
            }
        }
    }

    fn frame(&self, painter: &Painter, at: usize, rect: Rect) {
        let Child::Group(group) = self.picture.items[at].what else { return };
        let depth = self.side.shown().tree[group].depth as usize;
        let round = (8.0 * self.camera.zoom).clamp(1.0, 10.0);
        painter.rect(rect, round, self.palette.frames[depth % 2], self.outline(at, 1.0), StrokeKind::Inside);
    }

    /// The part of an open group's box in which its name stands.
    pub(crate) fn title_rect(&self, rect: Rect) -> Rect {
        let height = (28.0 * self.camera.zoom).max(14.0).min(rect.height());
        Rect::from_min_size(rect.min, vec2(rect.width(), height))
    }

    fn title(&self, painter: &Painter, at: usize, rect: Rect) {
        let item = &self.picture.items[at];
        let Child::Group(group) = item.what else { return };
        let own = &self.side.shown().tree[group];
        // Stays in sight while a part of the group is.
        // Titles of groups in one another then stand beneath one another.
        let first = self.canvas.top() + own.depth.saturating_sub(1) as f32 * 22.0;
        let top = rect.top().max(first).min(rect.bottom() - 20.0).max(rect.top());
        let left = rect.left().max(self.canvas.left()).min(rect.right() - 40.0).max(rect.left());
        let size = (TITLE * self.camera.zoom).clamp(11.0, 16.0);
        let room = rect.right() - left - 30.0;
        if room < 20.0 || rect.height() < 24.0 {
            return;
        }
        let times = if item.times > 1 { format!("  ×{}", item.times) } else { String::new() };
        let text = units::shortened(&format!("{}{times}", own.name), (room / (0.5 * size)) as usize);
        let at = pos2(left + 8.0 + size, top + 4.0);
        let galley = painter.layout_no_wrap(text, font(size), self.palette.text);
        let behind = Rect::from_min_max(pos2(left + 4.0, top + 3.0), at + galley.size() + vec2(4.0, 1.0));
        painter.rect_filled(behind, 3.0, self.palette.frames[own.depth as usize % 2].gamma_multiply(0.85));
        sign(
            painter,
            pos2(left + 5.0 + size / 2.0, top + 4.0 + galley.size().y / 2.0),
            size * 0.3,
            true,
            self.palette.text,
        );
        painter.galley(at, galley, self.palette.text);
    }

    fn outline(&self, at: usize, width: f32) -> Stroke {
        let tint = &self.tints[at];
        match () {
            () if self.selected == Some(at) => Stroke::new(3.0, self.palette.text),
            () if tint.is_loud => Stroke::new(3.0, tint.stroke),
            () if self.hits.contains(&at) && !self.picture.items[at].is_open => {
                Stroke::new(2.5, self.palette.accent)
            }
            () => Stroke::new(width, tint.stroke),
        }
    }

    fn closed(&self, painter: &Painter, item: &Item, at: usize, rect: Rect) {
        let (tint, zoom) = (&self.tints[at], self.camera.zoom);
        let is_group = matches!(item.what, Child::Group(_));
        let is_given =
            matches!(item.what, Child::Node(node) if self.side.shown().flow[node].role != Role::Value);
        let round = match (is_group, is_given) {
            (true, _) => 6.0 * zoom,
            (_, true) => rect.height() / 2.0,
            _ => 3.0 * zoom,
        };
        let round = round.clamp(0.0, 40.0);
        let is_small = rect.height() < 9.0;
        // Others behind it say that it holds something.
        if is_group && !is_small {
            for n in (1..=if item.times > 1 { 2 } else { 1 }).rev() {
                let behind = rect.translate(Vec2::splat(3.0 * zoom * n as f32));
                painter.rect(
                    behind,
                    round,
                    self.palette.node,
                    Stroke::new(1.0, tint.stroke),
                    StrokeKind::Inside,
                );
            }
        }
        let fill = if is_small { self.palette.node.lerp_to_gamma(tint.stroke, 0.6) } else { tint.fill };
        painter.rect(rect, round, fill, self.outline(at, 1.0), StrokeKind::Inside);
        if is_small {
            return;
        }
        if !is_given {
            self.stripes(painter, item.what, rect);
        }
        self.text(painter, item, at, rect);
        self.hidden(painter, at, rect);
    }

    /// What a box hides: messages between devices, and whatever stands still.
    fn hidden(&self, painter: &Painter, at: usize, rect: Rect) {
        let (Some(edges), Some(plan)) = (self.side.hidden().get(at), &self.side.document.plan) else {
            return;
        };
        let is_within = |edge: &&u32| {
            let message = plan.messages.get(**edge as usize);
            message.is_some_and(|message| message.from != End::Host && message.to != End::Host)
        };
        let within: Vec<u32> = edges.iter().filter(is_within).copied().collect();
        let stalled: Vec<u32> =
            edges.iter().copied().filter(|edge| self.traffic.stalled.contains(edge)).collect();
        let (text, colour) = match (&stalled[..], &within[..]) {
            ([], []) => return,
            ([], [_]) => ("1 edge".to_owned() + &self.waiting(&within), self.message_colour(&within)),
            ([], _) => {
                (format!("{} edges{}", within.len(), self.waiting(&within)), self.message_colour(&within))
            }
            (stalled, _) => (self.stall(stalled), self.flash()),
        };
        if !stalled.is_empty() {
            painter.rect_stroke(rect, 3.0, Stroke::new(4.0, colour), StrokeKind::Outside);
        }
        if self.camera.zoom > 0.3 {
            tag(painter, pos2(rect.center().x, rect.bottom() + 5.0), text, colour);
        }
        if self.has_moved(edges) {
            let across = self.time.rem_euclid(1.0) as f32;
            let at = pos2(rect.left() + rect.width() * across, rect.bottom());
            painter.circle(at, 5.0, self.palette.text, Stroke::new(2.0, colour));
        }
    }

    /// The devices of what is in a box, down its left side.
    fn stripes(&self, painter: &Painter, what: Child, rect: Rect) {
        let shown = self.side.shown();
        let devices = match what {
            Child::Node(node) => vec![shown.flow[node].device],
            Child::Group(group) => shown.tree[group].devices.clone(),
        };
        let width = (6.0 * self.camera.zoom).clamp(2.0, 10.0);
        let all = Rect::from_min_size(rect.min, vec2(width, rect.height()))
            .shrink2(vec2(0.0, 1.5))
            .translate(vec2(1.5, 0.0));
        let each = all.height() / devices.len().max(1) as f32;
        for (n, device) in devices.iter().enumerate() {
            let part = Rect::from_min_size(all.min + vec2(0.0, each * n as f32), vec2(width, each));
            painter.rect_filled(part, 1.0, theme::device(*device));
            if self.camera.zoom > 0.7 {
                widgets::draw_pattern(painter, part, theme::pattern(*device), &self.palette);
            }
        }
        let height = 13.0 * self.camera.zoom;
        if self.side.document.plan.is_some()
            && devices.len() == 1
            && height > 7.0
            && rect.height() > 2.0 * height
        {
            // Over the corner, where it hides no text.
            let size = vec2(height * (0.6 + 0.45 * theme::letters(devices[0]).len() as f32), height);
            let middle = rect.right_bottom() - size * 0.25;
            widgets::draw_badge(painter, Rect::from_center_size(middle, size), devices[0]);
        }
    }

    fn text(&self, painter: &Painter, item: &Item, at: usize, rect: Rect) {
        let (tint, zoom) = (&self.tints[at], self.camera.zoom);
        let (title_size, small_size) = ((TITLE * zoom).max(TITLE_LEAST), SMALL * zoom);
        if rect.height() < title_size * 1.4 {
            return;
        }
        let shown = self.side.shown();
        let (title, mut below) = match item.what {
            Child::Node(node) => {
                let own = &shown.flow[node];
                let ty = own.ty.as_ref().map(ToString::to_string).unwrap_or_default();
                match shown.tree.label(&shown.flow, node) {
                    // A number says less than what is computed.
                    label if label.starts_with('%') => (own.op.clone(), ty),
                    label => (label.to_owned(), format!("{} {ty}", own.op)),
                }
            }
            Child::Group(group) => {
                let own = &shown.tree[group];
                (own.name.clone(), format!("{} nodes", own.count))
            }
        };
        if let Some(note) = &tint.note {
            below.clone_from(note);
        }
        let mut left = rect.left() + 12.0 * zoom;
        let right = rect.right() - 6.0 * zoom;
        let mut room = right - left;
        if let Some((sign, colour)) = tint.mark {
            let centre = pos2(right - 4.0 * zoom, rect.top() + 10.0 * zoom);
            painter.circle_filled(centre, 7.0 * zoom, colour);
            painter.text(centre, Align2::CENTER_CENTER, sign, font(12.0 * zoom), theme::ink(colour));
            room -= 14.0 * zoom;
        }
        if item.times > 1 {
            let text = format!("×{}", item.times);
            let galley = painter.layout_no_wrap(text, font(title_size), self.palette.canvas);
            let corner = pos2(
                right - galley.size().x - if tint.mark.is_some() { 18.0 * zoom } else { 2.0 },
                rect.top() + 4.0 * zoom,
            );
            painter.rect_filled(
                Rect::from_min_size(corner, galley.size()).expand2(vec2(4.0, 0.0)),
                4.0,
                self.palette.text,
            );
            room -= galley.size().x + 10.0;
            painter.galley(corner, galley, self.palette.canvas);
        }
        let is_alone = small_size < TEXT_LEAST;
        let y = rect.top() + rect.height() * if is_alone { 0.5 } else { 0.32 };
        if matches!(item.what, Child::Group(_)) {
            sign(painter, pos2(left + 4.0 * zoom, y), 4.0 * zoom, false, tint.ink);
            left += 13.0 * zoom;
            room -= 13.0 * zoom;
        }
        widgets::draw_line(painter, pos2(left, y), (&title, font(title_size), room), tint.ink);
        if !is_alone {
            let place = pos2(rect.left() + 12.0 * zoom, rect.top() + rect.height() * 0.72);
            let weak = if tint.ink == self.palette.text { self.palette.weak } else { tint.ink };
            widgets::draw_line(painter, place, (&below, font(small_size), right - place.x), weak);
        }
    }

    fn wires(&self, painter: &Painter) {
        let visible = self.camera.visible(self.canvas);
        let near = |from: usize, to: usize| self.selected.is_some_and(|own| own == from || own == to);
        // What is selected is drawn over all others.
        for is_near in [false, true] {
            for (at, wire) in self.picture.wires.iter().enumerate() {
                if near(wire.from, wire.to) != is_near || !bounds(&wire.points).intersects(visible) {
                    continue;
                }
                let crossing = self.crossings.get(at).and_then(Option::as_ref);
                let points: Vec<Pos2> = wire
                    .points
                    .iter()
                    .map(|point| self.camera.to_screen(self.canvas, side::point(point)))
                    .collect();
                self.wire(painter, &points, crossing, is_near);
            }
        }
        let node = self.selected.filter(|at| matches!(self.picture.items[*at].what, Child::Node(_)));
        if let Some(selected) = node {
            for wire in self.picture.quiet_wires(self.side.shown(), selected) {
                let points: Vec<Pos2> = wire
                    .points
                    .iter()
                    .map(|point| self.camera.to_screen(self.canvas, side::point(point)))
                    .collect();
                painter.extend(Shape::dashed_line(&points, Stroke::new(1.0, self.palette.accent), 5.0, 4.0));
            }
        }
    }

    fn wire(&self, painter: &Painter, points: &[Pos2], crossing: Option<&Crossing>, is_near: bool) {
        if points.len() < 2 {
            return;
        }
        let thin = self.camera.zoom.clamp(0.35, 1.0);
        let edges = crossing.map_or(&[][..], |crossing| &crossing.edges);
        let stalled: Vec<u32> =
            edges.iter().copied().filter(|edge| self.traffic.stalled.contains(edge)).collect();
        let (width, colour) = match crossing {
            _ if !stalled.is_empty() => (7.0, self.flash()),
            Some(Crossing { bytes, .. }) => (message_width(*bytes) * thin, self.message_colour(edges)),
            None if is_near => (2.2, self.palette.accent),
            None => (1.2 * thin, self.palette.line.gamma_multiply(0.8)),
        };
        let stroke = Stroke::new(width, colour);
        curve(painter, points, stroke);
        if self.has_moved(edges) {
            let at = along(points, self.time.rem_euclid(1.0) as f32);
            painter.circle(at, width * 0.8 + 3.0, self.palette.text, Stroke::new(2.0, colour));
        }
        if self.camera.zoom > 0.25
            && let [.., before, last] = points
        {
            arrow(painter, *before, *last, stroke, self.camera.zoom);
        }
        let Some(Crossing { bytes, .. }) = crossing.filter(|_| self.camera.zoom > 0.3) else { return };
        let text = match (&stalled[..], self.wait(edges), *bytes) {
            ([], Some((_, wait)), _) => format!("waits {wait}") + &self.waiting(edges),
            ([], None, 0) => "message".to_owned() + &self.waiting(edges),
            ([], None, bytes) => units::bytes(bytes) + &self.waiting(edges),
            (stalled, _, _) => self.stall(stalled),
        };
        let middle =
            points[points.len() / 2 - 1] + (points[points.len() / 2] - points[points.len() / 2 - 1]) * 0.5;
        tag(painter, middle, text, colour);
    }

    /// The colour of what stands still.
    fn flash(&self) -> Color32 {
        if self.time.rem_euclid(0.8) < 0.4 { self.palette.removed } else { self.palette.text }
    }

    fn has_moved(&self, edges: &[u32]) -> bool {
        edges.iter().any(|edge| self.traffic.moved.get(*edge as usize) == Some(&true))
    }

    /// How many messages wait in edges, where something runs.
    fn waiting(&self, edges: &[u32]) -> String {
        let queued: Vec<u64> =
            edges.iter().filter_map(|edge| self.traffic.queued.get(*edge as usize)).copied().collect();
        match &queued[..] {
            [] => String::new(),
            queued => format!(", {} waiting", queued.iter().fold(0, |sum: u64, n| sum.saturating_add(*n))),
        }
    }

    /// Where colours say so, how long readers wait for messages, as heat and in words.
    fn wait(&self, edges: &[u32]) -> Option<(f32, String)> {
        let times = edges.iter().filter_map(|edge| self.side.heat.edge(*edge));
        let times = times.reduce(Times::plus)?;
        let of_most = |us: f64| (part_of_most(us, self.side.heat.most()), units::time_us(us));
        match (self.colouring, times.predicted, times.measured) {
            (Colouring::Miss, Some(predicted), Some(measured)) => {
                let ratio = measured / predicted.max(f64::MIN_POSITIVE);
                Some((part_of_ratio(predicted, measured), format!("×{ratio:.2}")))
            }
            (Colouring::Predicted, Some(us), _) | (Colouring::Measured, _, Some(us)) => Some(of_most(us)),
            _ => None,
        }
    }

    /// The colour of messages, of how long they are waited for where that is what colours say.
    fn message_colour(&self, edges: &[u32]) -> Color32 {
        self.wait(edges).map_or(self.palette.changed, |(part, _)| theme::heat(part))
    }

    fn stall(&self, edges: &[u32]) -> String {
        let ends: Vec<String> = edges.iter().take(3).map(|edge| self.ends(*edge)).collect();
        format!("stalled: {}", ends.join("; "))
    }

    fn ends(&self, edge: u32) -> String {
        let message = self.side.document.plan.as_ref().and_then(|plan| plan.messages.get(edge as usize));
        message.map_or_else(String::new, |message| format!("{} to {}", message.from_name, message.to_name))
    }
}

/// A text on a colour, around a point.
fn tag(painter: &Painter, middle: Pos2, text: String, colour: Color32) {
    let galley = painter.layout_no_wrap(text, font(11.0), theme::ink(colour));
    let behind = Rect::from_center_size(middle, galley.size() + vec2(8.0, 3.0));
    painter.rect_filled(behind, 4.0, colour);
    painter.galley(behind.min + vec2(4.0, 1.5), galley, theme::ink(colour));
}

/// Thicker for more bytes: a point and a half for every power of ten.
fn message_width(bytes: u64) -> f32 {
    2.0 + 1.2 * (bytes.max(1) as f32).log10()
}

fn bounds(points: &[crate::layout::Point]) -> Rect {
    Rect::from_points(&points.iter().map(side::point).collect::<Vec<_>>()).expand(1.0)
}

/// Through points from above to below: straight down, and in between bent.
fn curve(painter: &Painter, points: &[Pos2], stroke: Stroke) {
    for pair in points.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        if (a.x - b.x).abs() < 1.0 || (a.y - b.y).abs() < 2.0 {
            painter.line_segment([a, b], stroke);
            continue;
        }
        let bend = vec2(0.0, (b.y - a.y) * 0.5);
        let shape = CubicBezierShape::from_points_stroke(
            [a, a + bend, b - bend, b],
            false,
            Color32::TRANSPARENT,
            stroke,
        );
        painter.add(shape);
    }
}

/// The point at a part of the way along points.
fn along(points: &[Pos2], part: f32) -> Pos2 {
    let length = |pair: &[Pos2]| pair[0].distance(pair[1]);
    let mut rest = part * points.windows(2).map(length).sum::<f32>();
    for pair in points.windows(2) {
        if rest <= length(pair) {
            return pair[0] + (pair[1] - pair[0]) * (rest / length(pair).max(1e-3));
        }
        rest -= length(pair);
    }
    points.last().copied().unwrap_or_default()
}

/// The sign of a group: points down where it is open, else to its name.
fn sign(painter: &Painter, at: Pos2, size: f32, is_open: bool, colour: Color32) {
    let points = match is_open {
        true => [vec2(-size, -size * 0.6), vec2(size, -size * 0.6), vec2(0.0, size * 0.9)],
        false => [vec2(-size * 0.6, -size), vec2(size * 0.9, 0.0), vec2(-size * 0.6, size)],
    };
    painter.add(Shape::convex_polygon(points.map(|by| at + by).to_vec(), colour, Stroke::NONE));
}

fn arrow(painter: &Painter, before: Pos2, tip: Pos2, stroke: Stroke, zoom: f32) {
    let along = if before == tip { vec2(0.0, 1.0) } else { (tip - before).normalized() };
    let along = if along.y.abs() < 0.5 { vec2(0.0, 1.0) } else { vec2(0.0, along.y.signum()) };
    let size = (5.0 + stroke.width) * zoom.min(1.2);
    let side = vec2(size * 0.6, 0.0);
    let points = vec![tip, tip - along * size - side, tip - along * size + side];
    painter.add(Shape::convex_polygon(points, stroke.color, Stroke::NONE));
}
