//! Prompts become answers: `run`, `chat`, `eval`, `bench`, on small models and on the default one.
mod support;

use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use support::{Done, Home, done, fixture};

fn tiny() -> String {
    fixture("tiny/gguf/llama.gguf").to_str().unwrap().to_owned()
}

fn json(done: Done) -> Value {
    serde_json::from_str(&done.ok()).expect("JSON")
}

fn with_input(mut command: Command, input: &[u8]) -> Done {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    done(child.wait_with_output().unwrap())
}

#[test]
fn the_prompt_is_the_same_from_a_flag_a_file_and_standard_input() {
    let home = Home::new();
    let rest = ["--greedy", "--tokens", "3", "--json"];
    let flag = json(home.run(&[&["run", &tiny(), "--prompt", "a b"], &rest[..]].concat()));
    fs::write(home.path().join("p.txt"), "a b").unwrap();
    let file = json(home.run(&[&["run", &tiny(), "--file", "p.txt"], &rest[..]].concat()));
    let input = json(with_input(home.heddle(&[&["run", &tiny()], &rest[..]].concat()), b"a b"));
    assert_eq!((&flag["prompt_ids"], &flag["ids"]), (&file["prompt_ids"], &file["ids"]));
    assert_eq!((&flag["prompt_ids"], &flag["ids"]), (&input["prompt_ids"], &input["ids"]));
    let raw = json(home.run(&[&["run", &tiny(), "--prompt", "a b", "--raw"], &rest[..]].concat()));
    let length = |run: &Value| run["prompt_ids"].as_array().unwrap().len();
    assert!(length(&raw) < length(&flag), "the template adds to the prompt: {raw} {flag}");
}

#[test]
fn what_is_streamed_is_the_text_and_the_rest_goes_to_standard_error() {
    let home = Home::new();
    let rest = ["--prompt", "a b", "--raw", "--greedy", "--ignore-eos", "--tokens", "8"];
    let streamed = home.run(&[&["run", &tiny()], &rest[..]].concat());
    let whole = json(home.run(&[&["run", &tiny(), "--json"], &rest[..]].concat()));
    let hash = &whole["plan_hash"].as_str().unwrap()[..12];
    assert!(streamed.err.contains(hash) && streamed.err.contains("8 written at"), "{streamed:?}");
    assert_eq!(streamed.ok(), whole["text"].as_str().unwrap().to_owned() + "\n");
}

#[test]
fn who_watches_a_run_sees_its_edges_and_devices() {
    let home = Home::new();
    let rest = ["--prompt", "a b", "--raw", "--greedy", "--ignore-eos", "--tokens", "8", "--watch"];
    let watched = home.run(&[&["run", &tiny()], &rest[..]].concat());
    let line = |begins: &str| watched.err.lines().find(|l| l.starts_with(begins)).map(str::to_owned);
    let cells = |line: String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    // A message for each step: the prompt's, and one for each token but the last.
    assert_eq!(cells(line("0 ").unwrap())[1..6], ["tokens", "the", "host", "cpu:0", "8"], "{watched:?}");
    assert!(line("cpu:0: ").is_some_and(|l| l.contains(" rounds done, at step ")), "{watched:?}");
}

#[test]
fn the_same_seed_gives_the_same_answer() {
    let home = Home::new();
    let ids = |seed: &str| {
        let args = ["--prompt", "a", "--ignore-eos", "--tokens", "12", "--temperature", "2", "--seed", seed];
        json(home.run(&[&["run", &tiny(), "--json"], &args[..]].concat()))["ids"].clone()
    };
    assert_eq!(ids("1"), ids("1"));
    assert_ne!(ids("1"), ids("2"));
}

#[test]
fn prompts_that_cannot_be_answered_are_refused() {
    let home = Home::new();
    let empty = home.run(&["run", &tiny(), "--prompt", ""]).refused();
    assert!(empty.contains("the prompt is empty"), "{empty}");
    let bytes = with_input(home.heddle(&["run", &tiny()]), b"ab\xffc").refused();
    assert!(bytes.contains("bad byte at offset 2"), "{bytes}");
    let long = "a ".repeat(100);
    let long = home.run(&["run", &tiny(), "--prompt", &long, "--context", "16", "--raw"]).refused();
    assert!(long.contains("the context holds 16") && long.contains("--context"), "{long}");
    let wide = home.run(&["run", &tiny(), "--prompt", "a", "--context", "1000000"]).refused();
    assert!(wide.contains("the model takes at most"), "{wide}");
}

#[test]
fn an_answer_ends_where_the_context_is_full() {
    let home = Home::new();
    let args = ["--prompt", "a", "--raw", "--context", "16", "--ignore-eos", "--greedy", "--json"];
    let run = json(home.run(&[&["run", &tiny()], &args[..]].concat()));
    let length = |of: &str| run[of].as_array().unwrap().len();
    // The last token needs no place: nothing follows it.
    assert_eq!(length("prompt_ids") + length("ids"), 17, "{run}");
}

#[test]
fn a_conversation_reads_only_what_is_new() {
    let home = Home::new();
    let command = home.heddle(&["chat", "--model", &tiny(), "--greedy", "--tokens", "4", "--context", "64"]);
    let done = with_input(command, b"a\nb\n/reset\na\n/nonsense\n");
    let read: Vec<usize> =
        done.err.lines().filter_map(|line| line.split_once(" tokens read")?.0.parse().ok()).collect();
    let [first, second, again] = read[..] else { panic!("{done:?}") };
    let answers: Vec<&str> = done.out.lines().collect();
    assert_eq!(answers.first(), answers.last(), "after /reset it begins anew: {done:?}");
    assert!(again <= first && second < 2 * first + 4, "{read:?}");
    assert!(done.err.contains("/nonsense is unknown"), "{done:?}");
}

#[test]
fn perplexity_is_over_full_windows() {
    let home = Home::new();
    fs::write(home.path().join("t.txt"), "a b c d e f g h ".repeat(40)).unwrap();
    let tokenize = home.heddle(&["tokenize", &tiny(), "--json"]);
    let text = fs::read(home.path().join("t.txt")).unwrap();
    let tokens = json(with_input(tokenize, &text))["ids"].as_array().unwrap().len();
    let args = ["eval", "perplexity", &tiny(), "--file", "t.txt", "--window", "16", "--json"];
    let measured = json(home.run(&args));
    let scored = measured["tokens"].as_u64().unwrap() as usize;
    assert!(scored == tokens / 16 * 15 || scored == tokens / 15 * 15, "{scored} of {tokens}");
    let (nll, perplexity) = (measured["nll"].as_f64().unwrap(), measured["perplexity"].as_f64().unwrap());
    assert!((nll.exp() / perplexity - 1.0).abs() < 1e-9);
    let refused =
        home.run(&["eval", "perplexity", &tiny(), "--file", "t.txt", "--window", "100000"]).refused();
    assert!(refused.contains("a window of 100000 tokens"), "{refused}");
}

#[test]
fn logits_are_written_for_every_token() {
    let home = Home::new();
    let args =
        ["eval", "logits", &tiny(), "--prompt", "a b c", "-o", "l.safetensors", "--activations", "f32"];
    home.run(&args).ok();
    let shown = json(home.run(&["inspect", "l.safetensors", "--json"]));
    let tensors = shown[0]["tensors"].as_array().unwrap();
    let shape = |name: &str| tensors.iter().find(|tensor| tensor["name"] == name).unwrap()["shape"].clone();
    assert_eq!(shape("ids")[0], shape("logits")[0]);
    let refused =
        home.run(&["eval", "logits", &tiny(), "--prompt", "a", "-o", "no/such/folder.safetensors"]).refused();
    assert!(refused.contains("cannot write no/such/folder.safetensors"), "{refused}");
}

#[test]
fn bench_measures_both_speeds() {
    let home = Home::new();
    let sizes = ["--prompt-tokens", "8", "--gen-tokens", "4", "--repetitions", "2", "--threads", "1"];
    let measured = json(home.run(&[&["bench", &tiny(), "--json"], &sizes[..]].concat()));
    assert_eq!((&measured["threads"], &measured["prompt_tokens"]), (&1.into(), &8.into()));
    for speed in ["prefill_tokens_per_second", "decode_tokens_per_second"] {
        assert!(measured[speed].as_f64() > Some(0.0), "{measured}");
    }
}

#[test]
#[cfg(unix)]
fn an_interrupt_ends_the_answer_and_the_conversation_goes_on() {
    // Of the default model, whose answer takes a while.
    let mut child = Command::new(env!("CARGO_BIN_EXE_heddle"))
        .args(["chat", "--ignore-eos", "--greedy"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"Tell me a story.\n").unwrap();
    let mut began = [0; 64];
    child.stdout.as_mut().unwrap().read_exact(&mut began).unwrap();
    support::interrupt(&child);
    input.write_all(b"/nonsense\n").unwrap();
    drop(input);
    let done = done(child.wait_with_output().unwrap());
    assert_eq!(done.code, Some(0), "{done:?}");
    let (first, rest) = done.err.split_once(" written at ").expect("the answer was counted");
    assert!(!first.contains("/nonsense") && rest.contains("/nonsense is unknown"), "{done:?}");
}

#[test]
#[cfg(unix)]
fn an_interrupt_of_the_only_answer_leaves_130() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_heddle"))
        .args(["chat", "Tell me a story.", "--ignore-eos", "--greedy"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut began = [0; 64];
    child.stdout.as_mut().unwrap().read_exact(&mut began).unwrap();
    support::interrupt(&child);
    let done = done(child.wait_with_output().unwrap());
    assert_eq!(done.code, Some(130), "{done:?}");
    assert!(done.err.contains(" written at ") && done.err.ends_with("interrupted\n"), "{done:?}");
}

/// The default model, in the cache of whoever runs the tests.
fn default_model(args: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_heddle")).args(args).stdin(Stdio::null()).output();
    json(done(output.unwrap()))
}

#[test]
fn the_default_model_continues_as_its_publisher_says() {
    let cases = fs::read_to_string(fixture("smollm2/greedy.json")).unwrap();
    let cases: Value = serde_json::from_str(&cases).unwrap();
    let case = &cases["cases"][0];
    let prompt = case["prompt"].as_str().unwrap();
    let exact = ["--raw", "--greedy", "--ignore-eos", "--tokens", "16", "--activations", "f32", "--json"];
    let run = default_model(&[&["run", "--prompt", prompt], &exact[..]].concat());
    let expected = &case["out_ids"].as_array().unwrap()[..16];
    assert_eq!(run["ids"].as_array().unwrap(), expected);
}
