//! The sheets of open groups, put into one another: everything that is drawn, at its place.
use super::group::{Drawn, From, Laid, Layouts, Pinned, To, carried};
use super::{Point, Rect, Size, View};
use crate::document::{Child, GroupIx, NodeIx, Pass, Tree};
use std::collections::HashMap;
use std::sync::Arc;

/// Everything that is drawn of a graph.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// How large it is.
    pub size: Size,
    /// Boxes; an open group stands before what is in it.
    pub items: Vec<Item>,
    /// Lines between boxes that are no open groups.
    pub wires: Vec<Wire>,
    /// The box of each child that has one of its own.
    item_of: HashMap<Child, usize>,
    /// By the path of each open group its sheet, for the picture of the next pass.
    sheets: HashMap<String, Drawn>,
}

/// What a box stands for.
pub type What = Child;

/// A box.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Item {
    /// A node or a group.
    pub what: What,
    /// Where.
    pub rect: Rect,
    /// Whether it is an open group, in which other boxes are.
    pub is_open: bool,
    /// How many equal layers it stands for.
    pub times: u32,
    /// The open group that it is in.
    pub parent: Option<usize>,
}

/// A line: values that go from one box to another.
#[derive(Clone, Debug, PartialEq)]
pub struct Wire {
    /// The box that it comes from.
    pub from: usize,
    /// The box that it goes to.
    pub to: usize,
    /// Where it goes along.
    pub points: Vec<Point>,
    /// The values, each once.
    pub values: Vec<NodeIx>,
}

/// A group that is drawn open: where its sheet lies, and in which group of these and in which box there.
struct Opened {
    group: GroupIx,
    laid: Arc<Laid>,
    origin: Point,
    outer: Option<(usize, usize)>,
    /// By box its item.
    items: Vec<usize>,
    /// By box the open group in it.
    inner: Vec<Option<usize>>,
    /// By exit the line that ends there.
    exits: HashMap<usize, usize>,
    /// By box and entry the line that ends there.
    entries: HashMap<(usize, usize), usize>,
}

impl Layouts {
    /// Everything that is drawn of a pass's graph. What is pinned stays where it was, as far as that can be.
    pub fn picture(&mut self, pass: &Pass, view: &View, pinned: Option<Pinned<'_>>) -> Picture {
        let laid = self.lay(pass, GroupIx::ROOT, view, pinned);
        let mut picture = Picture { size: laid.sheet.size, ..Picture::default() };
        let mut opened: Vec<Opened> = vec![];
        self.put(pass, &mut picture, &mut opened, (GroupIx::ROOT, laid, Point::default()), None);
        picture.wires = wires(pass, &opened);
        picture
    }

    /// Puts a group's boxes into the picture, and what is in those that are open.
    fn put(
        &self,
        pass: &Pass,
        picture: &mut Picture,
        opened: &mut Vec<Opened>,
        (group, laid, origin): (GroupIx, Arc<Laid>, Point),
        outer: Option<(usize, usize)>,
    ) -> usize {
        let own = opened.len();
        picture.sheets.insert(pass.tree[group].path.clone(), Drawn(laid.clone()));
        let (mut exits, mut entries) = (HashMap::new(), HashMap::new());
        for (at, line) in laid.lines.iter().enumerate() {
            match line.to {
                To::Exit(exit) => drop(exits.insert(exit, at)),
                To::Box(to, Some(entry)) => drop(entries.insert((to, entry), at)),
                To::Box(_, None) => {}
            }
        }
        let boxes = laid.runs.len();
        let parent = outer.map(|(outer, at)| opened[outer].items[at]);
        opened.push(Opened {
            group,
            laid: laid.clone(),
            origin,
            outer,
            items: vec![],
            inner: vec![None; boxes],
            exits,
            entries,
        });
        for (at, run) in laid.runs.iter().enumerate() {
            let what = pass.tree[group].children[run.first as usize];
            let rect = laid.sheet.boxes[at];
            let rect = Rect { at: rect.at.plus(origin), ..rect };
            let is_open = laid.inner[at].is_some();
            let item = picture.items.len();
            picture.items.push(Item { what, rect, is_open, times: run.times, parent });
            picture.item_of.insert(what, item);
            opened[own].items.push(item);
            if let (Some(inside), Child::Group(inner)) = (&laid.inner[at], what) {
                let inset = Point { x: self.style().padding, y: self.title() };
                let next = (inner, inside.clone(), rect.at.plus(inset));
                let index = self.put(pass, picture, opened, next, Some((own, at)));
                opened[own].inner[at] = Some(index);
            }
        }
        own
    }
}

/// Follows each line that ends at a box back to where it begins.
fn wires(pass: &Pass, opened: &[Opened]) -> Vec<Wire> {
    let mut wires = vec![];
    for (index, here) in opened.iter().enumerate() {
        for (at, line) in here.laid.lines.iter().enumerate() {
            let To::Box(to, None) = line.to else { continue };
            let mut points: Vec<Point> = vec![];
            let Some(from) = origin(opened, (index, at), &mut points) else { continue };
            points.reverse();
            points.dedup();
            let mut values: Vec<NodeIx> = line
                .carries
                .iter()
                .filter_map(|(slot, input)| carried(pass, here.group, *slot, *input))
                .collect();
            values.sort_unstable();
            values.dedup();
            wires.push(Wire { from, to: here.items[to], points, values });
        }
    }
    wires
}

/// The item where a line begins; its points and those of the lines that lead to it are put behind `points`, from the
/// end to the beginning.
fn origin(opened: &[Opened], (mut index, mut at): (usize, usize), points: &mut Vec<Point>) -> Option<usize> {
    // Into each open group and out of each at most once.
    for _ in 0..=2 * opened.len() {
        let here = &opened[index];
        points.extend(here.laid.sheet.routes[at].iter().rev().map(|point| point.plus(here.origin)));
        match here.laid.lines[at].from {
            From::Box(from, None) => return Some(here.items[from]),
            From::Box(from, Some(exit)) => {
                index = here.inner[from]?;
                at = *opened[index].exits.get(&exit)?;
            }
            From::Entry(entry) => {
                let (outer, within) = here.outer?;
                index = outer;
                at = *opened[outer].entries.get(&(within, entry))?;
            }
        }
    }
    None
}

impl Picture {
    /// The box in which a node is: its own, that of the closed group around it, or that of an equal layer which stands
    /// for its own. None for weights that are not drawn.
    pub fn item_of(&self, tree: &Tree, node: NodeIx) -> Option<usize> {
        let mut child = Child::Node(node);
        // From the node outward; where an equal layer stands for the one around, from the same place in that one.
        let mut trail: Vec<u32> = vec![];
        loop {
            if let Some(item) = self.item_of.get(&child) {
                return Some(self.inward(tree, *item, &trail));
            }
            let group = tree.parent(child)?;
            let slot = tree.slot(child);
            let run = tree.run_of(child)?;
            if let Some(item) =
                self.item_of.get(&tree[group].children[run.first as usize]).filter(|_| run.times > 1)
            {
                return Some(self.inward(tree, *item, &trail));
            }
            trail.push(slot);
            child = Child::Group(group);
        }
    }

    /// The innermost box on the way from an item inward along places among children, the last first.
    fn inward(&self, tree: &Tree, mut item: usize, trail: &[u32]) -> usize {
        for slot in trail.iter().rev() {
            let Child::Group(group) = self.items[item].what else { break };
            let Some(child) = tree[group].children.get(*slot as usize) else { break };
            match self.item_of.get(child) {
                Some(inner) => item = *inner,
                None => break,
            }
        }
        item
    }

    /// What keeps things where they are in the picture of the pass behind `before`, which this is a picture of.
    pub fn pins<'a>(&'a self, before: &'a Pass) -> Pinned<'a> {
        Pinned::new(before, &self.sheets)
    }

    /// Straight lines from and to a box for values that come from outside and have so many users that their lines are
    /// not drawn.
    pub fn quiet_wires(&self, pass: &Pass, item: usize) -> Vec<Wire> {
        let Some(own) = self.items.get(item) else { return vec![] };
        let inside = pass.tree.nodes(own.what);
        let mut pairs: Vec<(usize, usize, NodeIx)> = vec![];
        for node in inside {
            let inputs = pass.flow[node].inputs.iter().map(|input| (*input, node));
            let users = pass.flow.users(node).iter().map(|user| (node, *user));
            for (value, user) in inputs.chain(users).filter(|(value, _)| pass.flow.is_quiet(*value)) {
                let ends = self.item_of(&pass.tree, value).zip(self.item_of(&pass.tree, user));
                pairs.extend(ends.filter(|(from, to)| from != to).map(|(from, to)| (from, to, value)));
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        let wire = |(from, to, value): (usize, usize, NodeIx)| {
            let (a, b) = (self.items[from].rect, self.items[to].rect);
            let start = Point { x: a.middle().x, y: a.end().y };
            Wire { from, to, points: vec![start, Point { x: b.middle().x, y: b.at.y }], values: vec![value] }
        };
        pairs.into_iter().map(wire).collect()
    }
}
