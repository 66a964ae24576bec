//! A plan that passes as sound runs: one token of it is changed at random, and what is not refused answers a
//! prompt and a token more, with the backend's code and with the operators' own meaning, which looks at every
//! index. What it answers may be nonsense.
use compiler::codegen::{self, reference};
use compiler::import::Checkpoint;
use compiler::{Bundle, Draft, compile};
use ir::DType;
use ir::plan::{Activations, Device, Model, Options, Partition, Plan, Step};
use runtime::{Batch, Engine, Executable, Pages, Seen, Session, walk};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;
use tests::fixtures;
use tests::running::exact;

/// How many mutants of a plan are looked at.
const MUTANTS: usize = 3000;
/// How many of them run at least: most are refused, and of the others most are the same by other names.
const RUNS: usize = 10;
/// No tiny model takes a hundredth of it.
const PATIENCE: Duration = Duration::from_secs(60);

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 16) % n as u64) as usize
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

/// The tokens of a text: numbers, words, and the signs of bodies, as ranges of bytes.
fn tokens(text: &str) -> Vec<std::ops::Range<usize>> {
    let kind = |c: char| match c {
        '0'..='9' => 1,
        'a'..='z' | 'A'..='Z' | '_' | '.' => 2,
        '+' | '-' | '*' | '/' | '%' | '<' | '=' => 3,
        _ => 0,
    };
    let mut found: Vec<(i32, std::ops::Range<usize>)> = vec![];
    for (at, c) in text.char_indices() {
        match found.last_mut() {
            // Digits within a word are numbers of their own: `i0`, `x3`, `k16`.
            Some((last, range)) if *last == kind(c) && range.end == at => range.end += 1,
            _ => found.push((kind(c), at..at + 1)),
        }
    }
    found.into_iter().filter(|t| t.0 > 0).map(|t| t.1).collect()
}

/// A plan's text, and what to make mutants of it with.
struct Source<'a> {
    lines: Vec<&'a str>,
    /// Lines of a kind, so that all sections have their share.
    kinds: Vec<Vec<usize>>,
    numbers: Vec<&'a str>,
    words: Vec<&'a str>,
}

impl Source<'_> {
    fn new(text: &str) -> Source<'_> {
        let mut kinds: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !tokens(line).is_empty()) {
            let letters = |c: &char| c.is_ascii_alphabetic() || matches!(c, ':' | ',' | '(');
            kinds.entry(line.chars().filter(letters).take(14).collect()).or_default().push(at);
        }
        let is_number = |t: &&str| t.starts_with(|c: char| c.is_ascii_digit());
        let all = tokens(text).into_iter().map(|t| &text[t]);
        let (numbers, words) = all.partition(is_number);
        Source { lines: text.lines().collect(), kinds: kinds.into_values().collect(), numbers, words }
    }

    /// The line, from 1, where one token is another, and the text.
    fn mutant(&self, random: &mut Random) -> (usize, String) {
        let kind = &self.kinds[random.below(self.kinds.len())];
        let at = kind[random.below(kind.len())];
        let found = tokens(self.lines[at]);
        let token = found[random.below(found.len())].clone();
        let new = self.another(&self.lines[at][token.clone()], random);
        let line = format!("{}{new}{}", &self.lines[at][..token.start], &self.lines[at][token.end..]);
        let mut lines = self.lines.clone();
        lines[at] = &line;
        (at + 1, lines.join("\n"))
    }

    /// Something else in the place of a token.
    fn another(&self, token: &str, random: &mut Random) -> String {
        let huge = ["2147483647", "4294967295", "9223372036854775807", "18446744073709551615"];
        let signs = ["+", "-", "*", "/", "%", "<", "<=", "==", "min", "max", "&", "|", "<<", ">>"];
        match token.parse::<u64>() {
            Ok(v) => match random.below(12) {
                0 => "0".into(),
                1 => "1".into(),
                2 | 3 => v.wrapping_add(1).to_string(),
                4 | 5 => v.saturating_sub(1).to_string(),
                6 => v.wrapping_mul(2).to_string(),
                7 => (v / 2).to_string(),
                8 => v.wrapping_add(64).to_string(),
                9 => random.one(&huge).into(),
                _ => random.one(&self.numbers).into(),
            },
            Err(_) if token.starts_with(|c: char| c.is_ascii_alphabetic()) => random.one(&self.words).into(),
            Err(_) => random.one(&signs).into(),
        }
    }
}

type Code = Vec<Arc<dyn Executable>>;

/// A prompt that crosses pages in the last slot, a token more, and another sequence beside it.
fn answer(plan: &Plan, code: &Code, weights: &runtime::Weights) -> Result<(), String> {
    let mut session = Session::start(plan, code, weights.clone()).map_err(|e| e.to_string())?;
    let (context, batch) = (plan.options.context as i32, plan.options.max_batch as i32);
    let vocabulary = session.vocabulary() as i32;
    let n = (session.max("n") as i32).min(20).min(context);
    let tokens: Vec<i32> = (0..n).map(|i| vocabulary - 1 - i % vocabulary).collect();
    let positions: Vec<i32> = (0..n).collect();
    let slots = vec![batch - 1; n as usize];
    let mut step = |tokens: &[i32], positions: &[i32], slots: &[i32], rows: &[i32]| {
        let batch = Batch { tokens, positions, slots, rows, whole: tokens.len() > 1 };
        session.step(&batch).map(|_| ()).map_err(|e| e.to_string())
    };
    step(&tokens, &positions, &slots, &[n - 1])?;
    if n < context {
        step(&[0], &[n], &[batch - 1], &[0])?;
    }
    step(&[0], &[0], &[0], &[0])?;
    // As many as can be under way, each of another sequence.
    let slots = 0..session.steps_at_once().min(batch as usize) as i32;
    for slot in slots.clone() {
        let batch = Batch { tokens: &[0], positions: &[0], slots: &[slot], rows: &[0], whole: true };
        session.submit(&batch).map_err(|e| e.to_string())?;
    }
    slots.into_iter().try_for_each(|_| session.collect().map(|_| ()).map_err(|e| e.to_string()))
}

/// A prompt's step, every value of which is looked at.
fn look(plan: &Plan, code: &Code, weights: &runtime::Weights) -> Result<(), String> {
    let (slots, row) = (plan.options.replica_batch(), plan.pages_per_sequence());
    let mut pages = Pages::new(slots * row, plan.options.page as usize, slots as usize, row as usize);
    let most = plan.symbols.iter().find(|s| s.name == "n").map_or(1, |s| s.max);
    let n = most.min(20).min(plan.options.context.into()) as i32;
    pages.reserve(0, n as usize).map_err(|e| e.to_string())?;
    let syms: Vec<i64> = plan.symbols.iter().map(|s| if s.name == "n" { n.into() } else { 1 }).collect();
    let feed = |name: &str| -> Option<Vec<u8>> {
        let values = match name {
            "tokens" | "slots" => vec![0; n as usize],
            "whole" => vec![0],
            "positions" => (0..n).collect(),
            "rows" => vec![n - 1],
            "pages" => pages.table().to_vec(),
            _ => return None,
        };
        Some(values.iter().flat_map(|v| v.to_le_bytes()).collect())
    };
    let mut sum = 0u64;
    let mut add = |seen: Seen<'_>| sum += seen.value.iter().map(|b| u64::from(*b)).sum::<u64>();
    let engines = plan.threads.iter().map(|_| Engine::team(code)).collect();
    let walked = walk(plan, engines, weights, &syms, &feed, &mut add).map_err(|e| e.to_string());
    std::hint::black_box(sum);
    walked
}

fn mutants_run(model: &str, cut: &str, seed: u64) {
    let fail = |e: &dyn std::fmt::Display| -> ! { panic!("{model}: {e}") };
    let checkpoint = Checkpoint::open(&fixtures::path(model)).unwrap_or_else(|e| fail(&e));
    let partition: Partition = cut.parse().unwrap_or_else(|e: String| fail(&e));
    let devices: Vec<Device> = match partition.devices() {
        1 => vec![Device::cpu(0, 2)],
        several => (0..several).map(|number| Device::cpu(number, 1)).collect(),
    };
    let options = Options {
        chunk: 24,
        rows: 2,
        kv: DType::F16,
        activations: Activations::Int8,
        partition,
        micro_batches: partition.pipeline,
        ..exact(40)
    };
    let compiled = compile(&checkpoint, options, &devices).unwrap_or_else(|e| fail(&e));
    let dir = tempfile::tempdir().unwrap_or_else(|e| fail(&e));
    let path = dir.path().join("bundle.heddle");
    let draft = Draft::begin(&path).unwrap_or_else(|e| fail(&e));
    draft.finish(&compiled, &checkpoint, None, &|_| {}).unwrap_or_else(|e| fail(&e));
    let bundle = Bundle::open(&path).unwrap_or_else(|e| fail(&e));
    let weights: runtime::Weights = bundle.weights.clone();
    let plain = Arc::new(without_names(bundle.plan.clone()));
    let source = Source::new(&bundle.text);
    let mut random = Random(seed);
    let (mut read, mut taken) = (0, 0);
    for _ in 0..MUTANTS {
        let (line, text) = source.mutant(&mut random);
        let (sender, receiver) = channel();
        let weights = weights.clone();
        let (its, plain) = (text.clone(), plain.clone());
        // In a thread of its own, which may be left behind.
        std::thread::spawn(move || {
            let found = catch_unwind(AssertUnwindSafe(|| outcome(&its, &plain, &weights)));
            let _ = sender.send(found.unwrap_or_else(|_| Err("it panics".into())));
        });
        let found = receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| Err("it hangs".into()));
        let shown = || text.lines().nth(line - 1).unwrap_or_default().to_owned();
        let outcome = found.unwrap_or_else(|e| panic!("{model}, line {line}, {e}:\n{}", shown()));
        read += usize::from(outcome >= Outcome::Refused);
        taken += usize::from(outcome == Outcome::Ran);
    }
    assert!(
        taken >= RUNS,
        "of {MUTANTS} mutants {read} were plans, and {taken} ran: too few to say anything"
    );
}

#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Outcome {
    Unreadable,
    /// Or the same plan by other names.
    Refused,
    Ran,
}

/// The plan but for what is only told to people, and for how long it may take.
fn without_names(mut plan: Plan) -> Plan {
    set_patient(&mut plan);
    let Model { name, architecture, file, sha256, .. } = &mut plan.model;
    let told = [name, architecture, file, sha256].into_iter();
    let told = told.chain(plan.weights.iter_mut().map(|w| &mut w.name));
    let told = told.chain(plan.states.iter_mut().map(|s| &mut s.name));
    let told = told.chain(plan.devices.iter_mut().map(|d| &mut d.name));
    let nodes = plan.threads.iter_mut().flat_map(|t| &mut t.steps).filter_map(|step| match step {
        Step::Run { node, .. } => Some(node),
        _ => None,
    });
    told.chain(nodes).for_each(String::clear);
    plan
}

/// Meanings take their time, on a busy machine too.
fn set_patient(plan: &mut Plan) {
    plan.edges.iter_mut().for_each(|edge| edge.deadline_ms = ir::plan::DEADLINE_MS);
}

/// What becomes of a plan's text; an error where it passes as sound and does not run.
fn outcome(text: &str, plain: &Plan, weights: &runtime::Weights) -> Result<Outcome, String> {
    let Ok(mut plan) = Plan::from_text(text) else { return Ok(Outcome::Unreadable) };
    let held = (**weights).as_ref().len() as u64;
    if plan.verify().is_err() || !codegen::verify_weights(&plan).is_empty() || plan.model.packed_bytes != held
    {
        return Ok(Outcome::Refused);
    }
    if without_names(plan.clone()) == *plain {
        return Ok(Outcome::Refused);
    }
    set_patient(&mut plan);
    let Ok(code) = codegen::lower(&plan) else { return Ok(Outcome::Refused) };
    answer(&plan, &code, weights)?;
    look(&plan, &code, weights).map_err(|e| format!("step by step: {e}"))?;
    let symbols: Vec<String> = plan.symbols.iter().map(|s| s.name.clone()).collect();
    let meaning = reference::lower(&plan.kernels, &symbols).map_err(|e| e.to_string())?;
    answer(&plan, &meaning, weights).map_err(|e| format!("by its meaning: {e}"))?;
    look(&plan, &meaning, weights).map_err(|e| format!("by its meaning, step by step: {e}"))?;
    Ok(Outcome::Ran)
}

#[test]
fn a_sound_mutant_of_a_llama_runs() {
    mutants_run("tiny/gguf/llama.gguf", "none", 0x5eed);
}

#[test]
fn a_sound_mutant_of_a_mixture_of_experts_runs() {
    mutants_run("tiny/gguf/mixtral.gguf", "none", 0xbeef);
}

#[test]
fn a_sound_mutant_of_a_gemma_runs() {
    mutants_run("tiny/gguf/gemma3.gguf", "none", 0xfeed);
}

#[test]
fn a_sound_mutant_of_a_model_over_four_devices_runs() {
    mutants_run("tiny/gguf/llama.gguf", "pipeline:2,tensor:2", 0xc0de);
}

#[test]
fn a_sound_mutant_of_two_replicas_runs() {
    mutants_run("tiny/gguf/llama.gguf", "data:2", 0xd00d);
}
