//! What `heddle` answers, as far as the viewer shows it.
use super::HeddleError;
use super::job::Ended;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What was decided about something: an answer of `heddle why --json`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Why {
    /// What the answer is about.
    pub about: String,
    /// What was decided, as a sentence without its full stop.
    pub decision: String,
    /// What it costs by itself, in nanoseconds.
    pub cost_ns: Option<u64>,
    /// What bounds it.
    pub limit: Option<String>,
    /// What is predicted of the whole plan, beside what of others.
    pub measure: Option<String>,
    /// What the plan takes by that measure, in nanoseconds.
    pub whole_ns: Option<u64>,
    /// What else there was, the best first.
    pub instead: Vec<Instead>,
    /// Why there is nothing else, or nobody can say.
    pub no_alternative: Option<String>,
}

/// What was not taken.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Instead {
    /// What it is.
    pub what: String,
    /// What it would have taken, in nanoseconds; none where it cannot be.
    pub predicted_ns: Option<u64>,
    /// Why it cannot be; empty where it can.
    #[serde(default)]
    pub reason: String,
}

/// Whether something that a person wants can be, and what it costs.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It can be.
    Sound(Box<Change>),
    /// It cannot.
    Refused {
        /// Why, in the words of `heddle`.
        reason: String,
    },
}

/// How two plans differ: an answer of `heddle edit --json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Change {
    /// Whether they are the same.
    pub is_equal: bool,
    /// What runs elsewhere.
    pub moved: Vec<Moved>,
    /// Which weights are in another format.
    pub formats: Vec<Reformatted>,
    /// Tokens of the prompt that times are about.
    pub prompt_tokens: u32,
    /// What the first takes.
    pub before: Costs,
    /// What the second takes.
    pub after: Costs,
    /// Why no times are predicted.
    pub untimed: Option<String>,
}

/// Nodes that run on other devices than before.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Moved {
    /// Where they ran; nowhere where only the second plan has them.
    pub from: Vec<String>,
    /// Where they run; nowhere where only the first plan has them.
    pub to: Vec<String>,
    /// Which, as patterns of hints.
    pub nodes: Vec<String>,
    /// How many.
    pub count: usize,
}

/// Weights that are in another format than before.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Reformatted {
    /// The format that they were in.
    pub from: String,
    /// The format that they are in.
    pub to: String,
    /// Which, as patterns of hints.
    pub weights: Vec<String>,
    /// How many.
    pub count: usize,
    /// Bytes that they took on all devices together.
    pub before_bytes: u64,
    /// Bytes that they take.
    pub after_bytes: u64,
}

/// What a plan takes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Costs {
    /// Milliseconds of a whole prompt, where that is predicted.
    pub prefill_ms: Option<f64>,
    /// Milliseconds of a token behind it.
    pub decode_ms: Option<f64>,
    /// Bytes that cross edges between devices for a token.
    pub edge_bytes: u64,
    /// By device, in the order of the plan's.
    pub devices: Vec<DeviceBytes>,
}

/// The most that a device takes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct DeviceBytes {
    /// The device.
    pub name: String,
    /// Bytes, in the phase that takes most.
    pub peak_bytes: u64,
}

/// The one line of JSON that was answered. That it ended with 1 besides says that something was found, not that there
/// is no answer.
pub(super) fn json<T: DeserializeOwned>(command: &str, ended: &Ended) -> Result<T, HeddleError> {
    if ended.out.trim_ascii().is_empty() || !matches!(ended.status.code(), Some(0 | 1)) {
        return Err(refused(command, ended));
    }
    let answer = |reason: String| HeddleError::Answer { command: command.to_owned(), reason };
    if ended.is_cut {
        return Err(answer(format!("it has more than {} bytes", ended.out.len())));
    }
    serde_json::from_slice(&ended.out).map_err(|error| answer(error.to_string()))
}

/// The text that was answered.
pub(super) fn text(command: &str, ended: &Ended) -> Result<String, HeddleError> {
    match ended.status.success() {
        true => Ok(String::from_utf8_lossy(&ended.out).into_owned()),
        false => Err(refused(command, ended)),
    }
}

/// What was said instead of an answer: from the last `error:` on, for what stands before is only of interest to who
/// waits.
fn refused(command: &str, ended: &Ended) -> HeddleError {
    let err = String::from_utf8_lossy(&ended.err);
    let said = err.rsplit_once("error: ").map_or(&*err, |(_, said)| said).trim();
    match said.is_empty() {
        false => HeddleError::Refused { said: said.to_owned() },
        true => HeddleError::Ended { command: command.to_owned(), status: ended.status.to_string() },
    }
}
