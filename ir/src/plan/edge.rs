//! Message edges: bounded queues between device threads and the host.
use super::{DeviceId, EdgeId};
use crate::TensorType;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Messages that an edge holds at most: more never help, and every one has its memory.
pub const CAPACITY_MAX: u32 = 64;

/// The deadline of an edge where nobody asked for another: longer than any one kernel takes, and not so long
/// that a person gives up first.
pub const DEADLINE_MS: u32 = 30_000;

/// A bounded queue between two ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// Its number.
    pub id: EdgeId,
    /// What it carries: the step graph's name for the value.
    pub name: String,
    /// The writer.
    pub from: End,
    /// The reader.
    pub to: End,
    /// The type of a message.
    pub ty: TensorType,
    /// Bytes of a message with every symbol at its greatest.
    pub bytes: u64,
    /// Messages that it holds at most.
    pub capacity: u32,
    /// How long an end waits at most for the other one's device while that takes no step, in milliseconds. A wait
    /// for the host, or for a device that waits itself, may be as long as it likes.
    pub deadline_ms: u32,
}

impl Edge {
    /// The device whose memory its slots are: the one that reads it, or that answers the host by it.
    pub fn keeper(&self) -> Option<DeviceId> {
        match (self.to, self.from) {
            (End::Device(id), _) | (End::Host, End::Device(id)) => Some(id),
            (End::Host, End::Host) => None,
        }
    }

    /// The symbol whose value the length of a message tells: the only one of its type, alone in a dimension.
    pub fn tells(&self) -> Option<&str> {
        let mut symbolic = self.ty.shape.iter().filter(|d| d.known().is_none());
        let (dim, None) = (symbolic.next()?, symbolic.next()) else { return None };
        let mut terms = dim.terms();
        let (Some((symbol, 1)), None, 0) = (terms.next(), terms.next(), dim.constant()) else { return None };
        self.ty.bytes(|_| Some(1)).is_some_and(|each| each > 0).then_some(symbol)
    }
}

/// One end of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum End {
    /// The session's thread, which feeds steps and collects results.
    Host,
    /// A device's thread.
    Device(DeviceId),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Host => f.write_str("host"),
            End::Device(id) => id.fmt(f),
        }
    }
}
