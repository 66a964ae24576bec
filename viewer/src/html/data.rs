//! What the page is given: groups by content, so that equal layers are there once.
//!
//! Names are short, for they are written thousands of times; the page's script reads them. A group's content says nothing of
//! which group it is: layers' numbers are left out of names, and reference nodes are counted from the group's first.
use crate::colours::{DEVICES, is_light};
use crate::document::{Child, Document, Fate, GroupIx, Node, NodeIx, Pass, Role};
use crate::layout::{Drawn, Layouts, Pinned, Point, View};
use serde::Serialize;
use std::collections::HashMap;

/// Stands for the number of the layer that a name is in.
const LAYER: &str = "\u{1}";

/// All that the page shows.
#[derive(Serialize)]
pub(super) struct Data {
    name: String,
    devices: Vec<String>,
    /// By device, from the first again where they end: the colour, and whether it is light.
    colours: Vec<(String, bool)>,
    passes: Vec<PassOf>,
    groups: Vec<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<super::plan::PlanOf>,
    remarks: Vec<String>,
}

#[derive(Serialize)]
struct PassOf {
    name: String,
    /// The content of the whole graph, and its first reference node.
    root: usize,
    base: i64,
    added: usize,
    removed: Vec<String>,
    /// The reference nodes of what was removed.
    lost: Vec<u32>,
    changed: usize,
}

/// A group's content.
#[derive(Serialize)]
struct Content {
    /// What it holds.
    c: Vec<Part>,
    /// Where its exits come from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    x: Vec<Ref>,
    /// Where all is drawn, equal layers as one.
    g: Geometry,
    /// Where every layer is drawn, where that is something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    u: Option<Geometry>,
}

/// Where a value comes from: `[slot]`, `[slot, exit]`, or `[-1, entry]`.
type Ref = Vec<i64>;

/// A child: a node, or a group.
#[derive(Serialize, Default)]
struct Part {
    /// Its name, behind that of the group so many levels up.
    n: String,
    #[serde(skip_serializing_if = "is_zero")]
    k: i64,
    /// Of a node the operator, type, attributes, device, role and fate.
    #[serde(skip_serializing_if = "Option::is_none")]
    o: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    t: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    a: String,
    #[serde(skip_serializing_if = "is_zero")]
    d: i64,
    #[serde(skip_serializing_if = "is_zero")]
    r: i64,
    #[serde(skip_serializing_if = "is_zero")]
    f: i64,
    /// The reference nodes, from the group's first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    p: Vec<i64>,
    /// Where operands or entries come from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    i: Vec<Ref>,
    /// Of a group its content, first reference node, nodes, and devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    g: Option<usize>,
    #[serde(skip_serializing_if = "is_zero")]
    b: i64,
    #[serde(skip_serializing_if = "is_zero")]
    s: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    v: Vec<u32>,
}

/// Where a group's children are drawn.
#[derive(Serialize, PartialEq)]
struct Geometry {
    /// Width and height.
    z: [i64; 2],
    /// Slot, x, y, width, height, and how many equal layers it stands for.
    b: Vec<[i64; 6]>,
    /// Where entries and exits cross the border.
    e: Vec<i64>,
    x: Vec<i64>,
    /// The lines.
    l: Vec<LineOf>,
}

#[derive(Serialize, PartialEq)]
struct LineOf {
    /// Slot from where; -1 for the border.
    f: i64,
    /// Slot to where; -1 for the border.
    t: i64,
    /// Which operands or entries of the slot it brings; of the border which exit.
    i: Vec<i64>,
    /// Of the border, which entry it comes from.
    #[serde(skip_serializing_if = "is_zero")]
    e: i64,
    /// x and y of its points, one after the other.
    p: Vec<i64>,
    /// Bytes of a message to another device, for a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    m: Option<u64>,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl Data {
    pub(super) fn of(document: &Document) -> Data {
        let mut writer =
            Writer { document, layouts: Layouts::default(), groups: vec![], known: HashMap::new() };
        let mut passes = vec![];
        let mut before: Option<(&Pass, [HashMap<String, Drawn>; 2])> = None;
        for pass in &document.passes {
            let mut drawn = [HashMap::new(), HashMap::new()];
            let (root, base) = writer.group(pass, GroupIx::ROOT, before.as_ref(), &mut drawn);
            let gone: Vec<&Node> = match (&pass.change, &before) {
                (Some(change), Some((before, _))) => {
                    change.removed.iter().map(|node| &before.flow[*node]).collect()
                }
                _ => vec![],
            };
            let removed = gone.iter().map(|node| node.title().to_owned()).collect();
            let mut lost: Vec<u32> = gone.iter().flat_map(|node| &node.stands_for).copied().collect();
            lost.sort_unstable();
            lost.dedup();
            let (added, _, changed) = pass.change.as_ref().map_or((0, 0, 0), |change| change.counts());
            passes.push(PassOf { name: pass.name.clone(), root, base, added, removed, lost, changed });
            before = Some((pass, drawn));
        }
        let most = document.passes.iter().flat_map(|pass| &pass.tree[GroupIx::ROOT].devices).max();
        let colours = DEVICES.iter().map(|of @ [r, g, b]| (format!("#{r:02x}{g:02x}{b:02x}"), is_light(*of)));
        Data {
            name: document.name.clone(),
            devices: (0..=most.copied().unwrap_or(0).min(DEVICES_MAX)).map(|n| document.device(n)).collect(),
            colours: colours.collect(),
            passes,
            groups: writer.groups,
            plan: document.plan.as_ref().map(|view| super::plan::PlanOf::of(document, view)),
            remarks: document.remarks.clone(),
        }
    }
}

/// Devices that have a name on the page; a file can name any number.
const DEVICES_MAX: u32 = 1024;

struct Writer<'a> {
    document: &'a Document,
    layouts: Layouts,
    groups: Vec<serde_json::Value>,
    /// By text.
    known: HashMap<String, usize>,
}

impl Writer<'_> {
    /// Writes a group and all in it; its number, and its first reference node.
    fn group(
        &mut self,
        pass: &Pass,
        group: GroupIx,
        before: Option<&(&Pass, [HashMap<String, Drawn>; 2])>,
        drawn: &mut [HashMap<String, Drawn>; 2],
    ) -> (usize, i64) {
        let tree = &pass.tree;
        let mut inner: HashMap<GroupIx, (usize, i64)> = HashMap::new();
        for child in &tree[group].children {
            if let Child::Group(at) = child {
                inner.insert(*at, self.group(pass, *at, before, drawn));
            }
        }
        let own = tree[group].children.iter().filter_map(|child| match child {
            Child::Node(node) => pass.flow[*node].stands_for.first().map(|first| i64::from(*first)),
            Child::Group(at) => Some(inner[at].1).filter(|base| *base != i64::MAX),
        });
        let base = own.min().unwrap_or(i64::MAX);
        let parts = tree[group].children.iter().map(|child| self.part(pass, group, *child, base, &inner));
        let c = parts.collect();
        let x = tree.ports.exits(group).iter().map(|exit| place(pass, group, *exit)).collect();
        let mut geometries =
            [true, false].into_iter().zip(drawn).enumerate().map(|(at, (is_folded, drawn))| {
                let view = View { is_folded, ..View::default() };
                let pinned = before.map(|(pass, all)| Pinned::new(pass, &all[at]));
                let laid = self.layouts.closed(pass, group, &view, pinned);
                let geometry = self.geometry(pass, group, &laid);
                drawn.insert(tree[group].path.clone(), laid);
                geometry
            });
        let (g, u) = (geometries.next(), geometries.next());
        drop(geometries);
        let g = g.expect("there are two ways of drawing");
        let content = Content { c, x, u: u.filter(|u| *u != g), g };
        (self.number(&content), base)
    }

    fn number(&mut self, content: &Content) -> usize {
        // Only maps with odd keys cannot be written, and there is none.
        let value = serde_json::to_value(content).expect("plain data can be written");
        let groups = &mut self.groups;
        *self.known.entry(value.to_string()).or_insert_with(|| {
            groups.push(value);
            groups.len() - 1
        })
    }

    fn part(
        &self,
        pass: &Pass,
        group: GroupIx,
        child: Child,
        base: i64,
        inner: &HashMap<GroupIx, (usize, i64)>,
    ) -> Part {
        let tree = &pass.tree;
        match child {
            Child::Group(at) => {
                let (content, first) = inner[&at];
                Part {
                    n: tree[at].name.clone(),
                    g: Some(content),
                    b: if first == i64::MAX { 0 } else { first - base },
                    s: i64::from(tree[at].count),
                    v: tree[at].devices.clone(),
                    i: tree.ports.entries(at).iter().map(|entry| place(pass, group, *entry)).collect(),
                    ..Part::default()
                }
            }
            Child::Node(node) => {
                let own = &pass.flow[node];
                let (label, levels) = tree.label_and_levels(&pass.flow, node);
                let fate = pass.change.as_ref().map_or(Fate::Same, |change| change.fates[node.at()]);
                Part {
                    n: crate::document::without_layer(label, &tree[group].path, LAYER),
                    k: levels,
                    o: Some(own.op.clone()),
                    t: own.ty.as_ref().map_or(String::new(), ToString::to_string),
                    a: own.attributes.clone(),
                    d: i64::from(own.device),
                    r: role(own.role),
                    f: i64::from(fate == Fate::Changed) + 2 * i64::from(fate == Fate::Added),
                    p: own.stands_for.iter().map(|id| i64::from(*id) - base).collect(),
                    i: own.inputs.iter().map(|input| place(pass, group, *input)).collect(),
                    ..Part::default()
                }
            }
        }
    }

    fn geometry(&self, pass: &Pass, group: GroupIx, drawn: &Drawn) -> Geometry {
        let sheet = drawn.sheet();
        let round = |number: f32| number.round() as i64;
        let slot = |at: Option<usize>| at.map_or(-1, |at| i64::from(drawn.runs()[at].first));
        let rects = sheet.boxes.iter().zip(drawn.runs()).map(|(rect, run)| {
            let (at, size) = (rect.at, rect.size);
            let [x, y, w, h] = [at.x, at.y, size.width, size.height].map(round);
            [i64::from(run.first), x, y, w, h, i64::from(run.times)]
        });
        let lines = drawn.lines().zip(&sheet.routes).map(|(line, route)| LineOf {
            f: slot(line.from),
            t: slot(line.to),
            i: line.brings.iter().map(|at| i64::from(*at)).collect(),
            e: line.entry as i64,
            p: route.iter().flat_map(|Point { x, y }| [round(*x), round(*y)]).collect(),
            m: self.message(
                pass,
                &drawn.values(pass, group, &line),
                line.to.map(|at| drawn.runs()[at].first),
                group,
            ),
        });
        Geometry {
            z: [round(sheet.size.width), round(sheet.size.height)],
            b: rects.collect(),
            e: sheet.entries.iter().map(|x| round(*x)).collect(),
            x: sheet.exits.iter().map(|x| round(*x)).collect(),
            l: lines.collect(),
        }
    }

    /// Bytes that go to another device with these values, for a token; none where none do.
    fn message(&self, pass: &Pass, values: &[NodeIx], to: Option<u32>, group: GroupIx) -> Option<u64> {
        let token = self.document.plan.as_ref()?.plan.decode_symbols();
        let readers = match pass.tree[group].children[to? as usize] {
            Child::Node(node) => vec![pass.flow[node].device],
            Child::Group(inner) => pass.tree[inner].devices.clone(),
        };
        let crossing = values.iter().map(|value| &pass.flow[*value]).filter(|value| {
            value.role == Role::Value && readers.iter().any(|device| *device != value.device)
        });
        let bytes: Vec<u64> =
            crossing.filter_map(|value| value.ty.as_ref()?.bytes(|symbol| token.get(symbol))).collect();
        (!bytes.is_empty()).then(|| bytes.iter().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes)))
    }
}

fn role(role: Role) -> i64 {
    match role {
        Role::Value => 0,
        Role::Input => 1,
        Role::State => 2,
        Role::Weight => 3,
    }
}

/// Where a group has a value from.
fn place(pass: &Pass, group: GroupIx, value: NodeIx) -> Ref {
    let Pass { tree, .. } = pass;
    let Some(slot) = tree.slot_in(group, value) else {
        return vec![-1, tree.ports.entry(group, value).map_or(0, |at| at as i64)];
    };
    match tree[group].children[slot] {
        Child::Node(_) => vec![slot as i64],
        Child::Group(inner) => vec![slot as i64, tree.ports.exit(inner, value).map_or(0, |at| at as i64)],
    }
}
