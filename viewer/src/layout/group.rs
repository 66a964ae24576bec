//! From a group to its sheet, which equal groups share.
use super::sheet::{Anchor, Anchors, End, Link, Sheet, Sketch, Vertex};
use super::{Size, Style, View};
use crate::document::{BADGES, Child, GroupIx, NodeIx, Pass, Role, Run};
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A group laid out, with what is in its boxes: the same for all groups of its form that are open alike.
#[derive(Debug, PartialEq)]
pub(super) struct Laid {
    pub(super) sheet: Sheet,
    /// By box the children that it stands for.
    pub(super) runs: Vec<Run>,
    /// By box the sheet of the open group in it.
    pub(super) inner: Vec<Option<Arc<Laid>>>,
    /// The lines, in the order of the sheet's routes.
    pub(super) lines: Vec<Line>,
    /// By what is above where in a box the next sheet begins.
    pub(super) key: u64,
}

/// A group drawn with every group in it closed.
#[derive(Clone, Debug)]
pub(crate) struct Drawn(pub(super) Arc<Laid>);

/// A line of a group whose inner groups are closed.
pub(crate) struct DrawnLine<'a> {
    /// The box that it comes from; none for the border.
    pub(crate) from: Option<usize>,
    /// Of the border, which entry.
    pub(crate) entry: usize,
    /// The box that it goes to; none for the border.
    pub(crate) to: Option<usize>,
    /// Which operands or entries of the box it brings; of the border which exit.
    pub(crate) brings: Vec<u32>,
    carries: &'a [(u32, u32)],
}

impl Drawn {
    /// Where everything is.
    pub(crate) fn sheet(&self) -> &Sheet {
        &self.0.sheet
    }

    /// By box the children that it stands for.
    pub(crate) fn runs(&self) -> &[Run] {
        &self.0.runs
    }

    /// The lines, in the order of the sheet's routes.
    pub(crate) fn lines(&self) -> impl Iterator<Item = DrawnLine<'_>> {
        self.0.lines.iter().map(|line| {
            let (from, entry) = match line.from {
                From::Entry(entry) => (None, entry),
                From::Box(at, _) => (Some(at), 0),
            };
            let (to, brings) = match line.to {
                To::Exit(exit) => (None, vec![exit as u32]),
                To::Box(at, _) => (Some(at), line.carries.iter().map(|(_, input)| *input).collect()),
            };
            DrawnLine { from, entry, to, brings, carries: &line.carries }
        })
    }

    /// The values that a line brings to a box of a group.
    pub(crate) fn values(&self, pass: &Pass, group: GroupIx, line: &DrawnLine<'_>) -> Vec<NodeIx> {
        line.carries.iter().filter_map(|(slot, input)| carried(pass, group, *slot, *input)).collect()
    }
}

/// The value that a child of a group has as an operand, or that comes into it.
pub(super) fn carried(pass: &Pass, group: GroupIx, slot: u32, input: u32) -> Option<NodeIx> {
    match pass.tree[group].children.get(slot as usize)? {
        Child::Node(node) => pass.flow[*node].inputs.get(input as usize).copied(),
        Child::Group(inner) => pass.tree.ports.entries(*inner).get(input as usize).copied(),
    }
}

/// A line of a group.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) from: From,
    pub(super) to: To,
    /// The operands that it stands for: the children that need them, by their places, and which of their operands or
    /// entries each is. Of what leaves the group none.
    pub(super) carries: Vec<(u32, u32)>,
}

/// Where a line begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum From {
    /// At an entry.
    Entry(usize),
    /// At a box; if an open group is in it, at one of its exits.
    Box(usize, Option<usize>),
}

/// Where a line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum To {
    /// At an exit.
    Exit(usize),
    /// At a box; if an open group is in it, at one of its entries.
    Box(usize, Option<usize>),
}

/// Lays groups out, and keeps what it made.
#[derive(Debug, Default)]
pub struct Layouts {
    style: Style,
    kept: HashMap<u64, Arc<Laid>>,
    made: usize,
}

/// Where the picture of the pass before had everything, so that what is still there stays where it is.
#[derive(Clone, Copy, Debug)]
pub struct Pinned<'a> {
    /// The pass before, by whose picture things stay.
    pub before: &'a Pass,
    /// The sheets of its groups.
    pub(super) sheets: &'a HashMap<String, Drawn>,
}

impl<'a> Pinned<'a> {
    /// By a pass and the sheets of its groups, by their paths.
    pub(crate) fn new(before: &'a Pass, sheets: &'a HashMap<String, Drawn>) -> Pinned<'a> {
        Pinned { before, sheets }
    }
}

/// More sheets than these are not kept.
const KEPT_MAX: usize = 4096;
/// What stands below a name is smaller.
const SMALL: f32 = 0.93;
/// Above what is in an open group stands its title.
const TITLE_LINES: f32 = 1.6;

impl Layouts {
    /// Lays out in a style.
    pub fn new(style: Style) -> Layouts {
        Layouts { style, ..Layouts::default() }
    }

    /// The style.
    pub fn style(&self) -> &Style {
        &self.style
    }

    /// How many sheets were made so far: what is shared is made once.
    pub fn made(&self) -> usize {
        self.made
    }

    /// How high the title of an open group is.
    pub(super) fn title(&self) -> f32 {
        self.style.line * TITLE_LINES
    }

    /// A group's sheet with every group in it closed.
    pub(crate) fn closed(
        &mut self,
        pass: &Pass,
        group: GroupIx,
        view: &View,
        pinned: Option<Pinned<'_>>,
    ) -> Drawn {
        Drawn(self.lay(pass, group, &View { open: Default::default(), ..*view }, pinned))
    }

    /// A group's sheet.
    pub(super) fn lay(
        &mut self,
        pass: &Pass,
        group: GroupIx,
        view: &View,
        pinned: Option<Pinned<'_>>,
    ) -> Arc<Laid> {
        let runs = self.runs(pass, group, view);
        let inner: Vec<Option<Arc<Laid>>> = runs
            .iter()
            .map(|run| match pass.tree[group].children[run.first as usize] {
                Child::Group(inner) if view.open.contains(&pass.tree[inner].path) => {
                    Some(self.lay(pass, inner, view, pinned))
                }
                _ => None,
            })
            .collect();
        let anchors =
            pinned.map(|pinned| self.anchors(pass, group, (&runs, &inner), pinned)).unwrap_or_default();
        let key = key(pass, group, view, (&runs, &inner, &anchors));
        if let Some(kept) = self.kept.get(&key) {
            return kept.clone();
        }
        let laid = Arc::new(self.make(pass, group, view, runs, inner, anchors, key));
        self.made += 1;
        if self.kept.len() >= KEPT_MAX {
            self.kept.clear();
        }
        self.kept.insert(key, laid.clone());
        laid
    }

    /// What gets a box: all children, or of equal ones the first, but for weights that nobody wants to see.
    fn runs(&self, pass: &Pass, group: GroupIx, view: &View) -> Vec<Run> {
        let all = match view.is_folded {
            true => pass.tree.runs(group).to_vec(),
            false => {
                (0..pass.tree[group].children.len() as u32).map(|first| Run { first, times: 1 }).collect()
            }
        };
        let is_shown = |run: &Run| match pass.tree[group].children[run.first as usize] {
            Child::Node(node) => view.has_weights || pass.flow[node].role != Role::Weight,
            Child::Group(_) => true,
        };
        all.into_iter().filter(is_shown).collect()
    }

    #[allow(clippy::too_many_arguments, reason = "all of them are what a sheet is made of")]
    fn make(
        &self,
        pass: &Pass,
        group: GroupIx,
        view: &View,
        runs: Vec<Run>,
        inner: Vec<Option<Arc<Laid>>>,
        anchors: Anchors,
        key: u64,
    ) -> Laid {
        let lines = lines(pass, group, view, &runs, &inner);
        let boxes: Vec<Vertex> = runs
            .iter()
            .zip(&inner)
            .map(|(run, inner)| Vertex { size: self.size(pass, group, *run, inner.as_deref()) })
            .collect();
        let links = lines.iter().map(|line| self.link(line, &boxes, &inner)).collect();
        let (entries, exits) = (pass.tree.ports.entries(group).len(), pass.tree.ports.exits(group).len());
        let sketch = Sketch { boxes, links, entries, exits, anchors };
        Laid { sheet: sketch.lay(&self.style), runs, inner, lines, key }
    }

    /// A line as the sketch has it: of open groups it ends where it goes on inside.
    fn link(&self, line: &Line, boxes: &[Vertex], inner: &[Option<Arc<Laid>>]) -> Link {
        let padding = self.style.padding;
        let shift = |at: usize, x: &dyn Fn(&Sheet) -> Option<f32>| {
            let within = inner[at].as_ref().and_then(|laid| x(&laid.sheet))?;
            Some(within + padding - boxes[at].size.width / 2.0)
        };
        let from = match line.from {
            From::Entry(at) => End::Border(at),
            From::Box(at, exit) => End::Box(at, shift(at, &|sheet| sheet.exits.get(exit?).copied())),
        };
        let to = match line.to {
            To::Exit(at) => End::Border(at),
            To::Box(at, entry) => End::Box(at, shift(at, &|sheet| sheet.entries.get(entry?).copied())),
        };
        Link { from, to }
    }

    /// Where the boxes of a group were in the picture of the pass before. Of an open group the left border stays, and so
    /// all that is in it; of other boxes the middle.
    fn anchors(
        &self,
        pass: &Pass,
        group: GroupIx,
        (runs, inner): (&[Run], &[Option<Arc<Laid>>]),
        Pinned { before, sheets }: Pinned<'_>,
    ) -> Anchors {
        let path = &pass.tree[group].path;
        let Some((Drawn(laid), old)) = sheets.get(path).zip(before.tree.find(path)) else {
            return Anchors::default();
        };
        let mut known: HashMap<Child, usize> = HashMap::new();
        for (at, run) in laid.runs.iter().enumerate() {
            known.insert(before.tree[old].children[run.first as usize], at);
        }
        let was = |(run, inner): (&Run, &Option<Arc<Laid>>)| {
            let child = match pass.tree[group].children[run.first as usize] {
                Child::Node(node) => Child::Node(pass.change.as_ref()?.from[node.at()]?),
                Child::Group(inner) => Child::Group(before.tree.find(&pass.tree[inner].path)?),
            };
            let at = *known.get(&child)?;
            let rect = laid.sheet.boxes[at];
            let middle = match inner {
                Some(open) => rect.at.x + self.size(pass, group, *run, Some(open)).width / 2.0,
                None => rect.middle().x,
            };
            Some(Anchor { layer: laid.sheet.layers[at], middle })
        };
        Anchors { boxes: runs.iter().zip(inner).map(was).collect(), tops: laid.sheet.tops.clone() }
    }

    /// Room for the name and the badges of devices in one line, and for the operator and the type in another.
    fn size(&self, pass: &Pass, group: GroupIx, run: Run, inner: Option<&Laid>) -> Size {
        let Style { letter, line, padding, letters_max, badge, .. } = self.style;
        let text = |letters: usize| letters.min(letters_max) as f32 * letter;
        let height = 2.0f32.mul_add(line, padding);
        match pass.tree[group].children[run.first as usize] {
            Child::Node(node) => {
                let own = &pass.flow[node];
                let ty = own.ty.as_ref().map_or(0, |ty| ty.to_string().len() + 1);
                let label = text(pass.tree.label(&pass.flow, node).chars().count()) + badge;
                Size { width: label.max(text(own.op.len() + ty) * SMALL) + 2.0 * padding, height }
            }
            Child::Group(at) => {
                let times = if run.times > 1 { 3 + run.times.ilog10() as usize } else { 0 };
                // A mark says that it can be opened; below stands how many nodes it has.
                let name = text(pass.tree[at].name.chars().count() + times + 2);
                let badges = pass.tree[at].devices.len().min(BADGES) as f32 * badge;
                let width = (name + badges).max(text(12)) + 2.0 * padding;
                let Some(laid) = inner else { return Size { width, height } };
                let width = width.max(laid.sheet.size.width + 2.0 * padding);
                Size { width, height: laid.sheet.size.height + self.title() + padding }
            }
        }
    }
}

/// Which box a group has a value in, and at which of its exits; or which entry it is.
fn source(
    pass: &Pass,
    group: GroupIx,
    value: NodeIx,
    box_of: &HashMap<u32, usize>,
    inner: &[Option<Arc<Laid>>],
) -> Option<From> {
    let Some(slot) = pass.tree.slot_in(group, value) else {
        return pass.tree.ports.entry(group, value).map(From::Entry);
    };
    let at = *box_of.get(&(slot as u32))?;
    let exit = match pass.tree[group].children[slot] {
        Child::Group(child) if inner[at].is_some() => pass.tree.ports.exit(child, value),
        _ => None,
    };
    Some(From::Box(at, exit))
}

/// The lines of a group: none within a run of equal layers, none for what is quiet or not shown.
fn lines(pass: &Pass, group: GroupIx, view: &View, runs: &[Run], inner: &[Option<Arc<Laid>>]) -> Vec<Line> {
    let (flow, tree) = (&pass.flow, &pass.tree);
    let mut box_of: HashMap<u32, usize> = HashMap::new();
    for (at, run) in runs.iter().enumerate() {
        box_of.extend((run.first..run.first + run.times).map(|slot| (slot, at)));
    }
    let is_drawn =
        |value: NodeIx| !flow.is_quiet(value) && (view.has_weights || flow[value].role != Role::Weight);
    let mut lines: Vec<Line> = vec![];
    let mut known: HashMap<(From, To), usize> = HashMap::new();
    let mut join = |value: NodeIx, to: To, carried: Option<(u32, u32)>| {
        let from = source(pass, group, value, &box_of, inner).filter(|_| is_drawn(value));
        let Some(from) = from else { return };
        if matches!((from, to), (From::Box(a, _), To::Box(b, _)) if a == b) {
            return;
        }
        let at = *known.entry((from, to)).or_insert_with(|| {
            lines.push(Line { from, to, carries: vec![] });
            lines.len() - 1
        });
        lines[at].carries.extend(carried);
    };
    for (at, run) in runs.iter().enumerate() {
        match tree[group].children[run.first as usize] {
            Child::Node(node) => {
                for (index, input) in flow[node].inputs.iter().enumerate() {
                    join(*input, To::Box(at, None), Some((run.first, index as u32)));
                }
            }
            Child::Group(child) => {
                for (index, entry) in tree.ports.entries(child).iter().enumerate() {
                    let to = To::Box(at, inner[at].is_some().then_some(index));
                    join(*entry, to, Some((run.first, index as u32)));
                }
            }
        }
    }
    for (index, exit) in tree.ports.exits(group).iter().enumerate() {
        join(*exit, To::Exit(index), None);
    }
    lines
}

/// What a sheet depends on: groups of one form that are open alike share it.
fn key(
    pass: &Pass,
    group: GroupIx,
    view: &View,
    (runs, inner, anchors): (&[Run], &[Option<Arc<Laid>>], &Anchors),
) -> u64 {
    let mut hasher = DefaultHasher::new();
    (pass.tree[group].shape.form, view.has_weights).hash(&mut hasher);
    for (run, inner) in runs.iter().zip(inner) {
        (run.first, run.times, inner.as_ref().map(|laid| laid.key)).hash(&mut hasher);
    }
    anchors.tops.iter().for_each(|top| top.to_bits().hash(&mut hasher));
    for anchor in &anchors.boxes {
        anchor.map(|Anchor { layer, middle }| (layer, middle.to_bits())).hash(&mut hasher);
    }
    hasher.finish()
}
