//! One group laid out: boxes in layers, and lines that go round them.
use super::layers::{self, Bounds};
use super::order::Ladder;
use super::place::{self, Room};
use super::{Point, Rect, Size, Style};
use std::collections::HashMap;

/// A box, or a place on the border where a line comes in or goes out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Vertex {
    /// How large it is.
    pub size: Size,
}

/// Where a line ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    /// At a box, so far right of its middle; none where it may end wherever there is room.
    Box(usize, Option<f32>),
    /// At the border: above for lines that come in, below for those that go out.
    Border(usize),
}

/// A line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// A box, or an entry.
    pub from: End,
    /// A box, or an exit.
    pub to: End,
}

/// What is to be laid out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sketch {
    /// The boxes.
    pub boxes: Vec<Vertex>,
    /// The lines.
    pub links: Vec<Link>,
    /// How many entries there are.
    pub entries: usize,
    /// How many exits there are.
    pub exits: usize,
    /// Where things are to stay.
    pub anchors: Anchors,
}

/// Where things are to stay as far as that can be, since they stood there before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Anchors {
    /// By box; empty where nothing stood anywhere.
    pub boxes: Vec<Option<Anchor>>,
    /// Where the layers began.
    pub tops: Vec<f32>,
}

/// Where a box stood.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Anchor {
    /// In which layer.
    pub layer: usize,
    /// Where its middle was.
    pub middle: f32,
}

/// What a sketch came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sheet {
    /// How large it is.
    pub size: Size,
    /// The boxes.
    pub boxes: Vec<Rect>,
    /// By box its layer.
    pub layers: Vec<usize>,
    /// Where the layers begin.
    pub tops: Vec<f32>,
    /// How far right each entry is on the upper border.
    pub entries: Vec<f32>,
    /// How far right each exit is on the lower border.
    pub exits: Vec<f32>,
    /// By line its points, from where it begins to where it ends.
    pub routes: Vec<Vec<Point>>,
}

/// How wide an entry, an exit or a line in passing is.
const LINE: f32 = 2.0;
/// Vertices in passing at most; longer lines go round everything.
const PASSING_MAX: usize = 20_000;
/// Layers that a line passes at most, where there are too many of them.
const SPAN_MAX: usize = 8;
/// Between the ends of lines at a box.
const ENDS: f32 = 14.0;

impl Sketch {
    /// Lays it out.
    pub fn lay(&self, style: &Style) -> Sheet {
        Work::new(self, style).sheet()
    }
}

/// A sketch on its way to a sheet. Vertices are boxes, then entries, then exits, then lines in passing.
struct Work<'a> {
    sketch: &'a Sketch,
    style: &'a Style,
    arcs: Vec<layers::Arc>,
    layer: Vec<usize>,
    /// By line the vertices that it passes, from above to below; none where it goes round everything.
    passing: Vec<Option<Vec<usize>>>,
    /// How many vertices there are with those.
    count: usize,
}

impl<'a> Work<'a> {
    fn new(sketch: &'a Sketch, style: &'a Style) -> Work<'a> {
        let (boxes, entries) = (sketch.boxes.len(), sketch.entries);
        let fixed = boxes + entries + sketch.exits;
        let vertex = |end: End, is_from: bool| match end {
            End::Box(at, _) => at,
            End::Border(at) if is_from => boxes + at,
            End::Border(at) => boxes + entries + at,
        };
        let lines: Vec<(usize, usize)> =
            sketch.links.iter().map(|link| (vertex(link.from, true), vertex(link.to, false))).collect();
        let (arcs, order) = layers::turn(fixed, &lines);
        let first = usize::from(entries > 0);
        let anchor = |at: usize| sketch.anchors.boxes.get(at).copied().flatten();
        let least: Vec<usize> = (0..fixed)
            .map(|at| match at {
                _ if at < boxes => anchor(at).map_or(first, |anchor| anchor.layer.max(first)),
                _ => 0,
            })
            .collect();
        let last: Vec<bool> = (0..fixed).map(|at| at >= boxes + entries).collect();
        let sinks: Vec<bool> = (0..fixed).map(|at| at < boxes && anchor(at).is_none()).collect();
        let bounds = Bounds { least: &least, last: &last, sinks: &sinks };
        let layer = layers::layers(&arcs, &order, &bounds);
        let mut work = Work { sketch, style, arcs, layer, passing: vec![], count: fixed };
        work.pass();
        work
    }

    /// Gives lines their vertices in passing.
    fn pass(&mut self) {
        let span = |arc: &layers::Arc| self.layer[arc.to].abs_diff(self.layer[arc.from]);
        let all: usize = self.arcs.iter().map(|arc| span(arc).saturating_sub(1)).sum();
        let most = if all > PASSING_MAX { SPAN_MAX } else { usize::MAX };
        let spans: Vec<usize> = self.arcs.iter().map(span).collect();
        for (arc, span) in self.arcs.iter().zip(spans) {
            // Both ends in one layer, or one box: that is no line between layers.
            if span == 0 || span > most {
                self.passing.push(None);
                continue;
            }
            let first = self.layer[arc.from];
            let mut through = vec![];
            for layer in first + 1..first + span {
                through.push(self.count);
                self.layer.push(layer);
                self.count += 1;
            }
            self.passing.push(Some(through));
        }
    }

    fn sheet(self) -> Sheet {
        let (boxes, count) = (self.sketch.boxes.len(), self.count);
        let mut ladder = Ladder {
            rows: vec![vec![]; self.layer.iter().map(|layer| layer + 1).max().unwrap_or(0)],
            above: vec![vec![]; count],
            below: vec![vec![]; count],
        };
        (0..count).for_each(|at| ladder.rows[self.layer[at]].push(at));
        let mut shifts: HashMap<(usize, usize), (f32, f32)> = HashMap::new();
        for (index, arc) in self.arcs.iter().enumerate() {
            let Some(through) = &self.passing[index] else { continue };
            let way: Vec<usize> =
                [arc.from].into_iter().chain(through.iter().copied()).chain([arc.to]).collect();
            for pair in way.windows(2) {
                ladder.below[pair[0]].push(pair[1]);
                ladder.above[pair[1]].push(pair[0]);
            }
            let (upper, lower) = self.ends(index);
            for (number, pair) in way.windows(2).enumerate() {
                let own = if number == 0 { upper } else { 0.0 };
                let other = if number + 2 == way.len() { lower } else { 0.0 };
                let (sum, count) = shifts.entry((pair[0], pair[1])).or_default();
                (*sum, *count) = (*sum + own - other, *count + 1.0);
            }
        }
        let middle =
            |at: usize| self.sketch.anchors.boxes.get(at).copied().flatten().map(|anchor| anchor.middle);
        let kept: Vec<Option<f32>> = (0..count).map(|at| middle(at).filter(|_| at < boxes)).collect();
        let is_kept = kept.iter().any(Option::is_some);
        if is_kept {
            ladder.sort_by(&kept)
        } else {
            ladder.sort()
        }
        let width: Vec<f32> =
            (0..count).map(|at| self.sketch.boxes.get(at).map_or(LINE, |vertex| vertex.size.width)).collect();
        let is_line: Vec<bool> = (0..count).map(|at| at >= boxes).collect();
        let shift =
            |upper: usize, lower: usize| shifts.get(&(upper, lower)).map_or(0.0, |(sum, count)| sum / count);
        // Lines are closer where boxes are to stay, or they would push these apart.
        let line_gap = if is_kept { self.style.line_gap / 2.0 } else { self.style.line_gap };
        let gaps = (self.style.gap, line_gap);
        let room = Room { width: &width, is_line: &is_line, gaps, kept: &kept, shift: &shift };
        let x = place::middles(&ladder, &room);
        self.draw(&x, ladder.rows.len())
    }

    /// How far the ends of a line are from the middles of its vertices, the upper one first.
    fn ends(&self, index: usize) -> (f32, f32) {
        let Link { from, to } = self.sketch.links[index];
        let of = |end| if let End::Box(_, Some(shift)) = end { shift } else { 0.0 };
        if self.arcs[index].is_back { (of(to), of(from)) } else { (of(from), of(to)) }
    }

    fn draw(&self, x: &[f32], rows: usize) -> Sheet {
        let (boxes, entries) = (self.sketch.boxes.len(), self.sketch.entries);
        let mut heights = vec![0.0f32; rows];
        for (at, vertex) in self.sketch.boxes.iter().enumerate() {
            let height = &mut heights[self.layer[at]];
            *height = height.max(vertex.size.height);
        }
        let mut tops = vec![];
        let mut top = 0.0f32;
        for (row, height) in heights.iter().enumerate() {
            top = top.max(self.sketch.anchors.tops.get(row).copied().unwrap_or(0.0));
            tops.push(top);
            top += height + self.style.layer_gap;
        }
        let rect = |(at, vertex): (usize, &Vertex)| {
            let down = (heights[self.layer[at]] - vertex.size.height) / 2.0;
            let corner = Point { x: x[at] - vertex.size.width / 2.0, y: tops[self.layer[at]] + down };
            Rect { at: corner, size: vertex.size }
        };
        let mut sheet = Sheet {
            boxes: self.sketch.boxes.iter().enumerate().map(rect).collect(),
            layers: self.layer[..boxes].to_vec(),
            entries: (boxes..boxes + entries).map(|at| x[at]).collect(),
            exits: (boxes + entries..boxes + entries + self.sketch.exits).map(|at| x[at]).collect(),
            ..Sheet::default()
        };
        let mut size = Size::default();
        for at in 0..self.count {
            let half = self.sketch.boxes.get(at).map_or(LINE, |vertex| vertex.size.width) / 2.0;
            size.width = size.width.max(x[at] + half + self.style.gap);
            size.height = size.height.max(tops[self.layer[at]] + heights[self.layer[at]]);
        }
        sheet.routes = self.routes(&mut sheet.boxes, x, (&tops, &heights), &mut size);
        (sheet.size, sheet.tops) = (size, tops);
        sheet
    }

    fn routes(
        &self,
        boxes: &mut [Rect],
        x: &[f32],
        (tops, heights): (&[f32], &[f32]),
        size: &mut Size,
    ) -> Vec<Vec<Point>> {
        let ends = self.spread(x);
        let bottom = |at: usize| tops[self.layer[at]] + heights[self.layer[at]];
        let mut lanes = 0;
        let mut routes = vec![];
        for (index, arc) in self.arcs.iter().enumerate() {
            let (upper, lower) = ends[index];
            let (start, end) = (x[arc.from] + upper, x[arc.to] + lower);
            let begin_y = boxes.get(arc.from).map_or_else(|| tops[self.layer[arc.from]], |rect| rect.end().y);
            let end_y = boxes.get(arc.to).map_or_else(|| tops[self.layer[arc.to]], |rect| rect.at.y);
            let mut points = vec![Point { x: start, y: begin_y }, Point { x: start, y: bottom(arc.from) }];
            match &self.passing[index] {
                Some(through) => {
                    for at in through {
                        points.push(Point { x: x[*at], y: tops[self.layer[*at]] });
                        points.push(Point { x: x[*at], y: bottom(*at) });
                    }
                }
                None => {
                    // Round everything, on a lane of its own beside it.
                    lanes += 1;
                    let lane = size.width + self.style.line_gap * lanes as f32;
                    let half = self.style.layer_gap / 2.0;
                    points.push(Point { x: lane, y: bottom(arc.from) + half });
                    points.push(Point { x: lane, y: tops[self.layer[arc.to]] - half });
                }
            }
            points.push(Point { x: end, y: tops[self.layer[arc.to]] });
            points.push(Point { x: end, y: end_y });
            points.dedup();
            if arc.is_back {
                points.reverse();
            }
            routes.push(points);
        }
        size.width += self.style.line_gap * lanes as f32;
        routes
    }

    /// How far from the middles of their vertices lines end: those that may end anywhere are spread over their box,
    /// in the order of where they come from.
    fn spread(&self, x: &[f32]) -> Vec<(f32, f32)> {
        let mut ends: Vec<(f32, f32)> = (0..self.arcs.len()).map(|index| self.ends(index)).collect();
        let mut sides: HashMap<(usize, bool), Vec<(f32, usize)>> = HashMap::new();
        for (index, arc) in self.arcs.iter().enumerate() {
            let Link { from, to } = self.sketch.links[index];
            let (upper, lower) = if arc.is_back { (to, from) } else { (from, to) };
            let through = self.passing[index].as_deref().unwrap_or_default();
            if let End::Box(at, None) = upper {
                let next = through.first().copied().unwrap_or(arc.to);
                sides.entry((at, false)).or_default().push((x[next], index));
            }
            if let End::Box(at, None) = lower {
                let next = through.last().copied().unwrap_or(arc.from);
                sides.entry((at, true)).or_default().push((x[next], index));
            }
        }
        for ((at, is_above), mut lines) in sides {
            lines.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let room = self.sketch.boxes[at].size.width * 0.8;
            let each = ENDS.min(room / lines.len() as f32);
            let first = -each * (lines.len() - 1) as f32 / 2.0;
            for (number, (_, index)) in lines.into_iter().enumerate() {
                let shift = each.mul_add(number as f32, first);
                let end = if is_above { &mut ends[index].1 } else { &mut ends[index].0 };
                *end = shift;
            }
        }
        ends
    }
}
