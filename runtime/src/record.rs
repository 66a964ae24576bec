//! When the threads of a run did what, kept where somebody asked for it.
//!
//! A device thread marks the end of each step in a ring that was made before it started; the host keeps a list.
use crate::Batch;
use crate::sync::counter::{AtomicU64 as Mark, Relaxed};
use crate::sync::{AtomicU64, Ordering};
use ir::Symbols;
use ir::work::StepSize;
use std::time::Instant;

/// What the threads of a run did; times are nanoseconds from the session's start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Of each device thread the last rounds, in order.
    pub threads: Vec<Vec<Round>>,
    /// What the host did, in order.
    pub host: Vec<HostDeed>,
}

/// A device thread's way through the plan's steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// Which it is among those of its replica, from 0.
    pub number: u64,
    /// When it began.
    pub began_ns: u64,
    /// When each step ended; the next one begins then.
    pub ended_ns: Vec<u64>,
}

/// The host's part of a round.
#[derive(Clone, Debug, PartialEq)]
pub struct HostDeed {
    /// Of which replica.
    pub replica: usize,
    /// Which round of that.
    pub round: u64,
    /// The step that it fed; none where it took the answers.
    pub fed: Option<StepSize>,
    /// When it began.
    pub began_ns: u64,
    /// When it was done.
    pub ended_ns: u64,
}

/// A device thread's ring.
pub(crate) struct Recorder {
    start: Instant,
    /// When a round began, and when each of its steps ended.
    row: usize,
    marks: Box<[Mark]>,
    /// Rounds that ended.
    done: AtomicU64,
}

/// The marks of the round under way.
pub(crate) struct Row<'a> {
    start: Instant,
    marks: &'a [Mark],
}

impl Recorder {
    /// For a thread of so many steps, of which that many rounds are kept.
    pub(crate) fn new(start: Instant, steps: usize, rounds: usize) -> Recorder {
        // One row more, for the round that is under way while somebody looks.
        let marks = (0..(steps + 1) * (rounds + 1)).map(|_| Mark::new(0)).collect();
        Recorder { start, row: steps + 1, marks, done: AtomicU64::new(0) }
    }

    /// A round begins.
    pub(crate) fn begin(&self) -> Row<'_> {
        let row = Row { start: self.start, marks: self.of(self.done.load(Ordering::Relaxed)) };
        row.mark(0);
        row
    }

    /// The round under way is over.
    pub(crate) fn end(&self) {
        self.done.fetch_add(1, Ordering::Release);
    }

    /// How many rounds ended.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Acquire)
    }

    fn of(&self, round: u64) -> &[Mark] {
        let rows = (self.marks.len() / self.row) as u64;
        &self.marks[(round % rows) as usize * self.row..][..self.row]
    }

    /// The rounds that are kept. To be asked while none is under way, or it may be among them already.
    pub(crate) fn rounds(&self) -> Vec<Round> {
        let done = self.done();
        let kept = (self.marks.len() / self.row - 1) as u64;
        let round = |number| {
            let mut marks = self.of(number).iter().map(|mark| mark.load(Relaxed));
            Round { number, began_ns: marks.next().unwrap_or(0), ended_ns: marks.collect() }
        };
        (done.saturating_sub(kept)..done).map(round).collect()
    }
}

impl Row<'_> {
    /// So many steps of the round ended.
    pub(crate) fn mark(&self, steps: usize) {
        self.marks[steps].store(self.start.elapsed().as_nanos() as u64, Relaxed);
    }
}

/// What the host did.
pub(crate) struct Log {
    start: Instant,
    deeds: Vec<HostDeed>,
}

impl Log {
    pub(crate) fn new(start: Instant) -> Log {
        Log { start, deeds: vec![] }
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Rounds of a replica that were fed, or of which the answers were taken.
    pub(crate) fn rounds(&self, replica: usize, fed: bool) -> u64 {
        let own = self.deeds.iter().filter(|deed| deed.replica == replica && deed.fed.is_some() == fed);
        own.count() as u64
    }

    /// The host has fed a replica since `began_ns`, or taken its answers.
    pub(crate) fn add(&mut self, replica: usize, fed: Option<StepSize>, began_ns: u64) {
        let (round, ended_ns) = (self.rounds(replica, fed.is_some()), self.now_ns());
        self.deeds.push(HostDeed { replica, round, fed, began_ns, ended_ns });
    }

    pub(crate) fn deeds(&self) -> Vec<HostDeed> {
        self.deeds.clone()
    }
}

/// A batch's size: its symbols, and the positions of each sequence in it.
pub(crate) fn size(batch: &Batch<'_>) -> StepSize {
    let (n, m) = (batch.tokens.len() as i64, batch.rows.len() as i64);
    let mut sequences: Vec<(i32, std::ops::Range<u64>)> = vec![];
    for (&slot, &position) in batch.slots.iter().zip(batch.positions) {
        let position = position as u64;
        match sequences.last_mut() {
            Some((last, range)) if *last == slot && range.end == position => range.end += 1,
            _ => sequences.push((slot, position..position + 1)),
        }
    }
    StepSize {
        symbols: Symbols::of_step(n, m, if batch.whole { m } else { 0 }),
        sequences: sequences.into_iter().map(|(_, range)| range).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_keeps_the_last_rounds_whole() {
        let recorder = Recorder::new(Instant::now(), 2, 3);
        for _ in 0..5 {
            let row = recorder.begin();
            row.mark(1);
            row.mark(2);
            recorder.end();
        }
        let under_way = recorder.begin();
        under_way.mark(1);
        let rounds = recorder.rounds();
        assert_eq!(rounds.iter().map(|r| r.number).collect::<Vec<_>>(), [2, 3, 4]);
        let times: Vec<u64> =
            rounds.iter().flat_map(|r| [r.began_ns, r.ended_ns[0], r.ended_ns[1]]).collect();
        assert!(times.is_sorted() && rounds.iter().all(|r| r.ended_ns.len() == 2), "{times:?}");
        assert_eq!(Recorder::new(Instant::now(), 2, 3).rounds(), []);
    }

    #[test]
    fn a_size_has_each_sequences_positions() {
        let batch = Batch {
            tokens: &[1, 2, 3, 4],
            positions: &[7, 8, 0, 3],
            slots: &[0, 0, 1, 1],
            rows: &[1, 3],
            whole: false,
        };
        assert_eq!(super::size(&Batch { whole: true, ..batch }).symbols.get("w"), Some(2));
        let size = size(&batch);
        assert_eq!(size.sequences, [7..9, 0..1, 3..4]);
        assert_eq!(size.symbols, Symbols::of_step(4, 2, 0));
    }
}
