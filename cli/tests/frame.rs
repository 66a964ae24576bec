//! The frame of the command line: exit codes, streams, help.
mod support;

use std::process::Stdio;
use support::{Home, done, fixture};

#[test]
fn a_wrong_command_line_is_2_and_a_refused_input_1() {
    let home = Home::new();
    for wrong in [&["no-such-command"][..], &["pull"], &["models", "--no-such-flag"], &[]] {
        let done = home.run(wrong);
        assert_eq!((done.code, done.out.as_str()), (Some(2), ""), "{wrong:?}");
    }
    let error = home.run(&["pull", "no-such-model"]).refused();
    assert!(error.contains("smollm2") && error.contains("gemma3-270m"), "{error}");
}

#[test]
fn every_subcommand_has_help_with_examples() {
    let home = Home::new();
    let help = home.run(&["--help"]).ok();
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    // Deeper lines go on with the description above them.
    let entries =
        commands.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    let names: Vec<&str> = entries.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.contains(&"pull"), "{names:?}");
    for name in names.into_iter().filter(|name| *name != "help") {
        let help = home.run(&[name, "--help"]).ok();
        assert!(help.contains(&format!("  heddle {name}")), "{help}");
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let home = Home::new();
    std::fs::copy(fixture("tiny/gguf/llama.gguf"), home.path().join("m.gguf")).unwrap();
    home.run(&["pull", "m.gguf"]).ok();
    let mut child = home.heddle(&["models"]).stdin(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    let done = done(child.wait_with_output().unwrap());
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
}

#[test]
fn a_local_file_is_kept_under_its_stem() {
    let home = Home::new();
    let keep = |model: &str| std::fs::copy(fixture(model), home.path().join("mine.gguf")).unwrap();
    keep("tiny/gguf/llama.gguf");
    let path = home.run(&["pull", "mine.gguf"]).ok();
    assert!(path.trim().ends_with("models/mine/mine.gguf"), "{path}");
    assert_eq!(std::fs::read(path.trim()).unwrap(), std::fs::read(fixture("tiny/gguf/llama.gguf")).unwrap());
    home.run(&["pull", "mine.gguf"]).ok();

    std::fs::remove_file(home.path().join("mine.gguf")).unwrap();
    keep("tiny/gguf/qwen2.gguf");
    let error = home.run(&["pull", "mine.gguf"]).refused();
    assert!(error.contains("another model named mine is kept"), "{error}");
}

#[test]
fn a_local_file_that_is_no_model_is_not_kept() {
    let home = Home::new();
    std::fs::write(home.path().join("mine.gguf"), "bytes").unwrap();
    let error = home.run(&["pull", "mine.gguf"]).refused();
    assert!(error.contains("begins with \"byte\", expected a GGUF file"), "{error}");
    assert!(home.cached().is_empty(), "{:?}", home.cached());
}

#[test]
fn a_local_folder_must_hold_a_model() {
    let home = Home::new();
    let folder = home.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("config.json"), "{}").unwrap();
    let error = home.run(&["pull", "model"]).refused();
    assert!(error.contains("expected config.json and *.safetensors"), "{error}");
    std::fs::write(folder.join("model.safetensors"), "weights").unwrap();
    let error = home.run(&["pull", "model"]).refused();
    assert!(error.contains("config.json: key `model_type` is missing"), "{error}");
    assert!(home.cached().is_empty(), "{:?}", home.cached());
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture("tiny/qwen2").join(file), folder.join(file)).unwrap();
    }
    let path = home.run(&["pull", "model"]).ok();
    assert!(path.trim().ends_with("models/model"), "{path}");
    assert_eq!(
        home.cached(),
        ["models/model/config.json", "models/model/model.json", "models/model/model.safetensors"]
    );
}

#[test]
fn removing_what_is_not_kept_lists_what_is() {
    let home = Home::new();
    std::fs::copy(fixture("tiny/gguf/llama.gguf"), home.path().join("mine.gguf")).unwrap();
    home.run(&["pull", "mine.gguf"]).ok();
    let error = home.run(&["rm", "yours"]).refused();
    assert!(error.contains("kept are: mine"), "{error}");
}

#[test]
fn devices_tell_cores_kernels_and_memory() {
    let text = Home::new().run(&["devices", "--json"]).ok();
    assert!(text.starts_with(r#"[{"device":"cpu:0","kind":"cpu","model":"#), "{text}");
    assert!(text.contains(r#""kernels_available":["#) && text.contains(r#""portable"]"#), "{text}");
    let text = Home::new().run(&["devices"]).ok();
    assert!(text.contains(" usable") && text.contains("memory"), "{text}");
    assert!(text.contains("\nvulkan") && text.contains("\ncuda"), "devices or why there are none: {text}");
}

#[test]
fn a_gpu_that_is_not_there_is_refused_with_the_reason() {
    let home = Home::new();
    std::fs::copy(fixture("tiny/gguf/llama.gguf"), home.path().join("mine.gguf")).unwrap();
    let error = home.run(&["run", "mine.gguf", "--prompt", "a", "--devices", "cuda:99"]).refused();
    assert!(error.contains("cuda:99") && (error.contains("NVIDIA") || error.contains("CUDA")), "{error}");
}
