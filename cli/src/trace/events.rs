//! The trace-event format that Perfetto and chrome://tracing read: stretches of time in rows, and arrows between them.
//!
//! Its times are microseconds; three digits behind the point keep a nanosecond one. An arrow begins within the stretch
//! that a message leaves from, and ends within the one that it comes to, no earlier.
use serde::Serialize;
use serde_json::{Value, json};
use std::io::{self, Write};

/// Rows that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Measured = 1,
    Predicted = 2,
}

/// From when to when, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) begin_ns: u64,
    pub(super) end_ns: u64,
}

/// Where a message leaves or arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MessageEnd {
    pub(super) row: usize,
    pub(super) at: Stretch,
}

impl Stretch {
    pub(super) fn ns(self) -> u64 {
        self.end_ns.saturating_sub(self.begin_ns)
    }

    /// How long it is, in microseconds.
    pub(super) fn us(self) -> f64 {
        us(self.ns())
    }
}

fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

#[derive(Serialize)]
struct Event<'a> {
    ph: &'static str,
    pid: u32,
    tid: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cat: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bp: Option<&'static str>,
    #[serde(skip_serializing_if = "Value::is_null")]
    args: Value,
}

/// Writes a trace, an event a line.
pub(super) struct Writer<W: Write> {
    out: W,
    events: u64,
    arrows: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a trace with what is to be known of all of it.
    pub(super) fn begin(mut out: W, about: &impl Serialize) -> io::Result<Writer<W>> {
        write!(
            out,
            "{{\"displayTimeUnit\":\"ns\",\"otherData\":{},\n\"traceEvents\":[",
            serde_json::to_string(about)?
        )?;
        Ok(Writer { out, events: 0, arrows: 0 })
    }

    /// A group's name, and a label beside it.
    pub(super) fn group(&mut self, group: Group, name: &str, label: &str) -> io::Result<()> {
        self.metadata(group, 0, "process_name", json!({ "name": name }))?;
        self.metadata(group, 0, "process_labels", json!({ "labels": label }))?;
        self.metadata(group, 0, "process_sort_index", json!({ "sort_index": group as u32 }))
    }

    /// A row's name; rows stand in the order of their numbers.
    pub(super) fn row(&mut self, group: Group, row: usize, name: &str) -> io::Result<()> {
        self.metadata(group, row, "thread_name", json!({ "name": name }))?;
        self.metadata(group, row, "thread_sort_index", json!({ "sort_index": row }))
    }

    /// What happened in a row. What contains other stretches is to be written before them.
    pub(super) fn stretch(
        &mut self,
        (group, row): (Group, usize),
        at: Stretch,
        (name, cat): (&str, &'static str),
        args: Value,
    ) -> io::Result<()> {
        let (ts, dur) = (Some(us(at.begin_ns)), Some(at.us()));
        self.event(&Event { ts, dur, cat: Some(cat), args, ..Event::new("X", group, row, name) })
    }

    /// A message.
    pub(super) fn arrow(
        &mut self,
        group: Group,
        name: &str,
        from: MessageEnd,
        to: MessageEnd,
    ) -> io::Result<()> {
        let last = to.at.end_ns.saturating_sub(1).max(to.at.begin_ns);
        let lag = (from.at.ns() / 2).min(last.saturating_sub(from.at.begin_ns) / 2);
        let left = from.at.begin_ns + lag;
        self.arrows += 1;
        let (cat, id) = (Some("message"), Some(self.arrows));
        let begin = Event::new("s", group, from.row, name);
        self.event(&Event { ts: Some(us(left)), cat, id, ..begin })?;
        // Of the stretch around it, not of the next one.
        let end = Event::new("f", group, to.row, name);
        self.event(&Event { ts: Some(us(last.max(left))), cat, id, bp: Some("e"), ..end })
    }

    /// Ends the trace.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.out.write_all(b"\n]}\n")?;
        self.out.flush()
    }

    fn metadata(&mut self, group: Group, row: usize, name: &str, args: Value) -> io::Result<()> {
        self.event(&Event { args, ..Event::new("M", group, row, name) })
    }

    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        self.out.write_all(if self.events == 0 { b"\n" } else { b",\n" })?;
        self.events += 1;
        Ok(serde_json::to_writer(&mut self.out, event)?)
    }
}

impl<'a> Event<'a> {
    fn new(ph: &'static str, group: Group, row: usize, name: &'a str) -> Event<'a> {
        let (pid, tid, args) = (group as u32, row, Value::Null);
        Event { ph, pid, tid, ts: None, dur: None, name, cat: None, id: None, bp: None, args }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(write: impl FnOnce(&mut Writer<&mut Vec<u8>>)) -> Vec<Value> {
        let mut text = vec![];
        let mut trace = Writer::begin(&mut text, &json!({ "plan": "p" })).unwrap();
        write(&mut trace);
        trace.finish().unwrap();
        let all: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((&all["otherData"]["plan"], &all["displayTimeUnit"]), (&json!("p"), &json!("ns")));
        all["traceEvents"].as_array().unwrap().clone()
    }

    #[test]
    fn a_stretch_is_a_complete_event_in_microseconds() {
        let at = Stretch { begin_ns: 1_234_567, end_ns: 1_234_568 };
        let found =
            events(|t| t.stretch((Group::Predicted, 3), at, ("a", "kernel"), json!({ "k": 1 })).unwrap());
        let expected = json!({
            "ph": "X", "pid": 2, "tid": 3, "ts": 1234.567, "dur": 0.001, "name": "a", "cat": "kernel",
            "args": { "k": 1 }
        });
        assert_eq!(found, [expected]);
        assert!(events(|_| ()).is_empty());
    }

    #[test]
    fn an_arrow_lies_within_both_stretches_and_never_goes_back() {
        let end = |row, begin_ns, end_ns| MessageEnd { row, at: Stretch { begin_ns, end_ns } };
        // The reader waits long before; has the message before the writer's stretch is over; comes later.
        let cases = [
            (end(1, 500, 600), end(2, 0, 700)),
            (end(1, 500, 600), end(2, 540, 551)),
            (end(1, 5, 6), end(0, 90, 95)),
        ];
        for (from, to) in cases {
            let found = events(|t| t.arrow(Group::Measured, "x", from, to).unwrap());
            let [s, f] = &found[..] else { panic!("{found:?}") };
            let ns = |event: &Value| (event["ts"].as_f64().unwrap() * 1e3).round() as u64;
            assert_eq!((&s["ph"], &f["ph"], &f["bp"]), (&json!("s"), &json!("f"), &json!("e")));
            assert_eq!((&s["id"], &s["cat"], &s["name"]), (&f["id"], &f["cat"], &f["name"]));
            assert!((from.at.begin_ns..from.at.end_ns).contains(&ns(s)), "{s}");
            assert!((to.at.begin_ns..to.at.end_ns).contains(&ns(f)), "{f}");
            assert!(ns(s) <= ns(f), "{s} {f}");
        }
    }
}
