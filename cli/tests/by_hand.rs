//! What a person does to a cut by hand: hints, edits of a plan, and what both cost beside what was there before.
mod support;

use expect_test::{Expect, expect};
use std::fs;
use support::{Home, TOPOLOGY, fixture};

const HINTS: &str =
    "// The last layer goes apart.\n(hints: [\n    Place(nodes: \"blk.1\", device: \"cpu:1\"),\n])\n";

const TWO: &str = "cpu:0,cpu:1";
const RUN: &[&str] = &["--prompt", "one two", "--raw", "--greedy", "--ignore-eos", "--tokens", "6", "--json"];

/// A home with a model, hints and a topology in it.
fn home() -> Home {
    let home = Home::new();
    fs::copy(fixture("tiny/gguf/llama.gguf"), home.path().join("tiny.gguf")).unwrap();
    fs::write(home.path().join("hints.ron"), HINTS).unwrap();
    fs::write(home.path().join("machine.ron"), TOPOLOGY).unwrap();
    home
}

fn compile(home: &Home, name: &str, rest: &[&str]) {
    home.run(&[&["compile", "tiny.gguf", "-o", name], rest].concat()).ok();
}

/// One plan on one device, and one by hints on two.
fn compiled() -> Home {
    let home = home();
    compile(&home, "a.heddle", &["--threads", "1"]);
    compile(&home, "b.heddle", &["--devices", TWO, "--partition", "none", "--hints", "hints.ron"]);
    home
}

/// The plan of a bundle after `change` of its lines.
fn edit(home: &Home, change: impl FnOnce(&mut Vec<String>)) {
    let path = home.path().join("b.heddle/plan.ron");
    let mut lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    change(&mut lines);
    fs::write(path, lines.join("\n") + "\n").unwrap();
}

/// The first line, from 0, with all of `needles`.
fn find(lines: &[String], needles: &[&str]) -> usize {
    let at = lines.iter().position(|line| needles.iter().all(|needle| line.contains(needle)));
    at.unwrap_or_else(|| panic!("no line holds {needles:?}"))
}

/// What is said of hints in a file, without what goes before its name.
fn refused_hints(home: &Home, text: &str, rest: &[&str]) -> String {
    fs::write(home.path().join("bad.ron"), text).unwrap();
    let done = home
        .run(&[&["simulate", "tiny.gguf", "--topology", "machine.ron", "--hints", "bad.ron"], rest].concat());
    assert_ne!(done.code, Some(0), "{done:?}");
    let at = done.err.rfind("bad.ron: ").unwrap_or_else(|| panic!("{done:?}"));
    done.err[at..].lines().next().unwrap().to_owned()
}

#[test]
fn a_model_by_hints_answers_alike_and_is_compiled_once_for_each_text_of_hints() {
    let home = home();
    let run = |rest: &[&str]| {
        let done = home.run(&[&["run", "tiny.gguf"], rest, RUN].concat());
        let packed = done.err.contains("packing");
        let answer: serde_json::Value = serde_json::from_str(&done.ok()).unwrap();
        (answer["ids"].clone(), packed)
    };
    let hinted = ["--devices", TWO, "--partition", "none", "--hints", "hints.ron"];
    let (whole, _) = run(&["--threads", "1"]);
    assert_eq!(run(&hinted), (whole.clone(), true));
    assert_eq!(run(&hinted), (whole.clone(), false));
    fs::write(home.path().join("hints.ron"), HINTS.replace("blk.1", "blk.0")).unwrap();
    assert_eq!(run(&hinted), (whole, true));
}

#[test]
fn hints_that_cannot_be_honoured_are_refused_by_file_and_line() {
    let home = home();
    let two: &[&str] = &["--devices", TWO, "--partition", "none"];
    let said = [
        ("(hints: [\n  Put(nodes: \"x\"),\n])", two),
        ("(hints: [\n  Place(nodes: \"blk.{3\", device: \"cpu:1\"),\n])", two),
        ("(hints: [\n  Place(nodes: \"blk.1.fnn_up\", device: \"cpu:1\"),\n])", two),
        ("(hints: [\n\n  Place(nodes: \"blk.1\", device: \"gpu:0\"),\n])", two),
        (
            "(hints: [\n  Place(nodes: \"blk.1\", device: \"cpu:1\"),\n  Place(nodes: \"*.ffn_up\", device: \"cpu:0\"),\n])",
            two,
        ),
        ("(hints: [\n  Place(nodes: \"blk.1.attention\", device: \"cpu:1\"),\n])", two),
        ("(hints: [\n  Stage(stage: 1, first_layer: 0),\n])", &["--devices", TWO, "--partition", "pipeline:2"]),
        ("(hints: [\n  Place(nodes: \"output\", device: \"cpu:1\"),\n])", &["--max-batch", "2", "--devices", TWO, "--partition", "data:2"]),
        ("(hints: [\n  Stage(stage: 7, first_layer: 1),\n])", &["--devices", TWO, "--partition", "pipeline:2"]),
    ]
    .map(|(text, rest)| refused_hints(&home, text, rest));
    expect![[r#"
        bad.ron: line 2, column 3: Unexpected variant named `Put` in enum `Hint`, expected one of `Place`, `Whole`, `Stage`, or `Format` instead
        bad.ron: line 2, column 17: found { without } in "blk.{3"
        bad.ron: line 2: no node is called blk.1.fnn_up; the nearest are blk.1.ffn_up, blk.0.ffn_up, blk.1.ffn_act
        bad.ron: line 3: there is no device "gpu:0", only cpu:0, cpu:1
        bad.ron: lines 2 and 3: blk.1.ffn_up cannot be both on cpu:1 and on cpu:0
        bad.ron: line 2: blk.1.append_k and blk.1.attention would part, and a cache lies where it is read: say the same of both
        bad.ron: line 2: stage 0 would have no layer: of 2 layers, the stages would begin with 0, 0
        bad.ron: line 2: cpu:1 is in replica 1, whose sequences are its own: name a device of replica 0 (cpu:0), and the others do the same on theirs
        bad.ron: line 2: there is no stage 7: the cut has 0 to 1"#]].assert_eq(&said.join("\n"));
}

fn diff(home: &Home, rest: &[&str], expected: &Expect) {
    expected.assert_eq(&home.run(&[&["diff"], rest].concat()).ok());
}

#[test]
fn diff_says_what_moved_what_crosses_and_what_it_costs() {
    let home = compiled();
    diff(
        &home,
        &["a.heddle", "b.heddle", "--topology", "machine.ron"],
        &expect![[r#"
            moved from cpu:0 to cpu:1, 16 nodes: blk.1
            gone from cpu:0, 1 node: rows

            + edge from host to cpu:1, i32[n]: 1 message, 4 bytes a token, capacity 1, deadline 30000 ms: positions
            + edge from host to cpu:1, i32[n]: 1 message, 4 bytes a token, capacity 1, deadline 30000 ms: slots
            + edge from host to cpu:1, i32[1, 8]: 1 message, 32 bytes a token, capacity 1, deadline 30000 ms: pages
            + edge from cpu:0 to cpu:1, f32[n, 64]: 1 message, 256 bytes a token, capacity 1, deadline 30000 ms: ffn_down
            + edge from cpu:1 to cpu:0, f32[n, 64]: 1 message, 256 bytes a token, capacity 1, deadline 30000 ms: ffn_down

                                         BEFORE      AFTER      BY
            prefill of 128 tokens     21.366 ms  21.441 ms  +0.4 %
            decode of a token          0.222 ms   0.224 ms  +0.9 %
            between devices, a token    0 bytes  512 bytes
            memory of cpu:0            23.57 MB   23.51 MB  -0.3 %
            memory of cpu:1                   -  610.46 kB

            - step blk.1.ffn_down: linear.t16.f16 {}(f32[n, 96], blk.1.ffn_down.weight, f32[n, 64])
            + step blk.1.ffn_down: fused.t16.f16 {anchor:Some(("linear","",2)),body:"(x2[i0, i1] + h0)",ty:"f32[n, 64]"}(f32[n, 96], blk.1.ffn_down.weight, f32[n, 64], f32[n, 64])
            - step rows: fused {body:"let t0 = x0[i0]; (x1[t0, i1] + x2[t0, i1])",ty:"f32[m, 64]"}(i32[m], f32[n, 64], f32[n, 64], f32[m, 64])
            - step output_norm: rms_norm {eps:1e-5}(f32[m, 64], output_norm.weight, f32[m, 64])
            + step output_norm: fused {body:"let t0 = x2[i0]; ((x1[t0, i1] * (1.0f / sqrt(((sum(k16 < 64: let t1 = x1[t0, k16]; (t1 * t1)) / f32(64)) + 1e-5f)))) * x0[i1])",ty:"f32[m, 64]"}(output_norm.weight, f32[n, 64], i32[m], f32[m, 64])
            + option hints: [{"Place":{"nodes":"blk.1","device":"cpu:1"}}]
            + device cpu:1: {"id":1,"name":"cpu:1","threads":1}
            + weight rope.cos #2: f32[256, 16], plain, 16384 bytes
            + weight rope.sin #2: f32[256, 16], plain, 16384 bytes
        "#]],
    );
    compile(&home, "c.heddle", &["--devices", TWO, "--partition", "tensor:2"]);
    let untimed = home.run(&["diff", "b.heddle", "c.heddle"]);
    assert!(untimed.err.contains("no times are predicted: this machine was never measured"), "{untimed:?}");
    let json = home.run(&["diff", "a.heddle", "b.heddle", "--topology", "machine.ron", "--json"]).ok();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["moved"][0]["nodes"][0], "blk.1", "{json}");
    assert_eq!(json["edges"]["new"][3]["bytes"], 256, "{json}");
    assert!(json["after"]["decode_ms"].as_f64() > Some(0.0) && json["is_equal"] == false, "{json}");
}

#[test]
fn an_edit_is_verified_beside_what_was_compiled() {
    let home = compiled();
    let verify = || home.run(&["verify", "b.heddle", "--topology", "machine.ron"]);
    assert!(!verify().ok().contains("BEFORE"));
    edit(&home, |lines| {
        let at = find(lines, &["from:Device(0),to:Device(1)"]);
        lines[at] = lines[at].replace("deadline_ms:30000", "deadline_ms:500");
    });
    let text = verify().ok();
    assert!(
        text.contains("edited") && text.ends_with("the edit changes nothing that is predicted\n"),
        "{text}"
    );
    // A person writes another plan of the same model into the bundle.
    compile(&home, "c.heddle", &["--devices", TWO, "--partition", "pipeline:2"]);
    fs::copy(home.path().join("c.heddle/plan.ron"), home.path().join("b.heddle/plan.ron")).unwrap();
    let text = verify();
    let table = text.out.split_once("\n\n").unwrap().1;
    expect![[r#"
                                     BEFORE      AFTER       BY
        prefill of 128 tokens     21.441 ms  21.400 ms   -0.2 %
        decode of a token          0.224 ms   0.223 ms   -0.3 %
        between devices, a token  512 bytes  256 bytes  -50.0 %
        memory of cpu:0            23.51 MB   23.43 MB   -0.3 %
        memory of cpu:1           610.46 kB  685.52 kB  +12.3 %
    "#]]
    .assert_eq(&format!("{table}{}", text.err));
    fs::remove_file(home.path().join("b.heddle/plan.original.ron")).unwrap();
    assert!(verify().err.contains("plan.original.ron"));
}

#[test]
fn a_bundle_is_edited_in_place_and_says_what_that_costs() {
    let home = compiled();
    let edit = |rest: &[&str]| home.run(&[&["edit", "b.heddle", "--topology", "machine.ron"], rest].concat());
    let before = home.run(&[&["run", "b.heddle"], RUN].concat()).ok();
    let text = edit(&["--place", "blk.1=cpu:0", "--place", "blk.0.ffn_{gate,up}=cpu:1"]).ok();
    assert!(text.contains("moved from cpu:0 to cpu:1, 2 nodes: blk.0.{ffn_gate,ffn_up}\n"), "{text}");
    assert!(text.contains("moved from cpu:1 to cpu:0, 16 nodes: blk.1\n"), "{text}");
    assert!(text.contains("between devices, a token") && text.contains("decode of a token"), "{text}");
    let after = home.run(&[&["run", "b.heddle"], RUN].concat()).ok();
    let ids = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["ids"].clone();
    assert_eq!(ids(&before), ids(&after));
    let why = home.run(&["why", "b.heddle", "blk.0.ffn_up", "--topology", "machine.ron"]).ok();
    let hint = "as a person said: Place(nodes: \"blk.0.ffn_{gate,up}\", device: \"cpu:1\")";
    assert!(why.contains(hint), "{why}");
    let refused = edit(&["--place", "blk.0.ffn_up=cpu:0"]).refused();
    let both = "Place(nodes: \"blk.0.ffn_{gate,up}\", device: \"cpu:1\") and Place(nodes: \"blk.0.ffn_up\", device: \"cpu:0\")";
    assert!(
        refused.contains(&format!("{both}: blk.0.ffn_up cannot be both on cpu:1 and on cpu:0")),
        "{refused}"
    );
    let forgotten = edit(&["--forget", "--place", "embed=cpu:1"]).ok();
    assert!(forgotten.contains("moved from cpu:0 to cpu:1, 1 node: embed\n"), "{forgotten}");
    self::edit(&home, |lines| {
        let at = find(lines, &["deadline_ms:30000"]);
        lines[at] = lines[at].replace("deadline_ms:30000", "deadline_ms:500");
    });
    assert!(edit(&["--forget"]).refused().contains("its plan.ron was edited, which would be lost"));
}

#[test]
fn a_dry_run_says_what_an_edit_would_cost_and_changes_nothing() {
    let home = compiled();
    fs::write(home.path().join("new.ron"), HINTS.replace("blk.1", "blk.0.ffn_{gate,up}")).unwrap();
    let edit = |rest: &[&str]| home.run(&[&["edit", "b.heddle", "--topology", "machine.ron"], rest].concat());
    let files = || {
        let folder = home.path().join("b.heddle");
        let read = |name: &str| fs::read(folder.join(name)).unwrap();
        let changed = fs::metadata(folder.join("weights.bin")).unwrap().modified().unwrap();
        (read("plan.ron"), read("manifest.ron"), changed)
    };
    let before = files();
    let change = ["--forget", "--hints", "new.ron"];
    let said = edit(&[&change[..], &["--dry-run", "--json"]].concat()).ok();
    let what_if: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(what_if["moved"][1]["nodes"][0], "blk.0.{ffn_gate,ffn_up}", "{what_if}");
    assert!(what_if["after"]["decode_ms"] != what_if["before"]["decode_ms"], "{what_if}");
    // What cannot be is refused with the hint that cannot be honoured, which other lists leave out or say otherwise.
    let refused = edit(&["--dry-run", "--hints", "new.ron", "--place", "blk.0.ffn_up=cpu:0"]).refused();
    assert!(refused.contains("blk.0.ffn_up cannot be both on cpu:1 and on cpu:0"), "{refused}");
    let refused = edit(&["--dry-run", "--place", "blk.1=cpu:7"]).refused();
    assert!(refused.contains("there is no device \"cpu:7\", only cpu:0, cpu:1"), "{refused}");
    assert_eq!(files(), before);
    // The edit itself comes to the same.
    assert_eq!(edit(&[&change[..], &["--json"]].concat()).ok(), said);
    assert_ne!(files(), before);
}

/// What is found wrong with the plan of two devices after a change of its lines, which says of which line.
fn refused_edit(change: impl FnOnce(&mut Vec<String>) -> usize) -> String {
    let home = compiled();
    let mut line = 0;
    edit(&home, |lines| line = change(lines) + 1);
    let refused = home.run(&["verify", "b.heddle"]).refused();
    let said = refused.lines().find(|said| said.contains(&format!("line {line}: ")));
    let said = said.unwrap_or_else(|| panic!("nothing of line {line}: {refused}"));
    assert!(refused.starts_with("error: b.heddle/plan.ron is refused:\n"), "{refused}");
    said.split_once(": ").unwrap().1.to_owned()
}

#[test]
fn edits_of_what_crosses_devices_are_refused_by_line() {
    let edge = |lines: &[String]| {
        let at = find(lines, &["from:Device(0),to:Device(1)"]);
        let id = lines[at].split("id:").nth(1).unwrap().split(',').next().unwrap();
        (at, format!("edge:{id},"))
    };
    let receive = |lines: &[String]| find(lines, &["Recv(", &edge(lines).1]);
    let said = [
        refused_edit(|lines| {
            let at = receive(lines);
            lines.remove(at);
            edge(lines).0
        }),
        refused_edit(|lines| {
            let at = receive(lines);
            lines.insert(at, lines[at].clone());
            at + 1
        }),
        refused_edit(|lines| {
            let at = edge(lines).0;
            lines[at] = lines[at].replace("ty:\"f32[", "ty:\"f16[");
            find(lines, &["Send(", &edge(lines).1])
        }),
        refused_edit(|lines| {
            let at = edge(lines).0;
            lines[at] = lines[at].replace("to:Device(1)", "to:Device(9)");
            at
        }),
        refused_edit(|lines| {
            let at = find(lines, &["id:1,", "name:\"cpu:1\""]);
            lines.remove(at);
            find(lines, &["(device: 1,"])
        }),
    ];
    expect![[r#"
        no step of device 1 does receive over it
        buffer 23 is written a second time
        buffer 22 is f32[n, 64], edge 9 carries f16[n, 64]
        there is no device 9
        there is no device 1"#]]
    .assert_eq(&said.join("\n"));
}

#[test]
fn devices_that_wait_in_a_circle_are_named_by_line() {
    let home = home();
    let hints = "(hints: [Place(nodes: \"blk.0.ffn_{gate,up,down}\", device: \"cpu:1\")])";
    fs::write(home.path().join("hints.ron"), hints).unwrap();
    compile(&home, "b.heddle", &["--devices", TWO, "--partition", "none", "--hints", "hints.ron"]);
    // The second device sends what it made before it receives what that is made of.
    let mut line = 0;
    edit(&home, |lines| {
        let second = find(lines, &["(device: 1,"]);
        let sends = lines.iter().skip(second).position(|line| line.contains("Send(")).unwrap() + second;
        let first = find(lines, &["(device: 0,"]);
        let edge = lines[sends].split("edge:").nth(1).unwrap().split(',').next().unwrap().to_owned();
        let receive = find(lines, &["Recv(", &format!("edge:{edge},")]);
        let send = lines.iter().skip(first).position(|line| line.contains("Send(")).unwrap() + first;
        let moved = lines.remove(receive);
        lines.insert(send, moved);
        line = send + 1;
    });
    let refused = home.run(&["verify", "b.heddle"]).refused();
    assert!(refused.contains(&format!("line {line}: device 0 waits here for ever at edge")), "{refused}");
    assert!(refused.contains("the threads wait in a circle"), "{refused}");
}

#[test]
fn topologies_that_cannot_be_are_refused_by_file_and_line() {
    let home = compiled();
    let said = [
        ("        (from: \"cpu:0\", to: \"cpu:1\", latency_ns: 1000, bytes_per_second: 1000000000),\n", ""),
        ("latency_ns: 1000, bytes_per_second: 1000000000", "latency_ns: 1000, bytes_per_second: -5"),
        (
            "latency_ns: 1000, bytes_per_second: 1000000000",
            "latency_ns: 1000, bytes_per_second: 9000000000000000000",
        ),
        ("latency_ns: 1000, bytes_per_second: 1000000000", "latency_ns: 1000, bytes_per_second: 0"),
        ("to: \"cpu:1\"", "to: \"cpu:7\""),
        ("(name: \"cpu:1\"", "(name: \"cpu:2\""),
    ]
    .map(|(from, to)| {
        assert!(TOPOLOGY.contains(from));
        fs::write(home.path().join("machine.ron"), TOPOLOGY.replace(from, to)).unwrap();
        home.run(&["simulate", "b.heddle", "--topology", "machine.ron"]).refused()
    });
    expect![[r#"
        error: machine.ron: line 7: no way leads from cpu:0 to cpu:1: expected a link between the two, or of each to switches that are linked
        error: cannot read machine.ron: line 8, column 75: found a number below 0 or too large, expected one from 0
        error: cannot read machine.ron: line 8: link from "cpu:0" to "cpu:1": found 9000000000000000000 bytes_per_second, expected 1 to 1000000000000000
        error: cannot read machine.ron: line 8: link from "cpu:0" to "cpu:1": found 0 bytes_per_second, expected 1 to 1000000000000000
        error: cannot read machine.ron: line 8: link from "cpu:0" to "cpu:7": found the end "cpu:7", expected the name of a device or a switch
        error: cannot read machine.ron: line 8: link from "cpu:0" to "cpu:1": found the end "cpu:1", expected the name of a device or a switch
    "#]].assert_eq(&said.concat());
}

#[test]
fn a_file_of_devices_that_nothing_joins_is_refused_by_line() {
    let home = home();
    let (before, after) = TOPOLOGY.split_once("        (from:").unwrap();
    let apart = format!("{before}{}", after.split_once('\n').unwrap().1);
    fs::write(home.path().join("machine.ron"), apart).unwrap();
    let compile = |cut| {
        home.run(&["compile", "tiny.gguf", "-o", "x.heddle", "--devices", "machine.ron", "--partition", cut])
    };
    let error = compile("tensor:2").refused();
    assert!(error.contains("machine.ron: line 7: no way leads from cpu:0 to cpu:1"), "{error}");
    assert!(!home.path().join("x.heddle").exists());
    compile("data:2").ok();
}

#[test]
fn a_degree_that_heads_do_not_allow_says_which_do() {
    let home = home();
    let error = home.run(&["compile", "tiny.gguf", "-o", "x.heddle", "--partition", "tensor:7"]).refused();
    expect![[r#"
        error: blk.1.attention: 2 query heads that share 1 key heads cannot be divided over 7 devices, but over 1, 2
    "#]].assert_eq(&error);
}

#[test]
fn a_bundle_without_weights_is_verified_and_so_is_an_edit_of_it() {
    let home = home();
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/models/smollm2-135m.json");
    fs::copy(config, home.path().join("tiny.json")).unwrap();
    let placed = ["compile", "tiny.json", "--devices", "machine.ron", "--partition"];
    home.run(&[&placed[..], &["pipeline:2", "-o", "b.heddle"]].concat()).ok();
    let verify = |rest: &[&str]| home.run(&[&["verify", "b.heddle"], rest].concat());
    let sound = verify(&[]).ok();
    assert!(sound.starts_with("sound: plan ") && !sound.contains("edited"), "{sound}");
    assert!(sound.contains("\nthere are no packed weights to check: "), "{sound}");
    assert!(verify(&["--numerics", "--prompt", "a"]).err.contains("has a plan and no weights"));
    home.run(&[&placed[..], &["tensor:2", "-o", "c.heddle"]].concat()).ok();
    fs::copy(home.path().join("c.heddle/plan.ron"), home.path().join("b.heddle/plan.ron")).unwrap();
    let edited = verify(&[]).ok();
    let (before, table) = edited.split_once("\n\n").unwrap();
    assert!(before.contains(", edited since it was compiled\n"), "{edited}");
    expect![[r#"
                                        BEFORE         AFTER          BY
        prefill of 512 tokens     97787.497 ms  62604.142 ms     -36.0 %
        decode of a token           308.167 ms    162.278 ms     -47.3 %
        between devices, a token    2304 bytes  379392 bytes  +16366.7 %
        memory of cpu:0              283.17 MB     228.41 MB     -19.3 %
        memory of cpu:1              177.90 MB     207.54 MB     +16.7 %
    "#]]
    .assert_eq(table);
    // What a device lacks, and whom it waits for.
    edit(&home, |lines| {
        let at = find(lines, &["phase:", "device:1"]);
        lines.remove(at);
    });
    assert!(verify(&[]).refused().contains("the proof has "));
}

#[test]
fn a_bundle_without_weights_is_edited_too() {
    let home = home();
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/models/smollm2-135m.json");
    fs::copy(config, home.path().join("tiny.json")).unwrap();
    let placed = ["compile", "tiny.json", "--devices", "machine.ron", "--partition", "pipeline:2"];
    home.run(&[&placed[..], &["-o", "b.heddle"]].concat()).ok();
    let edited = home.run(&["edit", "b.heddle", "--stage", "1=15"]).ok();
    expect!["moved from cpu:0 to cpu:1, 64 nodes: blk.{15..18}"]
        .assert_eq(edited.split("\n\n").next().unwrap());
    assert!(home.run(&["verify", "b.heddle"]).ok().starts_with("sound: plan "));
    let why = home.run(&["why", "b.heddle", "cpu:1"]).ok();
    assert!(why.contains("cpu:1 (1 thread) has layers 15 to 29"), "{why}");
    assert!(why.contains("Instead, layers 14 to 29 on cpu:1 would take"), "{why}");
}
