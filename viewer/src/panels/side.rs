//! A document that is looked at: which pass, which groups are open, what is selected, and the picture of that.
use super::Spot;
use super::camera::Camera;
use super::heat::{Heat, Rounds};
use super::theme::Palette;
use super::tint::{self, Colouring, Differences, Tint};
use crate::document::{Child, Document, GroupIx, NodeIx, Pass, Role, Run, Tree};
use crate::layout::{self, Layouts, Picture, Style, View};
use crate::scratch::Scratch;
use eframe::egui::{Pos2, Rect, Vec2, pos2};
use ir::plan::End;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

/// A document that is looked at.
#[derive(Debug)]
pub(crate) struct Side {
    /// Which of two documents it is.
    at: usize,
    pub(crate) document: Document,
    /// Which of its passes is shown.
    pub(crate) pass: usize,
    pub(crate) view: View,
    pub(crate) selected: Option<Child>,
    /// None until it is drawn for the first time, and where all of it is to be seen.
    pub(crate) camera: Option<Camera>,
    /// What is to be seen in the next frame, whatever is seen now.
    pub(crate) wanted: Option<Child>,
    pub(crate) heat: Heat,
    layouts: Layouts,
    drawn: Option<Drawn>,
    tinted: Option<((Colouring, bool), Vec<Tint>)>,
    /// The number of this picture among all that there were: what is derived of it is kept by this number.
    pub(crate) generation: u64,
    /// What goes with the document: the folder where it lies, if that is to vanish with it.
    _scratch: Option<Scratch>,
}

/// The pictures of the passes up to the one that is shown: each is pinned to that before.
#[derive(Debug)]
struct Drawn {
    view: View,
    pictures: Vec<Picture>,
    /// What crosses devices, of the picture shown.
    crossings: Vec<Option<Crossing>>,
    /// By box of that the edges that no line shows.
    inside: Vec<Vec<u32>>,
    of: usize,
}

/// A line that goes from one device to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Crossing {
    /// The plan's edges, where they are known.
    pub(crate) edges: Vec<u32>,
    /// Bytes of all that goes along it for a token.
    pub(crate) bytes: u64,
}

/// What is selected of which picture: what is known of that is kept by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    generation: u64,
    pass: usize,
    child: Option<Child>,
    is_folded: bool,
}

/// Groups are opened on opening a document as long as no more boxes than these are drawn.
const OPENED_MOST: usize = 24;

impl Side {
    pub(crate) fn new(at: usize, document: Document, rounds: Rounds) -> Side {
        let pass = document.passes.len() - 1;
        let heat = Heat::of(&document, rounds);
        let view = View { is_folded: true, ..View::default() };
        let mut side = Side {
            at,
            document,
            pass,
            view,
            selected: None,
            camera: None,
            wanted: None,
            heat,
            layouts: Layouts::new(Style::default()),
            drawn: None,
            tinted: None,
            generation: next_generation(),
            _scratch: None,
        };
        side.open_lonely();
        side
    }

    /// Has a folder vanish with the document.
    pub(crate) fn lies_in(&mut self, folder: Scratch) {
        self._scratch = Some(folder);
    }

    /// Which of two documents it is.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// A node or group of the pass that is shown.
    pub(crate) fn spot(&self, child: Child) -> Spot {
        self.spot_in(self.pass, child)
    }

    /// A node or group of some pass.
    pub(crate) fn spot_in(&self, pass: usize, child: Child) -> Spot {
        Spot { side: self.at, pass, child }
    }

    /// A node of what runs.
    pub(crate) fn spot_of_plan(&self, node: NodeIx) -> Spot {
        self.spot_in(self.document.passes.len() - 1, Child::Node(node))
    }

    /// Whether there is such a node or group.
    pub(crate) fn has(&self, spot: Spot) -> bool {
        let pass = self.document.passes.get(spot.pass).filter(|_| spot.side == self.at);
        pass.is_some_and(|pass| match spot.child {
            Child::Node(node) => node.at() < pass.flow.nodes.len(),
            Child::Group(group) => group.at() < pass.tree.groups.len(),
        })
    }

    /// The pass that is shown.
    pub(crate) fn shown(&self) -> &Pass {
        &self.document.passes[self.pass]
    }

    /// Whether what is shown is what runs.
    pub(crate) fn is_last(&self) -> bool {
        self.pass + 1 == self.document.passes.len()
    }

    pub(crate) fn selection(&self) -> Selection {
        let Side { generation, pass, selected: child, ref view, .. } = *self;
        Selection { generation, pass, child, is_folded: view.is_folded }
    }

    /// A graph that is one closed group says nothing: opens what stands alone.
    fn open_lonely(&mut self) {
        let mut at = GroupIx::ROOT;
        loop {
            let tree = &self.shown().tree;
            let [Child::Group(only)] = tree[at].children[..] else { return };
            if tree[only].children.len() > OPENED_MOST {
                return;
            }
            let path = tree[only].path.clone();
            self.view.open.insert(path);
            at = only;
        }
    }

    /// Shows another pass, with what was selected if it is still there.
    pub(crate) fn go(&mut self, pass: usize) {
        let pass = pass.min(self.document.passes.len() - 1);
        let path = match self.selected {
            Some(Child::Group(group)) => Some(self.shown().tree[group].path.clone()),
            _ => None,
        };
        let node = match self.selected {
            Some(Child::Node(node)) => Some(node),
            _ => None,
        };
        let partner = node.and_then(|node| self.partner(node, pass));
        self.pass = pass;
        let group = path.and_then(|path| self.shown().tree.find(&path));
        self.selected = group.map(Child::Group).or(partner.map(Child::Node));
        self.wanted = self.wanted.and(self.selected);
    }

    /// What became of a node in another pass, from one to the next.
    fn partner(&self, node: NodeIx, pass: usize) -> Option<NodeIx> {
        let (mut at, mut node) = (self.pass, node);
        while at < pass {
            at += 1;
            node = self.document.passes[at].change.as_ref()?.to.get(node.at()).copied().flatten()?;
        }
        while at > pass {
            node = self.document.passes[at].change.as_ref()?.from.get(node.at()).copied().flatten()?;
            at -= 1;
        }
        Some(node)
    }

    pub(crate) fn toggle(&mut self, group: GroupIx) {
        let path = self.shown().tree[group].path.clone();
        if !self.view.open.remove(&path) {
            self.view.open.insert(path);
        }
    }

    /// Opens what is around a node or group, so that it has a box: its own, or that of an equal layer which stands for
    /// its own.
    pub(crate) fn open_around(&mut self, child: Child) {
        let pass = &self.document.passes[self.pass];
        let tree = &pass.tree;
        // From the outermost group inward, by places among children.
        let (mut slots, mut at) = (vec![], child);
        while let Some(parent) = tree.parent(at) {
            slots.push(tree.slot(at) as usize);
            at = Child::Group(parent);
        }
        let mut group = GroupIx::ROOT;
        while let (Some(slot), false) = (slots.pop(), slots.is_empty()) {
            let slot = if self.view.is_folded { standing(tree, group, slot) } else { slot };
            let Some(Child::Group(inner)) = tree[group].children.get(slot).copied() else { break };
            self.view.open.insert(tree[inner].path.clone());
            group = inner;
        }
        if let Child::Node(node) = child
            && pass.flow[node].role == Role::Weight
        {
            self.view.has_weights = true;
        }
    }

    /// The picture of what is shown, made anew where something else is wanted.
    pub(crate) fn prepare(&mut self) {
        let kept = self.drawn.take().filter(|drawn| drawn.view == self.view);
        if kept.as_ref().is_some_and(|drawn| drawn.of == self.pass) {
            self.drawn = kept;
            return;
        }
        let mut pictures = kept.map(|drawn| drawn.pictures).unwrap_or_default();
        while pictures.len() <= self.pass {
            let at = pictures.len();
            let pins = at.checked_sub(1).map(|before| pictures[before].pins(&self.document.passes[before]));
            let picture = self.layouts.picture(&self.document.passes[at], &self.view, pins);
            pictures.push(picture);
        }
        let shown = &pictures[self.pass];
        let crossings: Vec<_> = shown.wires.iter().map(|wire| self.crossing(shown, wire)).collect();
        let inside = self.inside(shown, &crossings);
        self.drawn = Some(Drawn { view: self.view.clone(), pictures, crossings, inside, of: self.pass });
        self.repaint();
    }

    /// Says that boxes may look otherwise than they did.
    pub(crate) fn repaint(&mut self) {
        self.tinted = None;
        self.generation = next_generation();
    }

    /// How the boxes look, found anew where the picture or the colouring is another.
    pub(crate) fn tint(
        &mut self,
        colouring: Colouring,
        palette: &Palette,
        differences: Option<&Differences>,
    ) {
        let key = (colouring, palette.is_dark);
        if self.tinted.as_ref().is_some_and(|(of, _)| *of == key) {
            return;
        }
        let tints =
            self.picture().map(|(picture, _)| tint::tints(self, picture, (colouring, palette), differences));
        self.tinted = tints.map(|tints| (key, tints));
    }

    pub(crate) fn tints(&self) -> &[Tint] {
        self.tinted.as_ref().map_or(&[], |(_, tints)| tints)
    }

    /// What was prepared, with what crosses devices by line.
    pub(crate) fn picture(&self) -> Option<(&Picture, &[Option<Crossing>])> {
        let drawn = self.drawn.as_ref()?;
        Some((drawn.pictures.get(drawn.of)?, &drawn.crossings))
    }

    /// By box the plan's edges that no line shows: within a closed group, between layers drawn as one, from and to the
    /// host.
    pub(crate) fn hidden(&self) -> &[Vec<u32>] {
        self.drawn.as_ref().map_or(&[], |drawn| &drawn.inside)
    }

    fn inside(&self, picture: &Picture, crossings: &[Option<Crossing>]) -> Vec<Vec<u32>> {
        let mut inside = vec![vec![]; picture.items.len()];
        let Some(plan) = self.document.plan.as_ref().filter(|_| self.is_last()) else { return inside };
        let shown = self.shown();
        let mut drawn: HashSet<(usize, usize, u32)> = HashSet::new();
        for (wire, crossing) in picture.wires.iter().zip(crossings) {
            let edges = crossing.iter().flat_map(|crossing| &crossing.edges);
            drawn.extend(edges.map(|edge| (wire.from, wire.to, *edge)));
        }
        let mut note = |item: Option<usize>, edge: u32| {
            if let Some(edges) = item.and_then(|item| inside.get_mut(item))
                && !edges.contains(&edge)
            {
                edges.push(edge);
            }
        };
        for message in &plan.messages {
            for value in &message.made_by {
                let from = picture.item_of(&shown.tree, *value);
                match (message.from, message.to) {
                    (End::Device(_), End::Device(reader)) => {
                        let users = shown.flow.users(*value).iter();
                        for user in users.filter(|user| shown.flow[**user].device == reader.0) {
                            let to = picture.item_of(&shown.tree, *user);
                            let line = from.zip(to).map(|(from, to)| (from, to, message.edge.0));
                            if line.is_none_or(|line| !drawn.contains(&line)) {
                                note(to, message.edge.0);
                            }
                        }
                    }
                    _ => note(from, message.edge.0),
                }
            }
        }
        inside
    }

    fn crossing(&self, picture: &Picture, wire: &layout::Wire) -> Option<Crossing> {
        let shown = self.shown();
        let to = match picture.items[wire.to].what {
            Child::Node(node) => vec![shown.flow[node].device],
            Child::Group(group) => shown.tree[group].devices.clone(),
        };
        let plan = self.document.plan.as_ref().filter(|_| self.is_last());
        let (mut crosses, mut edges, mut bytes) = (false, vec![], 0u64);
        for value in &wire.values {
            let from = shown.flow[*value].device;
            let is_from_host = shown.flow[*value].role != Role::Value;
            for reader in to.iter().filter(|to| **to != from && !is_from_host) {
                crosses = true;
                if let Some(message) = plan.and_then(|plan| plan.message_of(*value, *reader)) {
                    edges.push(message.edge.0);
                    bytes = bytes.saturating_add(message.token_bytes.unwrap_or(message.bytes));
                }
            }
        }
        // A group on several devices may have the value on the one that makes it.
        edges.sort_unstable();
        edges.dedup();
        (crosses && (!edges.is_empty() || plan.is_none())).then_some(Crossing { edges, bytes })
    }

    /// What a box stands for: a node, a group, or the equal layers that are drawn as one.
    pub(crate) fn members(&self, child: Child) -> Vec<Child> {
        let tree = &self.shown().tree;
        let Some(parent) = tree.parent(child).filter(|_| self.view.is_folded) else { return vec![child] };
        let children = &tree[parent].children;
        let run = tree.runs(parent).iter().copied().find(|run| children[run.first as usize] == child);
        run.map_or(vec![child], |run| children[run.first as usize..(run.first + run.times) as usize].to_vec())
    }

    /// The box of what is selected, or of the group or equal layer that it is in.
    pub(crate) fn item(&self, child: Child) -> Option<usize> {
        let (picture, _) = self.picture()?;
        match child {
            Child::Node(node) => picture.item_of(&self.shown().tree, node),
            Child::Group(_) => picture.items.iter().position(|item| item.what == child),
        }
    }
}

fn next_generation() -> u64 {
    static GENERATIONS: AtomicU64 = AtomicU64::new(0);
    GENERATIONS.fetch_add(1, Ordering::Relaxed)
}

/// The place of the child that is drawn for another of its group: the first of equal layers.
fn standing(tree: &Tree, group: GroupIx, slot: usize) -> usize {
    let has = |run: &&Run| (run.first as usize..(run.first + run.times) as usize).contains(&slot);
    tree.runs(group).iter().find(has).map_or(slot, |run| run.first as usize)
}

/// The layout's rectangle as the window has it.
pub(crate) fn rect(rect: &layout::Rect) -> Rect {
    Rect::from_min_size(point(&rect.at), Vec2::new(rect.size.width, rect.size.height))
}

pub(crate) fn point(point: &layout::Point) -> Pos2 {
    pos2(point.x, point.y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_with_the_line_that_shows_them_else_with_the_box_that_hides_them() {
        let folder = crate::bundle::two_devices();
        let text = std::fs::read_to_string(folder.path().join("plan.ron")).unwrap();
        let text = text.replace("node:\"blk.", "node:\"m.blk.");
        let document = Document::of_plan_text("plan.ron".as_ref(), &text).unwrap();
        let mut side = Side::new(0, document, Rounds::Decode);
        let whole = side.shown().tree.find("m").unwrap();
        let seen = |side: &Side| {
            let (_, crossings) = side.picture().unwrap();
            let shown: Vec<u32> = crossings.iter().flatten().flat_map(|line| line.edges.clone()).collect();
            let own = side.item(Child::Group(whole)).unwrap();
            (shown, side.hidden()[own].clone())
        };
        let messages = &side.document.plan.as_ref().unwrap().messages;
        let is_between = |end: End| matches!(end, End::Device(_));
        let between = messages.iter().find(|own| is_between(own.from) && is_between(own.to)).unwrap().edge.0;
        let all = messages.len();
        side.prepare();
        let (shown, within) = seen(&side);
        assert!(shown.is_empty() && within.contains(&between), "{shown:?} {within:?}");
        let told: std::collections::BTreeSet<u32> = side.hidden().iter().flatten().copied().collect();
        assert_eq!(told.len(), all, "those of the host, too");
        side.toggle(whole);
        side.prepare();
        let (shown, within) = seen(&side);
        assert!(shown.contains(&between) && !within.contains(&between), "{shown:?} {within:?}");
    }
}
