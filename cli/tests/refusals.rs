//! What is refused is refused in words that name it: wrong values, damaged files, things of another kind.
mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use support::{Home, done, fixture};

fn tiny() -> String {
    fixture("tiny/gguf/llama.gguf").to_str().unwrap().to_owned()
}

#[test]
fn wrong_values_are_wrong_command_lines() {
    let home = Home::new();
    let wrong: &[&[&str]] = &[
        &["--temperature", "-1"],
        &["--temperature", "nan"],
        &["--top-p", "2"],
        &["--min-p", "-0.1"],
        &["--top-k", "-1"],
        &["--repeat-penalty", "0"],
        &["--stop", ""],
        &["--max-batch", "2"],
    ];
    for wrong in wrong {
        let done = home.run(&[&["run", &tiny(), "--prompt", "a"], *wrong].concat());
        assert_eq!((done.code, done.out.as_str()), (Some(2), ""), "{wrong:?}");
        assert!(done.err.contains(wrong[0]), "{done:?}");
    }
    let refused = home.run(&["compile", &tiny(), "-o", "x", "--max-batch", "4097"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert_eq!(home.cached(), [""; 0]);
}

#[test]
fn a_prompt_that_is_no_text_is_refused_input() {
    let home = Home::new();
    for command in [&["run", &tiny(), "--prompt"][..], &["chat", "--model", &tiny()]] {
        let mut command = home.heddle(command);
        let error = done(command.arg(OsStr::from_bytes(b"ab\xff")).output().unwrap()).refused();
        assert!(error.contains("the prompt is not UTF-8: bad byte at offset 2"), "{error}");
    }
}

#[test]
fn only_a_bundle_can_be_verified() {
    let home = Home::new();
    fs::create_dir(home.path().join("folder")).unwrap();
    fs::write(home.path().join("file"), "text").unwrap();
    for (path, found) in [("folder", "a folder without it"), ("file", "a file"), ("none", "nothing there")] {
        let error = home.run(&["verify", path]).refused();
        assert!(error.contains(&format!("{path}: it is no bundle: found {found}")), "{error}");
    }
}

#[test]
fn names_from_files_cannot_steer_the_terminal() {
    let home = Home::new();
    let mut bytes = fs::read(tiny()).unwrap();
    let at = bytes.windows(5).position(|found| found == b"llama").unwrap();
    bytes[at..at + 5].copy_from_slice(b"\x1b[2J\n");
    fs::write(home.path().join("x.gguf"), bytes).unwrap();
    let error = home.run(&["run", "x.gguf", "--prompt", "a"]).refused();
    assert!(error.contains(r#"architecture "\u{1b}[2J\n" is unknown"#), "{error}");
    fs::write(home.path().join("x\x1b[2J"), "text").unwrap();
    let error = home.run(&["run", "x\x1b[2J", "--prompt", "a"]).refused();
    assert!(!error.contains('\x1b') && error.contains(r"x\u{1b}[2J"), "{error}");
}

#[test]
fn a_cause_is_said_once() {
    let home = Home::new();
    fs::create_dir(home.path().join("folder")).unwrap();
    fs::write(home.path().join("folder/config.json"), r#"{"model_type": "llama"}"#).unwrap();
    let error = home.run(&["run", "folder", "--prompt", "a"]).refused();
    assert_eq!(error.lines().count(), 1, "{error}");
    assert_eq!(error.matches("No such file or directory").count(), 1, "{error}");
    assert!(error.contains("folder/model.safetensors: No such file"), "{error}");
}

#[test]
fn equal_bundles_are_called_equal() {
    let home = Home::new();
    for bundle in ["a.heddle", "b.heddle"] {
        home.run(&["compile", &tiny(), "-o", bundle]).ok();
    }
    let graphs = ["a.heddle/graphs/00-import.ir", "b.heddle/graphs/00-import.ir"];
    for pair in [["a.heddle", "b.heddle"], graphs] {
        let done = home.run(&["diff", pair[0], pair[1]]);
        assert_eq!(done.err, "they are equal\n");
        assert_eq!(done.ok(), "");
    }
}

#[test]
fn a_damaged_record_blocks_only_its_model_and_that_can_be_removed() {
    let home = Home::new();
    for name in ["a.gguf", "b.gguf"] {
        fs::copy(tiny(), home.path().join(name)).unwrap();
        home.run(&["pull", name]).ok();
    }
    let record = home.cache().join("models/a/model.json");
    fs::write(&record, "{").unwrap();
    let listed = home.run(&["models"]);
    assert!(listed.err.contains("models/a/model.json is damaged") && listed.err.contains("`heddle rm a`"));
    let listed = listed.ok();
    assert!(listed.contains("b.gguf") && !listed.contains("a.gguf"), "{listed}");
    let error = home.run(&["run", "a", "--prompt", "x"]).refused();
    assert!(error.contains("models/a/model.json is damaged"), "{error}");
    home.run(&["run", "b", "--prompt", "x", "--tokens", "1"]).ok();
    home.run(&["rm", "a"]).ok();
    assert!(!record.exists());
    assert_eq!(home.run(&["models"]).err, "");
}
