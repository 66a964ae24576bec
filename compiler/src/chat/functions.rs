//! What transformers gives to templates beyond Jinja: exceptions, the date, and JSON as Python writes it.
use super::clock::DateTime;
use super::print::{self, Layout};
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};
use std::fmt;

/// What a template says when it refuses a conversation.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

/// The filter that refuses to loop over none, as Python does and minijinja does not.
pub(super) const GIVEN: &str = "given";

fn given(value: &Value) -> Result<Value, Error> {
    if value.is_none() {
        return Err(Error::new(ErrorKind::InvalidOperation, "none is not iterable"));
    }
    Ok(value.clone())
}

/// minijinja holds none for iterable, Python does not.
fn is_iterable(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable | ValueKind::String)
}

pub(super) fn add(environment: &mut Environment<'_>) {
    environment.add_function("raise_exception", raise_exception);
    environment.add_filter("tojson", to_json);
    environment.add_filter(GIVEN, given);
    environment.add_test("iterable", is_iterable);
    environment.add_filter("string", |value: &Value| print::text(value));
}

/// The date as `now`, for templates that ask.
pub(super) fn add_clock(environment: &mut Environment<'_>, now: DateTime) {
    environment.add_function("strftime_now", move |format: &str| {
        let unknown = || Error::new(ErrorKind::InvalidOperation, format!("unknown date format {format:?}"));
        now.format(format).ok_or_else(unknown)
    });
}

fn raise_exception(words: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "raised by the template").with_source(Refusal(words)))
}

/// Python's `json.dumps` with the arguments that transformers passes on.
fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let ensure_ascii: Option<bool> = options.get("ensure_ascii")?;
    let indent: Option<Value> = options.get("indent")?;
    let separators: Option<Value> = options.get("separators")?;
    let sort_keys: Option<bool> = options.get("sort_keys")?;
    options.assert_all_used()?;
    let indent = match indent.filter(|indent| !indent.is_none()) {
        None => None,
        Some(indent) => match (indent.as_str(), indent.as_usize()) {
            (Some(text), _) => Some(text.to_owned()),
            (None, Some(width)) if width <= INDENT_MAX => Some(" ".repeat(width)),
            _ => return Err(Error::new(ErrorKind::InvalidOperation, "indent is no width and no text")),
        },
    };
    let (mut between, mut colon) = (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned());
    if let Some(separators) = separators.filter(|separators| !separators.is_none()) {
        let mut parts = separators.try_iter()?.map(|part| part.as_str().map(str::to_owned));
        if let (Some(Some(first)), Some(Some(second))) = (parts.next(), parts.next()) {
            (between, colon) = (first, second);
        }
    }
    let layout = Layout {
        ensure_ascii: ensure_ascii.unwrap_or(false),
        sort_keys: sort_keys.unwrap_or(false),
        indent,
        between,
        colon,
    };
    print::json(value, &layout).map(Value::from)
}

/// Wider indents are absurd.
const INDENT_MAX: usize = 64;
