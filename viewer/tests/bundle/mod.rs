//! The bundle among the fixtures, as this version of plans would have it.
use ir::plan::{Plan, VERSION};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A folder with a plan over two devices, its graphs, `trace.json`, `spans.json` and `numbers.json`.
pub(crate) fn two_devices() -> TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/two-devices");
    let to = tempfile::tempdir().expect("a folder");
    let read = |name: &str| fs::read_to_string(from.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let write = |name: &str, text: &str| fs::write(to.path().join(name), text).expect("room for a file");
    fs::create_dir(to.path().join("graphs")).expect("a folder");
    for entry in fs::read_dir(from.join("graphs")).expect("the fixture's graphs") {
        let name = format!("graphs/{}", entry.expect("a file").file_name().display());
        write(&name, &read(&name));
    }
    let plan: Vec<String> =
        read("plan.ron")
            .lines()
            .map(|line| {
                if line.starts_with("    version:") {
                    format!("    version: {VERSION},")
                } else {
                    line.into()
                }
            })
            .collect();
    let plan = Plan::from_text(&plan.join("\n"));
    let plan =
        plan.unwrap_or_else(|e| panic!("plans have another form now ({e}): see tests/fixtures/README.md"));
    write("plan.ron", &plan.to_text());
    let trace: serde_json::Value = serde_json::from_str(&read("trace.json")).expect("JSON");
    let was = trace["otherData"]["plan"].as_str().expect("the hash of the plan").to_owned();
    for name in ["trace.json", "spans.json", "numbers.json"] {
        write(name, &read(name).replace(&was, &plan.hash()));
    }
    to
}
