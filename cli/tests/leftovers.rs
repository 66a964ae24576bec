//! Bundles are whole or not there, whatever happens to the process that writes them; and they go with time.
mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Done, Home, done, fixture};

/// A model of its own in the home, so that a test may change it.
fn model(home: &Home) -> PathBuf {
    let path = home.path().join("tiny.gguf");
    fs::copy(fixture("tiny/gguf/llama.gguf"), &path).unwrap();
    path
}

fn compile(home: &Home, rest: &[&str]) -> Done {
    home.run(&[&["compile", "tiny.gguf", "-o", "tiny.heddle"], rest].concat())
}

fn run(home: &Home, rest: &[&str]) -> Done {
    home.run(&[&["run"], rest, &["--prompt", "a", "--greedy", "--tokens", "2", "--json"]].concat())
}

/// What is in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = names.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The folders in the cache that hold a plan.
fn bundles(home: &Home) -> Vec<String> {
    home.cached().into_iter().filter_map(|file| Some(file.strip_suffix("/plan.ron")?.to_owned())).collect()
}

#[test]
fn a_killed_compile_leaves_nothing_that_the_next_does_not_tidy_up() {
    let home = Home::new();
    model(&home);
    for _ in 0..8 {
        let mut child = home.heddle(&["compile", "tiny.gguf", "-o", "tiny.heddle"]).spawn().unwrap();
        let partial = home.path().join(format!(".tiny.heddle.partial-{}", child.id()));
        // Late or early, what stands there afterwards has to be the same.
        while !partial.exists() && child.try_wait().unwrap().is_none() {}
        child.kill().unwrap();
        child.wait().unwrap();
    }
    compile(&home, &[]).ok();
    assert_eq!(names(home.path()), ["tiny.gguf", "tiny.heddle"]);
    home.run(&["verify", "tiny.heddle"]).ok();
}

#[test]
fn a_bundle_that_was_about_to_be_replaced_is_put_back() {
    let home = Home::new();
    model(&home);
    compile(&home, &[]).ok();
    let of = |name: &str| home.path().join(name);
    // As a process leaves it that is killed between two renames.
    fs::rename(of("tiny.heddle"), of(".tiny.heddle.old-77")).unwrap();
    fs::create_dir(of(".tiny.heddle.partial-77")).unwrap();
    fs::write(of(".tiny.heddle.partial-77/plan.ron"), "(").unwrap();
    compile(&home, &["--memory", "1kB"]).refused();
    assert_eq!(names(home.path()), ["tiny.gguf", "tiny.heddle"]);
    home.run(&["verify", "tiny.heddle"]).ok();
}

#[test]
fn what_a_living_process_writes_is_left_alone() {
    let home = Home::new();
    model(&home);
    let [theirs, others] = [".tiny.heddle.partial-1", ".tiny.heddle.partial-mine"];
    fs::create_dir(home.path().join(theirs)).unwrap();
    fs::create_dir(home.path().join(others)).unwrap();
    let lock = File::open(home.path().join(theirs)).unwrap();
    lock.lock().unwrap();
    compile(&home, &[]).ok();
    assert_eq!(names(home.path()), [theirs, others, "tiny.gguf", "tiny.heddle"]);
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing() {
    let home = Home::new();
    model(&home);
    for (blocks, file) in [("1", "00-import.ir"), ("64", "weights.bin")] {
        // Files cannot grow beyond so many blocks, which fails as a full disk does.
        let limited = "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"";
        let mut command = Command::new("/bin/sh");
        command.args(["-c", limited, blocks, env!("CARGO_BIN_EXE_heddle")]);
        command.args(["compile", "tiny.gguf", "-o", "tiny.heddle"]).current_dir(home.path());
        command.env("HEDDLE_CACHE", home.cache());
        let error = done(command.output().unwrap()).refused();
        assert!(error.contains(file) && error.contains("File too large"), "{error}");
        assert_eq!(error.matches("File too large").count(), 1, "{error}");
        assert_eq!(names(home.path()), ["tiny.gguf"]);
    }
}

#[test]
fn a_place_that_can_hold_no_bundle_is_refused_before_compiling() {
    let home = Home::new();
    model(&home);
    fs::create_dir(home.path().join("mine")).unwrap();
    fs::write(home.path().join("mine/letter.txt"), "dear").unwrap();
    let places =
        [("no/such/folder", "no/such"), ("mine", "holds something else"), ("tiny.gguf", "tiny.gguf")];
    for (place, expected) in places {
        let error = home.run(&["compile", "tiny.gguf", "-o", place]).refused();
        assert!(error.contains(expected) && !error.contains("packing"), "{error}");
    }
    assert_eq!(names(home.path()), ["mine", "tiny.gguf"]);
}

#[test]
fn a_broken_tokeniser_or_template_is_refused_before_compiling() {
    let home = Home::new();
    let path = model(&home);
    let whole = fs::read(&path).unwrap();
    let edit = |from: &[u8], to: &[u8]| {
        let mut bytes = whole.clone();
        let at = bytes.windows(from.len()).position(|found| found == from).unwrap();
        bytes[at..at + to.len()].copy_from_slice(to);
        fs::write(&path, bytes).unwrap();
    };
    let refused = |expected: &str| {
        for error in [compile(&home, &[]).refused(), run(&home, &["tiny.gguf"]).refused()] {
            assert!(error.contains(expected) && !error.contains("packing"), "{error}");
        }
        assert_eq!(bundles(&home), [""; 0]);
    };
    edit(b"smollm", b"s\x1bollm");
    refused(r#"pre-tokeniser "s\u{1b}ollm" is unknown"#);
    edit(b"{% for m", b"{% fir m");
    refused("the chat template is ill-formed");
    run(&home, &["tiny.gguf", "--raw"]).ok();
}

#[test]
fn the_second_start_runs_what_the_first_compiled() {
    let home = Home::new();
    model(&home);
    let first = run(&home, &["tiny.gguf"]);
    assert!(first.err.contains("packing the weights"), "{first:?}");
    let [bundle] = &bundles(&home)[..] else { panic!("{:?}", home.cached()) };
    let packed = || fs::metadata(home.cache().join(bundle).join("weights.bin")).unwrap().modified().unwrap();
    let (before, second) = (packed(), run(&home, &["tiny.gguf"]));
    assert_eq!((packed(), second.err.as_str()), (before, ""));
    let answer = |done: Done| -> serde_json::Value { serde_json::from_str(&done.ok()).unwrap() };
    let (first, second) = (answer(first), answer(second));
    assert_eq!((&first["ids"], &first["plan_hash"]), (&second["ids"], &second["plan_hash"]));
}

#[test]
fn bundles_go_when_their_model_is_gone() {
    let home = Home::new();
    let path = model(&home);
    run(&home, &["tiny.gguf"]).ok();
    run(&home, &["tiny.gguf", "--context", "32"]).ok();
    assert_eq!(bundles(&home).len(), 2);
    fs::rename(&path, home.path().join("other.gguf")).unwrap();
    run(&home, &["other.gguf"]).ok();
    assert!(matches!(&bundles(&home)[..], [left] if left.contains("other-")), "{:?}", bundles(&home));
    assert_eq!(names(&home.cache().join("bundles")).len(), 1, "folders go with what was in them");
}

#[test]
fn a_removed_model_takes_its_bundles_along() {
    let home = Home::new();
    model(&home);
    home.run(&["pull", "tiny.gguf"]).ok();
    run(&home, &["tiny"]).ok();
    let bytes = bundles(&home).into_iter().map(|bundle| {
        let files = home.cached().into_iter().filter(|file| file.starts_with(&format!("{bundle}/")));
        files.map(|file| fs::metadata(home.cache().join(file)).unwrap().len()).sum::<u64>()
    });
    let bytes: u64 = bytes.sum();
    let listed: serde_json::Value = serde_json::from_str(&home.run(&["models", "--json"]).ok()).unwrap();
    let shown = listed[0]["bundle_bytes"].as_u64().unwrap();
    assert!(bytes > 0 && (bytes..bytes + 1000).contains(&shown), "{bytes} {listed}");
    assert!(home.run(&["models"]).ok().contains("COMPILED"));
    home.run(&["rm", "tiny"]).ok();
    assert_eq!(home.cached(), [""; 0]);
    assert_eq!(names(&home.cache().join("bundles")), [""; 0]);
}

#[test]
fn bundles_of_another_build_go_unless_somebody_holds_them() {
    let home = Home::new();
    model(&home);
    for context in ["32", "64"] {
        run(&home, &["tiny.gguf", "--context", context]).ok();
    }
    let old = bundles(&home);
    for bundle in &old {
        fs::write(home.cache().join(format!("{bundle}.key")), "heddle of yesterday").unwrap();
    }
    let held = File::open(home.cache().join(format!("{}.lock", old[0]))).unwrap();
    held.lock_shared().unwrap();
    run(&home, &["tiny.gguf"]).ok();
    let left = bundles(&home);
    assert!(left.len() == 2 && left.contains(&old[0]) && !left.contains(&old[1]), "{left:?}");
}

#[test]
fn a_bundle_and_its_model_can_be_moved_together() {
    let home = Home::new();
    model(&home);
    compile(&home, &[]).ok();
    let moved = home.path().join("moved");
    fs::create_dir(&moved).unwrap();
    for name in ["tiny.gguf", "tiny.heddle"] {
        fs::rename(home.path().join(name), moved.join(name)).unwrap();
    }
    home.run(&["verify", "moved/tiny.heddle"]).ok();
    // Another model where the first one was does not stand in the way.
    fs::copy(fixture("tiny/gguf/qwen2.gguf"), home.path().join("tiny.gguf")).unwrap();
    run(&home, &["moved/tiny.heddle"]).ok();
    fs::remove_file(moved.join("tiny.gguf")).unwrap();
    let error = run(&home, &["moved/tiny.heddle"]).refused();
    assert!(error.contains("tiny.gguf is not the file that was compiled"), "{error}");
    fs::remove_file(home.path().join("tiny.gguf")).unwrap();
    let error = run(&home, &["moved/tiny.heddle"]).refused();
    let places = [home.path().join("tiny.gguf"), moved.join("tiny.gguf")];
    assert!(error.contains("its model is neither at"), "{error}");
    assert!(error.contains(places[0].to_str().unwrap()), "{error}");
    assert!(error.contains("moved/tiny.heddle/../tiny.gguf"), "{error}");
}
