//! What is opened, and what is refused and why.
mod bundle;
mod generated;
mod long;

use bundle::two_devices;
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use viewer::document::{Document, NodeIx, Pass, Query, compare};
use viewer::layout::{Layouts, Picture, View};

fn written(folder: &Path, name: &str, text: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).expect("room for a file");
    path
}

#[test]
fn what_is_not_ours_is_refused_with_its_name_and_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let cycle = "graph g {\n  %0 = neg(%1): f32[2]\n  %1 = neg(%0): f32[2]\n  return %1\n}\n";
    let cases: &[(&str, &[u8], &str)] = &[
        ("empty.ir", b"", "is empty"),
        ("picture.png", b"\x89PNG\r\n\xff\xfe", "is no text"),
        ("notes.txt", b"hello", "is neither a plan nor a graph"),
        ("cut.ron", b"(\n    version: 4,\n    model: (name:\"x\"", "line 3"),
        ("old.ron", b"(version: 1)", "of version 1"),
        ("cut.ir", b"graph g {\n  x = input(): f32[2]\n", "line 2: expected `}`"),
        ("cycle.ir", cycle.as_bytes(), "line 2: %1 is computed from itself: %1 needs %0, %0 needs %1"),
        ("deep.ron", &[b'('; 100_000], "line 1"),
    ];
    for (name, text, expected) in cases {
        let path = written(at, name, text);
        let error = Document::open(&path).expect_err(name).to_string();
        assert!(error.contains(name) && error.contains(expected), "{error}");
    }
    for path in [at.join("nothing"), at.to_owned()] {
        let error = Document::open(&path).expect_err("nothing to open").to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
    let graph = written(at, "graph.ir", generated::graph(60).as_bytes());
    let mut document = Document::open(&graph).expect("a graph");
    let json = written(at, "x.json", b"{\"traceEvents\":[{\"ph\":\"X\",\"pid\":1,\"tid\":1,\"ts\":1,\"dur\":-3,\"name\":\"a\",\"cat\":\"kernel\"}]}");
    for error in [
        document.add_trace(&json).expect_err("a stretch that ends before it begins"),
        document.add_trace(&graph).expect_err("no JSON"),
        document.set_spans(&json, "{}").expect_err("no plan that they are about"),
        document.add_numbers(&json).expect_err("no numbers"),
    ] {
        let error = error.to_string();
        assert!(error.contains("x.json") || error.contains("graph.ir"), "{error}");
    }
    let picture = document.add_trace(&at.join("picture.png")).expect_err("no text").to_string();
    assert!(picture.ends_with("picture.png is no text: expected UTF-8"), "{picture}");
    assert!(document.trace.is_none() && document.spans.is_none());
}

#[test]
fn groups_come_from_names_and_weights_stand_where_they_are_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = written(folder.path(), "g.ir", generated::graph(3 * generated::LAYER).as_bytes());
    let document = Document::open(&path).expect("a graph");
    let pass = document.last();
    let root: Vec<&str> = pass.tree.groups.iter().filter(|g| g.depth == 1).map(|g| g.name.as_str()).collect();
    assert_eq!(root, ["blk.0", "blk.1", "blk.2"]);
    let weight = document.named(0, "blk.1.attn_q.weight")[0];
    assert_eq!(pass.tree[pass.tree.group_of[weight.at()]].path, "blk.1.attn");
    let twins: Vec<_> = pass.tree.groups.iter().filter(|g| g.depth == 1).map(|g| g.shape).collect();
    assert!(twins.windows(2).all(|pair| pair[0] == pair[1]));
    let found = |query: &str| document.search(0, &Query::new(query)).len();
    assert_eq!((found("op:silu"), found("blk.1.attn_q"), found("nothing"), found("")), (3, 3, 0, 0));
    assert_eq!(found("dtype:i32"), 2);
    let first = document.search(0, &Query::new("blk.1.attn_q"))[0].node;
    assert_eq!(pass.flow[first].op, "linear");
    assert!(document.details(0, NodeIx(1 << 30)).is_none() && document.details(9, first).is_none());
}

#[test]
fn a_weight_that_layers_share_does_not_part_them_and_a_changed_attribute_is_a_change() {
    let text = |eps: &str| {
        let layer = |n: u32, x: &str, w: &str| {
            format!(
                "  {w}%{n} = rms_norm({x}, w) {{eps:{eps}}}: f32[2] @blk.{n}.a <- {}\n  \
                 %{n}b = neg(%{n}): f32[2] @blk.{n}.b <- {}\n",
                10 * n + 3,
                10 * n + 4
            )
        };
        let first = layer(0, "x", "w = weight(): f32[2] <- 1\n  ");
        let second = layer(1, "%0b", "v = weight(): f32[2] <- 2\n  ");
        format!(
            "graph g {{\n  x = input(): f32[2] <- 0\n{first}{second}  %y = add(%1b, x): f32[2] <- 50\n  return %y\n}}\n"
        )
    };
    let folder = tempfile::tempdir().expect("a folder");
    let open = |name: &str, eps: &str| {
        Document::open(&written(folder.path(), name, text(eps).as_bytes())).expect("a graph")
    };
    let (a, b) = (open("a.ir", "1e-5"), open("b.ir", "1e-6"));
    let runs = a.last().tree.runs(viewer::document::GroupIx::ROOT);
    assert!(runs.iter().any(|run| run.times == 2), "{runs:?}");
    let change = viewer::document::Matching::between(&a.last().flow, &b.last().flow).change();
    assert_eq!(change.counts(), (0, 0, 2));
}

#[test]
fn a_graph_without_names_is_divided_into_what_can_be_drawn() {
    let mut text = String::from("graph flat {\n  x = input(): f32[2]\n  %0 = neg(x): f32[2]\n");
    for at in 1..5_000 {
        text += &format!("  %{at} = neg(%{}): f32[2]\n", at - 1);
    }
    text += "  return %4999\n}\n";
    let folder = tempfile::tempdir().expect("a folder");
    let document = Document::open(&written(folder.path(), "flat.ir", text.as_bytes())).expect("a graph");
    let picture = Layouts::default().picture(document.last(), &View::default(), None);
    assert!(picture.items.len() <= 400, "{}", picture.items.len());
}

#[test]
fn a_plan_says_what_runs_where_and_what_crosses() {
    let folder = two_devices();
    let folder = folder.path();
    let mut document = Document::open(folder).expect("a bundle");
    assert_eq!(document.remarks, [""; 0]);
    let view = document.plan.as_ref().expect("a plan");
    let flow = &document.last().flow;
    // Every kernel of every thread is a node's, on the device that the graph says.
    for (thread, of) in view.plan.threads.iter().enumerate() {
        for (step, what) in of.steps.iter().enumerate() {
            let node = view.nodes[thread][step].expect("a node");
            if let ir::plan::Step::Run { node: path, .. } = what {
                assert_eq!((&flow[node].path, flow[node].device), (path, of.device.0));
            }
        }
    }
    let between: Vec<_> =
        view.messages.iter().filter(|m| !m.sends.is_empty() && !m.receives.is_empty()).collect();
    let [message] = &between[..] else { panic!("{between:?}") };
    assert_eq!((message.from_name.as_str(), message.to_name.as_str()), ("cpu:0", "cpu:1"));
    let [value] = message.made_by[..] else { panic!("{message:?}") };
    assert_eq!(flow[value].device, 0);
    assert!(!message.read_by.is_empty() && message.read_by.iter().all(|node| flow[*node].device == 1));
    assert_eq!(view.message_of(value, 1).map(|m| m.edge), Some(message.edge));
    for (memory, thread) in view.memory.iter().zip(&view.plan.threads) {
        assert_eq!(memory.live_bytes.len(), thread.steps.len());
        assert!(memory.live_bytes.iter().all(|live| *live <= memory.arena_bytes), "{memory:?}");
        for (index, step) in thread.steps.iter().enumerate() {
            for id in step.reads().into_iter().chain(step.writes()) {
                let life = memory.buffers.iter().find(|life| life.id == id).expect("it is written");
                assert!(life.first as usize <= index && index <= life.last as usize, "{life:?} at {index}");
            }
        }
        // What lives at once does not lie at one place: that is what the plan's verifier holds it to.
        for (at, a) in memory.buffers.iter().enumerate() {
            for b in memory.buffers[at + 1..].iter().filter(|b| a.slot.is_none() && b.slot.is_none()) {
                let apart = a.last < b.first || b.last < a.first;
                assert!(
                    apart || a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset,
                    "{a:?} {b:?}"
                );
            }
        }
    }
    document.add_trace(&folder.join("trace.json")).expect("a trace");
    let spans = fs::read_to_string(folder.join("spans.json")).expect("a file");
    document.set_spans(Path::new("spans.json"), &spans).expect("what is predicted");
    document.add_numbers(&folder.join("numbers.json")).expect("numbers");
    assert_eq!(document.remarks, [""; 0], "all of them are of this plan");
    let trace = document.trace.as_ref().expect("a trace");
    assert_eq!(
        trace.measured.iter().map(|lane| lane.name.as_str()).collect::<Vec<_>>(),
        ["host", "cpu:0", "cpu:1"]
    );
    assert!(trace.measured_arrows.iter().any(|arrow| (arrow.from, arrow.to) == (Some(0), Some(1))));
    let misses = trace.misses();
    assert!(
        misses.windows(2).all(|pair| pair[0].by_us().abs() >= pair[1].by_us().abs()) && !misses.is_empty()
    );
    let spans = document.spans.as_ref().expect("what is predicted");
    assert!(spans.predicted.iter().all(|lane| lane.spans.iter().any(|span| span.is_decode)));
    assert_eq!(
        document.numbers.as_ref().and_then(|numbers| numbers.of("blk.0")).map(|worst| worst.error > 0.0),
        Some(true)
    );
    let details = document.details(document.passes.len() - 1, value).expect("a node");
    for name in ["operator", "type", "device", "stands for", "kernel", "buffer", "message", "time of a token"]
    {
        assert!(details.facts.iter().any(|fact| fact.name == name), "{name}: {details:?}");
    }
    assert!(!details.origins.is_empty() && !details.before.is_empty());
}

#[test]
fn a_plan_alone_is_drawn_from_its_steps() {
    let folder = two_devices();
    let folder = folder.path();
    let bundle = Document::open(folder).expect("a bundle");
    let alone = Document::open(&folder.join("plan.ron")).expect("a plan");
    let computed = |document: &Document| {
        let nodes =
            document.last().flow.nodes.iter().filter(|node| node.role == viewer::document::Role::Value);
        let mut nodes: Vec<(String, u32)> = nodes.map(|node| (node.path.clone(), node.device)).collect();
        nodes.sort();
        nodes
    };
    assert_eq!(computed(&alone), computed(&bundle));
    // One thread waits for what the other sends only when it has been answered.
    let text = fs::read_to_string(folder.join("plan.ron")).expect("a plan");
    let lines: Vec<&str> = text.lines().collect();
    let is_sent =
        |line: &&str| line.contains("Send(") && !line.contains("edge:10") && !line.contains("edge:11");
    let send = lines.iter().position(is_sent).expect("a message");
    let without: Vec<&str> =
        lines.iter().enumerate().filter(|(at, _)| *at != send).map(|(_, line)| *line).collect();
    let error = Document::of_plan_text(Path::new("cut.ron"), &without.join("\n"))
        .expect_err("nobody sends it")
        .to_string();
    assert!(error.contains("cut.ron") && error.contains("wait for one another"), "{error}");
}

#[test]
fn documents_are_compared_node_by_node() {
    let a = Document::open(two_devices().path()).expect("a bundle");
    let same = compare((&a, 0), (&a, 0)).expect("passes");
    assert!(
        same.is_by_provenance && same.added.is_empty() && same.removed.is_empty() && same.changed.is_empty()
    );
    assert_eq!(same.plans, []);
    let last = a.passes.len() - 1;
    let passes = compare((&a, 0), (&a, last)).expect("passes");
    let differs =
        |what: &str| passes.changed.iter().any(|(_, _, all)| all.iter().any(|one| one.what == what));
    assert!(!passes.removed.is_empty() && differs("device") && differs("operator"));
    let folder = tempfile::tempdir().expect("a folder");
    let other =
        Document::open(&written(folder.path(), "g.ir", generated::graph(60).as_bytes())).expect("a graph");
    let models = compare((&a, 0), (&other, 0)).expect("passes");
    assert!(!models.is_by_provenance && !models.added.is_empty());
    assert!(models.to.iter().flatten().count() > 10, "names are alike");
    assert!(compare((&a, 99), (&a, 0)).is_none());
}

#[test]
fn a_value_that_comes_from_elsewhere_is_a_difference() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = |name: &str, operand: &str| {
        let text = format!(
            "graph g {{\n  a = input(): f32[2]\n  b = input(): f32[2]\n  c = input(): f32[2]\n  \
             %0 = add(a, {operand}): f32[2] @sum\n  %1 = neg(%0): f32[2] @out\n  return %1\n}}\n"
        );
        Document::open(&written(folder.path(), name, text.as_bytes())).expect("a graph")
    };
    let (a, b) = (open("a.ir", "b"), open("b.ir", "c"));
    let found = compare((&a, 0), (&b, 0)).expect("passes");
    let [(_, after, what)] = &found.changed[..] else { panic!("{:?}", found.changed) };
    assert_eq!(b.last().flow[*after].path, "sum");
    let [one] = &what[..] else { panic!("{what:?}") };
    assert_eq!((one.what.as_str(), one.before.as_str(), one.after.as_str()), ("operands", "b", "c"));
    let plan = Document::open(two_devices().path()).expect("a bundle");
    let found = compare((&plan, 0), (&a, 0)).expect("passes");
    let message = found.plans.iter().find(|one| one.about.what.starts_with("message ffn_down"));
    assert!(message.expect("a message").made_by[0].is_some(), "one can go to it");
}

#[test]
fn an_error_that_is_no_number_is_infinite() {
    let folder = two_devices();
    let mut document = Document::open(folder.path()).expect("a bundle");
    let text = fs::read_to_string(folder.path().join("numbers.json")).expect("numbers");
    let nodes = r#"{"nodes":[{"node":"norm","device":"cpu:0","error":null,"later":1}],"tokens"#;
    let text = text.replace("6.636008711609934e-7", "null").replace("{\"tokens", nodes);
    document.set_numbers(Path::new("numbers.json"), &text).expect("numbers");
    let numbers = document.numbers.expect("numbers");
    assert_eq!(numbers.of("blk.1").map(|worst| worst.error), Some(f64::INFINITY));
    assert_eq!(numbers.by_path()["norm"], f64::INFINITY);
}

#[test]
fn every_message_over_an_edge_is_known_by_its_value() {
    let folder = two_devices();
    let text = fs::read_to_string(folder.path().join("plan.ron")).expect("a plan");
    let short = ir::plan::Plan::from_text(&text).expect("a plan");
    let (plan, trace) = long::plan_and_trace(&short, 3, 2);
    let mut document = Document::of_plan_text(Path::new("long.ron"), &plan.to_text()).expect("a plan");
    document.add_trace(&written(folder.path(), "long.json", trace.as_bytes())).expect("a trace");
    let view = document.plan.as_ref().expect("a plan");
    let between = |m: &&viewer::document::Message| !m.sends.is_empty() && !m.receives.is_empty();
    let message = view.messages.iter().find(between).expect("a message");
    assert_eq!(message.made_by.len(), 3);
    let node = |at: &viewer::document::StepAt| view.nodes[at.thread as usize][at.step as usize];
    for (value, (send, receive)) in message.made_by.iter().zip(message.sends.iter().zip(&message.receives)) {
        assert_eq!((node(send), node(receive)), (Some(*value), Some(*value)));
        assert_eq!(view.message_of(*value, 1).map(|m| m.edge), Some(message.edge));
    }
    let lanes = document.trace.as_ref().expect("a trace");
    assert_eq!(lanes.extent_us().0, 0.0);
    assert!(lanes.misses().iter().all(|miss| miss.rounds == 2) && !lanes.misses().is_empty());
}

#[test]
fn names_of_any_length_are_kept_as_far_as_anybody_reads() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = "a".repeat(1 << 20);
    let text = format!(
        "graph {name} {{\n  {name} = input(): f32[2]\n  %0 = neg({name}): f32[2] @b.{name}\n  return %0\n}}\n"
    );
    let document = Document::open(&written(folder.path(), "g.ir", text.as_bytes())).expect("a graph");
    assert!(document.last().flow.nodes.iter().all(|node| node.title().chars().count() <= 1_001));
    assert!(document.name.chars().count() <= 1_001);
    let error = Document::open(&written(folder.path(), "h.ir", text.replacen("neg(", "neg(b", 1).as_bytes()));
    assert!(error.expect_err("an unknown value").to_string().len() < 1_000);
}

#[test]
fn a_pass_is_searched_for_what_another_changed() {
    let document = Document::open(two_devices().path()).expect("a bundle");
    let last = document.passes.len() - 1;
    let of = |query: &str| document.search(last, &Query::new(query)).len();
    assert!(of("pass:chains") > 0 && of("pass:chains") < document.last().flow.nodes.len());
    assert_eq!(of("pass:nothing"), 0);
    assert!(of("device:cpu:1 op:linear") > 0 && of("DEVICE:CPU:1") > of("device:cpu:1 op:linear"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn no_edit_of_a_plan_or_a_graph_makes_it_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0u64..40), 1..4),
        is_plan in any::<bool>(),
    ) {
        let name = if is_plan { "plan.ron" } else { "graphs/15-layout.ir" };
        let folder = two_devices();
        let path = folder.path().join(name);
        let text = fs::read_to_string(&path).expect("the fixture");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (line, place, number) in edits {
            // Another number for one of a line's, or the line away.
            let line = line.index(lines.len());
            let starts: Vec<usize> = lines[line].match_indices(|c: char| c.is_ascii_digit()).map(|(at, _)| at).collect();
            match starts.is_empty() || number == 0 {
                true => drop(lines.remove(line)),
                false => {
                    let at = starts[place.index(starts.len())];
                    lines[line].replace_range(at..=at, &number.to_string());
                }
            }
        }
        fs::write(&path, lines.join("\n")).expect("room for a file");
        match Document::open(folder.path()) {
            Err(error) => prop_assert!(error.to_string().contains(path.file_name().expect("a name").to_str().expect("text"))),
            Ok(document) => {
                let mut layouts = Layouts::default();
                let mut before = None;
                for pass in &document.passes {
                    let open = pass.tree.groups.iter().map(|group| group.path.clone()).collect();
                    let view = View { open, is_folded: true, has_weights: true };
                    let pins = before.as_ref().map(|(pass, picture): &(&Pass, Picture)| picture.pins(pass));
                    before = Some((pass, layouts.picture(pass, &view, pins)));
                }
                let nodes = document.last().flow.indices();
                prop_assert!(nodes.into_iter().all(|node| document.details(document.passes.len() - 1, node).is_some()));
                prop_assert!(viewer::html::page(&document).is_ok());
            }
        }
    }
}
