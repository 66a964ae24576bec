//! Chat templates of published models render as transformers renders them.
use compiler::chat::{ChatError, ChatTemplate, Conversation, DateTime};
use serde_json::Value;
use std::path::Path;

fn reference() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/chat_templates/renders.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn render(template: &str, case: &Value) -> Result<String, ChatError> {
    ChatTemplate::new(template)?.render(&Conversation {
        messages: case["messages"].as_array().unwrap(),
        tools: case["tools"].as_array().map(Vec::as_slice),
        add_generation_prompt: case["add_generation_prompt"].as_bool().unwrap_or(true),
        bos: "<s>",
        eos: "</s>",
        now: DateTime::new(2026, 1, 2, 3, 4, 5),
    })
}

#[test]
fn every_template_renders_every_conversation_as_transformers_does() {
    let reference = reference();
    let (mut right, mut wrong) = (0, Vec::new());
    for template in reference["templates"].as_array().unwrap() {
        for (case, expected) in template["renders"].as_object().unwrap() {
            let found = render(template["template"].as_str().unwrap(), &reference["cases"][case]);
            // Where transformers raises, so do we, in words of our own.
            if found.as_ref().ok().map(String::as_str) == expected.as_str() {
                right += 1;
            } else {
                wrong.push(format!(
                    "{} {case}\n found    {found:?}\n expected {expected:?}",
                    template["name"]
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), wrong.len() + right, wrong.join("\n"));
    assert_eq!(right, 36 * 7);
}
