//! An edge seen from outside: what has passed, and who waits.
use super::{Queue, Role, Side};
use crate::memory::Span;
use crate::sync::counter::Relaxed;
use crate::sync::{Arc, Ordering, Shared};
use ir::plan::Edge;
use std::num::NonZeroU64;
use std::time::Duration;

/// Watches an edge from outside, and does not keep it open. Looking costs its ends nothing.
#[derive(Clone)]
pub struct Monitor(pub(super) Arc<Queue>);

/// What has passed over an edge so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EdgeCounters {
    /// Messages sent.
    pub sent: u64,
    /// Messages received.
    pub received: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// How long the writer has waited for room, a wait that goes on included.
    pub writer_waited: Duration,
    /// How long the reader has waited for a message, a wait that goes on included.
    pub reader_waited: Duration,
}

impl EdgeCounters {
    /// Messages sent and not yet received.
    pub fn depth(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }
}

impl Monitor {
    /// The edge as the plan has it.
    pub fn edge(&self) -> &Edge {
        &self.0.plan
    }

    pub(crate) fn plan(&self) -> Shared<Edge> {
        self.0.plan.clone()
    }

    /// Where its slots lie.
    pub(crate) fn spans(&self) -> &[Span] {
        &self.0.spans
    }

    /// What has passed so far; the fields are read one after the other, not at one instant.
    pub fn counters(&self) -> EdgeCounters {
        let (w, r) = (&self.0.writer, &self.0.reader);
        // What was received first: so it is never more than what was sent.
        let received = r.moved.load(Ordering::Acquire);
        let waited = |side: &Side, role| {
            Duration::from_nanos(side.waited_ns.load(Relaxed)) + self.waiting(role).unwrap_or_default()
        };
        EdgeCounters {
            sent: w.moved.load(Ordering::Relaxed),
            received,
            bytes: w.bytes.load(Relaxed),
            writer_waited: waited(w, Role::Writer),
            reader_waited: waited(r, Role::Reader),
        }
    }

    /// How long an end has been waiting, if it is.
    pub fn waiting(&self, role: Role) -> Option<Duration> {
        let since = Duration::from_nanos(self.wait(role)?.get());
        Some(self.0.born.elapsed().saturating_sub(since))
    }

    /// Which wait an end is in, if it is in one: no other of its waits has this number.
    pub(crate) fn wait(&self, role: Role) -> Option<NonZeroU64> {
        NonZeroU64::new(self.side(role).waits_since_ns.load(Relaxed))
    }

    /// The number of the message that an end sends or receives next.
    pub(crate) fn next(&self, role: Role) -> u64 {
        self.side(role).moved.load(Ordering::Relaxed)
    }

    /// Closes the edge for both ends, and wakes who waits there. What was sent can still be received.
    pub(crate) fn close(&self) {
        self.0.leave(&self.0.writer);
        self.0.leave(&self.0.reader);
    }

    fn side(&self, role: Role) -> &Side {
        match role {
            Role::Writer => &self.0.writer,
            Role::Reader => &self.0.reader,
        }
    }
}
