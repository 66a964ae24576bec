//! An edge between real threads.
use super::*;
use crate::sync::thread;

#[test]
fn a_hundred_thousand_messages_arrive_in_order() {
    let (mut tx, mut rx) = bytes_edge(3, 4);
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
    assert_eq!(counters.depth(), 0);
}

#[test]
fn a_wait_can_be_given_up_and_loses_nothing() {
    let tick = Duration::from_millis(1);
    let (mut tx, mut rx) = bytes_edge(1, 4);
    let monitor = tx.monitor();
    let mut asked = 0;
    assert!(!rx.wait(tick, || {
        asked += 1;
        assert!(monitor.waiting(Role::Reader).is_some() && monitor.waiting(Role::Writer).is_none());
        asked < 3
    }));
    assert_eq!((asked, monitor.waiting(Role::Reader)), (3, None));
    assert!(tx.wait(tick, || unreachable!("there is room")));
    tx.send(byte(1)).unwrap();
    assert!(!tx.wait(tick, || false));
    assert!(rx.wait(tick, || unreachable!("there is a message")));
    assert_eq!(rx.recv(|m| m[0]).unwrap(), 1);
    let counters = monitor.counters();
    assert!(counters.reader_waited >= 3 * tick && counters.writer_waited >= tick);
}

#[test]
fn a_message_that_is_too_long_is_not_sent() {
    let (mut tx, mut rx) = bytes_edge(1, 4);
    let error = tx.send(|_| 5).unwrap_err();
    assert_eq!(
        error.to_string(),
        "edge 7 (ids: u8[4]) from host to device 1: found a message of 5 bytes, expected at most 4"
    );
    assert_eq!(tx.send(byte(9)).unwrap(), 0);
    assert_eq!(rx.recv(|m| m.to_vec()).unwrap(), [9]);
}

#[test]
fn a_writer_that_panics_closes_its_edge() {
    let (mut tx, mut rx) = bytes_edge(1, 4);
    let writer = thread::spawn(move || tx.send(|_| panic!("on purpose")));
    assert_eq!(rx.recv(|_| ()).unwrap_err().fault, EdgeFault::Gone(Role::Writer));
    assert!(writer.join().is_err());
}

#[test]
fn messages_lie_on_cache_lines() {
    let (mut tx, mut rx) = bytes_edge(2, 100);
    tx.send(|slot| {
        assert_eq!(slot.as_ptr().addr() % 64, 0);
        slot.len()
    })
    .unwrap();
    assert_eq!(rx.recv(|m| (m.as_ptr().addr() % 64, m.len())).unwrap(), (0, 100));
}
