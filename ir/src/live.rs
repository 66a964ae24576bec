//! What a run tells those who watch it: lines of JSON over a stream, of which the first says of which plan they are,
//! each of the next how things are at one moment, and the last how the run ended.
//!
//! ```json
//! {"hello":{"version":1,"process":71,"plan_hash":"93d1…","plan":"(\n    version:…","bundle":null,"every_ms":100,"held_bytes":[174390000]}}
//! {"frame":{"number":0,"at_ms":100,"threads":[{"rounds":3,"step":17,"still_ms":0,"waits_at":null}],"edges":[…],…}}
//! {"end":{"finished":{}}}
//! ```
//!
//! [`Line::to_text`] writes a line, [`Lines`] reads a stream of them.
use crate::plan::{EdgeId, End, Plan, Thread};
use serde::{Deserialize, Serialize};

/// The version of the lines that this build writes and reads. Whatever changes in them changes it.
pub const VERSION: u32 = 1;
/// Bytes of a line at most; a plan of a hundred thousand steps has some ten millions.
pub const LINE_BYTES_MOST: usize = 64 << 20;
/// Milliseconds from one frame to the next.
pub const EVERY_MS: u32 = 100;
/// An edge is stalled when one end has waited for so many milliseconds, and the device at the other end, which waits
/// for nobody, has taken no step in this time.
pub const STALLED_MS: u64 = 1000;

/// A line of the stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Line {
    /// The first: what runs.
    Hello(Box<Hello>),
    /// How things are at one moment.
    Frame(Frame),
    /// The last: how the run ended. A stream that ends without it was cut off.
    End(Ending),
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// [`VERSION`].
    pub version: u32,
    /// The process that runs it, as its system numbers it.
    pub process: u32,
    /// The plan's hash.
    pub plan_hash: String,
    /// The plan's text.
    pub plan: String,
    /// The bundle's folder, absolute, where the graphs are; none where its path is no text.
    pub bundle: Option<String>,
    /// Milliseconds from one frame to the next.
    pub every_ms: u32,
    /// Bytes that each of the plan's threads has taken for its device: weights, caches, arena, scratch, slots.
    pub held_bytes: Vec<u64>,
}

/// How things are at one moment. What is in it is read one after the other, while the run goes on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    /// Counted from 0. A reader that is slow misses some.
    pub number: u64,
    /// Milliseconds since the first frame could have been.
    pub at_ms: u64,
    /// In the order of the plan's threads.
    pub threads: Vec<ThreadNow>,
    /// In the order of the plan's edges.
    pub edges: Vec<EdgeNow>,
    /// What was read and written.
    pub tokens: Tokens,
    /// Resident bytes of the process; none where the system does not say.
    pub resident_bytes: Option<u64>,
}

/// Where a device's thread is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThreadNow {
    /// Rounds through the plan's steps that it has finished, counted up to 2³².
    pub rounds: u64,
    /// The step that it is at: an index into the thread's steps.
    pub step: u32,
    /// For how many milliseconds it has been there, as far as frames tell.
    pub still_ms: u64,
    /// The edge that it waits at.
    pub waits_at: Option<EdgeId>,
}

/// What has passed over an edge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeNow {
    /// Messages sent.
    pub sent: u64,
    /// Messages received, and no longer in the queue.
    pub received: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// For how many nanoseconds the writer has waited for room in all, a wait that goes on included.
    pub writer_waited_ns: u64,
    /// The same of the reader, for messages.
    pub reader_waited_ns: u64,
    /// For how many nanoseconds the writer has been waiting, if it is.
    pub writer_waits_ns: Option<u64>,
    /// The same of the reader.
    pub reader_waits_ns: Option<u64>,
    /// Whether it is stalled: see [`STALLED_MS`].
    pub is_stalled: bool,
}

/// What was read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// Tokens of prompts that were read.
    pub read: u64,
    /// Tokens of answers.
    pub written: u64,
    /// Tokens of answers a second, lately.
    pub per_second: f64,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ending {
    /// It did what it was asked to.
    Finished {},
    /// Its user did not want to hear more.
    Interrupted {},
    /// It could not go on.
    Failed {
        /// Why.
        reason: String,
    },
}

impl EdgeNow {
    /// Messages that were sent and not received yet.
    pub fn queued(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }
}

impl Frame {
    /// Says of each edge whether it is stalled, by what the frame says of threads and waits. It must be of this plan.
    pub fn find_stalls(&mut self, plan: &Plan) {
        let Frame { threads, edges, .. } = self;
        let is_stuck = |end: End| {
            let at = plan.threads.iter().position(|thread| End::Device(thread.device) == end);
            let thread = at.and_then(|at| threads.get(at));
            thread.is_some_and(|thread| thread.waits_at.is_none() && thread.still_ms >= STALLED_MS)
        };
        let is_long = |wait: Option<u64>| wait.is_some_and(|ns| ns / 1_000_000 >= STALLED_MS);
        for (edge, now) in plan.edges.iter().zip(edges) {
            now.is_stalled = is_long(now.writer_waits_ns) && is_stuck(edge.to)
                || is_long(now.reader_waits_ns) && is_stuck(edge.from);
        }
    }

    /// Whether it has as many threads and edges as the plan, and the threads are at steps and edges that there are.
    pub fn is_of(&self, plan: &Plan) -> bool {
        let is_there = |(now, thread): (&ThreadNow, &Thread)| {
            (now.step as usize) < thread.steps.len().max(1)
                && now.waits_at.is_none_or(|id| (id.0 as usize) < plan.edges.len())
        };
        self.threads.len() == plan.threads.len()
            && self.edges.len() == plan.edges.len()
            && self.threads.iter().zip(&plan.threads).all(is_there)
    }
}

impl Line {
    /// The line as it is sent, with its end.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("lines are plain data, without maps") + "\n"
    }
}

/// Why a stream cannot be read further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LiveError {
    /// It is of another build.
    #[error("found a stream of version {found}, expected {VERSION}: both programs must be of one build")]
    Version {
        /// The version that it says.
        found: u32,
    },
    /// The first line is no greeting.
    #[error("line 1: found no greeting of a run, expected one: nobody who runs a plan is at the other end")]
    Stranger,
    /// A line is none of ours.
    #[error("line {line}: {message}")]
    Syntax {
        /// Which, from 1.
        line: u64,
        /// What is wrong.
        message: String,
    },
    /// A line is too long.
    #[error("line {line} has more than {LINE_BYTES_MOST} bytes")]
    TooLong {
        /// Which, from 1.
        line: u64,
    },
    /// Something is where nothing of its kind can be.
    #[error("line {line}: found {found}, expected {expected}")]
    Order {
        /// Which, from 1.
        line: u64,
        /// What stands there.
        found: &'static str,
        /// What could.
        expected: &'static str,
    },
}

/// Reads a stream from its bytes, in whatever pieces these come. After an error there is no more to be had of it.
#[derive(Default)]
pub struct Lines {
    /// Of a line whose end has not come.
    begun: Vec<u8>,
    read: u64,
    has_ended: bool,
}

impl Lines {
    /// Takes more bytes, and gives the lines that they end.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<Vec<Line>, LiveError> {
        let mut lines = vec![];
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.begin(&bytes[..end])?;
            bytes = &bytes[end + 1..];
            let text = std::mem::take(&mut self.begun);
            lines.push(self.line(&text)?);
        }
        self.begin(bytes)?;
        Ok(lines)
    }

    fn begin(&mut self, bytes: &[u8]) -> Result<(), LiveError> {
        if self.begun.len() + bytes.len() > LINE_BYTES_MOST {
            return Err(LiveError::TooLong { line: self.read + 1 });
        }
        self.begun.extend_from_slice(bytes);
        Ok(())
    }

    fn line(&mut self, text: &[u8]) -> Result<Line, LiveError> {
        self.read += 1;
        let line = self.read;
        if line == 1 {
            check_version(text)?;
        }
        let read: Line = serde_json::from_slice(text)
            .map_err(|error| LiveError::Syntax { line, message: error.to_string() })?;
        let order = |found, expected| Err(LiveError::Order { line, found, expected });
        match &read {
            _ if self.has_ended => return order("a line behind the last", "nothing"),
            Line::Hello(_) if line > 1 => return order("a greeting", "a frame or the end"),
            Line::End(_) => self.has_ended = true,
            Line::Hello(_) | Line::Frame(_) => {}
        }
        Ok(read)
    }
}

/// What every version begins with.
#[derive(Deserialize)]
struct Greeting {
    hello: Version,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

fn check_version(text: &[u8]) -> Result<(), LiveError> {
    match serde_json::from_slice(text) {
        Ok(Greeting { hello: Version { version: VERSION } }) => Ok(()),
        Ok(Greeting { hello: Version { version } }) => Err(LiveError::Version { found: version }),
        Err(_) => Err(LiveError::Stranger),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device that sends to another, which answers the host.
    fn plan() -> Plan {
        let text = include_str!("../../tests/golden/schedule/two_stages_share_a_tied_table.ir");
        Plan::from_text(text.split_once("====\n").expect("a golden file has a rule").1).expect("a plan")
    }

    fn hello() -> Line {
        Line::Hello(Box::new(Hello {
            version: VERSION,
            process: 7,
            plan_hash: "ab".into(),
            plan: "(\n \"é\u{2028}\"\n)".into(),
            bundle: Some("/tmp/a b.heddle".into()),
            every_ms: EVERY_MS,
            held_bytes: vec![1 << 40, 0],
        }))
    }

    fn frame() -> Frame {
        let edge =
            EdgeNow { sent: 3, received: 1, bytes: 96, writer_waits_ns: Some(5), ..EdgeNow::default() };
        Frame {
            number: 4,
            at_ms: 400,
            threads: vec![
                ThreadNow { rounds: 2, step: 1, ..Default::default() },
                ThreadNow { waits_at: Some(EdgeId(1)), ..Default::default() },
            ],
            edges: vec![edge.clone(), edge.clone(), edge],
            tokens: Tokens { read: 9, written: 2, per_second: 12.5 },
            resident_bytes: None,
        }
    }

    #[test]
    fn lines_are_read_as_they_were_written_in_whatever_pieces_they_come() {
        let sent = [
            hello(),
            Line::Frame(frame()),
            Line::Frame(Frame::default()),
            Line::End(Ending::Failed { reason: "a\nb".into() }),
        ];
        let text: String = sent.iter().map(Line::to_text).collect();
        assert_eq!(text.lines().count(), sent.len());
        for size in [1, 7, text.len()] {
            let mut lines = Lines::default();
            let read: Vec<Line> = text.as_bytes().chunks(size).flat_map(|b| lines.take(b).unwrap()).collect();
            assert_eq!(read, sent);
        }
        for ending in [Ending::Finished {}, Ending::Interrupted {}] {
            let text = hello().to_text() + &Line::End(ending.clone()).to_text();
            assert_eq!(Lines::default().take(text.as_bytes()).unwrap()[1], Line::End(ending));
        }
        assert_eq!(frame().edges[0].queued(), 2);
    }

    #[test]
    fn what_is_no_stream_of_this_version_is_refused() {
        let refused = |text: &str| Lines::default().take(text.as_bytes()).unwrap_err();
        let greeting = hello().to_text();
        let newer = "{\"hello\":{\"version\":2,\"whatever\":[]}}\n";
        assert_eq!(refused(newer), LiveError::Version { found: 2 });
        for strange in ["\n", "HTTP/1.1 400 Bad Request\r\n", "{\"frame\":{}}\n", "{\"hello\":3}\n"] {
            assert_eq!(refused(strange), LiveError::Stranger, "{strange}");
        }
        let more = greeting.replace("\"process\"", "\"more\":1,\"process\"");
        assert!(matches!(refused(&more), LiveError::Syntax { line: 1, .. }));
        let torn = greeting.clone() + "{\"frame\":{\"number\":1}}\n";
        assert!(matches!(refused(&torn), LiveError::Syntax { line: 2, .. }));
        assert!(matches!(refused(&greeting.repeat(2)), LiveError::Order { line: 2, .. }));
        let end = Line::End(Ending::Finished {}).to_text();
        assert!(matches!(refused(&(greeting + &end + &end)), LiveError::Order { line: 3, .. }));
    }

    #[test]
    fn a_line_that_does_not_end_is_given_up() {
        let mut lines = Lines::default();
        let piece = vec![b' '; LINE_BYTES_MOST / 4];
        (0..4).for_each(|_| assert_eq!(lines.take(&piece), Ok(vec![])));
        assert_eq!(lines.take(b" \n"), Err(LiveError::TooLong { line: 1 }));
    }

    #[test]
    fn the_edge_is_stalled_at_which_somebody_waits_for_who_takes_no_step() {
        let plan = plan();
        let stalls = |still: [u64; 2], waits_at: [Option<u32>; 2], reader_waits_ms: [Option<u64>; 3]| {
            let thread = |at: usize| ThreadNow {
                still_ms: still[at],
                waits_at: waits_at[at].map(EdgeId),
                ..ThreadNow::default()
            };
            let edge = |ms: Option<u64>| EdgeNow {
                reader_waits_ns: ms.map(|ms| ms * 1_000_000),
                ..EdgeNow::default()
            };
            let edges = reader_waits_ms.map(edge).to_vec();
            let mut frame = Frame { threads: vec![thread(0), thread(1)], edges, ..Frame::default() };
            assert!(frame.is_of(&plan));
            frame.find_stalls(&plan);
            frame.edges.iter().map(|edge| edge.is_stalled).collect::<Vec<_>>()
        };
        let (long, short) = (STALLED_MS, STALLED_MS - 1);
        // The first device hangs: the second waits for it, and the host for the second.
        let waits = [None, Some(long), Some(long)];
        assert_eq!(stalls([long, long], [None, Some(1)], waits), [false, true, false]);
        assert_eq!(stalls([short, long], [None, Some(1)], waits), [false; 3]);
        assert_eq!(stalls([long, long], [None, Some(1)], [None, Some(short), Some(long)]), [false; 3]);
        // Both wait for the host, which has nothing to say.
        assert_eq!(stalls([long, long], [Some(0), Some(1)], [Some(long), Some(long), None]), [false; 3]);
        let mut writer = frame();
        (writer.threads[1], writer.edges[1].writer_waits_ns) =
            (ThreadNow { still_ms: long, ..Default::default() }, Some(long * 1_000_000));
        writer.find_stalls(&plan);
        assert!(writer.edges[1].is_stalled && !writer.edges[0].is_stalled);
        assert!(!Frame::default().is_of(&plan) && writer.is_of(&plan));
        writer.threads[0].step = 99;
        assert!(!writer.is_of(&plan));
    }
}
