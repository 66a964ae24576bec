//! A bounded queue of byte messages between two device threads, with one writer and one reader.
//!
//! - The slots are allocated when the edge is made; sending and receiving allocate nothing.
//! - Messages arrive in the order they were sent, each once, also those sent before the writer left.
//! - An end that goes, by drop, panic or [`Writer::fail`], wakes the other; a failure takes its cause along.
use crate::bell::Bell;
use crate::sync::counter::{self, Relaxed};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, Shared, UnsafeCell, lock};
use ir::plan::Edge;
use std::time::{Duration, Instant};

/// Why an end failed, as its thread says it.
pub type Cause = Shared<dyn std::error::Error + Send + Sync>;

/// Makes the edge that `plan` states. An end that waits for the other longer than `deadline` calls the edge
/// stalled; without one it waits forever. An impossible capacity of 0 is taken as 1.
pub fn edge(plan: &Edge, deadline: Option<Duration>) -> (Writer, Reader) {
    let room = plan.bytes as usize;
    let slots = (0..plan.capacity.max(1)).map(|_| UnsafeCell::new(Slot::new(room))).collect();
    let plan = Shared::new(plan.clone());
    let queue =
        Queue { plan, room, deadline, slots, writer: Side::new(), reader: Side::new(), bell: Bell::new() };
    let queue = Arc::new(queue);
    (Writer(queue.clone()), Reader(queue))
}

/// The end that sends.
pub struct Writer(Arc<Queue>);

/// The end that receives.
pub struct Reader(Arc<Queue>);

/// Watches an edge from outside, and does not keep it open.
#[derive(Clone)]
pub struct Monitor(Arc<Queue>);

/// What has passed over an edge so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EdgeCounters {
    /// Messages sent.
    pub sent: u64,
    /// Messages received.
    pub received: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// How long the writer has waited for room.
    pub writer_waited: Duration,
    /// How long the reader has waited for a message.
    pub reader_waited: Duration,
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
#[derive(Clone, Debug, thiserror::Error)]
pub enum EdgeFault {
    /// The other end was dropped.
    #[error("the {0} is gone")]
    Gone(&'static str),
    /// The other end failed and said why.
    #[error("the {end} failed: {cause}")]
    Failed {
        /// Which end failed.
        end: &'static str,
        /// Its reason.
        cause: Cause,
    },
    /// The other end did nothing for as long as the deadline.
    #[error("stalled at message {sequence}: waited {waited:?} for the {end}")]
    Stalled {
        /// The end that did not come.
        end: &'static str,
        /// The number of the message that did not pass.
        sequence: u64,
        /// How long this end waited.
        waited: Duration,
    },
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
        let q = &*self.0;
        let sequence = q.writer.moved.load(Ordering::Relaxed);
        let capacity = q.slots.len() as u64;
        q.wait(&q.writer, &q.reader, sequence, || {
            q.reader.gone.load(Ordering::Acquire)
                || sequence - q.reader.moved.load(Ordering::Acquire) < capacity
        })?;
        if q.reader.gone.load(Ordering::Acquire) {
            return Err(q.left(&q.reader));
        }
        let found = q.slots[(sequence % capacity) as usize].with_mut(|slot| {
            // SAFETY: the reader has taken what this slot held, for fewer than `capacity` messages are out,
            // and it will not look at it before `moved` says so.
            unsafe { (*slot).fill(fill) }
        });
        let expected = q.room;
        if found > expected {
            return Err(q.error(EdgeFault::TooLong { found, expected }));
        }
        q.writer.bytes.fetch_add(found as u64, Relaxed);
        q.writer.count.fetch_add(1, Relaxed);
        q.writer.moved.store(sequence + 1, Ordering::Release);
        q.bell.ring();
        Ok(sequence)
    }

    /// Leaves for a reason that the reader will be given, after the messages already sent.
    pub fn fail(self, cause: Cause) {
        *lock(&self.0.writer.cause) = Some(cause);
    }

    /// A view of this edge's counters.
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
        let q = &*self.0;
        let sequence = q.reader.moved.load(Ordering::Relaxed);
        q.wait(&q.reader, &q.writer, sequence, || {
            q.writer.gone.load(Ordering::Acquire) || q.writer.moved.load(Ordering::Acquire) > sequence
        })?;
        // The writer counts its last message before it leaves, so one that is gone has nothing more to show.
        if q.writer.moved.load(Ordering::Acquire) == sequence {
            return Err(q.left(&q.writer));
        }
        let taken = q.slots[(sequence % q.slots.len() as u64) as usize].with(|slot| {
            // SAFETY: the writer has published this slot and leaves it alone until `moved` frees it.
            take(unsafe { (*slot).message() })
        });
        q.reader.count.fetch_add(1, Relaxed);
        q.reader.moved.store(sequence + 1, Ordering::Release);
        q.bell.ring();
        Ok(taken)
    }

    /// Leaves for a reason that the writer will be given at its next message.
    pub fn fail(self, cause: Cause) {
        *lock(&self.0.reader.cause) = Some(cause);
    }

    /// A view of this edge's counters.
    pub fn monitor(&self) -> Monitor {
        Monitor(self.0.clone())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.leave(&self.0.reader);
    }
}

impl Monitor {
    /// The edge as the plan has it.
    pub fn edge(&self) -> &Edge {
        &self.0.plan
    }

    /// What has passed so far; the fields are read one after the other, not at one instant.
    pub fn counters(&self) -> EdgeCounters {
        let (w, r) = (&self.0.writer, &self.0.reader);
        EdgeCounters {
            sent: w.count.load(Relaxed),
            received: r.count.load(Relaxed),
            bytes: w.bytes.load(Relaxed),
            writer_waited: Duration::from_nanos(w.waited_ns.load(Relaxed)),
            reader_waited: Duration::from_nanos(r.waited_ns.load(Relaxed)),
        }
    }
}

struct Queue {
    plan: Shared<Edge>,
    /// Bytes of a slot.
    room: usize,
    deadline: Option<Duration>,
    slots: Box<[UnsafeCell<Slot>]>,
    writer: Side,
    reader: Side,
    bell: Bell,
}

// SAFETY: a slot belongs to the writer or to the reader, as `moved` of both says; `send` and `recv` take
// their end by `&mut`, so each side is one thread at a time.
unsafe impl Sync for Queue {}
unsafe impl Send for Queue {}

/// What one end tells the other. On cache lines of its own, for the two are written by two cores.
#[repr(align(128))]
struct Side {
    /// Messages this end has finished with.
    moved: AtomicU64,
    gone: AtomicBool,
    cause: Mutex<Option<Cause>>,
    count: counter::AtomicU64,
    bytes: counter::AtomicU64,
    waited_ns: counter::AtomicU64,
}

impl Side {
    fn new() -> Self {
        Side {
            moved: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            cause: Mutex::new(None),
            count: counter::AtomicU64::new(0),
            bytes: counter::AtomicU64::new(0),
            waited_ns: counter::AtomicU64::new(0),
        }
    }
}

impl Queue {
    /// Waits on behalf of `here` until `ready`, at most as long as the deadline.
    fn wait(
        &self,
        here: &Side,
        there: &Side,
        sequence: u64,
        ready: impl Fn() -> bool,
    ) -> Result<(), EdgeError> {
        if ready() {
            return Ok(());
        }
        let start = Instant::now();
        let met = self.bell.wait(self.deadline, ready);
        let waited = start.elapsed();
        here.waited_ns.fetch_add(waited.as_nanos() as u64, Relaxed);
        if met {
            return Ok(());
        }
        Err(self.error(EdgeFault::Stalled { end: self.name(there), sequence, waited }))
    }

    fn leave(&self, end: &Side) {
        end.gone.store(true, Ordering::Release);
        self.bell.ring();
    }

    fn left(&self, end: &Side) -> EdgeError {
        let name = self.name(end);
        self.error(match lock(&end.cause).clone() {
            Some(cause) => EdgeFault::Failed { end: name, cause },
            None => EdgeFault::Gone(name),
        })
    }

    fn name(&self, end: &Side) -> &'static str {
        if std::ptr::eq(end, &self.writer) { "writer" } else { "reader" }
    }

    fn error(&self, fault: EdgeFault) -> EdgeError {
        EdgeError { edge: self.plan.clone(), fault }
    }
}

/// The bytes of one message. Written when made, so that their memory is resident before the first message.
struct Slot {
    lines: Box<[Line]>,
    room: usize,
    len: usize,
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "read through a cast")] [u8; 64]);

impl Slot {
    fn new(room: usize) -> Self {
        Slot { lines: vec![Line([0; 64]); room.div_ceil(64)].into(), room, len: 0 }
    }

    /// Gives the length that `fill` says, and keeps it only if the message fits.
    fn fill(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) -> usize {
        // SAFETY: the lines are at least `room` initialised bytes, borrowed mutably through `self`.
        let found =
            fill(unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.room) });
        if found <= self.room {
            self.len = found;
        }
        found
    }

    fn message(&self) -> &[u8] {
        // SAFETY: the lines are at least `room` initialised bytes, and `len` is at most `room`.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

#[cfg(test)]
fn bytes_edge(capacity: u32, bytes: u64, deadline: Option<Duration>) -> (Writer, Reader) {
    use ir::plan::{DeviceId, EdgeId, End};
    let ends = [End::Host, End::Device(DeviceId(1))];
    let ty = ir::TensorType::known(ir::DType::U8, &[4]);
    let plan = Edge { id: EdgeId(7), name: "ids".into(), from: ends[0], to: ends[1], ty, bytes, capacity };
    edge(&plan, deadline)
}

#[cfg(test)]
fn byte(value: u8) -> impl FnOnce(&mut [u8]) -> usize {
    move |slot| {
        slot[0] = value;
        1
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::sync::{model, thread};

    /// Sends `messages` bytes over an edge of `capacity`, and receives until the writer is gone.
    fn everything_arrives(capacity: u32, messages: u8) {
        model(move || {
            let (mut tx, mut rx) = bytes_edge(capacity, 4, None);
            let writer = thread::spawn(move || {
                for m in 0..messages {
                    tx.send(byte(m)).unwrap();
                }
            });
            let mut next = 0;
            while let Ok(found) = rx.recv(|m| m[0]) {
                assert_eq!(found, next);
                next += 1;
            }
            assert_eq!(next, messages);
            writer.join().unwrap();
        });
    }

    #[test]
    fn one_slot_loses_nothing_and_keeps_order() {
        everything_arrives(1, 2);
    }

    #[test]
    fn two_slots_lose_nothing_and_keep_order() {
        everything_arrives(2, 3);
    }

    #[test]
    fn a_gone_reader_wakes_a_blocked_writer() {
        model(|| {
            let (mut tx, rx) = bytes_edge(1, 4, None);
            let writer = thread::spawn(move || while tx.send(byte(0)).is_ok() {});
            drop(rx);
            writer.join().unwrap();
        });
    }

    #[test]
    fn a_gone_writer_wakes_a_waiting_reader() {
        model(|| {
            let (tx, mut rx) = bytes_edge(1, 4, None);
            let reader = thread::spawn(move || rx.recv(|_| ()).unwrap_err());
            drop(tx);
            assert!(matches!(reader.join().unwrap().fault, EdgeFault::Gone("writer")));
        });
    }

    #[test]
    fn the_cause_of_a_failed_writer_arrives_after_its_messages() {
        model(|| {
            let (mut tx, mut rx) = bytes_edge(2, 4, None);
            let writer = thread::spawn(move || {
                tx.send(byte(3)).unwrap();
                tx.fail(Shared::new(std::io::Error::other("bad weight")));
            });
            assert_eq!(rx.recv(|m| m[0]).unwrap(), 3);
            let error = rx.recv(|_| ()).unwrap_err();
            assert!(matches!(error.fault, EdgeFault::Failed { end: "writer", .. }), "{error}");
            writer.join().unwrap();
        });
    }

    #[test]
    fn the_cause_of_a_failed_reader_reaches_a_blocked_writer() {
        model(|| {
            let (mut tx, rx) = bytes_edge(1, 4, None);
            let writer = thread::spawn(move || {
                loop {
                    if let Err(error) = tx.send(byte(0)) {
                        return error;
                    }
                }
            });
            rx.fail(Shared::new(std::io::Error::other("out of memory")));
            let error = writer.join().unwrap();
            assert!(matches!(error.fault, EdgeFault::Failed { end: "reader", .. }), "{error}");
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::thread;

    #[test]
    fn a_hundred_thousand_messages_arrive_in_order() {
        let (mut tx, mut rx) = bytes_edge(3, 4, None);
        let monitor = rx.monitor();
        let writer = thread::spawn(move || {
            for n in 0..100_000u32 {
                let sent = tx.send(|slot| {
                    slot.copy_from_slice(&n.to_le_bytes());
                    4
                });
                assert_eq!(sent.unwrap(), n as u64);
            }
        });
        for n in 0..100_000u32 {
            assert_eq!(rx.recv(|m| u32::from_le_bytes(m.try_into().unwrap())).unwrap(), n);
        }
        writer.join().unwrap();
        let counters = monitor.counters();
        assert_eq!((counters.sent, counters.received, counters.bytes), (100_000, 100_000, 400_000));
    }

    #[test]
    fn a_stall_names_the_edge_and_who_did_not_come() {
        let deadline = Some(Duration::from_millis(2));
        let (mut tx, mut rx) = bytes_edge(1, 4, deadline);
        let error = rx.recv(|_| ()).unwrap_err().to_string();
        let expected = "edge 7 (ids: u8[4]) from host to device 1: stalled at message 0: waited ";
        assert!(error.starts_with(expected) && error.ends_with("for the writer"), "{error}");
        tx.send(byte(1)).unwrap();
        let error = tx.send(byte(2)).unwrap_err();
        assert!(matches!(error.fault, EdgeFault::Stalled { end: "reader", sequence: 1, .. }), "{error}");
        assert_eq!(rx.recv(|m| m[0]).unwrap(), 1, "a stall loses nothing");
    }

    #[test]
    fn a_message_that_is_too_long_is_not_sent() {
        let (mut tx, mut rx) = bytes_edge(1, 4, None);
        let error = tx.send(|_| 5).unwrap_err();
        assert!(matches!(error.fault, EdgeFault::TooLong { found: 5, expected: 4 }), "{error}");
        assert_eq!(tx.send(byte(9)).unwrap(), 0);
        assert_eq!(rx.recv(|m| m.to_vec()).unwrap(), [9]);
    }

    #[test]
    fn a_writer_that_panics_closes_its_edge() {
        let (mut tx, mut rx) = bytes_edge(1, 4, None);
        let writer = thread::spawn(move || tx.send(|_| panic!("on purpose")));
        assert!(matches!(rx.recv(|_| ()).unwrap_err().fault, EdgeFault::Gone("writer")));
        assert!(writer.join().is_err());
    }

    #[test]
    fn messages_lie_on_cache_lines() {
        let (mut tx, mut rx) = bytes_edge(2, 100, None);
        tx.send(|slot| {
            assert_eq!(slot.as_ptr().addr() % 64, 0);
            slot.len()
        })
        .unwrap();
        assert_eq!(rx.recv(|m| (m.as_ptr().addr() % 64, m.len())).unwrap(), (0, 100));
    }
}
