//! The rules of the house that a machine can check.

use std::fs;
use std::path::{Path, PathBuf};

/// The crates, lowest first; a crate depends only on crates of lower layers.
const LAYERS: &[&[&str]] = &[
    &["ir"],
    &["passes", "runtime", "loops", "viewer"],
    &["kernels"],
    &["gpu"],
    &["compiler"],
    &["server"],
    &["cli"],
    &["tests"],
];

/// Outside crates and modules, and where alone they may be named.
const HOMES: &[(&str, &[&str])] = &[
    ("petgraph", &["ir/src/graph"]),
    ("cranelift_codegen", &["compiler/src/codegen/cpu"]),
    ("cranelift_frontend", &["compiler/src/codegen/cpu"]),
    ("cranelift_native", &["compiler/src/codegen/cpu"]),
    ("std::arch", &["kernels/src", "cli/src/devices"]),
    ("cubecl", &["gpu/src"]),
    ("cubecl_cpp", &["gpu/src/cuda"]),
    ("cudarc", &["gpu/src/cuda"]),
    ("libloading", &["gpu/src/cuda"]),
    ("ash", &["gpu/src/vulkan.rs"]),
    ("wgpu", &["gpu/src/vulkan.rs"]),
    ("tokenizers", &["compiler/src/tokenizer"]),
    ("minijinja", &["compiler/src/chat"]),
    ("minijinja_contrib", &["compiler/src/chat"]),
    ("safetensors", &["compiler/src/import", "cli/src", "tests"]),
    ("rayon", &["compiler/src"]),
    (
        "libc",
        &[
            "cli/src/interrupt.rs",
            "cli/src/watch",
            "runtime/src",
            "runtime/tests/failures",
            "compiler/src/pack/mod.rs",
        ],
    ),
    ("clap", &["cli/src", "viewer/src/main.rs"]),
    ("indicatif", &["cli/src"]),
    ("rustyline", &["cli/src"]),
    ("ctrlc", &["cli/src"]),
    ("ureq", &["cli/src"]),
    ("zip", &["cli/src"]),
    ("anyhow", &["cli/src", "tests"]),
    (
        "eframe",
        &["viewer/src/panels", "viewer/src/main.rs", "viewer/tests/window", "viewer/benches/frames.rs"],
    ),
    ("egui_kittest", &["viewer/tests/window"]),
];

/// Names that say nothing of what is inside.
const EMPTY_NAMES: &[&str] =
    &["utils", "util", "helpers", "helper", "common", "misc", "base", "types", "core", "manager", "prelude"];

const FIXTURES_BYTES_MAX: u64 = 5_000_000;
const FILE_LINES_MAX: usize = 600;
const GOLDEN_LINES_MAX: usize = 80;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace holds this crate").to_path_buf()
}

/// Every file under `folder`, as paths from the workspace's root, in order of name.
fn files(folder: &str) -> Vec<String> {
    fn walk(at: &Path, root: &Path, found: &mut Vec<String>) {
        let Ok(entries) = fs::read_dir(at) else { return };
        for entry in entries.map(|e| e.expect("a readable folder")) {
            let name = entry.file_name().into_string().expect("file names are UTF-8");
            if name.starts_with('.') || name == "target" {
                continue;
            }
            if entry.file_type().expect("a file type").is_dir() {
                walk(&entry.path(), root, found);
            } else {
                let path = entry.path();
                let path = path.strip_prefix(root).expect("under the root");
                found.push(path.to_str().expect("file names are UTF-8").to_string());
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &root(), &mut found);
    found.sort();
    found
}

fn sources() -> Vec<(String, String)> {
    let sources: Vec<_> = files("").into_iter().filter(|f| f.ends_with(".rs")).collect();
    assert!(sources.len() > 6, "found only {sources:?}: the walk is broken");
    sources.into_iter().map(|f| (f.clone(), read(&f))).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn members() -> Vec<String> {
    let manifest = read("Cargo.toml");
    let line = manifest.lines().find(|l| l.starts_with("members")).expect("a line `members = […]`");
    line.split('"').skip(1).step_by(2).map(str::to_string).collect()
}

/// The dependency lines of a manifest: (section, name, line).
fn dependencies(manifest: &str) -> Vec<(String, String, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_string();
        } else if section.ends_with("dependencies") && !line.is_empty() && !line.starts_with('#') {
            let name = line.split(['.', ' ', '=']).next().expect("split yields one part").to_string();
            found.push((section.clone(), name, line.to_string()));
        }
    }
    found
}

/// Whether the line names the module `name` by a path: `name::…`, or `use name;`.
fn names(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = &line[at + name.len()..];
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '.')
            && (after.starts_with("::") || (after.starts_with(';') && line.trim_start().starts_with("use ")))
    })
}

#[track_caller]
fn none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    let shut = sources().into_iter().filter(|(_, text)| !text.starts_with("//! "));
    none(shut.map(|(file, _)| format!("{file}: does not begin with a `//!` sentence")).collect());
}

#[test]
fn no_file_is_too_long_to_read() {
    let lengths = sources().into_iter().map(|(file, text)| (file, text.lines().count()));
    let long = lengths.filter(|(_, n)| *n > FILE_LINES_MAX);
    none(long.map(|(file, n)| format!("{file}: {n} lines, expected at most {FILE_LINES_MAX}")).collect());
}

#[test]
fn files_are_named_for_what_is_inside() {
    let mut faults = Vec::new();
    for (file, _) in sources() {
        let stem = file.strip_suffix(".rs").expect("a source");
        if let Some(name) = stem.split('/').find(|part| EMPTY_NAMES.contains(part)) {
            faults.push(format!("{file}: `{name}` does not say what is inside"));
        }
    }
    none(faults);
}

#[test]
fn crates_depend_only_on_lower_layers() {
    let layer = |name: &str| LAYERS.iter().position(|layer| layer.contains(&name));
    let mut faults = Vec::new();
    for member in members() {
        let Some(own) = layer(&member) else {
            faults.push(format!("{member}: has no layer; give it one in LAYERS"));
            continue;
        };
        for (_, name, _) in dependencies(&read(&format!("{member}/Cargo.toml"))) {
            if layer(&name).is_some_and(|other| other >= own) {
                faults.push(format!("{member}: depends on {name}, which is not below it"));
            }
        }
    }
    none(faults);
}

#[test]
fn versions_stand_in_the_workspace_manifest_alone() {
    let mut faults = Vec::new();
    for member in members() {
        for (section, name, line) in dependencies(&read(&format!("{member}/Cargo.toml"))) {
            if !line.contains("workspace = true") || line.contains("version") {
                faults.push(format!(
                    "{member}: [{section}] {name}: expected `workspace = true`, found `{line}`"
                ));
            }
        }
    }
    none(faults);
}

#[test]
fn every_dependency_says_what_it_is_for() {
    let outside =
        dependencies(&read("Cargo.toml")).into_iter().filter(|(_, _, line)| !line.contains("path = "));
    let silent = outside.filter(|(_, _, line)| !line.contains("# "));
    none(silent.map(|(_, name, _)| format!("Cargo.toml: {name} does not say what it is here for")).collect());
}

#[test]
fn dependencies_stay_in_their_homes() {
    let mut faults = Vec::new();
    let mut check = |file: &str, text: &str, name: &str, homes: &[&str]| {
        if homes.iter().any(|home| file.starts_with(home)) {
            return;
        }
        for (n, line) in text.lines().enumerate() {
            if !line.trim_start().starts_with("//") && names(line, name) {
                faults.push(format!("{file}:{}: names {name}, whose home is {}", n + 1, homes.join(" and ")));
            }
        }
    };
    for (file, text) in sources() {
        for (name, homes) in HOMES {
            check(&file, &text, name, homes);
        }
        if file.starts_with("runtime/src") {
            check(&file, &text, "std::sync", &["runtime/src/sync.rs"]);
        }
    }
    none(faults);
}

#[test]
fn no_test_is_asleep_and_nothing_is_left_to_do() {
    let words = [
        concat!("#[igno", "re"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("dbg", "!("),
    ];
    let mut faults = Vec::new();
    for (file, text) in sources() {
        for (n, line) in text.lines().enumerate() {
            if let Some(word) = words.iter().find(|w| line.contains(**w)) {
                faults.push(format!("{file}:{}: has `{word}`", n + 1));
            }
        }
    }
    none(faults);
}

#[test]
fn fixtures_stay_small() {
    let size = |file: &String| fs::metadata(root().join(file)).expect("it was just listed").len();
    let bytes: u64 = files("tests/fixtures").iter().map(size).sum();
    assert!(bytes > 0, "no fixtures found");
    assert!(bytes < FIXTURES_BYTES_MAX, "fixtures take {bytes} bytes, expected under {FIXTURES_BYTES_MAX}");
}

#[test]
fn a_golden_file_shows_one_thing() {
    let lengths = files("tests/golden").into_iter().map(|f| (read(&f).lines().count(), f));
    let long = lengths.filter(|(n, _)| *n > GOLDEN_LINES_MAX);
    none(long.map(|(n, file)| format!("{file}: {n} lines, expected at most {GOLDEN_LINES_MAX}")).collect());
}
