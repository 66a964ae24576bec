//! Every interleaving of an edge's ends, and of who closes it.
use super::*;
use crate::sync::{model, thread};

/// Sends `messages` bytes over an edge of `capacity`, and receives until the writer is gone.
fn everything_arrives(capacity: u32, messages: u8) {
    model(move || {
        let (mut tx, mut rx) = bytes_edge(capacity, 4);
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
        let (mut tx, rx) = bytes_edge(1, 4);
        let writer = thread::spawn(move || while tx.send(byte(0)).is_ok() {});
        drop(rx);
        writer.join().unwrap();
    });
}

#[test]
fn a_gone_writer_wakes_a_waiting_reader() {
    model(|| {
        let (tx, mut rx) = bytes_edge(1, 4);
        let reader = thread::spawn(move || rx.recv(|_| ()).unwrap_err());
        drop(tx);
        assert_eq!(reader.join().unwrap().fault, EdgeFault::Gone(Role::Writer));
    });
}

#[test]
fn who_closes_an_edge_wakes_both_ends() {
    model(|| {
        let (mut tx, rx) = bytes_edge(1, 4);
        let monitor = tx.monitor();
        let writer = thread::spawn(move || while tx.send(byte(0)).is_ok() {});
        monitor.close();
        writer.join().unwrap();
        drop(rx);
    });
    model(|| {
        let (tx, mut rx) = bytes_edge(1, 4);
        let monitor = rx.monitor();
        let reader = thread::spawn(move || rx.recv(|_| ()).unwrap_err());
        monitor.close();
        reader.join().unwrap();
        drop(tx);
    });
}

#[test]
fn slots_that_the_reader_holds_stay_as_they_are() {
    model(|| {
        let (mut tx, mut rx) = bytes_edge(2, 4);
        let writer = thread::spawn(move || (0..3).map(|m| tx.send(byte(m)).unwrap()).sum::<u64>());
        rx.take().unwrap();
        rx.take().unwrap();
        for held in 0..2 {
            // SAFETY: the slot is the reader's until it gives it back; loom checks that nobody writes it.
            let found = rx.queue.slot(held).with(|slot| unsafe { (*slot).message()[0] });
            assert_eq!(u64::from(found), held);
            rx.free();
        }
        assert_eq!(rx.recv(|m| m[0]).unwrap(), 2);
        writer.join().unwrap();
    });
}
