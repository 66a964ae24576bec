//! What boxes are coloured by: devices, what a pass did, time, error.
use super::heat::{part_of_most, part_of_ratio};
use super::side::Side;
use super::theme::{self, Palette};
use super::units;
use crate::document::{Child, Fate, NodeIx, Numbers, Role};
use crate::layout::{Item, Picture};
use eframe::egui::Color32;
use std::collections::HashMap;

/// What boxes are coloured by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Colouring {
    /// The device that computes it.
    #[default]
    Device,
    /// What the pass shown did.
    Change,
    /// The time that it is to take.
    Predicted,
    /// The time that it took.
    Measured,
    /// How many times as long as predicted it took.
    Miss,
    /// How far its value is from the model's.
    Error,
    /// What differs from the other document.
    Difference,
}

impl Colouring {
    pub(crate) const ALL: [Colouring; 7] = [
        Colouring::Device,
        Colouring::Change,
        Colouring::Predicted,
        Colouring::Measured,
        Colouring::Miss,
        Colouring::Error,
        Colouring::Difference,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Colouring::Device => "device",
            Colouring::Change => "what the pass did",
            Colouring::Predicted => "predicted time",
            Colouring::Measured => "measured time",
            Colouring::Miss => "measured ÷ predicted",
            Colouring::Error => "error",
            Colouring::Difference => "difference",
        }
    }

    /// Whether there is anything to colour by.
    pub(crate) fn applies(self, side: &Side, is_compared: bool) -> bool {
        let document = &side.document;
        match self {
            Colouring::Device => true,
            Colouring::Change => document.passes.len() > 1,
            Colouring::Predicted => document.trace.is_some() || document.spans.is_some(),
            Colouring::Measured | Colouring::Miss => document.trace.is_some(),
            Colouring::Error => document.numbers.is_some(),
            Colouring::Difference => is_compared,
        }
    }
}

/// How a box looks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tint {
    pub(crate) fill: Color32,
    pub(crate) stroke: Color32,
    pub(crate) ink: Color32,
    /// A sign that says the same without colour.
    pub(crate) mark: Option<(&'static str, Color32)>,
    /// What is said in numbers, instead of the type.
    pub(crate) note: Option<String>,
    /// Whether something is to catch the eye.
    pub(crate) is_loud: bool,
}

/// What became of a node, or will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Added,
    Removed,
    Changed,
}

/// What differs from the other document, by node; for [`Colouring::Difference`].
pub(crate) type Differences = Vec<Option<Mark>>;

/// How the boxes of a picture look.
pub(crate) fn tints(
    side: &Side,
    picture: &Picture,
    (colouring, palette): (Colouring, &Palette),
    differences: Option<&Differences>,
) -> Vec<Tint> {
    let errors = match (colouring, &side.document.numbers) {
        (Colouring::Error, Some(numbers)) => Some((numbers, numbers.by_path())),
        _ => None,
    };
    let tint = |item: &Item| match colouring {
        Colouring::Device => by_device(side, item.what, palette),
        Colouring::Change => {
            by_mark(side, item, palette, |node| match side.shown().change.as_ref()?.fates[node.at()] {
                Fate::Added => Some(Mark::Added),
                Fate::Changed => Some(Mark::Changed),
                Fate::Same => None,
            })
        }
        Colouring::Difference => {
            by_mark(side, item, palette, |node| differences?.get(node.at()).copied().flatten())
        }
        Colouring::Error => match &errors {
            Some((numbers, by_path)) => by_error(side, item, (numbers, by_path), palette),
            None => plain(palette),
        },
        Colouring::Predicted | Colouring::Measured | Colouring::Miss => {
            by_time(side, item, colouring, palette)
        }
    };
    picture.items.iter().map(tint).collect()
}

/// A box that says nothing.
fn plain(palette: &Palette) -> Tint {
    Tint {
        fill: palette.node,
        stroke: palette.outline,
        ink: palette.text,
        mark: None,
        note: None,
        is_loud: false,
    }
}

fn by_device(side: &Side, what: Child, palette: &Palette) -> Tint {
    let shown = side.shown();
    let device = match what {
        Child::Node(node) if shown.flow[node].role != Role::Value => return plain(palette),
        Child::Node(node) => Some(shown.flow[node].device),
        Child::Group(group) => match shown.tree[group].devices[..] {
            [only] => Some(only),
            _ => None,
        },
    };
    match device.map(theme::device) {
        Some(colour) => Tint {
            fill: palette.tinted(colour, 0.16),
            stroke: palette.tinted(colour, 0.85),
            ..plain(palette)
        },
        None => plain(palette),
    }
}

/// What a box stands for: of equal layers that are drawn as one, each may have met with something else.
fn members(side: &Side, item: &Item) -> Vec<Child> {
    if item.times > 1 { side.members(item.what) } else { vec![item.what] }
}

/// Every node that a box stands for.
fn nodes(side: &Side, item: &Item) -> Vec<NodeIx> {
    members(side, item).into_iter().flat_map(|member| side.shown().tree.nodes(member)).collect()
}

fn by_mark(side: &Side, item: &Item, palette: &Palette, mark: impl Fn(NodeIx) -> Option<Mark>) -> Tint {
    let what = item.what;
    let nodes = nodes(side, item);
    let marks: Vec<Mark> = nodes.iter().filter_map(|node| mark(*node)).collect();
    let Some(first) = marks.first() else { return plain(palette) };
    let is_all = |kind: &Mark| marks.len() == nodes.len() && marks.iter().all(|mark| mark == kind);
    let (sign, colour) = look(if is_all(first) { *first } else { Mark::Changed }, palette);
    let of = |kind: Mark| marks.iter().filter(|mark| **mark == kind).count();
    let counts: Vec<String> = [Mark::Added, Mark::Removed, Mark::Changed]
        .into_iter()
        .filter(|kind| of(*kind) > 0)
        .map(|kind| format!("{}{}", look(kind, palette).0, of(kind)))
        .collect();
    Tint {
        fill: palette.tinted(colour, 0.25),
        stroke: colour,
        mark: Some((sign, colour)),
        note: matches!(what, Child::Group(_)).then(|| format!("{} of {}", counts.join(" "), nodes.len())),
        ..plain(palette)
    }
}

/// The sign and colour of what became of a node.
pub(crate) fn look(mark: Mark, palette: &Palette) -> (&'static str, Color32) {
    match mark {
        Mark::Added => ("+", palette.added),
        Mark::Removed => ("−", palette.removed),
        Mark::Changed => ("~", palette.changed),
    }
}

fn by_time(side: &Side, item: &Item, colouring: Colouring, palette: &Palette) -> Tint {
    if !side.is_last() {
        return plain(palette);
    }
    let nodes = nodes(side, item);
    let (predicted, measured) = side.heat.sum(&nodes);
    let said = |us: f64| match item.times {
        0 | 1 => units::time_us(us),
        times => format!("each {}, in all {}", units::time_us(us / f64::from(times)), units::time_us(us)),
    };
    // Of a group what its nodes take on average, so that large ones are not hot for being large.
    let count = nodes.iter().filter(|node| side.heat.sum(&[**node]) != (None, None)).count().max(1) as f64;
    let most = side.heat.most();
    let (part, note) = match (colouring, predicted, measured) {
        (Colouring::Predicted, Some(us), _) | (Colouring::Measured, _, Some(us)) => {
            (part_of_most(us / count, most), said(us))
        }
        (Colouring::Miss, Some(predicted), Some(measured)) => (
            part_of_ratio(predicted, measured),
            match predicted > 0.0 {
                true => format!("×{:.2}", measured / predicted),
                false => format!("{} for nothing", units::time_us(measured)),
            },
        ),
        _ => return plain(palette),
    };
    let fill = theme::heat(part);
    Tint { fill, ink: theme::ink(fill), stroke: palette.outline, note: Some(note), ..plain(palette) }
}

/// What was compared, and the greatest error by path.
type Errors<'a> = (&'a Numbers, &'a HashMap<&'a str, f64>);

fn by_error(side: &Side, item: &Item, errors: Errors<'_>, palette: &Palette) -> Tint {
    let (numbers, _) = errors;
    let of: Vec<_> = members(side, item).into_iter().map(|what| error_of(side, what, errors)).collect();
    let error = of.iter().filter_map(|(error, _)| *error).reduce(f64::max);
    let is_first = of.iter().any(|(_, is_first)| *is_first);
    let Some(error) = error else {
        return Tint {
            mark: is_first.then_some(("!", palette.removed)),
            is_loud: is_first,
            ..plain(palette)
        };
    };
    let fill = theme::heat(part_of_error(error, numbers));
    Tint {
        fill,
        ink: theme::ink(fill),
        stroke: if is_first { palette.removed } else { palette.outline },
        mark: is_first.then_some(("!", palette.removed)),
        note: Some(match item.times {
            0 | 1 => format!("error {error:.1e}"),
            _ => format!("error ≤ {error:.1e}"),
        }),
        is_loud: is_first,
    }
}

/// The error of a node or of a group's worst value, and whether the first value beyond tolerance is there.
fn error_of(side: &Side, what: Child, (numbers, by_path): Errors<'_>) -> (Option<f64>, bool) {
    let shown = side.shown();
    let nodes = shown.tree.nodes(what);
    let paths = || nodes.iter().map(|node| shown.flow[*node].path.as_str()).filter(|path| !path.is_empty());
    let layer = match what {
        Child::Group(group) => numbers.of(&shown.tree[group].path).map(|worst| worst.error),
        Child::Node(_) => None,
    };
    let is_first = numbers.first.as_ref().is_some_and(|first| paths().any(|path| path == first.node));
    (paths().filter_map(|path| by_path.get(path)).copied().chain(layer).reduce(f64::max), is_first)
}

/// From 0, a millionth of what is allowed, to 1, all of it.
fn part_of_error(error: f64, numbers: &Numbers) -> f32 {
    let part = error / numbers.drift.max(f64::MIN_POSITIVE);
    if part.is_nan() { 1.0 } else { (1.0 + part.max(1e-6).log10() / 6.0).clamp(0.0, 1.0) as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;
    use crate::panels::heat::tests::given;
    use crate::panels::heat::{Rounds, Times};

    #[test]
    fn layers_drawn_as_one_say_what_all_of_them_take_and_the_worst_of_their_errors() {
        let layer = |n: u32, x: &str| {
            format!("  %{n} = exp({x}): f32[2] @blk.{n}.a\n  %{n}b = neg(%{n}): f32[2] @blk.{n}.b\n")
        };
        let layers = [layer(0, "%e"), layer(1, "%0b"), layer(2, "%1b")].concat();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("g.ir");
        std::fs::write(
            &path,
            format!(
                "graph g {{\n  x = input(): f32[2]\n  %e = neg(x): f32[2] @embed\n{layers}  %y = neg(%2b): f32[2] @out\n  return %y\n}}\n"
            ),
        )
        .unwrap();
        let mut document = Document::open(&path).unwrap();
        let numbers = r#"{"tokens":1,"compared":6,"jump":0.1,"drift":0.5,"logits":null,"layers":[
            {"name":"blk.0","error":1e-6,"node":"blk.0.a"},{"name":"blk.1","error":0.25,"node":"blk.1.b"},
            {"name":"blk.2","error":null,"node":"blk.2.b"}],"nodes":[{"node":"blk.0.b","device":"cpu:0",
            "error":0.125},{"node":"blk.0.b","device":"cpu:1","error":0.5}],"more":[],"first":{"node":"blk.1.b","operator":"neg",
            "device":"cpu:0","step":3,"kernel":"neg","error":0.25,"at":[0],"found":1,"expected":2,"made_by":"import"}}"#;
        document.set_numbers(&path, numbers).unwrap();
        let by_path = document.numbers.as_ref().unwrap().by_path();
        assert_eq!(document.numbers.as_ref().unwrap().at("blk.0.b"), Some(0.5));
        assert_eq!((by_path["blk.0.a"], by_path["blk.0.b"], by_path.len()), (1e-6, 0.5, 4));
        let flow = &document.last().flow;
        let times = flow.indices().filter(|node| flow[*node].path.starts_with("blk")).map(|node| {
            (
                node,
                Times {
                    predicted: Some(2.0),
                    measured: Some(if flow[node].path == "blk.2.b" { 12.0 } else { 2.0 }),
                },
            )
        });
        let heat = given(times.collect());
        let mut side = Side::new(0, document, Rounds::Decode);
        side.heat = heat;
        side.prepare();
        let (picture, _) = side.picture().unwrap();
        let at = picture.items.iter().position(|item| item.times == 3).expect("layers as one");
        let tint = |colouring| tints(&side, picture, (colouring, &Palette::of(true)), None).swap_remove(at);
        assert_eq!(tint(Colouring::Predicted).note.unwrap(), "each 4.0 µs, in all 12.0 µs");
        assert_eq!(tint(Colouring::Measured).note.unwrap(), "each 7.3 µs, in all 22.0 µs");
        let error = tint(Colouring::Error);
        assert_eq!((error.note.unwrap().as_str(), error.is_loud), ("error ≤ inf", true));
    }
}
