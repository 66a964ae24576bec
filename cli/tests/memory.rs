//! What devices take is what the plan proves, device for device.
mod support;

use support::{Home, fixture, json};

/// Far apart: `a` is not within 1% of `b`.
fn differ(a: u64, b: u64) -> bool {
    a.abs_diff(b) * 100 > b
}

#[test]
fn each_device_has_the_memory_that_its_plan_states() {
    let home = Home::new();
    let model = fixture("tiny/gguf/llama.gguf");
    for (cut, devices) in
        [("none", 1), ("pipeline:2", 2), ("tensor:2", 2), ("data:2", 2), ("data:2,pipeline:2,tensor:2", 8)]
    {
        let room = ["--max-batch", "4", "--context", "256", "--raw", "-o", "b"];
        let compile = ["compile", model.to_str().unwrap(), "--partition", cut];
        home.run(&[&compile[..], &room].concat()).ok();
        let run = ["run", "b", "--raw", "--prompt", "a b", "--greedy", "--tokens", "3", "--json"];
        let run = json(home.run(&run));
        let all = run["memory"]["devices"].as_array().unwrap();
        assert_eq!(all.len(), devices, "{cut}: {all:?}");
        for device in all {
            let [predicted, allocated, resident] =
                ["predicted_peak_bytes", "allocated_bytes", "resident_bytes"].map(|key| device[key].as_u64());
            let (predicted, allocated) = (predicted.unwrap(), allocated.unwrap());
            assert!(predicted > 0 && !differ(allocated, predicted), "{cut}: {device}");
            if cfg!(target_os = "linux") {
                assert!(!differ(resident.unwrap(), allocated), "{cut}: {device}");
            }
        }
    }
}
