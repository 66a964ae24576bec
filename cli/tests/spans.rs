//! `heddle simulate --spans`: when every step and every message of a prefill and of a decode step should be.
mod support;

use ir::plan::{Plan, Step};
use serde_json::Value;
use std::fs;
use support::{Home, TOPOLOGY, fixture, json};

/// The tiny model cut in two, and what is predicted of it.
fn spans(home: &Home, more: &[&str]) -> (Plan, Value) {
    fs::write(home.path().join("machine.ron"), TOPOLOGY).unwrap();
    let model = fixture("tiny/gguf/llama.gguf");
    let cut = ["--devices", "machine.ron", "--partition", "pipeline:2", "--context", "64"];
    home.run(&[&["compile", model.to_str().unwrap(), "-o", "b.heddle"], &cut[..]].concat()).ok();
    let plan = Plan::from_text(&fs::read_to_string(home.path().join("b.heddle/plan.ron")).unwrap()).unwrap();
    let args = ["simulate", "b.heddle", "--prompt-tokens", "8", "--json"];
    (plan, json(home.run(&[&args, more].concat())))
}

fn ns(of: &Value, key: &str) -> f64 {
    of[key].as_f64().unwrap_or_else(|| panic!("{key} of {of}"))
}

#[test]
fn every_step_of_both_threads_follows_the_one_before_it() {
    let home = Home::new();
    let (plan, report) = spans(&home, &["--spans"]);
    let rounds = report["rounds"].as_array().unwrap();
    assert_eq!(rounds.iter().map(|r| r["is_decode"] == true).collect::<Vec<_>>(), [false, true]);
    let [prefill, decode] = &rounds[..] else { panic!("{rounds:?}") };
    assert_eq!((ns(prefill, "start_ns"), ns(decode, "start_ns")), (0.0, ns(prefill, "end_ns")));
    assert!((ns(prefill, "end_ns") / 1e6 - ns(&report["prefill"], "latency_ms")).abs() < 1e-9);
    let token_ms = (ns(decode, "end_ns") - ns(decode, "start_ns")) / 1e6;
    assert!((token_ms / ns(&report["decode"], "latency_ms") - 1.0).abs() < 0.01, "{token_ms} in {report}");

    let all = report["spans"].as_array().unwrap();
    let expected: usize = plan.threads.iter().map(|thread| 2 * thread.steps.len()).sum();
    assert_eq!(all.len(), expected);
    for (number, thread) in plan.threads.iter().enumerate() {
        for (round, of) in rounds.iter().enumerate() {
            let own = all.iter().filter(|s| s["thread"] == number && s["round"] == round);
            let (mut at, mut is_busy) = (ns(of, "start_ns"), false);
            for ((index, step), span) in thread.steps.iter().enumerate().zip(own) {
                assert_eq!(span["step"], index);
                let start = ns(span, "start_ns");
                assert!((start - at).abs() < 1.0, "step {index} at {start}, the one before ended at {at}");
                at = start + ns(span, "ns");
                // Whole rows of logits are computed where they are asked for.
                is_busy |= matches!(step, Step::Run { .. }) && ns(span, "ns") > 0.0;
            }
            assert!(is_busy && at > ns(of, "start_ns") && at <= ns(of, "end_ns") + 1.0);
        }
    }
}

#[test]
fn a_message_is_there_before_its_reader_goes_on() {
    let home = Home::new();
    let (plan, report) = spans(&home, &["--spans"]);
    let (spans, messages) = (report["spans"].as_array().unwrap(), report["messages"].as_array().unwrap());
    assert_eq!(messages.len(), 2 * plan.edges.len(), "one on each edge in each round");
    for (number, thread) in plan.threads.iter().enumerate() {
        for (index, step) in thread.steps.iter().enumerate() {
            let Step::Recv { edge, .. } = step else { continue };
            for round in 0..2 {
                let is = |of: &&Value| of["edge"] == edge.0 && of["round"] == round;
                let message = messages.iter().find(is).unwrap();
                let own = |s: &&Value| s["thread"] == number && s["step"] == index && s["round"] == round;
                let span = spans.iter().find(own).unwrap();
                let received = ns(span, "start_ns") + ns(span, "ns");
                assert!(ns(message, "sent_ns") <= ns(message, "arrived_ns"));
                assert!(ns(message, "arrived_ns") <= received + 1e-3, "{message} {span}");
            }
        }
    }
}

#[test]
fn spans_are_told_where_they_are_asked_for_and_to_programs_alone() {
    let home = Home::new();
    let (_, report) = spans(&home, &[]);
    assert!(report["spans"].is_null() && report["rounds"].is_null() && report["messages"].is_null());
    let wrong = home.run(&["simulate", "b.heddle", "--spans"]);
    assert!(wrong.code == Some(2) && wrong.err.contains("--json"), "{wrong:?}");
    assert!(home.run(&["simulate", "--help"]).ok().contains("rounds    of the prefill"));
}
