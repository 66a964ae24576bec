//! What must be so of every layout: nothing overlaps, lines go down, and the same graph looks the same.
mod generated;

use proptest::prelude::*;
use std::collections::BTreeSet;
use viewer::document::{Child, Fate, Flow, GroupIx, Matching, NodeIx, Pass};
use viewer::layout::{End, Item, Layouts, Link, Picture, Rect, Size, Sketch, Style, Vertex, View};

fn pass(text: &str) -> Pass {
    Pass::new("import", 0, Flow::of_graph(&ir::text::read(text).expect("a graph").graph))
}

fn all_open(pass: &Pass) -> BTreeSet<String> {
    pass.tree.groups.iter().map(|group| group.path.clone()).collect()
}

/// Boxes within one group do not overlap, and lie within the box of their group.
fn check_boxes(picture: &Picture) {
    for (at, item) in picture.items.iter().enumerate() {
        for other in &picture.items[at + 1..] {
            assert!(item.parent != other.parent || !item.rect.overlaps(&other.rect), "{item:?} {other:?}");
        }
        if let Some(parent) = item.parent {
            assert!(picture.items[parent].rect.contains(&item.rect), "{item:?}");
        }
    }
}

/// A segment passes through a box, more than along its border.
fn crosses(rect: &Rect, a: viewer::layout::Point, b: viewer::layout::Point) -> bool {
    let (end, inner) = (rect.end(), 0.01);
    (0..=16).any(|step| {
        let part = step as f32 / 16.0;
        let (x, y) = (a.x + (b.x - a.x) * part, a.y + (b.y - a.y) * part);
        x > rect.at.x + inner && x < end.x - inner && y > rect.at.y + inner && y < end.y - inner
    })
}

fn sketch(boxes: &[(u8, u8)], links: &[(usize, usize)], (entries, exits): (usize, usize)) -> Sketch {
    let size = |(w, h): &(u8, u8)| Size { width: 20.0 + f32::from(*w), height: 20.0 + f32::from(*h) };
    let count = boxes.len();
    let mut all: Vec<Link> = links
        .iter()
        .map(|(a, b)| (a % count, b % count))
        .filter(|(a, b)| a != b)
        .map(|(a, b)| Link { from: End::Box(a.min(b), None), to: End::Box(a.max(b), None) })
        .collect();
    all.dedup();
    all.extend((0..entries).map(|at| Link { from: End::Border(at), to: End::Box(at * 7 % count, None) }));
    all.extend((0..exits).map(|at| Link { from: End::Box(at * 5 % count, Some(3.0)), to: End::Border(at) }));
    let boxes = boxes.iter().map(|of| Vertex { size: size(of) }).collect();
    Sketch { boxes, links: all, entries, exits, ..Sketch::default() }
}

proptest! {
    #[test]
    fn boxes_do_not_overlap_and_lines_go_down_past_them(
        boxes in prop::collection::vec((0u8..200, 0u8..60), 1..40),
        links in prop::collection::vec((0usize..40, 0usize..40), 0..80),
        borders in (0usize..4, 0usize..4),
    ) {
        let sketch = sketch(&boxes, &links, borders);
        let sheet = sketch.lay(&Style::default());
        prop_assert_eq!(&sheet, &sketch.lay(&Style::default()));
        let whole = Rect { size: sheet.size, ..Rect::default() };
        for (at, rect) in sheet.boxes.iter().enumerate() {
            prop_assert!(sheet.boxes[at + 1..].iter().all(|other| !rect.overlaps(other)), "{:?}", sheet.boxes);
            let slack = Rect { size: Size { width: whole.size.width + 0.2, height: whole.size.height + 0.2 }, at: viewer::layout::Point { x: -0.1, y: -0.1 } };
            prop_assert!(slack.contains(rect), "{rect:?} {whole:?}");
        }
        for (link, route) in sketch.links.iter().zip(&sheet.routes) {
            prop_assert!(route.windows(2).all(|pair| pair[0].y <= pair[1].y), "{route:?}");
            if let (End::Box(from, _), End::Box(to, _)) = (link.from, link.to) {
                prop_assert!(sheet.layers[from] < sheet.layers[to]);
                prop_assert_eq!(route[0].y, sheet.boxes[from].end().y);
                prop_assert_eq!(route[route.len() - 1].y, sheet.boxes[to].at.y);
            }
            for rect in &sheet.boxes {
                prop_assert!(!route.windows(2).any(|pair| crosses(rect, pair[0], pair[1])), "{rect:?} {route:?}");
            }
        }
    }

    #[test]
    fn circles_are_drawn_too(links in prop::collection::vec((0usize..8, 0usize..8), 0..30)) {
        let boxes = vec![Vertex { size: Size { width: 40.0, height: 20.0 } }; 8];
        let links: Vec<Link> = links.iter().filter(|(a, b)| a != b)
            .map(|(a, b)| Link { from: End::Box(*a, None), to: End::Box(*b, None) }).collect();
        let sheet = Sketch { boxes, links, ..Sketch::default() }.lay(&Style::default());
        for (at, rect) in sheet.boxes.iter().enumerate() {
            prop_assert!(sheet.boxes[at + 1..].iter().all(|other| !rect.overlaps(other)));
        }
    }
}

#[test]
fn a_chain_is_a_straight_line_and_a_diamond_has_no_crossing() {
    let boxes = [(10, 0); 4];
    let sheet = sketch(&boxes, &[(0, 1), (1, 2), (2, 3)], (0, 0)).lay(&Style::default());
    assert!(sheet.boxes.windows(2).all(|pair| (pair[0].middle().x - pair[1].middle().x).abs() < 0.5));
    let diamond = sketch(&boxes, &[(0, 1), (0, 2), (1, 3), (2, 3)], (0, 0)).lay(&Style::default());
    assert_eq!(diamond.layers, [0, 1, 1, 2]);
    assert!((diamond.boxes[0].middle().x - diamond.boxes[3].middle().x).abs() < 0.5);
}

#[test]
fn equal_layers_share_one_sheet_and_fold_into_one() {
    let pass = pass(&generated::graph(12 * generated::LAYER));
    let mut layouts = Layouts::default();
    let closed = layouts.picture(&pass, &View::default(), None);
    assert_eq!(closed.items.iter().filter(|item| matches!(item.what, Child::Group(_))).count(), 12);
    let mut open = View { open: all_open(&pass), ..View::default() };
    let before = layouts.made();
    let picture = layouts.picture(&pass, &open, None);
    check_boxes(&picture);
    // The whole, a layer, its attention and its feed-forward part.
    assert_eq!(layouts.made() - before, 4, "of 12 layers one is laid out");
    open.is_folded = true;
    let folded = layouts.picture(&pass, &open, None);
    let layer = folded.items.iter().find(|item| item.times > 1).expect("layers as one");
    assert_eq!(layer.times, 12);
    check_boxes(&folded);
    // Whatever layer a node is in, the box that stands for it is in the one that is drawn.
    for node in pass.flow.indices().filter(|node| pass.flow[*node].op == "silu") {
        let item: Item = folded.items[folded.item_of(&pass.tree, node).expect("a box")];
        assert!(matches!(item.what, Child::Node(drawn) if pass.flow[drawn].op == "silu"));
    }
}

#[test]
fn every_operand_between_visible_boxes_has_its_line() {
    let pass = pass(&generated::graph(4 * generated::LAYER));
    for opened in
        [vec![], vec!["blk.1"], vec!["blk.1", "blk.1.attn", "blk.3.ffn"], vec!["blk.0", "blk.3", "blk.3.ffn"]]
    {
        let open = opened.iter().map(|path| (*path).to_owned()).collect();
        let picture =
            Layouts::default().picture(&pass, &View { open, has_weights: true, ..View::default() }, None);
        check_boxes(&picture);
        let item = |node: NodeIx| picture.item_of(&pass.tree, node).expect("a box");
        let mut expected: BTreeSet<(usize, usize, NodeIx)> = BTreeSet::new();
        for user in pass.flow.indices() {
            for input in pass.flow[user].inputs.iter().filter(|input| !pass.flow.is_quiet(**input)) {
                let (from, to) = (item(*input), item(user));
                if from != to {
                    expected.insert((from, to, *input));
                }
            }
        }
        let drawn: BTreeSet<(usize, usize, NodeIx)> = picture
            .wires
            .iter()
            .flat_map(|wire| wire.values.iter().map(|value| (wire.from, wire.to, *value)))
            .collect();
        assert_eq!(drawn, expected, "{opened:?}");
        for wire in &picture.wires {
            let (from, to) = (picture.items[wire.from].rect, picture.items[wire.to].rect);
            let (first, last) = (wire.points[0], wire.points[wire.points.len() - 1]);
            assert!((first.y - from.end().y).abs() < 0.1 && (last.y - to.at.y).abs() < 0.1, "{wire:?}");
            assert!(first.x >= from.at.x && first.x <= from.end().x, "{wire:?} {from:?}");
        }
    }
}

#[test]
fn what_a_pass_leaves_stays_where_it_was() {
    let before = pass(&generated::graph(3 * generated::LAYER));
    // The activation and the product behind it become one.
    let text = generated::graph(3 * generated::LAYER);
    let mut fused = String::new();
    for line in text.lines().filter(|line| !line.contains("= silu(")) {
        match line.split_once(" = mul(%act_") {
            Some((name, rest)) => {
                let layer = rest.split(',').next().expect("a layer");
                let own: u32 = line.rsplit(' ').next().expect("a number").parse().expect("a number");
                fused += &format!(
                    "{name} = fused(%gate_{layer}, %up_{layer}) {{body:\"(x0[i0, i1] * x1[i0, i1])\",ty:\"f32[n, 64]\"}}: f32[n, 64] @blk.{layer}.ffn_mul <- {}, {own}\n",
                    own - 1
                );
            }
            None => fused += &format!("{line}\n"),
        }
    }
    let mut after = pass(&fused);
    after.change = Some(Matching::between(&before.flow, &after.flow).change());
    let change = after.change.as_ref().expect("it was just found");
    assert_eq!(change.removed.len(), 3);
    assert_eq!(change.counts(), (0, 3, 3));
    let view = View { open: all_open(&before), ..View::default() };
    let mut layouts = Layouts::default();
    let first = layouts.picture(&before, &view, None);
    let second = layouts.picture(&after, &view, Some(first.pins(&before)));
    check_boxes(&second);
    let mut kept = 0;
    for node in after.flow.indices().filter(|node| change.fates[node.at()] == Fate::Same) {
        let Some(was) = first.item_of(&before.tree, change.from[node.at()].expect("a partner")) else {
            continue;
        };
        let is = second.item_of(&after.tree, node).expect("a box");
        let (was, is) = (first.items[was].rect.middle(), second.items[is].rect.middle());
        assert!(
            (was.x - is.x).abs() < 1.0 && (was.y - is.y).abs() < 1.0,
            "{} {was:?} {is:?}",
            after.flow[node].path
        );
        kept += 1;
    }
    assert!(kept > 40, "{kept}");
    assert_eq!(GroupIx::ROOT.at(), 0);
}

#[test]
fn values_of_one_group_go_each_their_own_way() {
    let pass = pass(
        "graph g {\n x = input(): f32[2]\n %0 = neg(x): f32[2] @a.p\n %1 = exp(x): f32[2] @a.q\n \
         %2 = neg(%1): f32[2] @r\n %3 = exp(%0): f32[2] @s\n return %2, %3\n}",
    );
    let view = View { open: all_open(&pass), ..View::default() };
    let picture = Layouts::default().picture(&pass, &view, None);
    for (value, user) in [(1, 4), (2, 3)] {
        let ends = [value, user].map(|node| picture.item_of(&pass.tree, NodeIx(node)).expect("a box"));
        assert!(
            picture.wires.iter().any(|wire| [wire.from, wire.to] == ends && wire.values == [NodeIx(value)])
        );
    }
}
