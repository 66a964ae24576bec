//! Runs every file under `golden/`: directives, a graph, a rule, and what comes out.
//!
//! | directive | what comes out |
//! | --- | --- |
//! | `read` | the graph as the writer writes it, or why it is none |
//! | `verify` | the graph with every fault beneath its line |
//! | `pass: NAME` | the graph after the pass; it must mean what it meant |
//! | `explain` | the graph after each pass that changed it, in the order of a compile |
//! | `pass: schedule`, `pass: memory` | the plan for one CPU device behind that pass |
//! | `tree` | the loop tree of every operator with a body |
//! | `cpu` | its CLIF |
//! | `run` | the values of the outputs; `n = 3` gives a symbol a value, `x = 1 2 3` an input |
//!
//! `activations = int8` lets the passes quantise what enters quantised products; `cut = pipeline:2,tensor:2`, with
//! `all_reduce = ring`, is over devices of one thread each, of which each replica's first output must mean what the
//! graph's does; `hints = [Whole(nodes: "blk.0.up")]` are a person's, `devices = 3` is more than the cut alone takes.
//! `UPDATE_EXPECT=1` rewrites what stands below the rule, and nothing above.

use compiler::codegen;
use compiler::codegen::cpu::{Jit, loop_tree};
use ir::interpret::{interpret, interpret_bodies};
use ir::plan::{Activations, AllReduce, Device, Hint, Model, Options, Partition, Symbol};
use ir::text::{Names, Text, read};
use ir::verify::{explain, verify};
use ir::{DType, Graph, Symbols, Tensor};
use libtest_mimic::{Arguments, Failed, Trial};
use loops::{BodyError, BodyKernel};
use passes::partition::{Cut, Means};
use passes::schedule::Request;
use passes::{Cx, PLAN_PASSES, run_all, run_one};
use similar::TextDiff;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tests::compare::difference;
use tests::draw;

/// Stands alone on the line between what goes in and what comes out.
const RULE: &str = "====";

fn main() -> ExitCode {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut found = vec![];
    collect(&folder, &mut found);
    found.sort();
    let trial = |path: PathBuf| {
        let name = path.strip_prefix(&folder).expect("found beneath it").with_extension("");
        let name = name.to_str().expect("file names are UTF-8").to_owned();
        Trial::test(name, move || check(&path))
    };
    let trials = found.into_iter().map(trial).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            collect(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// Compares what comes out with what stands below the rule.
fn check(path: &Path) -> Result<(), Failed> {
    let file = fs::read_to_string(path)?;
    let (above, expected) = split(&file);
    let found = outcome(above)?;
    if found == expected {
        return Ok(());
    }
    if std::env::var_os("UPDATE_EXPECT").is_some_and(|v| v == "1") {
        return Ok(fs::write(path, format!("{above}{RULE}\n{found}"))?);
    }
    let diff = TextDiff::from_lines(expected, &found);
    let diff = diff.unified_diff().header("expected", "found").to_string();
    let shown = path.display();
    Err(format!("{shown}:\n{diff}\nUPDATE_EXPECT=1 cargo test -p tests --test golden accepts this").into())
}

/// What stands above the rule, and what below. A new file has no rule yet.
fn split(file: &str) -> (&str, &str) {
    let rule = format!("\n{RULE}\n");
    match file.find(&rule) {
        Some(at) => (&file[..=at], &file[at + rule.len()..]),
        None => (file, ""),
    }
}

/// What the directives ask for.
fn outcome(above: &str) -> Result<String, Failed> {
    let directives: Vec<&str> = above.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let mut asked = None;
    let mut settings = BTreeMap::new();
    for directive in directives.iter().map(|d| d.trim()) {
        match directive.split_once('=') {
            Some((name, values)) => {
                settings.insert(name.trim(), values.trim());
            }
            None if asked.is_none() => asked = Some(directive),
            None => return Err(format!("asks for {:?} and {directive:?}, expected one", asked).into()),
        }
    }
    // The reader passes over the directives, which so keep its line numbers those of the file.
    let text = match read(above) {
        Ok(text) => text,
        Err(fault) if asked == Some("read") => return Ok(format!("error: {fault}\n")),
        Err(fault) => return Err(fault.to_string().into()),
    };
    match asked {
        Some("read") => rewritten(text),
        Some("verify") => Ok(explain(&text.graph, &verify(&text.graph))),
        Some("run") => values(&text.graph, &settings),
        Some("explain") => stages(&text.graph, &context(&settings, &text.graph)?),
        Some("tree") => each_body(&text.graph, |kernel| Ok(loop_tree(kernel)?.to_string())),
        Some("cpu") => {
            each_body(&text.graph, |kernel| Jit::new()?.clif(&loop_tree(kernel)?, kernel.inputs.len()))
        }
        Some(asked) if asked.starts_with("pass:") => {
            let (pass, cx) = (asked[5..].trim(), context(&settings, &text.graph)?);
            if PLAN_PASSES.contains(&pass) {
                plan(text.graph, pass, &cx)
            } else {
                passed(&text.graph, pass, &cx)
            }
        }
        other => Err(format!("unknown directive {other:?}").into()),
    }
}

/// The graph's text, which must be read as the same text.
fn rewritten(text: Text) -> Result<String, Failed> {
    let written = text.graph.to_string();
    let again = read(&written)?.graph.to_string();
    if again != written { Err(format!("reads back as\n{again}").into()) } else { Ok(written) }
}

fn sound(g: &Graph) -> Result<(), Failed> {
    let problems = verify(g);
    if problems.is_empty() { Ok(()) } else { Err(explain(g, &problems).into()) }
}

/// What the settings let passes do.
fn context(settings: &BTreeMap<&str, &str>, g: &Graph) -> Result<Cx, Failed> {
    let activations = match settings.get("activations") {
        None => Activations::F32,
        Some(&"int8") => Activations::Int8,
        Some(other) => return Err(format!("activations = {other}, expected int8").into()),
    };
    let partition: Partition = settings.get("cut").unwrap_or(&"none").parse()?;
    let count = settings.get("devices").map_or(Ok(partition.devices()), |count| count.parse())?;
    let hints = Hint::read(&format!("(hints: {})", settings.get("hints").unwrap_or(&"[]")))?;
    let hints: Vec<Hint> = hints.into_iter().map(|(_, hint)| hint).collect();
    let way = settings.get("all_reduce").unwrap_or(&"direct");
    let way = AllReduce::ALL.into_iter().find(|known| known.name() == *way).ok_or("no such all_reduce")?;
    let cut = Cut::by(g, partition, &hints, &devices(count), &Means::default())?.with_all_reduce(way);
    Ok(Cx { activations, exact: vec![], target: codegen::target(&devices(count)), cut })
}

fn devices(count: u32) -> Vec<Device> {
    (0..count).map(|number| Device::cpu(number, 1)).collect()
}

/// The graph after one pass.
fn passed(before: &Graph, pass: &str, cx: &Cx) -> Result<String, Failed> {
    sound(before)?;
    let mut after = before.clone();
    run_one(cx, pass, &mut after)?;
    same_meaning(before, &after, cx).map_err(|fault| format!("{fault} after {pass}:\n{after}"))?;
    Ok(after.to_string())
}

/// The graph after each pass that changed it.
fn stages(before: &Graph, cx: &Cx) -> Result<String, Failed> {
    sound(before)?;
    let mut shown = String::new();
    for stage in run_all(cx, &mut before.clone())? {
        let Some(graph) = stage.graph else { continue };
        same_meaning(before, &graph, cx)
            .map_err(|fault| format!("{fault} after {}:\n{graph}", stage.pass))?;
        shown += &format!("after {}:\n{graph}", stage.pass);
    }
    Ok(shown)
}

/// The plan's text behind a pass that makes it. Every symbol is at most 8, and 1 in a decode step.
fn plan(mut g: Graph, pass: &str, cx: &Cx) -> Result<String, Failed> {
    sound(&g)?;
    run_all(cx, &mut g)?;
    let names: BTreeSet<&str> =
        g.nodes().flat_map(|n| &g[n].ty.shape).flat_map(|d| d.terms().map(|(name, _)| name)).collect();
    let request = Request {
        model: Model {
            name: "golden".into(),
            architecture: "none".into(),
            file: "none".into(),
            sha256: "0".repeat(64),
            packed_bytes: 0,
        },
        options: Options {
            context: 64,
            max_batch: 1,
            chunk: 8,
            rows: 1,
            page: 16,
            kv: DType::F32,
            activations: cx.activations,
            partition: Partition::WHOLE,
            all_reduce: Default::default(),
            micro_batches: 1,
            memory: None,
            hints: vec![],
        },
        symbols: names.iter().map(|&name| Symbol { name: name.into(), max: 8, decode: 1 }).collect(),
        devices: devices(cx.cut.devices() as u32),
    };
    let (_, stages) = passes::plan(cx, &g, request, 0)?;
    let stage = stages.iter().find(|stage| stage.pass == pass).ok_or("no such stage of the plan")?;
    Ok(stage.plan.to_text())
}

/// What becomes of every operator that has a body.
fn each_body(g: &Graph, shown: impl Fn(&BodyKernel) -> Result<String, BodyError>) -> Result<String, Failed> {
    sound(g)?;
    let names: BTreeSet<&str> =
        g.nodes().flat_map(|n| &g[n].ty.shape).flat_map(|d| d.terms().map(|(name, _)| name)).collect();
    let symbols: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let mut text = String::new();
    for n in g.nodes() {
        let inputs: Vec<_> = g.inputs(n).iter().map(|&i| g[i].ty.clone()).collect();
        let Some(body) = g[n].op.body(&inputs) else { continue };
        let kernel = BodyKernel { inputs, output: g[n].ty.clone(), body, symbols: symbols.clone() };
        text += &format!("{}: {}\n{}", g[n].op.name(), kernel.output, shown(&kernel)?);
    }
    Ok(text)
}

/// Both graphs return the same for drawn inputs, or neither returns.
fn same_meaning(before: &Graph, after: &Graph, cx: &Cx) -> Result<(), String> {
    let tolerance = if cx.activations == Activations::Int8 { 5e-2 } else { 1e-4 };
    let symbols = draw::symbols_of(before);
    let given = draw::given(before, &symbols);
    let give = |name: &str| given.get(name).cloned();
    let run = |g| interpret(g, &give, &symbols);
    match (run(before), run(after)) {
        // Of a model that is cut, replicas give logits each, and devices parts of the caches.
        (Ok(before), Ok(after)) if !cx.cut.is_whole() => {
            let replicas = after.iter().filter(|value| value.ty() == before[0].ty());
            let differ = replicas.filter_map(|value| difference(value, &before[0], tolerance)).next();
            differ.map_or(Ok(()), |difference| Err(format!("the first output {difference}")))
        }
        (Ok(before), Ok(after)) if before.len() == after.len() => {
            let differ = before.iter().zip(&after).map(|(b, a)| difference(a, b, tolerance));
            differ.flatten().next().map_or(Ok(()), |difference| Err(format!("an output {difference}")))
        }
        (Err(_), Err(_)) => Ok(()),
        (Ok(before), Ok(after)) => Err(format!("{} outputs, expected {}", after.len(), before.len())),
        (before, after) => Err(format!("gave {before:?}, gives {after:?}")),
    }
}

/// The outputs' values, which bodies and meanings must agree on.
fn values(g: &Graph, settings: &BTreeMap<&str, &str>) -> Result<String, Failed> {
    sound(g)?;
    let given: BTreeMap<&str, &str> = g
        .nodes()
        .filter_map(|n| g[n].op.given_name())
        .filter_map(|name| Some((name, *settings.get(name)?)))
        .collect();
    let mut symbols = Symbols::new();
    for (name, value) in settings.iter().filter(|(name, _)| !given.contains_key(*name)) {
        symbols = symbols.with(name, value.parse()?);
    }
    let mut tensors = BTreeMap::new();
    for n in g.nodes() {
        if let Some((name, values)) = g[n].op.given_name().and_then(|name| given.get_key_value(name)) {
            let shape = symbols.extents(&g[n].ty).ok_or(format!("{name} has symbols without a value"))?;
            tensors.insert(*name, tensor(g[n].ty.dtype, &shape, values)?);
        }
    }
    let give = |name: &str| tensors.get(name).cloned();
    let outputs = match interpret(g, &give, &symbols) {
        Ok(outputs) => outputs,
        Err(refusal) => return Ok(format!("error: {refusal}\n")),
    };
    let names = Names::of(g);
    let mut shown = String::new();
    let bodies = interpret_bodies(g, &give, &symbols)?;
    for ((n, value), body) in g.outputs.iter().zip(&outputs).zip(&bodies) {
        if let Some(difference) = difference(body, value, 1e-5) {
            return Err(format!("by its bodies {} {difference}", names.get(*n)).into());
        }
        shown += &format!("{}: {}\n", names.get(*n), value.ty());
        let width = value.shape().last().copied().unwrap_or(1).max(1) as usize;
        for row in value.to_f32().chunks(width) {
            let row: Vec<String> = row.iter().map(|v| rounded(*v)).collect();
            shown += &format!("  {}\n", row.join(" "));
        }
    }
    Ok(shown)
}

fn tensor(dtype: DType, shape: &[u64], values: &str) -> Result<Tensor, Failed> {
    let values = values.split_whitespace().map(str::parse).collect::<Result<Vec<f32>, _>>()?;
    let expected = shape.iter().product::<u64>();
    if values.len() as u64 != expected {
        return Err(format!("{} values given, expected {expected}", values.len()).into());
    }
    Ok(match dtype.is_real() {
        true => Tensor::from_f32(dtype, shape, &values),
        false => Tensor::from_ints(dtype, shape, values.iter().map(|v| *v as i64)),
    })
}

/// To four places, without a negative zero.
fn rounded(v: f32) -> String {
    let v = (f64::from(v) * 1e4).round() / 1e4;
    if v == 0.0 { "0".to_owned() } else { v.to_string() }
}
