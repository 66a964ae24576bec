//! `heddle inspect` and `heddle tokenize`, on small models and on the default one.
mod support;

use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};
use support::{Done, Home, done, fixture};

fn json(done: Done) -> Value {
    serde_json::from_str(&done.ok()).expect("JSON")
}

fn with_input(mut command: Command, input: &[u8]) -> Done {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    done(child.wait_with_output().unwrap())
}

#[test]
fn a_gguf_file_shows_its_keys_and_tensors() {
    let file = fixture("tiny/gguf/llama.gguf");
    let home = Home::new();
    let shown = json(home.run(&["inspect", file.to_str().unwrap(), "--json"]));
    let [shown] = &shown.as_array().unwrap()[..] else { panic!("{shown}") };
    assert_eq!(
        (&shown["format"], &shown["metadata"]["general.architecture"]),
        (&"GGUF".into(), &"llama".into())
    );
    let tensors = shown["tensors"].as_array().unwrap();
    assert!(tensors.iter().any(|tensor| tensor["name"] == "blk.0.attn_q.weight"), "{tensors:?}");
    let end = |tensor: &Value| tensor["offset"].as_u64().unwrap() + tensor["bytes"].as_u64().unwrap();
    assert!(
        tensors.windows(2).all(|pair| end(&pair[0]) <= pair[1]["offset"].as_u64().unwrap()),
        "{tensors:?}"
    );
    assert!(end(tensors.last().unwrap()) <= shown["bytes"].as_u64().unwrap());
    let text = home.run(&["inspect", file.to_str().unwrap()]).ok();
    assert!(text.contains("general.architecture") && text.contains("blk.0.attn_q.weight"), "{text}");
}

#[test]
fn a_safetensors_folder_shows_every_file_of_weights() {
    let shown = json(Home::new().run(&["inspect", fixture("tiny/llama").to_str().unwrap(), "--json"]));
    let files: Vec<&str> =
        shown.as_array().unwrap().iter().map(|file| file["file"].as_str().unwrap()).collect();
    assert!(files.iter().any(|file| file.ends_with("model.safetensors")), "{files:?}");
    assert!(shown[0]["tensors"][0]["type"].is_string());
}

#[test]
fn files_that_are_no_models_are_refused() {
    let home = Home::new();
    let refused = |name: &str, bytes: &[u8]| {
        std::fs::write(home.path().join(name), bytes).unwrap();
        home.run(&["inspect", name]).refused()
    };
    assert!(refused("text", b"hello").contains("begins with \"hello\", expected a GGUF or safetensors file"));
    assert!(refused("empty", b"").contains("expected a GGUF or safetensors file"));
    assert!(refused("cut.gguf", b"GGUF\x03\0\0\0").contains("the file ends"));
    let header = |json: &str| [&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat();
    let beyond = header(r#"{"t":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#);
    assert!(refused("beyond.safetensors", &beyond).contains("tensor t lies from 0 to 16"));
    assert!(refused("long.safetensors", b"\xff\xff\xff\xff\xff\xff\xff\x7f{}").contains("found a header of"));
    assert!(refused("damaged.safetensors", &header("{\"t\":1")).contains("its header is damaged"));
}

#[test]
fn tokens_are_those_of_the_publisher() {
    let cases = std::fs::read_to_string(fixture("smollm2/tokens.json")).unwrap();
    let cases: Value = serde_json::from_str(&cases).unwrap();
    for case in cases.as_array().unwrap() {
        // The models of whoever runs the tests: fetched if need be, kept for the next time.
        let mut command = Command::new(env!("CARGO_BIN_EXE_heddle"));
        command.args(["tokenize", "smollm2", "--json"]);
        let found = json(with_input(command, case["text"].as_str().unwrap().as_bytes()));
        assert_eq!(found["ids"], case["ids"], "{case}");
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_where_they_begin() {
    let file = fixture("tiny/gguf/llama.gguf");
    let home = Home::new();
    let command = home.heddle(&["tokenize", file.to_str().unwrap()]);
    let error = with_input(command, b"abc\xff").refused();
    assert!(error.contains("bad byte at offset 3"), "{error}");
}

#[test]
fn an_empty_input_has_no_tokens() {
    let file = fixture("tiny/gguf/llama.gguf");
    let home = Home::new();
    let command = home.heddle(&["tokenize", file.to_str().unwrap(), "--json"]);
    assert_eq!(with_input(command, b"").ok(), "{\"ids\":[]}\n");
}
