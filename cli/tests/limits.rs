//! Where a context, a model or a template comes to its end.
mod support;

use serde_json::Value;
use std::fs;
use std::io::Write;
use std::process::Stdio;
use support::{Done, Home, done, fixture};

fn tiny() -> String {
    fixture("tiny/gguf/llama.gguf").to_str().unwrap().to_owned()
}

fn json(done: Done) -> Value {
    serde_json::from_str(&done.ok()).expect("JSON")
}

fn ids(run: &Value, key: &str) -> Vec<u64> {
    run[key].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect()
}

fn with_input(home: &Home, args: &[&str], input: &str) -> Done {
    let mut child = home.heddle(args).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    done(child.wait_with_output().unwrap())
}

/// A small model in a folder of its own, whose template and weights may be changed.
fn model(home: &Home, template: Option<&str>, change_weights: impl Fn(&mut [u8])) -> String {
    let folder = home.path().join("model");
    fs::create_dir(&folder).unwrap();
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        fs::copy(fixture("tiny/llama").join(name), folder.join(name)).unwrap();
    }
    let path = folder.join("tokenizer_config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["chat_template"] = template.map_or(Value::Null, Value::from);
    fs::write(&path, config.to_string()).unwrap();
    let path = folder.join("model.safetensors");
    let mut weights = fs::read(&path).unwrap();
    change_weights(&mut weights);
    fs::write(&path, weights).unwrap();
    folder.to_str().unwrap().to_owned()
}

#[test]
fn a_long_prompt_loses_its_beginning_where_that_is_asked_for() {
    let home = Home::new();
    let words: String =
        (0..100).map(|i| format!("{} ", ["my", "money", "and", "the", "sea"][i * i % 5])).collect();
    let all = ids(&json(with_input(&home, &["tokenize", &tiny(), "--json", "--special"], &words)), "ids");
    let run = |more: &[&str]| {
        let args = ["run", &tiny(), "--prompt", &words, "--context", "48", "--greedy", "--json"];
        home.run(&[&args[..], more].concat())
    };
    assert!(all.len() > 100, "{all:?}");
    assert!(run(&["--raw"]).refused().contains("cut it with --cut"));

    let cut = run(&["--raw", "--cut", "--tokens", "8"]);
    assert!(cut.err.contains("cut to its last 40 tokens"), "{cut:?}");
    let cut = ids(&json(cut), "prompt_ids");
    let from = all.len() - cut.len();
    assert!(cut.len() == 40 && (cut == all[from..] || (cut[0] == all[0] && cut[1..] == all[from + 1..])));
    assert_eq!(ids(&json(run(&["--raw", "--cut"])), "prompt_ids").len(), 36, "a quarter is left");

    let short = ["run", &tiny(), "--prompt", "sea ", "--system", "my", "--greedy", "--tokens", "1", "--json"];
    let short = ids(&json(home.run(&short)), "prompt_ids");
    let framed = ids(&json(run(&["--system", "my", "--cut", "--tokens", "8"])), "prompt_ids");
    assert!((36..=40).contains(&framed.len()), "{framed:?}");
    let [begin, end] = [4, 6];
    assert_eq!(framed[..begin], short[..begin], "the template and --system stay");
    assert_eq!(framed[framed.len() - end..], short[short.len() - end..], "so does the end");

    fs::write(home.path().join("book.txt"), "my money and the sea ".repeat(400_000)).unwrap();
    let args = ["run", &tiny(), "--file", "book.txt", "--context", "48", "--cut", "--tokens", "8", "--json"];
    assert!((36..=40).contains(&ids(&json(home.run(&args)), "prompt_ids").len()), "8 MB become a prompt");

    let refused = run(&["--system", &words, "--cut"]).refused();
    assert!(refused.contains("the chat template and --system have"), "{refused}");
}

#[test]
fn a_conversation_goes_on_beyond_the_context() {
    let home = Home::new();
    let args =
        ["chat", "--model", &tiny(), "--greedy", "--tokens", "6", "--context", "128", "--system", "my"];
    let done = with_input(&home, &args, &"my money and the sea\n".repeat(8));
    assert!(done.err.contains("the conversation no longer fits the context of 128 tokens"), "{done:?}");
    assert_eq!(done.err.matches(" tokens read at ").count(), 8, "every turn is answered: {done:?}");
    assert!(!done.err.contains("error"), "{done:?}");
    assert_eq!(done.code, Some(0));
}

#[test]
fn a_model_without_a_template_says_what_it_can_do() {
    let home = Home::new();
    let model = model(&home, None, |_| {});
    let refused = home.run(&["chat", "--model", &model]).refused();
    assert!(refused.contains("has no chat template and cannot converse"), "{refused}");
    let continued = home.run(&["chat", "--model", &model, "my money", "--tokens", "2", "--greedy"]);
    assert!(continued.err.contains("it continues the prompt"), "{continued:?}");
    continued.ok();
}

#[test]
fn a_template_that_grows_without_end_is_refused_in_its_own_words() {
    let home = Home::new();
    let doubling = "{% set ns = namespace(x='x') %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}";
    let model = model(&home, Some(doubling), |_| {});
    let refused = home.run(&["run", &model, "--prompt", "my"]).refused();
    assert!(refused.contains("the chat template needs more than"), "{refused}");
}

#[test]
fn logits_that_are_no_numbers_are_an_error() {
    let home = Home::new();
    let model = model(&home, None, |weights| {
        let length = u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
        let header: Value = serde_json::from_slice(&weights[8..8 + length]).unwrap();
        let norm = &header["model.norm.weight"];
        assert_eq!(norm["dtype"], "BF16");
        let at = 8 + length + norm["data_offsets"][0].as_u64().unwrap() as usize;
        weights[at..at + 2].copy_from_slice(&[0xff, 0x7f]);
    });
    for sampling in [&["--greedy"][..], &["--seed", "1"]] {
        let refused = home.run(&[&["run", &model, "--prompt", "my"], sampling].concat()).refused();
        assert!(
            refused.contains("`heddle verify` checks a bundle") && refused.contains("is NaN"),
            "{refused}"
        );
    }
    fs::write(home.path().join("t.txt"), "my money and the sea ".repeat(9)).unwrap();
    let refused = home.run(&["eval", "perplexity", &model, "--file", "t.txt", "--window", "16"]).refused();
    assert!(refused.contains("the nll of window 1 is NaN"), "{refused}");
}

#[test]
fn a_bundle_is_evaluated_at_any_number_of_rows() {
    let home = Home::new();
    fs::write(home.path().join("t.txt"), "my money and the sea ".repeat(40)).unwrap();
    let measure = |model: &str| {
        let done = home.run(&["eval", "perplexity", model, "--file", "t.txt", "--window", "32", "--json"]);
        (done.err.contains("--rows 128"), json(done))
    };
    home.run(&["compile", &tiny(), "-o", "one"]).ok();
    home.run(&["compile", &tiny(), "-o", "many", "--rows", "64"]).ok();
    let [(model_is_slow, model), (one_is_slow, one), (many_is_slow, many)] =
        [&tiny(), "one", "many"].map(measure);
    assert_eq!((model_is_slow, one_is_slow, many_is_slow), (false, true, false));
    for other in [&one, &many] {
        let (a, b) = (model["nll"].as_f64().unwrap(), other["nll"].as_f64().unwrap());
        assert!((a / b - 1.0).abs() < 1e-3, "{model} {other}");
        let windows: f64 =
            other["nll_per_window"].as_array().unwrap().iter().map(|nll| nll.as_f64().unwrap()).sum();
        assert!((windows / other["tokens"].as_f64().unwrap() / b - 1.0).abs() < 1e-9, "{other}");
    }
}
