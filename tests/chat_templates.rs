//! Chat templates of published models render as transformers renders them.
use compiler::chat::{ChatError, ChatTemplate, Conversation, DateTime, message};
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

/// What a template gathers in.
const NS: &str = "{% set ns = namespace(x='x', y=[]) %}";

/// Why a template is refused.
fn absurd(source: &str) -> ChatError {
    let messages = [message("user", "Hi"), message("assistant", "Hello")];
    let conversation = Conversation {
        messages: &messages,
        tools: None,
        add_generation_prompt: true,
        bos: "<s>",
        eos: "</s>",
        now: DateTime::new(2026, 1, 2, 3, 4, 5),
    };
    let rendered = ChatTemplate::new(source).and_then(|template| template.render(&conversation));
    rendered.map(|text| text.len()).expect_err("an error")
}

/// `body`, over and over.
fn again(body: &str) -> String {
    format!("{NS}{{% for i in range(100000) %}}{body}{{% endfor %}}")
}

#[test]
fn a_template_that_never_ends_is_stopped() {
    let many = "{% for i in range(100000) %}";
    let endless = format!("{many}{many}{{% endfor %}}{{% endfor %}}");
    assert!(matches!(absurd(&endless), ChatError::Endless(_)));
    let recursive = "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}";
    assert!(matches!(absurd(recursive), ChatError::Failed(_)));
    assert!(matches!(absurd("{% include 'chat' %}"), ChatError::Failed(_)));
    assert!(matches!(absurd(&again("{{ 'x' * 100000 }}")), ChatError::TooLong));
    assert!(matches!(absurd("{{ range(10**9) | join }}"), ChatError::Failed(_)));
}

#[test]
fn a_template_that_nests_deep_is_refused_or_rendered() {
    for (part, rest) in [("(", ")"), ("[", "]"), ("{% if true %}", "{% endif %}")] {
        let n = 60_000 / (part.len() + rest.len());
        let source = format!("{{{{ {}1{} }}}}", part.repeat(n), rest.repeat(n));
        assert!(matches!(absurd(&source), ChatError::Template(_)), "{part}");
    }
    // Of these, each as much as a template's length allows.
    for part in ["-", "not ", "x.", "1 ~ ", "1 ** ", "1 and ", "1 if 1 else ", "x|d ~ ", "x() or "] {
        let n = 60_000 / part.len();
        let source = format!("{{{{ {}1 }}}}{{{{ raise_exception('it went through') }}}}", part.repeat(n));
        let error = absurd(&source);
        assert!(!matches!(error, ChatError::NoThread(_)), "{part}: {error}");
    }
    let long = format!("{{{{ {}1 }}}}", "-".repeat(100_000));
    assert!(matches!(absurd(&long), ChatError::LongSource(100_007)));
}

#[test]
fn values_that_nest_deep_are_walked_or_refused() {
    for build in [
        "{% set ns.x = [ns.x] %}",
        "{% set ns.x = {'x': ns.x} %}",
        "{% set ns.x = (ns.x,) %}",
        "{% set ns.x = namespace(x=ns.x) %}",
        "{% set ns.x = [ns.x] * 1 %}",
        "{% set ns.x = ({1:ns.x}) | chain({}) %}",
        "{% set ns.x = [ns.x] | zip([1]) %}",
        "{% set ns.y = ns.y | chain([i]) %}",
        "{% set ns.y = (ns.y * 1)[:100] %}",
    ] {
        for walk in ["{{ ns.x ~ '' }}", "{{ ns.x == ns.y }}", "{% set z = ns.y | list %}"] {
            // As deep as memory allows, and less deep.
            for n in [100_000, 10_000] {
                let source = format!(
                    "{NS}{{% for i in range({n}) %}}{build}{{% endfor %}}{walk}{{{{ raise_exception('it went through') }}}}"
                );
                let error = absurd(&source);
                assert!(!matches!(error, ChatError::NoThread(_)), "{build}: {error}");
            }
        }
    }
}

#[test]
fn a_template_that_grows_without_end_is_refused() {
    for grow in [
        "{% set ns.x = ns.x ~ ns.x %}",
        "{% set ns.x = ns.x + ns.x %}",
        "{% set ns.x = ns.x | replace('', ns.x) %}",
        "{% set ns.x = ns.x.replace('x', ns.x ~ 'x') %}",
        "{% set ns.x = [ns.x, ns.x] | join(ns.x) %}",
        "{% set ns.x = (ns.x | indent(100, true)) ~ '\\n' ~ ns.x %}",
        "{% set ns.x = '%s%s' | format(ns.x, ns.x) %}",
        "{% set ns.x = '{}{}'.format(ns.x, ns.x) %}",
        "{% set x %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = x %}",
        "{% set ns.x = [ns.x, ns.x] | tojson %}",
        "{% set ns.x = [ns.x, ns.x] | string %}",
        "{% set ns.y = ns.y + ['x' * 10000 ~ i] %}",
        "{% set ns.y = (ns.y + [1]) * 2 %}{% set ns.y = ns.y | list %}",
        "{% set ns.x = ns.x ~ ns.y %}{% set ns.y = [ns.x, ns.x] %}",
    ] {
        let error = absurd(&again(grow));
        assert!(matches!(error, ChatError::Memory), "{grow}: {error}");
    }
    for at_once in [
        "'x' * 99999999",
        "([0] * 99999999) | list",
        "'%99999999d' | format(1)",
        "'x' | indent(10**9, true)",
        "range(100000) | join('x' * 10000)",
    ] {
        let error = absurd(&format!("{{% set x = {at_once} %}}"));
        assert!(matches!(error, ChatError::Memory), "{at_once}: {error}");
    }
}
