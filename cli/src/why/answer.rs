//! An answer of `heddle why`: in sentences, and the numbers in them.
use super::runners_up::Instead;
use serde::Serialize;

/// What was decided about something, and what else there was.
#[derive(Default, Serialize)]
pub(super) struct Answer {
    pub(super) about: String,
    /// What was decided.
    pub(super) decision: String,
    /// What it costs by itself, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cost_ns: Option<u64>,
    /// What bounds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limit: Option<String>,
    /// What is predicted of the whole plan, beside what of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) measure: Option<String>,
    /// What the plan takes by that measure, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) whole_ns: Option<u64>,
    /// What else there was, the best first.
    pub(super) instead: Vec<Instead>,
    /// Why there is nothing else, or nobody can say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) no_alternative: Option<String>,
}

impl Answer {
    pub(super) fn sentences(&self) -> String {
        let mut text = self.decision.clone();
        if let Some(ns) = self.cost_ns {
            let bound = self.limit.as_ref().map_or(String::new(), |limit| format!(", bound by {limit}"));
            text += &format!(".\n  It is predicted to take {}{bound}", time(ns));
        }
        text += ".\n";
        if let (Some(measure), Some(ns)) = (&self.measure, self.whole_ns) {
            text += &format!("  By the whole plan, {measure} takes {}.\n", time(ns));
        }
        let own = self.whole_ns.or(self.cost_ns);
        self.instead.iter().for_each(|other| text += &format!("  Instead, {}.\n", other.clause(own)));
        self.no_alternative.iter().for_each(|reason| text += &format!("  No alternative: {reason}.\n"));
        text
    }
}

impl Instead {
    /// What it would take beside the `own` nanoseconds of what was decided, and what makes the difference.
    fn clause(&self, own: Option<u64>) -> String {
        let what = &self.what;
        let Some(other) = self.predicted_ns else {
            return format!("{what} cannot be: {}", self.reason.lines().next().unwrap_or_default());
        };
        let ratio = own.map_or(String::new(), |own| format!(", {}", ratio(other as f64 / own.max(1) as f64)));
        let differs = self.differs();
        let differs = if differs.is_empty() { differs } else { format!(": {differs}") };
        format!("{what} would take {}{ratio}{differs}", time(other))
    }

    /// `2 more messages, 64 fewer bytes between devices`.
    fn differs(&self) -> String {
        let said = |by: Option<i64>, what: &str| {
            let by = by.filter(|by| *by != 0)?;
            let (many, more) = (by.unsigned_abs(), if by > 0 { "more" } else { "fewer" });
            let plural = if many == 1 { "" } else { "s" };
            Some(format!("{many} {more} {what}{plural}"))
        };
        let parts = [said(self.more_messages, "message"), said(self.more_bytes, "byte")];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { String::new() } else { parts.join(", ") + " between devices" }
    }
}

/// `1.47 times as long`, or what little it is more or less.
fn ratio(ratio: f64) -> String {
    let percent = (ratio - 1.0) * 100.0;
    match percent {
        ..-10.0 | 10.0.. => format!("{ratio:.2} times as long"),
        0.005.. => format!("{percent:.2} % longer"),
        ..-0.005 => format!("{:.2} % shorter", -percent),
        _ => "as long".to_owned(),
    }
}

/// Devices in order, of many the first and the last.
pub(super) fn devices(names: &[&str]) -> String {
    match names {
        [first, .., last] if names.len() > NAMED => format!("{first} to {last}"),
        _ => names.join(", "),
    }
}

/// Of more devices than these not all are named.
pub(super) const NAMED: usize = 4;

fn time(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}
