//! Chat templates: from a conversation to the text that a model expects, as transformers renders it.
//!
//! Templates are programs of strangers. They have no access to anything but the conversation, are read and
//! run with budgets of instructions, output, memory and time, and end in an error where they go beyond.
mod clock;
mod confine;
mod functions;
mod print;

pub use clock::DateTime;

use confine::{Stopped, confined};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value};
use std::error::Error as _;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Four times as long as the longest that we know of. What a template's text can nest is bounded by this.
const SOURCE_BYTES_MAX: usize = 64 << 10;
/// Instructions for a template itself and for each message: the longest that we know of take a tenth.
const FUEL: u64 = 1 << 20;
const FUEL_PER_MESSAGE: u64 = 1 << 14;
/// For instructions that take their time.
const TIME_MAX: Duration = Duration::from_secs(10);
/// More text than a context of a million tokens holds.
const OUTPUT_BYTES_MAX: usize = 4 << 20;
/// Nesting of macros, blocks and loops; templates that list a tool's parameters reach some ten.
const DEPTH_MAX: usize = 64;

/// Why a conversation has no text.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    #[error("the chat template is ill-formed: {0}")]
    Template(String),
    /// The template's own words.
    #[error("the chat template refuses the conversation: {0}")]
    Refused(String),
    #[error("the chat template fails: {0}")]
    Failed(String),
    #[error("the chat template ran {0} instructions without coming to an end")]
    Endless(u64),
    #[error("the chat template writes more than {OUTPUT_BYTES_MAX} bytes")]
    TooLong,
    #[error("the chat template is {0} bytes long, expected at most {SOURCE_BYTES_MAX}")]
    LongSource(usize),
    #[error("the chat template needs more than {} bytes of memory", confine::BYTES_MAX)]
    Memory,
    #[error("the chat template ran for {} seconds without coming to an end", TIME_MAX.as_secs())]
    Slow,
    #[error("the chat template went beyond its memory or time before, and is not asked again")]
    StoppedBefore,
    #[error("the chat template got no thread to run on: {0}")]
    NoThread(String),
}

/// What a template renders.
#[derive(Clone, Debug)]
pub struct Conversation<'a> {
    /// Objects with a `role` and a `content`, and whatever else a template looks at.
    pub messages: &'a [serde_json::Value],
    /// Descriptions of functions that the model may call.
    pub tools: Option<&'a [serde_json::Value]>,
    /// Whether the text ends with the beginning of the assistant's turn.
    pub add_generation_prompt: bool,
    /// The text of the token that begins a text, and of the one that ends it.
    pub bos: &'a str,
    pub eos: &'a str,
    /// What a template that asks for the date is told.
    pub now: DateTime,
}

/// A message of one role, as plain text.
pub fn message(role: &str, content: &str) -> serde_json::Value {
    serde_json::json!({"role": role, "content": content})
}

impl From<Stopped> for ChatError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Memory => Self::Memory,
            Stopped::Time => Self::Slow,
            Stopped::Panic => Self::Failed("it made its interpreter panic".into()),
            Stopped::NoThread(error) => Self::NoThread(error.to_string()),
        }
    }
}

/// A chat template, ready to render.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// Whether it went beyond its memory or time.
    is_stopped: AtomicBool,
}

const NAME: &str = "chat";

impl ChatTemplate {
    /// Compiles a template as it stands in a model's files.
    pub fn new(source: &str) -> Result<Self, ChatError> {
        if source.len() > SOURCE_BYTES_MAX {
            return Err(ChatError::LongSource(source.len()));
        }
        let source = translated(source);
        let environment = confined(TIME_MAX, move || compiled(source))?.map_err(ChatError::Template)?;
        Ok(Self { environment, is_stopped: AtomicBool::new(false) })
    }

    /// The text of a conversation.
    pub fn render(&self, conversation: &Conversation<'_>) -> Result<String, ChatError> {
        let mut environment = self.environment.clone();
        let fuel = FUEL + FUEL_PER_MESSAGE * conversation.messages.len() as u64;
        environment.set_fuel(Some(fuel));
        functions::add_clock(&mut environment, conversation.now);
        let list = |values: &[serde_json::Value]| values.iter().map(value).collect::<Value>();
        let context = minijinja::context! {
            messages => list(conversation.messages),
            tools => conversation.tools.map_or(Value::from(()), list),
            documents => Value::from(()),
            add_generation_prompt => conversation.add_generation_prompt,
            bos_token => conversation.bos,
            eos_token => conversation.eos,
        };
        // A thread that is stopped keeps its memory: one is enough.
        if self.is_stopped.load(Ordering::Relaxed) {
            return Err(ChatError::StoppedBefore);
        }
        confined(TIME_MAX, move || rendered(&environment, context, fuel)).unwrap_or_else(|stopped| {
            self.is_stopped.store(true, Ordering::Relaxed);
            Err(stopped.into())
        })
    }
}

/// An interpreter that knows the template.
fn compiled(source: String) -> Result<Environment<'static>, String> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(|error| error.to_string())?);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_recursion_limit(DEPTH_MAX);
    environment.set_formatter(print::format);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    functions::add(&mut environment);
    environment.add_template_owned(NAME, source).map_err(|error| error.to_string())?;
    Ok(environment)
}

fn rendered(environment: &Environment<'_>, context: Value, fuel: u64) -> Result<String, ChatError> {
    let mut output = Bounded(Vec::new());
    let template = environment.get_template(NAME).map_err(|error| ChatError::Template(error.to_string()))?;
    match template.render_captured_to(context, &mut output) {
        Ok(_) => String::from_utf8(output.0).map_err(|error| ChatError::Failed(error.to_string())),
        Err(error) => Err(match error.kind() {
            ErrorKind::OutOfFuel => ChatError::Endless(fuel),
            ErrorKind::WriteFailure => ChatError::TooLong,
            _ => match refusal(&error) {
                Some(words) => ChatError::Refused(words.into()),
                None => ChatError::Failed(error.to_string()),
            },
        }),
    }
}

/// What the template itself raised, wherever in the chain of causes.
fn refusal(error: &minijinja::Error) -> Option<&str> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(refusal) = error.downcast_ref::<functions::Refusal>() {
            return Some(&refusal.0);
        }
        cause = error.source();
    }
    None
}

/// A conversation's data as templates see it; objects keep the order of their keys.
fn value(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::from(()),
        Json::Bool(v) => Value::from(*v),
        Json::Number(v) => match (v.as_i64(), v.as_u64()) {
            (Some(v), _) => Value::from(v),
            (None, Some(v)) => Value::from(v),
            (None, None) => Value::from(v.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(v) => Value::from(v.as_str()),
        Json::Array(v) => v.iter().map(value).collect(),
        Json::Object(v) => Value::from_pairs(v.iter().map(|(key, v)| (key.as_str(), value(v)))),
    }
}

/// The template in minijinja's dialect. transformers' `generation` tags, which mark what the assistant says
/// for training, become conditions that hold: they keep their scope and their trimming of blanks. A loop over
/// tools that nobody gave becomes the error that it is in Python.
fn translated(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(end) = rest[start..].find("%}").map(|len| start + len) else { break };
        let tag = &rest[start + 2..end];
        let words = tag.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        let translation = match words {
            "generation" => Some("if true".to_owned()),
            "endgeneration" => Some("endif".to_owned()),
            _ if words.starts_with("for ") && words.ends_with(" in tools") => {
                Some(format!("{words} | {}", functions::GIVEN))
            }
            _ => None,
        };
        out.push_str(&rest[..start + 2]);
        match translation {
            Some(translation) => out.push_str(&tag.replace(words, &format!(" {translation} "))),
            None => out.push_str(tag),
        }
        rest = &rest[end..];
    }
    out + rest
}

/// Collects output up to a limit.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str) -> Result<String, ChatError> {
        let messages = [message("user", "Hi"), message("assistant", "Hello")];
        ChatTemplate::new(source)?.render(&Conversation {
            messages: &messages,
            tools: None,
            add_generation_prompt: true,
            bos: "<s>",
            eos: "</s>",
            now: DateTime::new(2026, 1, 2, 3, 4, 5),
        })
    }

    #[test]
    fn a_template_sees_the_conversation() {
        let source = "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}|{{ m.content }}]{% endfor %}
{%- if add_generation_prompt and tools is none %}[assistant|{{ eos_token }}{% endif %}";
        assert_eq!(render(source).unwrap(), "<s>[user|Hi][assistant|Hello][assistant|</s>");
    }

    #[test]
    fn generation_tags_leave_what_they_enclose() {
        let source =
            "a{% generation %}b{% endgeneration %}c  {%- generation -%}  d  {%- endgeneration -%}  e";
        assert_eq!(render(source).unwrap(), "abcde");
    }

    #[test]
    fn nothing_is_nothing_as_in_python() {
        let source = "{{ tools == none }} {{ tools is iterable }} {{ [none, true, 'a'] }} {{ missing }}";
        assert_eq!(render(source).unwrap(), "True False [None, True, 'a'] ");
        let error = render("{% for tool in tools %}{% endfor %}").unwrap_err();
        assert!(error.to_string().contains("none is not iterable"), "{error}");
    }

    #[test]
    fn json_is_written_as_python_writes_it() {
        let source = r#"{{ {"a": [1, 2.5, "é\n"], "b": {}} | tojson }} {{ [1] | tojson(indent=2) }} {{ ["é😀"] | tojson(ensure_ascii=true) }} {{ {"b": 1, "a": 2} | tojson(separators=(",", ":"), sort_keys=true) }}"#;
        let expected = r#"{"a": [1, 2.5, "é\n"], "b": {}} [
  1
] ["\u00e9\ud83d\ude00"] {"a":2,"b":1}"#;
        assert_eq!(render(source).unwrap(), expected);
    }

    #[test]
    fn what_a_template_raises_is_told_in_its_words() {
        let error = render("{{ raise_exception('system role not supported') }}").unwrap_err();
        assert!(
            matches!(&error, ChatError::Refused(words) if words == "system role not supported"),
            "{error}"
        );
        let error = render("{% if x %}").unwrap_err();
        assert!(matches!(error, ChatError::Template(_)), "{error}");
        let error = render("{{ messages.x.y }}").unwrap_err();
        assert!(matches!(error, ChatError::Failed(_)), "{error}");
    }
}
