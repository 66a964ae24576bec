//! Where things are drawn. Lengths are points of an undistorted screen; y grows downward.
//!
//! [`Layouts`] lays out one group at a time, in layers from top to bottom, and keeps what it made by the group's form:
//! equal layers share one [`Sheet`]. [`Layouts::picture`] puts the sheets of open groups into one another.
mod group;
mod layers;
mod order;
mod picture;
mod place;
mod sheet;

pub(crate) use group::Drawn;
pub use group::{Layouts, Pinned};
pub use picture::{Item, Picture, What, Wire};
pub use sheet::{Anchor, Anchors, End, Link, Sheet, Sketch, Vertex};

use std::collections::BTreeSet;

/// A point.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Point {
    pub x: f32,
    pub y: f32,
}

/// How large something is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Size {
    pub width: f32,
    pub height: f32,
}

/// A rectangle.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rect {
    /// Its left upper corner.
    pub at: Point,
    /// How large it is.
    pub size: Size,
}

impl Point {
    /// This point from somewhere else.
    pub fn plus(self, other: Point) -> Point {
        Point { x: self.x + other.x, y: self.y + other.y }
    }
}

impl Rect {
    /// Its right lower corner.
    pub fn end(&self) -> Point {
        self.at.plus(Point { x: self.size.width, y: self.size.height })
    }

    /// The point in its middle.
    pub fn middle(&self) -> Point {
        self.at.plus(Point { x: self.size.width / 2.0, y: self.size.height / 2.0 })
    }

    /// Whether two rectangles have more than a line in common.
    pub fn overlaps(&self, other: &Rect) -> bool {
        let (end, other_end) = (self.end(), other.end());
        self.at.x < other_end.x && other.at.x < end.x && self.at.y < other_end.y && other.at.y < end.y
    }

    /// Whether another lies within it.
    pub fn contains(&self, other: &Rect) -> bool {
        let (end, other_end) = (self.end(), other.end());
        self.at.x <= other.at.x && self.at.y <= other.at.y && other_end.x <= end.x && other_end.y <= end.y
    }
}

/// How large things are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Style {
    /// How wide a letter is on average.
    pub letter: f32,
    /// How high a line of text is.
    pub line: f32,
    /// Between what is drawn in a box and its border.
    pub padding: f32,
    /// How wide the badge of a device is, with the room beside it.
    pub badge: f32,
    /// Between two boxes side by side; a line has room there.
    pub gap: f32,
    /// Between two lines side by side.
    pub line_gap: f32,
    /// Between two layers.
    pub layer_gap: f32,
    /// Letters of a name at most; what is longer is cut by who draws it.
    pub letters_max: usize,
}

impl Default for Style {
    fn default() -> Style {
        Style {
            letter: 7.2,
            line: 18.0,
            padding: 10.0,
            badge: 20.0,
            gap: 26.0,
            line_gap: 12.0,
            layer_gap: 36.0,
            letters_max: 36,
        }
    }
}

/// What a person chose to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The paths of the groups that are open, whatever graph they are of.
    pub open: BTreeSet<String>,
    /// Whether equal layers that follow one another are drawn as one.
    pub is_folded: bool,
    /// Whether weights are drawn, too.
    pub has_weights: bool,
}
