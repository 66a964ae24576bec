//! `heddle trace`: every step of every round once, every message an arrow, measured beside predicted.
mod support;

use ir::plan::{End, Plan, Step};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use support::{Done, Home, calibrated, fixture};

fn tiny() -> String {
    fixture("tiny/gguf/llama.gguf").to_str().unwrap().to_owned()
}

/// Tokens in a step, and of an answer.
const CHUNK: u64 = 8;
const TOKENS: u64 = 4;

/// Traces some tokens behind a prompt in several chunks, by a bundle that is compiled with `how`.
fn traced(home: &Home, how: &[&str], more: &[&str]) -> (Done, Plan) {
    home.run(&[&["compile", &tiny(), "--raw", "--chunk", &CHUNK.to_string(), "-o", "b"], how].concat()).ok();
    let plan = fs::read_to_string(home.path().join("b/plan.ron")).unwrap();
    let prompt = ["--prompt", "the cat sat on the mat of the hat"];
    let done = home.run(
        &[&["trace", "b", "--raw", "--tokens", &TOKENS.to_string(), "-o", "t.json"], &prompt[..], more]
            .concat(),
    );
    (done, Plan::from_text(&plan).unwrap())
}

struct Trace {
    about: Value,
    events: Vec<Value>,
}

/// From when to when, in nanoseconds.
type Stretch = (u64, u64);

fn ns(us: &Value) -> u64 {
    (us.as_f64().unwrap_or_else(|| panic!("{us} is no time")) * 1e3).round() as u64
}

fn stretch(event: &Value) -> Stretch {
    (ns(&event["ts"]), ns(&event["ts"]) + ns(&event["dur"]))
}

impl Trace {
    fn read(home: &Home) -> Trace {
        let text = fs::read_to_string(home.path().join("t.json")).unwrap();
        let mut all: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(all["displayTimeUnit"], "ns");
        let Value::Array(events) = all["traceEvents"].take() else { panic!("no list of events") };
        Trace { about: all["otherData"].take(), events }
    }

    fn of<'a>(&'a self, ph: &'a str, pid: u64) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |e| e["ph"] == ph && e["pid"] == pid)
    }

    /// The stretches of a row but for whole rounds, in order.
    fn row(&self, pid: u64, tid: u64) -> Vec<&Value> {
        let is_own = |e: &&Value| e["tid"] == tid && e["cat"] != "round";
        let mut row: Vec<_> = self.of("X", pid).filter(is_own).collect();
        row.sort_by_key(|e| stretch(e));
        row
    }

    fn rounds(&self, pid: u64, tid: u64) -> Vec<&Value> {
        self.of("X", pid).filter(|e| e["tid"] == tid && e["cat"] == "round").collect()
    }

    /// The step that lies around a time.
    fn around(&self, tid: u64, at: u64) -> &Value {
        let holds = |e: &&&Value| (stretch(e).0..stretch(e).1).contains(&at);
        let row = self.row(1, tid);
        let found: Vec<_> = row.iter().filter(holds).collect();
        let [one] = found[..] else { panic!("{} steps of row {tid} at {at}", found.len()) };
        one
    }
}

/// Every step once a round, in order and one after the other; every message an arrow from its send to its receive.
fn check(trace: &Trace, plan: &Plan) {
    let number = |key: &str| trace.about[key].as_u64().unwrap();
    let (prompt, answer) = (number("prompt_tokens"), number("tokens"));
    let chunk = |from: u64| match (CHUNK.min(prompt - from), from) {
        (n, 0) => format!("prefill of {n} tokens"),
        (n, _) => format!("prefill of {n} tokens behind {from}"),
    };
    let mut names: Vec<String> = (0..prompt).step_by(CHUNK as usize).map(chunk).collect();
    assert!(names.len() > 1, "a prompt of {prompt} tokens is no long one");
    names.extend((0..answer.min(TOKENS - 1)).map(|at| format!("decode of token {}", prompt + at + 1)));
    let rounds = names.len();
    let mut messages: BTreeMap<(&str, u64, u64), usize> = BTreeMap::new();
    for (thread, tid) in plan.threads.iter().zip(1..) {
        let (row, whole) = (trace.row(1, tid), trace.rounds(1, tid));
        assert_eq!(whole.iter().map(|e| e["name"].as_str().unwrap()).collect::<Vec<_>>(), names);
        assert_eq!(row.len(), thread.steps.len() * rounds);
        assert!(row.is_sorted_by(|a, b| stretch(a).1 <= stretch(b).0), "steps of row {tid} overlap");
        for (steps, round) in row.chunks_exact(thread.steps.len()).zip(whole) {
            assert_eq!(stretch(round), (stretch(steps[0]).0, stretch(steps[steps.len() - 1]).1));
            for ((event, step), index) in steps.iter().zip(&thread.steps).zip(0..) {
                assert_eq!(
                    (&event["args"]["step"], event["args"]["measured_us"].is_f64()),
                    (&index.into(), true)
                );
                match step {
                    Step::Run { node, kernel, .. } => {
                        let kernel = &plan.kernels[kernel.0 as usize];
                        assert_eq!(
                            (&event["name"], &event["cat"]),
                            (&node.as_str().into(), &"kernel".into())
                        );
                        assert_eq!(event["args"]["op"], kernel.op.0.as_str());
                    }
                    Step::Send { edge, .. } => {
                        let edge = &plan.edges[edge.0 as usize];
                        assert_eq!(
                            (&event["cat"], &event["args"]["edge"]),
                            (&"send".into(), &edge.id.0.into())
                        );
                        let to = if let End::Device(id) = edge.to { u64::from(id.0) + 1 } else { 0 };
                        *messages.entry((&edge.name, tid, to)).or_default() += 1;
                    }
                    Step::Recv { edge, .. } => {
                        let edge = &plan.edges[edge.0 as usize];
                        assert_eq!(
                            (&event["cat"], &event["args"]["edge"]),
                            (&"receive".into(), &edge.id.0.into())
                        );
                        if edge.from == End::Host {
                            *messages.entry((&edge.name, 0, tid)).or_default() += 1;
                        }
                    }
                }
            }
        }
    }
    let host = trace.row(1, 0);
    assert!(host.len() == 2 * rounds && host.is_sorted_by(|a, b| stretch(a).1 <= stretch(b).0));
    let ends: BTreeMap<u64, &Value> = trace.of("f", 1).map(|f| (f["id"].as_u64().unwrap(), f)).collect();
    let mut arrows: BTreeMap<(&str, u64, u64), usize> = BTreeMap::new();
    for s in trace.of("s", 1) {
        let f = ends[&s["id"].as_u64().unwrap()];
        assert_eq!((&s["name"], &s["cat"], &f["bp"]), (&f["name"], &f["cat"], &"e".into()));
        let (from, to) = (s["tid"].as_u64().unwrap(), f["tid"].as_u64().unwrap());
        assert!(ns(&s["ts"]) <= ns(&f["ts"]), "{s} {f}");
        assert_eq!(trace.around(from, ns(&s["ts"]))["cat"], "send", "{s}");
        assert_eq!(trace.around(to, ns(&f["ts"]))["cat"], "receive", "{f}");
        *arrows.entry((s["name"].as_str().unwrap(), from, to)).or_default() += 1;
    }
    assert_eq!(arrows, messages);
    assert_eq!(ends.len(), messages.values().sum::<usize>(), "every end has its beginning");
}

#[test]
fn every_step_of_every_round_is_there_beside_its_prediction() {
    let home = Home::new();
    calibrated(&home);
    let (done, plan) = traced(&home, &["--threads", "1"], &[]);
    assert!(done.err.contains("t.json: open it in https://ui.perfetto.dev"), "{done:?}");
    assert!(!done.err.contains("calibrating"), "{done:?}");
    assert_eq!(done.ok(), "");
    let trace = Trace::read(&home);
    check(&trace, &plan);
    assert_eq!(trace.about["plan"], plan.hash());
    assert_eq!(trace.about["predictions"], "by this machine's calibration");
    let kernels = |pid| trace.row(pid, 1).into_iter().filter(|e| e["cat"] == "kernel").collect::<Vec<_>>();
    let predicted = kernels(2);
    assert_eq!(kernels(1).len(), predicted.len());
    for (measured, predicted) in kernels(1).iter().zip(&predicted) {
        assert_eq!(measured["name"], predicted["name"]);
        assert_eq!(measured["args"]["predicted_us"], predicted["args"]["predicted_us"]);
    }
    assert!(trace.row(2, 1).is_sorted_by(|a, b| stretch(a).1 <= stretch(b).0));
    let names = |pid| trace.rounds(pid, 1).iter().map(|e| e["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(1), names(2));
    assert!(trace.row(1, 0).iter().any(|e| e["args"]["round_predicted_us"].is_f64()));
}

#[test]
fn messages_between_devices_are_arrows() {
    for (cut, more) in [("tensor:2", 2), ("pipeline:2", 1)] {
        let home = Home::new();
        calibrated(&home);
        let (done, plan) = traced(&home, &["--partition", cut], &[]);
        done.ok();
        let trace = Trace::read(&home);
        check(&trace, &plan);
        let is_answer = |e: &Value| e["name"] == "logits" || e["name"] == "candidates";
        let between = |e: &&Value| e["tid"].as_u64() > Some(0) && !is_answer(e);
        assert!(trace.of("s", 1).filter(between).count() >= more * trace.rounds(1, 1).len(), "{cut}");
    }
}

#[test]
fn what_cannot_be_predicted_is_said() {
    let home = Home::new();
    calibrated(&home);
    let kept = fs::read_to_string(home.cache().join("topology.ron")).unwrap();
    fs::write(home.path().join("other.ron"), kept.replace("\"cpu:0\"", "\"gpu:3\"")).unwrap();
    let (done, plan) = traced(&home, &["--threads", "1"], &["--topology", "other.ron"]);
    let reason = "none: the plan runs on cpu:0, the topology has gpu:3";
    assert!(done.err.contains(&format!("predictions: {reason}")), "{done:?}");
    done.ok();
    let trace = Trace::read(&home);
    check(&trace, &plan);
    assert_eq!(trace.about["predictions"], reason);
    let label = trace.of("M", 2).find(|e| e["name"] == "process_labels").unwrap();
    assert_eq!(label["args"]["labels"], reason);
    assert_eq!(trace.of("X", 2).count(), 0);
    assert!(trace.of("X", 1).all(|e| e["args"]["predicted_us"].is_null()));
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_anything_is_compiled() {
    let home = Home::new();
    calibrated(&home);
    let trace = |output: &str| home.run(&["trace", &tiny(), "--prompt", "hello", "-o", output]);
    for bad in ["none/t.json", "."] {
        assert!(trace(bad).refused().contains(&format!("cannot write {bad}")));
    }
    assert!(home.cached().iter().all(|name| !name.ends_with("plan.ron")), "{:?}", home.cached());
    // Nor does a file stay of a run that failed, or an old one go.
    let failed = |name: &str| {
        home.run(&["trace", &tiny(), "--prompt", "", "-o", name]).refused();
        home.run(&["trace", "no such model", "--prompt", "hello", "-o", name]).refused();
    };
    failed("new.json");
    assert!(!home.path().join("new.json").exists());
    fs::write(home.path().join("old.json"), "old").unwrap();
    failed("old.json");
    assert_eq!(fs::read_to_string(home.path().join("old.json")).unwrap(), "old");
    assert!(home.run(&["trace", &tiny(), "--prompt", "hello"]).err.contains("--output <FILE>"));
}
