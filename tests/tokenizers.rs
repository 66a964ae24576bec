//! The tokenisers of published models against those of their publishers.
use compiler::import::Checkpoint;
use compiler::tokenizer::{SpecialTokens, StreamDecoder, Tokenizer};
use serde_json::Value;
use tests::fixtures;

fn tokenizer(model: &str) -> Tokenizer {
    let checkpoint = Checkpoint::open(&fixtures::model(model)).unwrap();
    checkpoint.tokenizer().unwrap()
}

/// Every prompt of `tokens.json` becomes the ids there, and they become it.
fn agrees(tokenizer: &Tokenizer, folder: &str) {
    let path = fixtures::path(&format!("{folder}/tokens.json"));
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(cases.len(), 16);
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let ids = tokenizer.encode(text, SpecialTokens::AsText).unwrap();
        assert_eq!(serde_json::json!(ids), case["ids"], "{text:?}");
        assert_eq!(String::from_utf8(tokenizer.decode(&ids)).unwrap(), text);
        let mut stream = StreamDecoder::default();
        let mut streamed: String = ids.iter().map(|id| stream.push(tokenizer, *id).to_owned()).collect();
        streamed.push_str(stream.finish());
        assert_eq!(streamed, text);
    }
}

#[test]
fn smollm2_tokenises_as_its_publisher_does() {
    let smollm2 = tokenizer("smollm2");
    agrees(&smollm2, "smollm2");
    assert_eq!((smollm2.len(), smollm2.bos(), smollm2.eos_ids()), (49_152, Some(1), &[2, 0][..]));
    assert!(!smollm2.add_bos() && !smollm2.add_eos());
    let turn = "<|im_start|>user\nHi<|im_end|>\n";
    let parsed = smollm2.encode(turn, SpecialTokens::Parsed).unwrap();
    assert_eq!((parsed[0], parsed[parsed.len() - 2]), (1, 2));
    assert!(smollm2.encode(turn, SpecialTokens::AsText).unwrap().iter().all(|id| !smollm2.is_control(*id)));
}

#[test]
fn gemma3_tokenises_as_its_publisher_does() {
    let gemma = tokenizer("gemma3-270m");
    agrees(&gemma, "gemma3");
    assert_eq!((gemma.len(), gemma.bos(), gemma.eos_ids()), (262_144, Some(2), &[1, 106][..]));
    assert_eq!(gemma.framed(gemma.encode("Hello world", SpecialTokens::AsText).unwrap()), [2, 9259, 1902]);
    let parsed = gemma.encode("<start_of_turn>user\n", SpecialTokens::Parsed).unwrap();
    assert_eq!(parsed, [105, 2364, 107]);
}
