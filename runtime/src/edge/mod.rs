//! A bounded queue of byte messages between two device threads, with one writer and one reader.
//!
//! - The slots are allocated when the edge is made; sending and receiving allocate nothing.
//! - Messages arrive in the order they were sent, each once, also those sent before the writer left.
//! - An end that goes, by drop or panic, wakes the other; so does who closes the edge from outside.
//!
//! An end waits for the other as long as it takes, for it cannot know whether a step is under way, nor on whom the
//! other one waits. Who sees all edges of a run does, and closes them when one is overdue.
#[cfg(all(test, loom))]
mod models;
mod monitor;
mod slot;
#[cfg(all(test, not(loom)))]
mod tests;

pub use monitor::{EdgeCounters, Monitor};

use crate::bell::Bell;
use crate::memory::Span;
use crate::sync::counter::{self, Relaxed};
use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering, Shared, UnsafeCell};
use ir::plan::Edge;
use slot::Slot;
use std::fmt;
use std::time::{Duration, Instant};

/// Makes the edge that `plan` states. An impossible capacity of 0 is taken as 1.
pub fn edge(plan: &Edge) -> (Writer, Reader) {
    let room = plan.bytes as usize;
    let slots: Vec<Slot> = (0..plan.capacity.max(1)).map(|_| Slot::new(room)).collect();
    let queue = Arc::new(Queue {
        plan: Shared::new(plan.clone()),
        room,
        spans: slots.iter().map(Slot::span).collect(),
        slots: slots.into_iter().map(UnsafeCell::new).collect(),
        born: Instant::now(),
        writer: Side::new(),
        reader: Side::new(),
        bell: Bell::new(),
    });
    (Writer(queue.clone()), Reader { queue, taken: 0 })
}

/// The end that sends.
pub struct Writer(Arc<Queue>);

/// The end that receives.
pub struct Reader {
    queue: Arc<Queue>,
    /// Messages taken; those that `moved` does not count yet are in their slots still.
    taken: u64,
}

/// Which end of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The end that sends.
    Writer,
    /// The end that receives.
    Reader,
}

impl Role {
    /// The end across.
    pub(crate) fn other(self) -> Role {
        match self {
            Role::Writer => Role::Reader,
            Role::Reader => Role::Writer,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Writer => "writer",
            Role::Reader => "reader",
        })
    }
}

/// What went wrong on an edge, and on which.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} ({}: {}) from {} to {}: {fault}", edge.id, edge.name, edge.ty, edge.from, edge.to)]
pub struct EdgeError {
    /// The edge, as the plan has it.
    pub edge: Shared<Edge>,
    /// What went wrong.
    pub fault: EdgeFault,
}

/// What can go wrong on an edge.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EdgeFault {
    /// The other end was dropped, or the edge closed.
    #[error("the {0} is gone")]
    Gone(Role),
    /// A message longer than a slot was written; it was not sent.
    #[error("found a message of {found} bytes, expected at most {expected}")]
    TooLong {
        /// Bytes of the message.
        found: usize,
        /// Bytes of a slot.
        expected: usize,
    },
}

impl Writer {
    /// Waits for room, lets `fill` write a message into a slot and say its length in bytes, and sends it.
    /// Gives the message's sequence number, counted from 0. The slot is 64-byte aligned and holds what an
    /// earlier message left there.
    pub fn send(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) -> Result<u64, EdgeError> {
        self.try_send(|slot| Ok(fill(slot)))
    }

    /// Like [`Writer::send`], and sends nothing where `fill` fails.
    pub(crate) fn try_send<E: From<EdgeError>>(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<u64, E> {
        self.claim()?;
        let sequence = self.0.writer.moved.load(Ordering::Relaxed);
        let found = self.0.slot(sequence).with_mut(|slot| {
            // SAFETY: the slot is this end's until it is published.
            fill(unsafe { (*slot).room() })
        })?;
        Ok(self.publish(found)?)
    }

    /// Waits for room, and gives the slot of the next message: as many bytes as the edge states, 64-byte aligned,
    /// this end's to write until [`Writer::publish`], and to read until the next claim.
    pub(crate) fn claim(&mut self) -> Result<*mut u8, EdgeError> {
        let q = &*self.0;
        let sequence = q.writer.moved.load(Ordering::Relaxed);
        q.wait(&q.writer, || q.has_room(sequence), None, || true);
        if q.reader.gone.load(Ordering::Acquire) {
            return Err(q.error(EdgeFault::Gone(Role::Reader)));
        }
        // SAFETY: the reader has given back what this slot held, for fewer than `capacity` messages are out, and it
        // will not look at it before `moved` says so.
        Ok(q.slot(sequence).with_mut(|slot| unsafe { (*slot).room().as_mut_ptr() }))
    }

    /// Sends the first `bytes` of the slot that was claimed, and gives the message's sequence number.
    pub(crate) fn publish(&mut self, bytes: usize) -> Result<u64, EdgeError> {
        let q = &*self.0;
        if bytes > q.room {
            return Err(q.error(EdgeFault::TooLong { found: bytes, expected: q.room }));
        }
        let sequence = q.writer.moved.load(Ordering::Relaxed);
        // SAFETY: the slot is this end's until `moved` says otherwise.
        q.slot(sequence).with_mut(|slot| unsafe { (*slot).len = bytes });
        q.writer.bytes.store(q.writer.bytes.load(Relaxed) + bytes as u64, Relaxed);
        q.writer.moved.store(sequence + 1, Ordering::Release);
        q.bell.ring();
        Ok(sequence)
    }

    /// Waits until there is room or the reader is gone, and asks `goes_on` after every `tick` without. Gives up
    /// with false when that says so.
    pub fn wait(&mut self, tick: Duration, goes_on: impl FnMut() -> bool) -> bool {
        let sequence = self.0.writer.moved.load(Ordering::Relaxed);
        self.0.wait(&self.0.writer, || self.0.has_room(sequence), Some(tick), goes_on)
    }

    /// A view of this edge from outside.
    pub fn monitor(&self) -> Monitor {
        Monitor(self.0.clone())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.leave(&self.0.writer);
    }
}

impl Reader {
    /// Waits for a message and lends its bytes, 64-byte aligned, to `take`; the slot is free again after.
    pub fn recv<R>(&mut self, take: impl FnOnce(&[u8]) -> R) -> Result<R, EdgeError> {
        let sequence = self.taken;
        self.take()?;
        let taken = self.queue.slot(sequence).with(|slot| {
            // SAFETY: the slot is this end's until it is given back.
            take(unsafe { (*slot).message() })
        });
        self.free();
        Ok(taken)
    }

    /// Waits for the next message that was not taken, and gives its bytes, 64-byte aligned: this end's to read until
    /// its slot is given back.
    pub(crate) fn take(&mut self) -> Result<*const [u8], EdgeError> {
        let (q, sequence) = (&*self.queue, self.taken);
        q.wait(&q.reader, || q.has_message(sequence), None, || true);
        // The writer counts its last message before it leaves, so one that is gone has nothing more to show.
        if q.writer.moved.load(Ordering::Acquire) == sequence {
            return Err(q.error(EdgeFault::Gone(Role::Writer)));
        }
        self.taken += 1;
        // SAFETY: the writer has published this slot and leaves it alone until `moved` frees it.
        Ok(q.slot(sequence).with(|slot| unsafe { std::ptr::from_ref((*slot).message()) }))
    }

    /// Gives back the oldest slot of those that were taken.
    ///
    /// # Panics
    /// If none is.
    pub(crate) fn free(&mut self) {
        let q = &*self.queue;
        let sequence = q.reader.moved.load(Ordering::Relaxed);
        assert!(sequence < self.taken, "no slot of {} is taken", q.plan.id);
        q.reader.moved.store(sequence + 1, Ordering::Release);
        q.bell.ring();
    }

    /// Waits until there is a message or the writer is gone, and asks `goes_on` after every `tick` without. Gives
    /// up with false when that says so.
    pub fn wait(&mut self, tick: Duration, goes_on: impl FnMut() -> bool) -> bool {
        let (q, sequence) = (&self.queue, self.taken);
        q.wait(&q.reader, || q.has_message(sequence), Some(tick), goes_on)
    }

    /// A view of this edge from outside.
    pub fn monitor(&self) -> Monitor {
        Monitor(self.queue.clone())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.queue.leave(&self.queue.reader);
    }
}

struct Queue {
    plan: Shared<Edge>,
    /// Bytes of a slot.
    room: usize,
    slots: Box<[UnsafeCell<Slot>]>,
    /// Where they lie.
    spans: Box<[Span]>,
    born: Instant,
    writer: Side,
    reader: Side,
    bell: Bell,
}

// SAFETY: a slot belongs to the writer or to the reader, as `moved` of both says; both take their end by `&mut`, so
// each side is one thread at a time.
unsafe impl Sync for Queue {}
unsafe impl Send for Queue {}

/// What one end tells the other, and who looks from outside. On cache lines of its own, for the two are written
/// by two cores. Only its own end writes it, but for `gone`.
#[repr(align(128))]
struct Side {
    /// Messages this end has finished with: sent, or given back.
    moved: AtomicU64,
    /// Set when this end left, or somebody closed the edge.
    gone: AtomicBool,
    bytes: counter::AtomicU64,
    waited_ns: counter::AtomicU64,
    /// When the wait began that this end is in, counted from the edge's birth; 0 while it is in none.
    waits_since_ns: counter::AtomicU64,
}

impl Side {
    fn new() -> Self {
        Side {
            moved: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            bytes: counter::AtomicU64::new(0),
            waited_ns: counter::AtomicU64::new(0),
            waits_since_ns: counter::AtomicU64::new(0),
        }
    }
}

impl Queue {
    fn slot(&self, sequence: u64) -> &UnsafeCell<Slot> {
        &self.slots[(sequence % self.slots.len() as u64) as usize]
    }

    /// Whether message `sequence` can be sent, or never will be.
    fn has_room(&self, sequence: u64) -> bool {
        self.reader.gone.load(Ordering::Acquire)
            || sequence - self.reader.moved.load(Ordering::Acquire) < self.slots.len() as u64
    }

    /// Whether message `sequence` can be received, or never will be.
    fn has_message(&self, sequence: u64) -> bool {
        self.writer.gone.load(Ordering::Acquire) || self.writer.moved.load(Ordering::Acquire) > sequence
    }

    /// Waits on behalf of `here` until `ready`, or until `goes_on`, asked after every `tick`, says no.
    fn wait(
        &self,
        here: &Side,
        ready: impl Fn() -> bool,
        tick: Option<Duration>,
        mut goes_on: impl FnMut() -> bool,
    ) -> bool {
        if ready() {
            return true;
        }
        let since = self.born.elapsed().as_nanos().max(1) as u64;
        here.waits_since_ns.store(since, Relaxed);
        let met = loop {
            if self.bell.wait(tick, &ready) {
                break true;
            }
            if !goes_on() {
                break false;
            }
        };
        let waited = (self.born.elapsed().as_nanos() as u64).saturating_sub(since);
        here.waited_ns.store(here.waited_ns.load(Relaxed) + waited, Relaxed);
        here.waits_since_ns.store(0, Relaxed);
        met
    }

    fn leave(&self, end: &Side) {
        end.gone.store(true, Ordering::Release);
        self.bell.ring();
    }

    fn error(&self, fault: EdgeFault) -> EdgeError {
        EdgeError { edge: self.plan.clone(), fault }
    }
}

#[cfg(test)]
fn bytes_edge(capacity: u32, bytes: u64) -> (Writer, Reader) {
    use ir::plan::{DEADLINE_MS, DeviceId, EdgeId, End};
    let (from, to) = (End::Host, End::Device(DeviceId(1)));
    let ty = ir::TensorType::known(ir::DType::U8, &[4]);
    let name = "ids".into();
    edge(&Edge { id: EdgeId(7), name, from, to, ty, bytes, capacity, deadline_ms: DEADLINE_MS })
}

#[cfg(test)]
fn byte(value: u8) -> impl FnOnce(&mut [u8]) -> usize {
    move |slot| {
        slot[0] = value;
        1
    }
}
