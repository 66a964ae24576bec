//! What `heddle why` answers about nodes, edges and devices: the decision, its cost, its limit, and what else there was.
mod support;

use expect_test::{Expect, expect};
use std::fs;
use support::{Home, TOPOLOGY, fixture};

/// A home with two models and a topology.
fn home() -> Home {
    let home = Home::new();
    fs::copy(fixture("tiny/gguf/llama.gguf"), home.path().join("tiny.gguf")).unwrap();
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/models/smollm2-135m.json");
    fs::copy(config, home.path().join("smollm2.json")).unwrap();
    fs::write(home.path().join("machine.ron"), TOPOLOGY).unwrap();
    home
}

const TWO: &str = "cpu:0,cpu:1";

/// A bundle of the tiny model over two devices that are cut so.
fn compiled(cut: &str, rest: &[&str]) -> Home {
    let home = home();
    let placed = ["compile", "tiny.gguf", "-o", "m.heddle", "--devices", TWO, "--partition", cut];
    home.run(&[&placed, rest].concat()).ok();
    home
}

/// One of a config alone, whose topology is its own.
fn outlined(cut: &str, rest: &[&str]) -> Home {
    let home = home();
    let placed =
        ["compile", "smollm2.json", "-o", "m.heddle", "--devices", "machine.ron", "--partition", cut];
    home.run(&[&placed, rest].concat()).ok();
    home
}

fn ask(home: &Home, what: &str) -> String {
    home.run(&["why", "m.heddle", what, "--topology", "machine.ron"]).ok()
}

fn why(home: &Home, what: &[&str], expected: &Expect) {
    expected.assert_eq(&what.iter().map(|what| ask(home, what)).collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_node_could_be_on_another_device() {
    let home = compiled("pipeline:2", &[]);
    why(
        &home,
        &["blk.0.ffn_down", "blk.1.append_k", "output", "blk.1.attn_k"],
        &expect![[r#"
            blk.0.ffn_down runs on cpu:0 as fused.t16.bf16 of blk.0.ffn_down.weight, giving f32[n, 64].
              It is predicted to take 13.2 us, bound by memory.
              By the whole plan, a token behind 128 others takes 223.1 us.
              Instead, weights of blk.0.ffn_down in q8_0 would take 222.8 us, 0.15 % shorter.
              Instead, blk.0.ffn_down on cpu:1 would take 226.2 us, 1.41 % longer: 2 more messages, 640 more bytes between devices.

            blk.1.append_k runs on cpu:1 as kv_append, giving f16[8, 1, 32, 32].
              It is predicted to take 232 ns, bound by cache.
              By the whole plan, a token behind 128 others takes 223.1 us.
              Instead, blk.1.append_k, with the cache and what reads it, on cpu:0 would take 225.2 us, 0.96 % longer: 4 more messages, 768 more bytes between devices.

            output runs on cpu:1 as linear.t16.bf16 of output.weight, giving f32[m, 112].
              It is predicted to take 15.1 us, bound by memory.
              By the whole plan, a token behind 128 others takes 223.1 us.
              Instead, weights of output in q8_0 would take 222.2 us, 0.39 % shorter.
              Instead, output on cpu:0 would take 225.8 us, 1.21 % longer: 2 more messages, 704 more bytes between devices.

            blk.1.attn_q+attn_k+attn_v runs on cpu:1 as linear.t16.q4+t16.q4.min+t16.q5 of blk.1.attn_q.weight, blk.1.attn_k.weight, blk.1.attn_v.weight, giving f32[n, 128].
              It is predicted to take 16.4 us, bound by int8.
              By the whole plan, a token behind 128 others takes 223.1 us.
              Instead, blk.1.attn_k on cpu:0 would take 219.1 us, 1.78 % shorter: 2 more messages, 384 more bytes between devices.
              Instead, f32 activations in every product would take 222.7 us, 0.16 % shorter.
              Instead, weights of blk.1.attn_k in q8_0 would take 223.1 us, as long.
        "#]],
    );
    let layer = ask(&home, "blk.1");
    let (_, all) = layer.split_once("blk.1 is ").unwrap();
    expect![[r#"
        14 steps on cpu:1.
          It is predicted to take 101.4 us, bound by int8.
          By the whole plan, a token behind 128 others takes 223.1 us.
          Instead, weights of blk.1 in q8_0 would take 222.2 us, 0.41 % shorter.
          Instead, blk.1 on cpu:0 would take 222.6 us, 0.23 % shorter.
          Instead, f32 activations in every product would take 222.7 us, 0.16 % shorter.
    "#]]
    .assert_eq(all);
}

#[test]
fn a_divided_node_could_be_whole() {
    let home = compiled("tensor:2", &["--all-reduce", "ring"]);
    why(
        &home,
        &["blk.0.ffn_down", "blk.0.attention"],
        &expect![[r#"
            blk.0.ffn_down runs on cpu:0 as linear.t16.bf16 of blk.0.ffn_down.weight (columns 0 to 64 of 96), giving f32[n, 64].
              It is predicted to take 8714 ns, bound by memory.
            blk.0.ffn_down.all_reduce runs on cpu:0 as slice, giving f32[n, 32].
              It is predicted to take 256 ns, bound by cache.
            blk.0.ffn_down.all_reduce runs on cpu:0 as fused, giving f32[n, 32].
              It is predicted to take 384 ns, bound by cache.
            blk.0.ffn_down runs on cpu:1 as linear.t16.bf16 of blk.0.ffn_down.weight (columns 64 to 96 of 96), giving f32[n, 64].
              It is predicted to take 4490 ns, bound by memory.
            blk.0.ffn_down.all_reduce runs on cpu:1 as slice, giving f32[n, 32].
              It is predicted to take 256 ns, bound by cache.
            blk.0.ffn_down.all_reduce runs on cpu:1 as fused, giving f32[n, 32].
              It is predicted to take 384 ns, bound by cache.
            blk.0.ffn_down is 6 steps on cpu:0, cpu:1, most of it on cpu:0.
              It is predicted to take 9354 ns, bound by memory.
              By the whole plan, a token behind 128 others takes 158.6 us.
              Instead, weights of blk.0.ffn_down in q8_0 would take 158.4 us, 0.11 % shorter.
              Instead, blk.0.ffn_down whole on each of cpu:0, cpu:1 would take 167.8 us, 5.84 % longer: 4 fewer messages, 512 fewer bytes between devices.
              Instead, blk.0.ffn_down on cpu:0 alone would take 168.7 us, 6.41 % longer: 3 fewer messages, 256 fewer bytes between devices.

            blk.0.attention runs on cpu:0 as paged_attention, giving f32[n, 32].
              It is predicted to take 17.2 us, bound by f16.
            blk.0.attention runs on cpu:0 as quantise, giving q8_a[n, 32].
              It is predicted to take 168 ns, bound by cache.
            blk.0.attention runs on cpu:1 as paged_attention, giving f32[n, 32].
              It is predicted to take 17.2 us, bound by f16.
            blk.0.attention runs on cpu:1 as quantise, giving q8_a[n, 32].
              It is predicted to take 168 ns, bound by cache.
            blk.0.attention is 4 steps on cpu:0, cpu:1.
              It is predicted to take 17.3 us, bound by f16.
              By the whole plan, a token behind 128 others takes 158.6 us.
              Instead, blk.0.attention, with the cache and what reads it, on cpu:0 alone would take 180.8 us, 1.14 times as long: 3 fewer messages, 256 fewer bytes between devices.
              Instead, blk.0.attention, with the cache and what reads it, whole on each of cpu:0, cpu:1 would take 180.8 us, 1.14 times as long: 4 fewer messages, 512 fewer bytes between devices.
        "#]],
    );
}

#[test]
fn a_node_on_the_only_device_could_be_computed_otherwise_or_not() {
    let home = home();
    home.run(&["compile", "tiny.gguf", "-o", "m.heddle", "--threads", "1"]).ok();
    why(
        &home,
        &["blk.1.ffn_gate", "blk.0.attn_norm", "cpu:0", "edge:0"],
        &expect![[r#"
            blk.1.ffn_gate+ffn_up runs on cpu:0 as linear.t16.q8+t16.levels4 of blk.1.ffn_gate.weight, blk.1.ffn_up.weight, giving f32[n, 192].
              It is predicted to take 24.6 us, bound by int8.
              By the whole plan, a token behind 128 others takes 221.8 us.
              Instead, f32 activations in every product would take 221.5 us, 0.16 % shorter.
              Instead, weights of blk.1.ffn_gate in q4_0 would take 221.8 us, as long.

            blk.0.attn_norm runs on cpu:0 as fused of blk.0.attn_norm.weight, giving q8_a[n, 64].
              It is predicted to take 592 ns, bound by cache.
              No alternative: no other device works for the same sequences, and no product with weights is here that could be computed otherwise.

            cpu:0 (1 thread) has layers 0 to 1, in replica 0 of 1: 44 steps; it takes at most 23.57 MB of memory.
              It is predicted to take 221.8 us, bound by f16.
              No alternative: it is the only device of the plan.

            edge 0 carries tokens from the host to cpu:0, once a step as i32[n], now 4 B each; it holds 1 at once and is late after 30000 ms.
              It is predicted to take 0 ns, bound by latency.
              No alternative: it joins a device and the host, which makes or needs what it carries.
        "#]],
    );
}

#[test]
fn an_edge_between_ranks_could_add_otherwise() {
    let home = compiled("tensor:2", &[]);
    why(
        &home,
        &["edge:10"],
        &expect![[r#"
            edge 10 carries attn_output+ffn_down from cpu:0 to cpu:1, 3 times a step as f32[n, 64], now 256 B each; it holds 2 at once and is late after 30000 ms.
              It is predicted to take 3768 ns, bound by latency.
              By the whole plan, a token behind 128 others takes 151.8 us.
              Instead, sums by ring would take 158.6 us, 4.47 % longer: 8 more messages, 128 more bytes between devices.
              Instead, sums by scatter would take 158.6 us, 4.47 % longer: 8 more messages, 128 more bytes between devices.
              Instead, blk.*.attn_output, blk.*.ffn_down whole on each of cpu:0, cpu:1 would take 181.1 us, 1.19 times as long: 4 fewer messages, 1408 fewer bytes between devices.
        "#]],
    );
}

#[test]
fn an_edge_between_stages_could_be_elsewhere() {
    let home = outlined("pipeline:2", &["--max-batch", "2"]);
    why(
        &home,
        &["edge:9"],
        &expect![[r#"
            edge 9 carries ffn_down from cpu:0 to cpu:1, once a step as f32[n, 576], now 2.30 kB each; it holds 2 at once and is late after 30000 ms.
              It is predicted to take 3304 ns, bound by bandwidth.
              By the whole plan, a token of each of 2 sequences, behind 512 others, takes 318.1 ms.
              Instead, the cut before layer 18 would take 315.1 ms, 0.94 % shorter.
              Instead, the cut before layer 20 would take 334.8 ms, 5.26 % longer.
              Instead, cpu:0 alone would take 613.6 ms, 1.93 times as long: 1 fewer message, 2304 fewer bytes between devices.
        "#]],
    );
}

#[test]
fn a_plan_could_do_without_a_device_or_have_more_on_it() {
    let said: Vec<String> = [("pipeline:2", "1"), ("tensor:2", "1"), ("data:2", "2")]
        .map(|(cut, batch)| ask(&outlined(cut, &["--max-batch", batch]), "cpu:1"))
        .into();
    expect![[r#"
        cpu:1 (1 thread) has layers 19 to 29, in replica 0 of 1: 157 steps; it takes at most 177.90 MB of 1.00 GB of memory.
          It is predicted to take 149.2 ms, bound by f16.
          By the whole plan, a token behind 512 others takes 308.2 ms.
          Instead, cpu:0 alone would take 308.2 ms, as long: 1 fewer message, 2304 fewer bytes between devices.
          Instead, layers 18 to 29 on cpu:1 would take 308.2 ms, as long.
          Instead, layers 20 to 29 on cpu:1 would take 308.2 ms, as long.

        cpu:1 (1 thread) has layers 0 to 29, of each tensor one part of 2, in replica 0 of 1: 582 steps; it takes at most 207.54 MB of 1.00 GB of memory.
          It is predicted to take 161.3 ms, bound by f16.
          By the whole plan, a token behind 512 others takes 162.3 ms.
          Instead, cpu:0 alone would take 308.2 ms, 1.90 times as long: 123 fewer messages, 379392 fewer bytes between devices.

        cpu:1 (1 thread) has layers 0 to 29, in replica 1 of 2: 405 steps; it takes at most 371.06 MB of 1.00 GB of memory.
          It is predicted to take 308.2 ms, bound by f16.
          By the whole plan, a token of each of 2 sequences, behind 512 others, takes 308.2 ms.
          Instead, cpu:0 alone would take 613.6 ms, 1.99 times as long.
    "#]].assert_eq(&said.join("\n"));
}

#[test]
fn what_has_no_room_elsewhere_says_so() {
    let home = home();
    let devices = "cpu:0[memory=24MB],cpu:1[memory=750kB]";
    home.run(&["compile", "tiny.gguf", "-o", "m.heddle", "--devices", devices, "--partition", "pipeline:2"])
        .ok();
    why(
        &home,
        &["cpu:0", "blk.0.ffn_down"],
        &expect![[r#"
            cpu:0 (1 thread) has layer 0, in replica 0 of 1: 21 steps; it takes at most 23.43 MB of 24.00 MB of memory.
              It is predicted to take 102.4 us, bound by f16.
              By the whole plan, a token behind 128 others takes 223.1 us.
              Instead, cpu:1 alone cannot be: the plan takes 23574424 bytes of cpu:1 at decode, 22824424 over the budget of 750000 (weights 120640, KV cache for 256 tokens 65536).

            blk.0.ffn_down runs on cpu:0 as fused.t16.bf16 of blk.0.ffn_down.weight, giving f32[n, 64].
              It is predicted to take 13.2 us, bound by memory.
              By the whole plan, a token behind 128 others takes 223.1 us.
              Instead, weights of blk.0.ffn_down in q8_0 would take 222.8 us, 0.15 % shorter.
              Instead, blk.0.ffn_down on cpu:1 cannot be: the plan takes 894416 bytes of cpu:1 at decode, 144416 over the budget of 750000 (weights 90496, KV cache for 256 tokens 32768).
        "#]],
    );
}

#[test]
fn hints_are_given_up_for_those_nodes_alone_that_are_asked_about() {
    let home = home();
    let hints = "(hints: [Place(nodes: \"blk.1\", device: \"cpu:1\")])";
    fs::write(home.path().join("hints.ron"), hints).unwrap();
    let placed = ["compile", "tiny.gguf", "-o", "m.heddle", "--devices", TWO, "--partition", "none"];
    home.run(&[&placed[..], &["--hints", "hints.ron"]].concat()).ok();
    why(
        &home,
        &["blk.1.ffn_down", "edge:9"],
        &expect![[r#"
            blk.1.ffn_down runs on cpu:1 as fused.t16.f16 of blk.1.ffn_down.weight, giving f32[n, 64], as a person said: Place(nodes: "blk.1", device: "cpu:1").
              It is predicted to take 13.2 us, bound by memory.
              By the whole plan, a token behind 128 others takes 223.8 us.
              Instead, weights of blk.1.ffn_down in q8_0 would take 222.7 us, 0.49 % shorter.
              Instead, blk.1.ffn_down on cpu:0 would take 227.0 us, 1.41 % longer: 2 more messages, 640 more bytes between devices.

            edge 9 carries ffn_down from cpu:0 to cpu:1, once a step as f32[n, 64], now 256 B each; it holds 1 at once and is late after 30000 ms.
              It is predicted to take 1256 ns, bound by latency.
              By the whole plan, a token behind 128 others takes 223.8 us.
              Instead, the plan without Place(nodes: "blk.1", device: "cpu:1") would take 221.8 us, 0.89 % shorter: 2 fewer messages, 512 fewer bytes between devices.
        "#]],
    );
}

#[test]
fn facts_are_the_same_as_json() {
    let home = compiled("pipeline:2", &[]);
    let json = home.run(&["why", "m.heddle", "output", "--topology", "machine.ron", "--json"]).ok();
    expect![[r#"
        [{"about":"output","decision":"output runs on cpu:1 as linear.t16.bf16 of output.weight, giving f32[m, 112]","cost_ns":15050,"limit":"memory","measure":"a token behind 128 others","whole_ns":223096,"instead":[{"what":"weights of output in q8_0","predicted_ns":222216,"more_messages":0,"more_bytes":0,"hints":["Format(weights: \"output\", format: \"q8_0\")"]},{"what":"output on cpu:0","predicted_ns":225800,"more_messages":2,"more_bytes":704,"hints":["Place(nodes: \"output\", device: \"cpu:0\")"]}]}]
    "#]].assert_eq(&json);
}

#[test]
fn without_what_it_was_made_of_there_is_nothing_to_compare_and_that_is_said() {
    let home = compiled("pipeline:2", &[]);
    let plan = home.path().join("m.heddle/plan.ron");
    fs::copy(&plan, home.path().join("plan.ron")).unwrap();
    let alone = home.run(&["why", "plan.ron", "output", "--topology", "machine.ron"]).ok();
    let text = fs::read_to_string(&plan).unwrap();
    fs::write(&plan, text.replace("deadline_ms:30000", "deadline_ms:500")).unwrap();
    let edited = ask(&home, "output");
    fs::write(&plan, text).unwrap();
    fs::remove_file(home.path().join("tiny.gguf")).unwrap();
    let last = |text: String| text.lines().last().unwrap_or_default().trim_start().to_owned();
    let missing = last(ask(&home, "output"));
    assert!(missing.starts_with("No alternative: m.heddle: its model is neither at "), "{missing}");
    expect![[r#"
        No alternative: others are made of the model, and a plan alone does not say where that is: give the bundle.
        No alternative: plan.ron was edited, and others can only be made of a plan as it was compiled."#]].assert_eq(&[last(alone), last(edited)].join("\n"));
    let unknown = home.run(&["why", "m.heddle", "blk.0.fnn_up", "--topology", "machine.ron"]).refused();
    assert!(unknown.contains("the nearest nodes are blk.0.ffn_"), "{unknown}");
}
