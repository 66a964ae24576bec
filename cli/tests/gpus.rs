//! What a user sees of GPUs, with a driver and without one.
mod support;

use serde_json::Value;
use std::fs;
use support::{Done, Home, TOPOLOGY, done, fixture, json};

/// A machine without any driver.
fn without_driver(home: &Home, args: &[&str]) -> Done {
    let mut command = home.heddle(args);
    command.env("VK_DRIVER_FILES", "/nowhere.json").env("VK_ICD_FILENAMES", "/nowhere.json");
    done(command.output().expect("heddle starts"))
}

/// Whether there is a device to test on.
fn has_vulkan(home: &Home) -> bool {
    let devices = json(home.run(&["devices", "--json"]));
    let is_vulkan = |device: &Value| device["device"] == "vulkan:0";
    let found = devices.as_array().unwrap().iter().any(is_vulkan);
    if !found {
        println!("nothing was tested: no Vulkan device");
    }
    found
}

#[test]
fn a_machine_without_a_driver_says_so_and_still_computes() {
    let home = Home::new();
    let model = fixture("tiny/gguf/llama.gguf");
    let model = model.to_str().unwrap();
    let listed = without_driver(&home, &["devices"]).ok();
    assert!(
        listed.contains("cpu:0") && listed.contains("vulkan  none: no Vulkan driver is installed"),
        "{listed}"
    );
    let listed = json(without_driver(&home, &["devices", "--json"]));
    let vulkan = listed.as_array().unwrap().iter().find(|device| device["device"] == "vulkan").unwrap();
    assert!(vulkan["none"].as_str().unwrap().starts_with("no Vulkan driver is installed"), "{vulkan}");
    let run = ["run", model, "--raw", "--prompt", "a b", "--greedy", "--tokens", "3"];
    let on_gpu = [&run[..], &["--devices", "vulkan:0"]].concat();
    let refused = without_driver(&home, &on_gpu).refused();
    assert!(refused.contains("vulkan:0: no Vulkan driver is installed"), "{refused}");
    without_driver(&home, &run).ok();
    let compile =
        |devices| ["compile", model, "--raw", "--devices", devices, "--partition", "none", "-o", "b"];
    let refused = without_driver(&home, &compile("vulkan:0")).refused();
    assert!(refused.contains("vulkan:0: no Vulkan driver is installed"), "{refused}");
    assert!(!refused.contains("packing"), "found before it is packed: {refused}");
    // A topology's file may be of another machine.
    fs::write(
        home.path().join("other.ron"),
        TOPOLOGY.replace("cpu:0\", kind: cpu", "vulkan:0\", kind: gpu").replace("cpu:0", "vulkan:0"),
    )
    .unwrap();
    without_driver(&home, &compile("other.ron")).ok();
    assert!(without_driver(&home, &["inspect", "b"]).ok().contains("vulkan:0"));
    let here = [&run[..], &["--devices", "other.ron", "--partition", "none"]].concat();
    assert!(without_driver(&home, &here).refused().contains("vulkan:0: no Vulkan driver is installed"));
}

/// `heddle` on a machine whose GPUs may be taken though a processor plays them.
fn by_default(home: &Home, args: &[&str]) -> Done {
    done(home.heddle(args).env("HEDDLE_GPU", "software").output().expect("heddle starts"))
}

#[test]
fn a_gpu_is_taken_where_nobody_names_a_device_and_it_has_room() {
    let home = Home::new();
    if !has_vulkan(&home) {
        return;
    }
    let model = fixture("tiny/gguf/llama.gguf");
    let model = model.to_str().unwrap();
    let run = ["run", model, "--raw", "--prompt", "a b", "--greedy", "--tokens", "3"];
    let plain = home.run(&run);
    assert!(plain.err.contains("llama.gguf on cpu:0") && !plain.err.contains("taking"), "{plain:?}");
    // Compiled now, and as it was kept.
    for _ in 0..2 {
        let done = by_default(&home, &run);
        assert!(
            done.err.contains("taking vulkan:0 (") && done.err.contains("llama.gguf on vulkan:0"),
            "{done:?}"
        );
        assert_eq!(done.ok(), plain.out);
    }
    for said in [&["--threads", "1"][..], &["--devices", "cpu:0"], &["--partition", "pipeline:2"]] {
        let done = by_default(&home, &[&run[..], said].concat());
        assert!(!done.err.contains("taking") && done.err.contains("on cpu:0"), "{done:?}");
    }
    let small = by_default(&home, &["compile", model, "--raw", "--memory", "100kB", "-o", "b"]).refused();
    assert!(small.contains("over the budget of 100000"), "{small}");
    let odd = done(home.heddle(&run).env("HEDDLE_GPU", "yes").output().unwrap()).refused();
    assert!(odd.contains("HEDDLE_GPU is \"yes\", expected none, or software"), "{odd}");
}

/// The first number is at most so much times the second.
fn is_within(a: u64, times: f64, b: u64) -> bool {
    a as f64 <= b as f64 * times
}

/// What a software driver takes is all the host's, so that the system counts it; how much of it is its compiler's
/// depends on what that has kept of earlier runs.
#[test]
fn a_process_takes_what_is_proved_with_its_driver() {
    let home = Home::new();
    if !has_vulkan(&home) {
        return;
    }
    let devices = json(home.run(&["devices", "--json"]));
    if devices[1]["is_software"] != true {
        println!("nothing was tested: vulkan:0 has a memory of its own");
        return;
    }
    let model = fixture("tiny/gguf/llama.gguf");
    let run =
        ["run", model.to_str().unwrap(), "--raw", "--prompt", "a b", "--greedy", "--tokens", "3", "--json"];
    let taken = |more: &[&str]| {
        let memory = json(home.run(&[&run[..], more].concat()))["memory"].clone();
        let bytes = |key: &str| memory[key].as_u64().unwrap();
        (bytes("predicted_peak_bytes"), bytes("measured_peak_bytes"))
    };
    let (proved, found) = taken(&["--devices", "vulkan:0"]);
    assert!(is_within(found, 1.1, proved) && is_within(proved, 1.6, found), "proved {proved}, found {found}");
    // Without the driver's part it would be several times as much as is proved.
    let (of_cpu, _) = taken(&[]);
    assert!(is_within(of_cpu, 0.3, found), "a processor takes {of_cpu}, found {found}");
}

/// Bytes of a plan's first device's own memory.
fn own_bytes(plan: &Value) -> u64 {
    let row = &plan["memory"][1];
    ["weights", "states", "arena", "scratch"].iter().map(|part| row[part].as_u64().unwrap()).sum()
}

#[test]
fn what_a_gpu_has_no_room_for_goes_to_the_processor_and_is_told() {
    let home = Home::new();
    if !has_vulkan(&home) {
        return;
    }
    let model = fixture("tiny/gemma3");
    let model = model.to_str().unwrap();
    let compile = ["compile", model, "--raw", "--context", "64", "--chunk", "16", "-o", "b", "--devices"];
    let whole = own_bytes(&json(home.run(&[&compile[..], &["vulkan:0", "--json"]].concat())));
    let mut layers_before = 0;
    for part in [75, 90] {
        let room = whole * part / 100;
        let gpu = format!("vulkan:0[memory={room}]");
        let refused = home.run(&[&compile[..], &[&gpu]].concat()).refused();
        assert!(refused.contains("over the budget of ") && !refused.contains("packing"), "{refused}");
        assert!(refused.contains(&format!("--devices \"{gpu},cpu:0[threads=")), "{refused}");
        let both = format!("{gpu},cpu:0");
        let done = home.run(&[&compile[..], &[&both, "--partition", "pipeline:2"]].concat());
        assert!(done.err.contains("what does not fit is elsewhere: vulkan:0 with layer"), "{done:?}");
        let lacks = format!("not all of it on vulkan:0: that lacks {} bytes", whole - room);
        assert!(done.err.contains(&lacks), "{done:?}");
        let plan = json(home.run(&["inspect", "b", "--json"]));
        let first = &plan["devices"][0];
        assert!(own_bytes(&plan) <= room, "{first}");
        let layers = first["layers"][1].as_u64().unwrap();
        assert!(layers > layers_before, "more room is for more layers: {first}");
        layers_before = layers;
        let run = ["run", "b", "--raw", "--prompt", "a b", "--greedy", "--tokens", "2"];
        home.run(&run).ok();
    }
}

#[test]
fn a_small_gpu_of_a_topology_gets_as_many_layers_as_fit_and_the_rest_has_its_price() {
    let home = Home::new();
    let model = format!("{}/../examples/models/smollm2-135m.json", env!("CARGO_MANIFEST_DIR"));
    let fast = |line: &str| {
        let line = line.replace(
            "cpu:0\", kind: cpu, memory_bytes: 1000000000",
            "gpu:0\", kind: gpu, memory_bytes: 100000000",
        );
        line.replace("bytes_per_second: 1000000000)])]),", "bytes_per_second: 20000000000)])]),")
    };
    let lines =
        TOPOLOGY.lines().map(|line| if line.contains("name: \"cpu:0") { fast(line) } else { line.into() });
    let text = lines.collect::<Vec<String>>().join("\n").replace("from: \"cpu:0", "from: \"gpu:0");
    fs::write(home.path().join("small.ron"), text).unwrap();
    let compile = ["compile", &model, "--context", "512", "--devices", "small.ron", "-o", "b", "--partition"];
    let one = home.run(&[&compile[..], &["none"]].concat()).refused();
    assert!(one.contains("bytes of gpu:0 at") && one.contains("over the budget of 100000000"), "{one}");
    for cut in ["pipeline:2", "auto"] {
        let done = home.run(&[&compile[..], &[cut]].concat());
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(done.err.contains("what does not fit is elsewhere: "), "{done:?}");
        if cut == "auto" {
            continue;
        }
        assert!(
            done.err.contains("gpu:0 with layers 0 to ") && done.err.contains("cpu:1 with layers "),
            "{done:?}"
        );
        assert!(done.err.contains("a token behind 256 others is predicted to take "), "{done:?}");
        assert!(done.err.contains("; all of it on gpu:0, if that had "), "{done:?}");
        assert!(done.err.contains("; all of it on cpu:1 would take "), "{done:?}");
        let plan = json(home.run(&["inspect", "b", "--json"]));
        let peak = own_bytes(&plan);
        // Not one layer more: each takes 7 MB of weights, and its cache.
        assert!((90_000_000..=100_000_000).contains(&peak), "{peak}");
        let why = home.run(&["why", "b"]).ok();
        assert!(why.starts_with("spill is gpu:0 with layers 0 to "), "{why}");
        assert!(why.contains("Instead, all of it on gpu:0, if that had "), "{why}");
    }
}

#[test]
fn answers_are_those_of_a_processor_however_they_are_asked_for() {
    let home = Home::new();
    if !has_vulkan(&home) {
        return;
    }
    let model = fixture("tiny/gguf/llama.gguf");
    let model = model.to_str().unwrap();
    let ask = ["--raw", "--prompt", "a b c", "--greedy", "--tokens", "6"];
    let answer = |args: &[&str]| home.run(&[&["run", model][..], &ask, args].concat()).ok();
    let exact = ["--activations", "f32", "--kv", "f16"];
    let expected = answer(&exact);
    assert_eq!(answer(&["--devices", "vulkan:0"]), expected);
    let cuts = [
        ("vulkan:0[0],vulkan:0[1]", "tensor:2"),
        ("vulkan:0[0],vulkan:0[1]", "pipeline:2"),
        ("vulkan:0,cpu:0", "pipeline:2"),
    ];
    for (devices, cut) in cuts {
        let args = [&["--devices", devices, "--partition", cut][..], &exact].concat();
        assert_eq!(answer(&args), expected, "{cut} over {devices}");
    }
    let far = home.run(&["run", model, "--devices", "vulkan:77", "--raw", "--prompt", "a"]).refused();
    assert!(far.contains("expected vulkan:77 among them"), "{far}");
}

#[test]
fn a_plan_on_a_gpu_is_measured_traced_and_held_to_the_model() {
    let home = Home::new();
    if !has_vulkan(&home) {
        return;
    }
    let model = fixture("tiny/gguf/llama.gguf");
    let model = model.to_str().unwrap();
    home.run(&["compile", model, "--raw", "--devices", "vulkan:0", "--context", "64", "-o", "b"]).ok();
    home.run(&["verify", "b"]).ok();
    let report = json(home.run(&["verify", "b", "--numerics", "--prompt", "a b c d", "--json"]));
    assert_eq!(report["first"], Value::Null, "{report}");
    assert!(report["compared"].as_u64().unwrap() > 20, "{report}");
    let few = ["--prompt-tokens", "8", "--gen-tokens", "4", "--repetitions", "1", "--json"];
    let bench = json(home.run(&[&["bench", "b"][..], &few].concat()));
    assert!(bench["decode_tokens_per_second"].as_f64().unwrap() > 0.0, "{bench}");
    let run = json(home.run(&["run", "b", "--raw", "--prompt", "a", "--greedy", "--tokens", "3", "--json"]));
    let memory = &run["memory"]["devices"][0];
    let [predicted, allocated] =
        ["predicted_peak_bytes", "allocated_bytes"].map(|key| memory[key].as_u64().unwrap());
    assert!(predicted.abs_diff(allocated) * 100 <= predicted, "{memory}");
}
