//! Models become bundles, in the cache or where the user says; bundles are checked, compared and explained.
mod support;

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use support::{Done, Home, done, fixture};

const MODEL: &str = "tiny/gguf/llama.gguf";

/// A model of its own in the home, so that a test may change it.
fn model(home: &Home) -> PathBuf {
    let path = home.path().join("tiny.gguf");
    fs::copy(fixture(MODEL), &path).unwrap();
    path
}

fn compiled(home: &Home) -> PathBuf {
    model(home);
    home.run(&["compile", "tiny.gguf", "-o", "tiny.heddle"]).ok();
    home.path().join("tiny.heddle")
}

fn answer(done: Done) -> Value {
    serde_json::from_str(&done.ok()).expect("JSON")
}

const RUN: &[&str] = &["--prompt", "one two", "--raw", "--greedy", "--ignore-eos", "--tokens", "6", "--json"];

fn run(home: &Home, rest: &[&str]) -> Done {
    home.run(&[&["run"], rest, RUN].concat())
}

#[test]
fn a_model_and_its_bundle_answer_alike() {
    let home = Home::new();
    compiled(&home);
    let of_bundle = answer(run(&home, &["tiny.heddle"]));
    let of_model = answer(run(&home, &["tiny.gguf"]));
    for same in ["prompt_ids", "ids", "text", "plan_hash"] {
        assert_eq!(of_bundle[same], of_model[same], "{same}");
    }
    assert_eq!(of_bundle["ids"].as_array().unwrap().len(), 6);
    assert!(of_bundle["timing"]["first_token_ms"].as_f64() > of_bundle["timing"]["load_ms"].as_f64());
    assert!(of_bundle["memory"]["predicted_peak_bytes"].as_u64() > Some(0));
}

#[test]
fn a_plain_model_is_compiled_once_for_each_set_of_options() {
    let home = Home::new();
    model(&home);
    let packs = |rest: &[&str]| {
        let done = run(&home, rest);
        assert_eq!(done.code, Some(0), "{done:?}");
        done.err.contains("packing")
    };
    assert!(packs(&["tiny.gguf"]));
    assert!(!packs(&["tiny.gguf"]));
    assert!(packs(&["tiny.gguf", "--context", "32"]));
    assert!(packs(&["tiny.gguf", "--activations", "f32"]));
    assert!(!packs(&["tiny.gguf", "--context", "32"]));
}

#[test]
fn a_changed_model_is_compiled_anew_and_its_own_bundle_refused() {
    let home = Home::new();
    compiled(&home);
    run(&home, &["tiny.gguf"]).ok();
    let mut bytes = fs::read(home.path().join("tiny.gguf")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(home.path().join("tiny.gguf"), bytes).unwrap();
    assert!(run(&home, &["tiny.gguf"]).err.contains("packing"));
    for command in [&["run", "tiny.heddle", "--prompt", "a"][..], &["verify", "tiny.heddle"]] {
        let error = home.run(command).refused();
        assert!(error.contains("is not the file that was compiled: its sha256 is"), "{error}");
    }
}

#[test]
fn a_damaged_bundle_in_the_cache_is_made_again() {
    let home = Home::new();
    model(&home);
    let before = answer(run(&home, &["tiny.gguf"]));
    for file in home.cached().into_iter().filter(|file| file.ends_with("plan.ron")) {
        fs::write(home.cache().join(file), "(").unwrap();
    }
    assert_eq!(answer(run(&home, &["tiny.gguf"]))["ids"], before["ids"]);
}

#[test]
fn a_bundle_of_another_build_is_made_again() {
    let home = Home::new();
    model(&home);
    run(&home, &["tiny.gguf"]).ok();
    for file in home.cached().into_iter().filter(|file| file.ends_with(".key")) {
        fs::write(home.cache().join(file), "heddle of yesterday").unwrap();
    }
    assert!(run(&home, &["tiny.gguf"]).err.contains("packing"));
    assert!(!run(&home, &["tiny.gguf"]).err.contains("packing"));
}

#[test]
fn two_processes_that_compile_the_same_do_not_clash() {
    let home = Home::new();
    model(&home);
    let start = || home.heddle(&[&["run", "tiny.gguf"], RUN].concat()).spawn().unwrap();
    let both = [start(), start()].map(|child| done(child.wait_with_output().unwrap()));
    let packed = both.iter().filter(|done| done.err.contains("packing")).count();
    assert_eq!(packed, 1, "{both:?}");
    let [a, b] = both.map(answer);
    assert_eq!(a["ids"], b["ids"]);
}

#[test]
fn removing_a_model_removes_what_was_compiled_from_it() {
    let home = Home::new();
    model(&home);
    home.run(&["pull", "tiny.gguf"]).ok();
    run(&home, &["tiny"]).ok();
    assert!(home.cached().iter().any(|file| file.ends_with("weights.bin")));
    home.run(&["rm", "tiny"]).ok();
    assert!(home.cached().is_empty(), "{:?}", home.cached());
}

#[test]
fn two_compiles_write_the_same_bytes() {
    let home = Home::new();
    let first = compiled(&home);
    home.run(&["compile", "tiny.gguf", "-o", "again.heddle"]).ok();
    for file in ["plan.ron", "weights.bin", "graphs/00-import.ir"] {
        let [a, b] = [&first, &home.path().join("again.heddle")].map(|dir| fs::read(dir.join(file)).unwrap());
        assert!(a == b, "{file} differs");
    }
    let done = home.run(&["diff", "tiny.heddle", "again.heddle"]);
    assert_eq!(done.ok(), "");
}

#[test]
fn a_budget_that_is_too_small_is_refused_with_what_would_fit() {
    let home = Home::new();
    model(&home);
    let refused = home.run(&["compile", "tiny.gguf", "-o", "x.heddle", "--memory", "1MB"]).refused();
    assert!(refused.contains("over the budget of 1000000") && refused.contains("fits"), "{refused}");
    assert!(!home.path().join("x.heddle").exists());
}

#[test]
fn the_context_that_a_refusal_names_fits_and_one_token_more_does_not() {
    let home = Home::new();
    model(&home);
    let compile = |context: Option<&str>, budget: &str| {
        let mut line = vec!["compile", "tiny.gguf", "-o", "x.heddle", "--json", "--memory", budget];
        line.extend(context.iter().flat_map(|context| ["--context", context]));
        home.run(&line)
    };
    let whole: serde_json::Value = serde_json::from_str(&compile(None, "1GB").ok()).unwrap();
    let totals = whole["memory"].as_array().unwrap().iter().map(|proof| proof["total"].as_u64().unwrap());
    let budget = (totals.max().unwrap() - 1).to_string();
    let refused = compile(None, &budget).refused();
    let context: u32 = refused.rsplit("--context ").next().unwrap().trim().parse().unwrap();
    compile(Some(&context.to_string()), &budget).ok();
    compile(Some(&(context + 1).to_string()), &budget).refused();
}

#[test]
fn compiling_over_something_else_is_refused() {
    let home = Home::new();
    model(&home);
    fs::create_dir(home.path().join("mine")).unwrap();
    fs::write(home.path().join("mine/letter.txt"), "dear").unwrap();
    let refused = home.run(&["compile", "tiny.gguf", "-o", "mine"]).refused();
    assert!(refused.contains("it exists and holds something else"), "{refused}");
    assert_eq!(fs::read_dir(home.path().join("mine")).unwrap().count(), 1);
}

#[test]
fn options_of_compilation_do_not_go_with_a_bundle() {
    let home = Home::new();
    compiled(&home);
    let refused = home.run(&["run", "tiny.heddle", "--prompt", "a", "--context", "8"]).refused();
    assert!(refused.contains("is compiled already"), "{refused}");
}

/// The line of the plan that holds `needle`, from 1, and the plan with `from` there replaced.
fn edit(bundle: &Path, needle: &str, from: &str, to: &str) -> usize {
    let path = bundle.join("plan.ron");
    let text = fs::read_to_string(&path).unwrap();
    let at = text.lines().position(|line| line.contains(needle) && line.contains(from)).unwrap();
    let edited: Vec<String> = text
        .lines()
        .enumerate()
        .map(|(i, line)| if i == at { line.replacen(from, to, 1) } else { line.to_owned() })
        .collect();
    fs::write(path, edited.join("\n") + "\n").unwrap();
    at + 1
}

#[test]
fn an_edit_that_breaks_the_plan_is_caught_with_its_line() {
    let faults = [
        ("(id:5,device:0,ty:", "offset:", "offset:1"),
        ("name:\"kv_append\"", "name:\"kv_append\"", "name:\"kv_upend\""),
        ("name:\"positions\"", "to:Device(0)", "to:Host"),
        ("name:\"slots\"", "slots", "slotz"),
        ("node:\"embed\"", "B(0)", "B(500)"),
        ("name:\"token_embd.weight\"", "t16.", "t17."),
    ];
    for (needle, from, to) in faults {
        let home = Home::new();
        let bundle = compiled(&home);
        let line = edit(&bundle, needle, from, to);
        let refused = home.run(&["verify", "tiny.heddle"]).refused();
        assert!(refused.contains(&format!("line {line}: ")), "line {line} of {needle}: {refused}");
        assert!(home.run(&["run", "tiny.heddle", "--prompt", "a"]).refused().contains("is refused"));
    }
}

#[test]
fn weights_that_the_model_does_not_have_are_named_with_their_line() {
    let home = Home::new();
    let bundle = compiled(&home);
    let line = edit(&bundle, "name:\"output_norm.weight\"", "output_norm", "output_warm");
    let refused = home.run(&["verify", "tiny.heddle"]).refused();
    let expected = format!("line {line}: the model has no weight \"output_warm.weight\"");
    assert!(refused.contains(&expected), "{refused}");
}

#[test]
fn code_that_needs_more_scratch_than_stated_is_named_with_its_line() {
    let home = Home::new();
    let bundle = compiled(&home);
    let line = edit(&bundle, "name:\"linear.t16.levels4\"", "scratch:11008", "scratch:64");
    for command in [&["verify", "tiny.heddle"][..], &["run", "tiny.heddle", "--prompt", "a"]] {
        let refused = home.run(command).refused();
        assert!(
            refused.contains(&format!("line {line}: states 64 bytes of scratch, its code needs ")),
            "{refused}"
        );
    }
}

#[test]
fn a_sound_edit_is_told_and_runs() {
    let home = Home::new();
    let bundle = compiled(&home);
    assert!(home.run(&["verify", "tiny.heddle"]).ok().starts_with("sound: plan "));
    edit(&bundle, "name:\"cpu:0\"", "cpu:0", "cpu:zero");
    assert!(home.run(&["verify", "tiny.heddle"]).ok().contains("edited since it was compiled"));
    run(&home, &["tiny.heddle"]).ok();
}

#[test]
fn a_plan_from_a_newer_version_is_refused() {
    let home = Home::new();
    let bundle = compiled(&home);
    edit(&bundle, "version:", "version: ", "version: 9");
    let refused = home.run(&["run", "tiny.heddle", "--prompt", "a"]).refused();
    assert!(refused.contains("compile the model again"), "{refused}");
}

#[test]
fn weights_with_another_byte_are_refused() {
    let home = Home::new();
    let weights = compiled(&home).join("weights.bin");
    let mut bytes = fs::read(&weights).unwrap();
    bytes[100] ^= 1;
    fs::write(&weights, bytes).unwrap();
    let refused = home.run(&["verify", "tiny.heddle"]).refused();
    assert!(refused.contains("weights.bin: its sha256 is"), "{refused}");
}

#[test]
fn weights_that_were_cut_short_are_refused() {
    let home = Home::new();
    let bundle = compiled(&home);
    let weights = fs::OpenOptions::new().write(true).open(bundle.join("weights.bin")).unwrap();
    weights.set_len(100).unwrap();
    let refused = home.run(&["verify", "tiny.heddle"]).refused();
    assert!(refused.contains("it has 100 bytes, the plan says"), "{refused}");
}

#[test]
fn explain_follows_a_node_through_the_passes() {
    let home = Home::new();
    model(&home);
    let all = home.run(&["explain", "tiny.gguf"]).ok();
    assert!(all.starts_with("// import\ngraph ") && all.contains("\n// chains, "), "{all}");
    let node = home.run(&["explain", "tiny.gguf", "--node", "blk.0.ffn_up"]).ok();
    assert!(node.contains("blk.0.ffn_up.weight = weight()") && !node.contains("blk.1."), "{node}");
    assert!(node.contains("\n// epilogues, ") && node.contains("blk.0.ffn_up = fused("), "{node}");
    assert!(!node.contains("// siblings"), "which leaves it alone: {node}");
    let diff = home.run(&["explain", "tiny.gguf", "--pass", "epilogues", "--diff"]).ok();
    assert!(diff.contains("\n@@ ") && diff.contains("\n-") && diff.contains("\n+"), "{diff}");
    assert!(home.run(&["explain", "tiny.gguf", "--node", "blk.77"]).refused().contains("blk.77"));
    assert!(home.run(&["explain", "tiny.gguf", "--pass", "magic"]).refused().contains("expected one of"));
}

#[test]
fn diff_names_what_differs() {
    let home = Home::new();
    compiled(&home);
    home.run(&["compile", "tiny.gguf", "-o", "short.heddle", "--context", "32"]).ok();
    let plans = home.run(&["diff", "tiny.heddle", "short.heddle"]).ok();
    assert!(
        plans.contains("- option context: 256\n+ option context: 32")
            && plans.contains("+ state kv.{0..1}.k: "),
        "{plans}"
    );
    let graphs = ["tiny.heddle/graphs/00-import.ir", "short.heddle/graphs/00-import.ir"];
    let graphs = home.run(&["diff", graphs[0], graphs[1]]).ok();
    assert!(graphs.contains("- kv.0.k: ") && !graphs.contains("ffn"), "{graphs}");
    let refused = home.run(&["diff", "tiny.heddle", "short.heddle/graphs/00-import.ir"]).refused();
    assert!(refused.contains("expected two of a kind"), "{refused}");
}

#[test]
fn inspect_shows_plans_and_graphs() {
    let home = Home::new();
    compiled(&home);
    for plan in ["tiny.heddle", "tiny.heddle/plan.ron"] {
        let text = home.run(&["inspect", plan]).ok();
        assert!(text.starts_with("plan ") && text.contains("paged_attention"), "{text}");
    }
    let graph = home.run(&["inspect", "tiny.heddle/graphs/00-import.ir", "--json"]).ok();
    assert!(graph.contains(r#""paged_attention":"#), "{graph}");
}
