//! Plans that a person changed by hints answer as without them; hints that cannot be honoured say why.

use compiler::compile;
use compiler::import::Checkpoint;
use ir::plan::{Device, End, Hint, Options, Partition, Plan, Step};
use std::fs;
use std::path::Path;
use tests::examples;
use tests::fixtures::{self, Reference};
use tests::running::{Running, exact};

fn open() -> Checkpoint {
    Checkpoint::open(&fixtures::path("tiny/llama")).unwrap_or_else(|e| panic!("{e}"))
}

fn devices(count: u32) -> Vec<Device> {
    (0..count).map(|number| Device::cpu(number, 1)).collect()
}

fn options(cut: &str, hints: &str) -> Options {
    let partition: Partition = cut.parse().unwrap();
    let hints = Hint::read(&format!("(hints: {hints})")).unwrap_or_else(|e| panic!("{e}"));
    let hints = hints.into_iter().map(|(_, hint)| hint).collect();
    Options { partition, micro_batches: partition.pipeline, max_batch: 4, hints, ..exact(64) }
}

fn plan(cut: &str, hints: &str, count: u32) -> Plan {
    compile(&open(), options(cut, hints), &devices(count)).unwrap_or_else(|e| panic!("{hints}: {e}")).plan
}

/// Why hints are refused; the lines are those of a file with a hint on each, from 1.
fn refused(cut: &str, hints: &str, count: u32) -> String {
    let error = compile(&open(), options(cut, hints), &devices(count)).err().expect(hints);
    error.hint().map_or_else(|| error.to_string(), |hint| hint.explain(&[1, 2, 3, 4]))
}

/// Where a node runs.
fn places(plan: &Plan, path: &str) -> Vec<u32> {
    let runs = |step: &Step| matches!(step, Step::Run { node, .. } if node == path);
    plan.threads.iter().filter(|t| t.steps.iter().any(runs)).map(|t| t.device.0).collect()
}

#[test]
fn plans_by_hand_answer_as_without_hints_to_the_bit_where_no_sum_is_reordered() {
    let reference = Reference::read("tiny/llama/reference.safetensors");
    let prompt: Vec<i32> = reference.ids.iter().map(|id| *id as i32).collect();
    let checkpoint = open();
    let answer = |cut, hints, count| {
        let mut running = Running::on(&checkpoint, options(cut, hints), &devices(count));
        let (head, tail) = prompt.split_at(prompt.len() / 2);
        [running.step(1, 0, head).to_vec(), running.step(1, head.len(), tail).to_vec()].concat()
    };
    for (cut, count, hints) in [
        ("none", 2, r#"[Place(nodes: "blk.1", device: "cpu:1")]"#),
        ("none", 3, r#"[Place(nodes: "*ffn_*", device: "cpu:2"), Place(nodes: "output*", device: "cpu:1")]"#),
        (
            "none",
            2,
            r#"[Place(nodes: "*.att*", device: "cpu:1"), Place(nodes: "*.append_*", device: "cpu:1")]"#,
        ),
        ("none", 2, r#"[Place(nodes: "*.{rope_q,rope_k,ffn_down,attn_q}", device: "cpu:1")]"#),
        ("pipeline:2", 2, r#"[Place(nodes: "embed", device: "cpu:1"), Stage(stage: 1, first_layer: 1)]"#),
        ("pipeline:2", 3, r#"[Place(nodes: "output", device: "cpu:2")]"#),
        ("data:2,pipeline:2", 4, r#"[Place(nodes: "blk.1.ffn*", device: "cpu:0")]"#),
        ("tensor:2", 2, r#"[Whole(nodes: "*")]"#),
        (
            "tensor:2",
            3,
            r#"[Place(nodes: "blk.*", device: "cpu:1"), Place(nodes: "output", device: "cpu:2")]"#,
        ),
    ] {
        assert!(answer(cut, hints, count) == answer("none", "[]", 1), "{cut} {hints}");
    }
    // What is computed whole beside what stays divided is cut into other kernels.
    for hints in [r#"[Whole(nodes: "*.{attn_k,attn_v}")]"#, r#"[Whole(nodes: "*.{attn_q,attn_norm}")]"#] {
        let (found, expected) = (answer("tensor:2", hints, 2), answer("none", "[]", 1));
        let far = |(a, b): &(&f32, &f32)| (*a - *b).abs() > 1e-4 * a.abs().max(b.abs()).max(1.0);
        assert_eq!(found.iter().zip(&expected).find(far), None, "{hints}");
    }
}

#[test]
fn nodes_go_where_hints_say_and_the_plan_keeps_them() {
    let hints = r#"[Place(nodes: "blk.1.ffn_{gate,up,down}", device: "cpu:1")]"#;
    let plan = plan("none", hints, 2);
    assert_eq!((places(&plan, "blk.1.ffn_down"), places(&plan, "blk.0.ffn_down")), (vec![1], vec![0]));
    let between = plan.edges.iter().filter(|e| e.from != End::Host && e.to != End::Host).count();
    assert!(between >= 2, "{between} edges between the devices");
    assert_eq!(plan.options.hints.len(), 1);
    assert_eq!(Plan::from_text(&plan.to_text()).as_ref(), Ok(&plan));
    assert!(!self::plan("none", "[]", 1).to_text().contains("hints"));
}

#[test]
fn every_example_can_be_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hints");
    let readme = fs::read_to_string(folder.join("README.md")).expect("the folder says what is in it");
    let mut count = 0;
    for file in fs::read_dir(&folder).expect("the folder is there") {
        let path = file.expect("a readable folder").path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".ron") {
            let text = fs::read_to_string(&path).unwrap();
            assert!(!Hint::read(&text).unwrap_or_else(|e| panic!("{name}: {e}")).is_empty());
            assert!(readme.contains(&name), "{name} is in no table");
            count += 1;
        }
    }
    assert_eq!(count, 5);
}

#[test]
fn stages_that_nobody_speaks_of_give_way() {
    let plan = plan("pipeline:2", "[Stage(stage: 1, first_layer: 1)]", 2);
    assert_eq!((places(&plan, "blk.0.ffn_down"), places(&plan, "blk.1.ffn_down")), (vec![0], vec![1]));
}

#[test]
fn hints_that_cannot_be_honoured_say_why_and_by_which_lines() {
    for (cut, count, hints, expected) in [
        (
            "none",
            1,
            r#"[Place(nodes: "blk.1", device: "cpu:1")]"#,
            "line 1: there is no device \"cpu:1\", only cpu:0",
        ),
        (
            "none",
            2,
            r#"[Place(nodes: "output", device: "cpu:1"), Whole(nodes: "blk.0.fnn_down")]"#,
            "line 2: no node is called blk.0.fnn_down; the nearest are blk.0.ffn_down, ",
        ),
        (
            "none",
            2,
            r#"[Place(nodes: "blk.*", device: "cpu:1"), Whole(nodes: "output"), Place(nodes: "*.ffn_up", device: "cpu:0")]"#,
            "lines 1 and 3: blk.0.ffn_up cannot be both on cpu:1 and on cpu:0",
        ),
        (
            "none",
            2,
            r#"[Place(nodes: "blk.0.attention", device: "cpu:1")]"#,
            "line 1: blk.0.append_k and blk.0.attention would part, and a cache lies where it is read: say the same of both",
        ),
        (
            "tensor:2",
            2,
            r#"[Whole(nodes: "blk.0.append_*")]"#,
            "line 1: blk.0.append_k and blk.0.attention would part",
        ),
        (
            "data:2",
            2,
            r#"[Place(nodes: "output", device: "cpu:1")]"#,
            "line 1: cpu:1 is in replica 1, whose sequences are its own: name a device of replica 0 (cpu:0), and",
        ),
        ("data:2", 3, r#"[Place(nodes: "output", device: "cpu:2")]"#, "line 1: cpu:2 is in no replica"),
        (
            "none",
            1,
            "[Stage(stage: 1, first_layer: 1)]",
            "line 1: there is no stage 1: the cut has one, stage 0",
        ),
        (
            "pipeline:2",
            2,
            "[Stage(stage: 1, first_layer: 9)]",
            "line 1: there is no layer 9: the model has 0 to ",
        ),
        ("pipeline:2", 2, "[Stage(stage: 0, first_layer: 1)]", "line 1: stage 0 begins with layer 0, not 1"),
        (
            "pipeline:2",
            2,
            "[Stage(stage: 1, first_layer: 0)]",
            "line 1: stage 0 would have no layer: of 2 layers, the stages would begin with 0, 0",
        ),
        (
            "pipeline:2",
            2,
            "[Stage(stage: 1, first_layer: 1), Whole(nodes: \"output\"), Stage(stage: 1, first_layer: 0)]",
            "lines 1 and 3: stage 1 cannot begin both with layer 1 and 0",
        ),
        ("none", 2, "[Whole(nodes: \"output\")]", "none takes 1 devices, found 2"),
    ] {
        let found = refused(cut, hints, count);
        assert!(found.starts_with(expected), "{hints}: {found}");
    }
}

#[test]
fn a_tied_table_is_on_a_device_whole_or_in_part() {
    let checkpoint = examples::model("smollm2-135m");
    let compiled = |hints| compile(&checkpoint, options("tensor:2", hints), &devices(2));
    for hints in [
        r#"[Whole(nodes: "blk.0.ffn_down"), Whole(nodes: "embed")]"#,
        r#"[Whole(nodes: "blk.0.ffn_down"), Place(nodes: "embed", device: "cpu:1")]"#,
    ] {
        let error = compiled(hints).err().expect(hints);
        let found = error.hint().map(|hint| hint.explain(&[1, 2]));
        let expected = "line 2: embed and output read token_embd.weight, and a device would need all of it and a part: \
                        say the same of them";
        assert_eq!(found.as_deref(), Some(expected), "{error}");
    }
    let plan = compiled(r#"[Whole(nodes: "embed"), Whole(nodes: "output")]"#).unwrap().plan;
    let tables = plan.weights.iter().filter(|weight| weight.name == "token_embd.weight");
    assert_eq!(tables.map(|table| table.part.is_none()).collect::<Vec<_>>(), [true, true]);
}
