//! `heddle bench`: where the time goes, several sequences, and what is cached before; `heddle devices --calibrate`.
mod support;

use ir::plan::{Plan, Step};
use ir::topology::Topology;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use support::{Home, calibrated, fixture, json};

fn tiny() -> String {
    fixture("tiny/gguf/llama.gguf").to_str().unwrap().to_owned()
}

/// The plan that the only bundle in the cache has.
fn plan(home: &Home) -> Plan {
    let cached = home.cached();
    let plans: Vec<&String> = cached.iter().filter(|name| name.ends_with("plan.ron")).collect();
    let [plan] = plans[..] else { panic!("{plans:?}") };
    Plan::from_text(&fs::read_to_string(home.cache().join(plan)).unwrap()).unwrap()
}

const SIZES: [&str; 6] = ["--prompt-tokens", "24", "--gen-tokens", "5", "--repetitions", "2"];

#[test]
fn a_profile_has_every_kernel_once_and_its_parts_add_up() {
    let home = Home::new();
    calibrated(&home);
    let model = tiny();
    let args = [&["bench", &model, "--profile", "--threads", "1"], &SIZES[..]].concat();
    let done = home.run(&[&args[..], &["--json"]].concat());
    assert!(!done.err.contains("calibrating"), "{done:?}");
    let profile = json(done)["profile"].clone();
    let plan = plan(&home);
    let mut runs: BTreeMap<u64, u64> = BTreeMap::new();
    for step in &plan.threads[0].steps {
        if let Step::Run { kernel, .. } = step {
            *runs.entry(u64::from(kernel.0)).or_default() += 1;
        }
    }
    for (phase, steps) in [("prefill", 1), ("decode", 5)] {
        let phase = &profile[phase];
        let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{value} in {phase}"));
        assert_eq!(number(&phase["steps"]), steps);
        let rows = phase["kernels"].as_array().unwrap();
        let found: BTreeMap<u64, u64> =
            rows.iter().map(|row| (number(&row["id"]), number(&row["runs"]))).collect();
        assert_eq!(found, runs.iter().map(|(id, runs)| (*id, runs * steps)).collect());
        assert_eq!(rows.len(), found.len(), "each kernel is one row");
        let sum = |key: &str| rows.iter().map(|row| number(&row[key])).sum::<u64>();
        assert_eq!(sum("time_ns"), number(&phase["kernels_ns"]));
        assert_eq!(sum("predicted_ns"), number(&phase["predicted_ns"]));
        let parts = ["kernels_ns", "sampling_ns", "waiting_ns"].map(|key| number(&phase[key]));
        assert_eq!(parts.iter().sum::<u64>(), number(&phase["wall_ns"]));
        assert!(parts[0] > 0, "{phase}");
        assert!(rows.is_sorted_by_key(|row| std::cmp::Reverse(number(&row["time_ns"]))));
        // No row comes whole.
        let moves = |row: &Value| number(&row["bytes"]) > 0 || row["nodes"][0] == "logits";
        assert!(rows.iter().all(|row| moves(row) && row["nodes"][0].is_string()));
    }
    let attention = |phase: &str| {
        let rows = profile[phase]["kernels"].as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == "paged_attention").unwrap();
        assert_eq!(row["nodes"][0], "blk.*.attention");
        row["operations"]["exp"].as_u64().unwrap() / row["runs"].as_u64().unwrap()
    };
    // Of each head: 24 tokens see 1 to 24 positions; the five behind them 25 to 29.
    assert_eq!(attention("prefill") / (24 * 25 / 2), attention("decode") / 27);

    let text = home.run(&args).ok();
    for kernel in &plan.kernels {
        let begin = format!("{} {} ", kernel.id.0, kernel.name);
        assert_eq!(text.lines().filter(|line| line.starts_with(&begin)).count(), 2, "{begin} in {text}");
    }
    for phase in ["prefill: 1 step", "decode: 5 steps, each", "all kernels", "sampling"] {
        assert!(text.contains(phase), "{phase} in {text}");
    }
}

#[test]
fn several_sequences_are_measured_at_once_behind_what_is_cached() {
    let home = Home::new();
    calibrated(&home);
    let shape = ["--batch", "3", "--depth", "40", "--profile", "--json"];
    let measured = json(home.run(&[&["bench", &tiny()], &shape[..], &SIZES[..]].concat()));
    assert_eq!((&measured["batch"], &measured["depth"]), (&3.into(), &40.into()));
    let decode = &measured["profile"]["decode"];
    assert_eq!(decode["steps"], 5, "each step has a token of every sequence");
    for speed in ["prefill_tokens_per_second", "decode_tokens_per_second"] {
        assert!(measured[speed].as_f64() > Some(0.0), "{measured}");
    }
    let plan = plan(&home);
    assert_eq!((plan.options.max_batch, plan.options.context), (3, 40 + 24), "as much room as it takes");
    // Each of the three sees 41 to 45 positions: of 4 layers' heads, whatever they are, a multiple of that.
    let rows = decode["kernels"].as_array().unwrap();
    let attention = rows.iter().find(|row| row["name"] == "paged_attention").unwrap();
    let scores = attention["operations"]["exp"].as_u64().unwrap();
    assert_eq!(scores % (3 * (41 + 42 + 43 + 44 + 45)), 0, "{attention}");
}

#[test]
fn reading_memory_in_turn_with_the_answer_gives_its_bound() {
    let home = Home::new();
    let model = tiny();
    let args = [&["bench", &model, "--reading", "--threads", "1"], &SIZES[..]].concat();
    let bound = json(home.run(&[&args[..], &["--json"]].concat()))["reading"].clone();
    let number = |name: &str| bound[name].as_f64().unwrap_or_else(|| panic!("{name} in {bound}"));
    let (decode, plain) = (number("decode_bytes_per_second"), number("plain_bytes_per_second"));
    assert!(number("turns") >= 1.0 && decode > 0.0 && plain > decode, "{bound}");
    assert!(home.run(&args).ok().contains("in turn with that, read memory at"));
}

#[test]
fn what_a_plan_has_no_room_for_is_refused_with_the_option_that_makes_it() {
    let home = Home::new();
    home.run(&["compile", &tiny(), "-o", "one", "--context", "48"]).ok();
    let refused = |more: &[&str]| home.run(&[&["bench", "one"], more, &SIZES[..]].concat()).refused();
    assert!(refused(&["--batch", "2"]).contains("2 sequences were asked for, the plan holds 1"));
    let long = refused(&["--depth", "25"]);
    assert!(long.contains("49 tokens were asked for, the context holds 48: ask for fewer"), "{long}");
    home.run(&[&["bench", "one", "--depth", "24"], &SIZES[..]].concat()).ok();
}

#[test]
fn a_profile_predicts_for_the_machine_of_a_file() {
    let home = Home::new();
    calibrated(&home);
    let kept = fs::read_to_string(home.cache().join("topology.ron")).unwrap();
    let bench = |topology: &str| {
        let args = ["bench", &tiny(), "--profile", "--threads", "1", "--json", "--topology", topology];
        home.run(&[&args[..], &SIZES[..]].concat())
    };
    let predicted = |topology: &str| {
        let decode = json(bench(topology))["profile"]["decode"].clone();
        (decode["predicted_ns"].as_u64().unwrap(), decode["predicted_waiting_ns"].as_u64().unwrap())
    };
    let write = |name: &str, text: &str| fs::write(home.path().join(name), text).unwrap();
    write("same.ron", &kept);
    write("slow.ron", &kept.replace("launch_ns: 100,", "launch_ns: 1000000,"));
    let link = "links: [(from: \"cpu:0\", to: \"cpu:0\", latency_ns: 1000000, bytes_per_second: 1000000000)";
    write("far.ron", &kept.replace("links: [", link));
    let (same, free) = predicted("same.ron");
    assert!(predicted("slow.ron").0 > 5 * 900_000 + same, "five steps of many kernels");
    // Five steps send at least three messages each.
    assert!(free == 0 && predicted("far.ron").1 > 5 * 3_000_000);
    write("bad.ron", &kept.replace("threads: 1,", "threads: 0,"));
    let bad = bench("bad.ron").refused();
    assert!(bad.contains("bad.ron") && bad.contains("line 4: device \"cpu:0\": found teams of"), "{bad}");
    write("other.ron", &kept.replace("\"cpu:0\"", "\"gpu:3\""));
    let other = bench("other.ron").refused();
    assert!(other.contains("the plan runs on cpu:0, the topology has gpu:3"), "{other}");
    assert!(bench("none.ron").refused().contains("none.ron does not exist"));
}

#[test]
fn a_calibration_is_written_shown_and_used() {
    let home = Home::new();
    let nowhere = home.run(&["devices", "--calibrate", "-o", "m/here.ron"]).refused();
    assert!(nowhere.contains("cannot write m/here.ron"), "{nowhere}");
    assert!(!home.path().join("m").exists(), "no folder is made that nobody asked for");
    fs::create_dir(home.path().join("m")).unwrap();
    let shown = home.run(&["devices", "--calibrate", "-o", "m/here.ron"]).ok();
    let text = fs::read_to_string(home.path().join("m/here.ron")).unwrap();
    let topology = Topology::from_text(&text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(topology.to_text(), text);
    assert!(shown.contains("measured just now: m/here.ron") && shown.contains("LAUNCH ns"), "{shown}");
    assert!(!home.cache().join("topology.ron").exists(), "it went elsewhere");

    fs::create_dir_all(home.cache()).unwrap();
    fs::write(home.cache().join("topology.ron"), text.replacen("version: 2", "version: 9", 1)).unwrap();
    let done = home.run(&["devices"]);
    assert!(done.err.contains("is of version 9, this heddle reads version 2"), "{done:?}");
    assert!(!done.ok().contains("measured"));
    fs::write(home.cache().join("topology.ron"), &text).unwrap();
    let cpu = json(home.run(&["devices", "--json"]))[0].clone();
    let calibration = &cpu["calibration"];
    assert_eq!((&calibration["threads"], &calibration["stale"]), (&cpu["cores"], &Value::Null));
    assert!(calibration["age_seconds"].is_u64() && calibration["teams"][0]["launch_ns"].is_u64(), "{cpu}");

    // Nothing of a machine that this is not is used.
    let other = text.replacen("kernels: \"", "kernels: \"not ", 1);
    fs::write(home.cache().join("topology.ron"), other).unwrap();
    let done = home.run(&["bench", &tiny(), "--profile", "--prompt-tokens", "1", "--gen-tokens", "1"]);
    assert!(done.err.contains("is of another machine") && done.err.contains("calibrating"), "{done:?}");
    done.ok();
    let again = Topology::from_text(&fs::read_to_string(home.cache().join("topology.ron")).unwrap()).unwrap();
    assert_eq!(again.devices[0].kernels, topology.devices[0].kernels);
}
