//! Plans of published models in short, as `heddle inspect` and `heddle simulate` say it: who has what, what crosses, what
//! it takes. `UPDATE_EXPECT=1` accepts what came out.
use similar::TextDiff;
use std::fs;
use std::path::Path;
use tests::examples;

/// What a user sees of a model's plan, cut so over the first devices of a machine.
fn summary(model: &str, machine: &str, cut: &str) -> String {
    let topology = examples::machine(machine);
    let made = examples::planned(model, &topology, cut, None).unwrap_or_else(|e| panic!("{e}"));
    let (plan, batch) = (&made.plan, made.plan.options.max_batch);
    let predicted = cli::simulate::summary(plan, &topology, batch, 512).unwrap_or_else(|e| panic!("{e:#}"));
    format!("{}\n{predicted}", cli::inspect::summary(plan))
}

/// Holds summaries of a model to a file, one behind the other.
fn check(model: &str, machine: &str, cuts: &[&str]) {
    let said =
        cuts.iter().map(|cut| format!("# {model}, {cut}, {machine}\n\n{}", summary(model, machine, cut)));
    let found = said.collect::<Vec<_>>().join("\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("summaries/{model}.txt"));
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if found == expected {
        return;
    }
    if std::env::var_os("UPDATE_EXPECT").is_some_and(|v| v == "1") {
        return fs::write(&path, found).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
    let diff = TextDiff::from_lines(&expected, &found);
    let diff = diff.unified_diff().header("expected", "found").to_string();
    panic!("{}:\n{diff}\nUPDATE_EXPECT=1 cargo test -p tests --test summaries accepts this", path.display());
}

const SMALL: &[&str] = &["none", "pipeline:2", "tensor:2", "data:2"];

#[test]
fn smollm2() {
    check("smollm2-135m", "8xh100-nvlink-pairs", SMALL);
}

#[test]
fn gemma_3() {
    check("gemma-3-270m", "laptop", SMALL);
}

#[test]
fn llama_3() {
    check("llama-3-70b", "8xh100-nvswitch", &["pipeline:2", "tensor:8"]);
}

#[test]
fn qwen_3() {
    check("qwen3-235b-a22b", "8xh100-nvswitch", &["pipeline:8", "expert:8"]);
}
