//! Formats of weights by hand: hints and edits, what they cost, and what cannot be.
mod support;

use expect_test::expect;
use std::fs;
use support::{Home, TOPOLOGY, fixture};

const RUN: &[&str] = &["--prompt", "one two", "--raw", "--greedy", "--ignore-eos", "--tokens", "6", "--json"];

/// A model, and its bundle.
fn home() -> Home {
    let home = Home::new();
    fs::copy(fixture("tiny/gguf/llama.gguf"), home.path().join("tiny.gguf")).unwrap();
    fs::write(home.path().join("machine.ron"), TOPOLOGY).unwrap();
    home.run(&["compile", "tiny.gguf", "-o", "a.heddle", "--threads", "1"]).ok();
    home
}

/// The plan of the bundle after `change` of the lines that hold all of `needles`.
fn rewrite(home: &Home, needles: &[&str], change: impl Fn(&str) -> String) -> Vec<usize> {
    let path = home.path().join("a.heddle/plan.ron");
    let mut lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    let is_meant = |line: &&mut String| needles.iter().all(|needle| line.contains(needle));
    lines.iter_mut().filter(is_meant).for_each(|line| *line = change(line));
    let changed = (1..).zip(&lines).filter(|(_, line)| needles.iter().all(|needle| line.contains(needle)));
    let changed = changed.map(|(number, _)| number).collect();
    fs::write(path, lines.join("\n") + "\n").unwrap();
    changed
}

fn ids(text: &str) -> serde_json::Value {
    serde_json::from_str::<serde_json::Value>(text).unwrap()["ids"].clone()
}

#[test]
fn a_format_is_edited_in_place_and_said_to_whom_asks() {
    let home = home();
    let edit =
        |rest: &[&str]| home.run(&[&["edit", "a.heddle", "--topology", "machine.ron"], rest].concat()).ok();
    let said = edit(&["--format", "blk.*.ffn_down=q8_0", "--format", "blk.0.attn_{q,k}=q4_0"]);
    expect![[r#"
        new on cpu:0, 1 node: blk.0.ffn_mul

        from f16 to q8_0, 1 weight, 12.29 kB to 6.66 kB: blk.1.ffn_down
        from bf16 to q8_0, 1 weight, 12.29 kB to 6.66 kB: blk.0.ffn_down
        from q4_1 to q4_0, 1 weight, 2.56 kB to 2.30 kB: blk.0.attn_q
        from q5_0 to q4_0, 1 weight, 1.41 kB to 1.15 kB: blk.0.attn_k

                                  BEFORE      AFTER      BY
        prefill of 128 tokens  21.366 ms  21.385 ms  +0.1 %
        decode of a token       0.222 ms   0.221 ms  -0.6 %
        memory of cpu:0         23.57 MB   23.46 MB  -0.5 %
    "#]]
    .assert_eq(said.split_once("\n- ").map_or(&said, |(costs, _)| costs));
    let by_file = "(hints: [\n  Format(weights: \"blk.*.ffn_down\", format: \"q8_0\"),\n  Format(weights: \"blk.0.attn_{q,k}\", format: \"q4_0\"),\n])";
    fs::write(home.path().join("hints.ron"), by_file).unwrap();
    let run = |rest: &[&str]| home.run(&[&["run"], rest, RUN].concat()).ok();
    let edited = run(&["a.heddle"]);
    assert_eq!(ids(&run(&["tiny.gguf", "--threads", "1", "--hints", "hints.ron"])), ids(&edited));
    home.run(&["compile", "tiny.gguf", "-o", "b.heddle", "--threads", "1", "--hints", "hints.ron"]).ok();
    assert!(home.run(&["diff", "a.heddle", "b.heddle"]).ok().is_empty());
    let why = home.run(&["why", "a.heddle", "blk.1.ffn_down", "--topology", "machine.ron"]).ok();
    assert!(why.contains("as a person said: Format(weights: \"blk.*.ffn_down\", format: \"q8_0\")"), "{why}");
    assert!(!why.contains("attn_"), "{why}");
    let numerics = home.run(&["verify", "a.heddle", "--numerics", "--prompt", "one two"]).ok();
    let kept =
        "4 weights are by hints in another format than the file's, and the reference has them so, too\n";
    assert!(numerics.contains(kept), "{numerics}");
    // What is said again replaces what was said, and what is forgotten is as in the file.
    let again = edit(&["--format", "blk.*.ffn_down=f32"]);
    assert!(
        again.contains("from q8_0 to f32, 2 weights, 13.31 kB to 49.15 kB: blk.{0..1}.ffn_down\n"),
        "{again}"
    );
    let forgotten = edit(&["--forget", "--json"]);
    let forgotten: serde_json::Value = serde_json::from_str(&forgotten).unwrap();
    assert_eq!(forgotten["formats"].as_array().map(Vec::len), Some(4), "{forgotten}");
}

#[test]
fn a_format_that_cannot_be_is_refused_by_file_and_line() {
    let home = home();
    let said = [
        "(hints: [\n  Format(weights: \"blk.*.fnn_down\", format: \"q8_0\"),\n])",
        "(hints: [\n  Format(weights: \"*\", format: \"q8\"),\n])",
        "(hints: [\n\n  Format(weights: \"*.ffn_down\", format: \"q4_k\"),\n])",
        "(hints: [\n  Format(weights: \"*.ffn_down\", format: \"q4_0\"),\n  Format(weights: \"blk.1\", format: \"q8_0\"),\n])",
        "(hints: [\n  Format(weights: \"*_norm\", format: \"f16\"),\n])",
        "(hints: [\n  Format(weights: \"rope\", format: \"f16\"),\n])",
    ]
    .map(|text| {
        fs::write(home.path().join("bad.ron"), text).unwrap();
        let refused = home.run(&["compile", "tiny.gguf", "-o", "x.heddle", "--hints", "bad.ron"]);
        assert_ne!(refused.code, Some(0), "{refused:?}");
        let at = refused.err.rfind("bad.ron: ").unwrap_or_else(|| panic!("{refused:?}"));
        refused.err[at..].lines().next().unwrap().to_owned()
    });
    expect![[r#"
        bad.ron: line 2: no weight is called blk.*.fnn_down; the nearest are blk.0.ffn_down.weight, blk.1.ffn_down.weight, blk.0.ffn_up.weight
        bad.ron: line 2, column 33: found format "q8", expected one of f32, f16, bf16, q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_nl
        bad.ron: line 3: blk.0.ffn_down.weight has rows of 96, which are no whole blocks of q4_k, of 256 each; f32, f16, bf16, q4_0, q4_1, q5_0, q5_1, q8_0, iq4_nl would fit
        bad.ron: lines 2 and 3: blk.1.ffn_down.weight cannot be both q4_0 and q8_0
        bad.ron: line 2: *_norm means blk.0.attn_norm.weight, which is no matrix of the file: vectors and tables stay as they are
        bad.ron: line 2: rope means rope.cos, which is no matrix of the file: vectors and tables stay as they are"#]].assert_eq(&said.join("\n"));
    let refused = home.run(&["edit", "a.heddle", "--format", "blk.1.ffn_down=q6_k"]).refused();
    expect![[r#"
        error: Format(weights: "blk.1.ffn_down", format: "q6_k"): blk.1.ffn_down.weight has rows of 96, which are no whole blocks of q6_k, of 256 each; f32, f16, bf16, q4_0, q4_1, q5_0, q5_1, q8_0, iq4_nl would fit
    "#]].assert_eq(&refused);
    let refused = home.run(&["edit", "a.heddle", "--format", "blk.1.ffn_down"]);
    assert!(refused.err.contains("expected weights and a format, as in blk.*.ffn_down=q8_0"), "{refused:?}");
}

#[test]
fn a_format_written_into_a_plan_by_hand_is_refused_with_what_does_it() {
    let home = home();
    let needles = ["name:\"blk.0.ffn_down.weight\""];
    let other = |line: &str| {
        let (before, after) = line.split_once("ty:\"").unwrap();
        format!("{before}ty:\"q8_0{}", &after[after.find('[').unwrap()..])
    };
    let lines = rewrite(&home, &needles, other);
    for command in [&["verify", "a.heddle"][..], &["run", "a.heddle", "--prompt", "one"]] {
        let refused = home.run(command).refused();
        let first = refused.lines().nth(1).unwrap_or_else(|| panic!("{refused}"));
        assert_eq!(lines.len(), 1);
        assert_eq!(
            first,
            format!(
                "line {}: blk.0.ffn_down.weight is q8_0[64, 96], and was packed as bf16[64, 96]: a format changes where weights \
                 are packed, as by heddle edit a.heddle --format 'blk.0.ffn_down.weight=q8_0'",
                lines[0]
            )
        );
    }
    // A hint in the plan's own options packs nothing either.
    let original = home.path().join("a.heddle/plan.original.ron");
    fs::copy(original, home.path().join("a.heddle/plan.ron")).unwrap();
    let hints = "hints:[Format(weights:\"blk.*.ffn_up\",format:\"q8_0\")])";
    let options = |line: &str| format!("{},{hints},", line.strip_suffix("),").unwrap());
    let lines = rewrite(&home, &["    options: "], options);
    let refused = home.run(&["run", "a.heddle", "--prompt", "one"]).refused();
    let said = format!(
        "line {}: hints of formats act where weights are packed: say it with heddle edit a.heddle --format 'blk.*.ffn_up=q8_0'",
        lines[0]
    );
    assert!(refused.contains(&said), "{refused}");
}
