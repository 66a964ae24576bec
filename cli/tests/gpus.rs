//! What a user sees of GPUs, with a driver and without one.
mod support;

use serde_json::Value;
use support::{Done, Home, done, fixture, json};

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
    // What is only compiled needs no device.
    without_driver(&home, &["compile", model, "--raw", "--devices", "vulkan:0", "-o", "b"]).ok();
    assert!(without_driver(&home, &["inspect", "b"]).ok().contains("vulkan:0"));
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
