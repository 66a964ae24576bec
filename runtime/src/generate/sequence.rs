//! One sequence in a session: what its slot of the KV cache holds, and how tokens are added to it.
use crate::answers::{Answers, Row};
use crate::{Batch, RunError, Session};

/// A sequence that owns a slot of a session's cache.
#[derive(Clone, Debug)]
pub struct Sequence {
    slot: usize,
    /// The tokens whose keys and values are in the cache.
    cached: Vec<i32>,
    positions: Vec<i32>,
    slots: Vec<i32>,
    rows: Vec<i32>,
}

impl Sequence {
    /// An empty sequence in `slot` of a session's cache.
    pub fn new(session: &Session, slot: usize) -> Sequence {
        let o = &session.plan().options;
        let room = || Vec::with_capacity(o.chunk.max(o.max_batch) as usize);
        let cached = Vec::with_capacity(o.context as usize);
        Sequence { slot, cached, positions: room(), slots: room(), rows: room() }
    }

    /// How many tokens the cache holds.
    pub fn len(&self) -> usize {
        self.cached.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.cached.is_empty()
    }

    /// Forgets all but the first `tokens`.
    pub fn truncate(&mut self, session: &mut Session, tokens: usize) {
        self.cached.truncate(tokens);
        session.truncate(self.slot, self.cached.len());
    }

    /// Cuts the sequence back to what it shares with `tokens`, and at least the last token out, so that it
    /// can be asked what follows. Says how many are kept.
    pub fn keep_shared(&mut self, session: &mut Session, tokens: &[i32]) -> usize {
        let shared = self.cached.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        let kept = shared.min(tokens.len().saturating_sub(1));
        self.truncate(session, kept);
        kept
    }

    /// Adds tokens, in chunks that the plan has room for, and gives what is known behind the last one: all logits if
    /// it is to be `whole`. Between chunks it asks `stop`, and gives nothing if that holds, or if there are no tokens.
    pub fn extend<'s>(
        &mut self,
        session: &'s mut Session,
        tokens: &[i32],
        whole: bool,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Row<'s>>, RunError> {
        let chunk = session.max("n");
        let mut under_way = 0;
        let last = tokens.len().div_ceil(chunk);
        for (part, number) in tokens.chunks(chunk).zip(1..) {
            if stop() {
                (0..under_way).try_for_each(|_| session.collect().map(drop))?;
                return Ok(None);
            }
            if under_way == session.steps_at_once() {
                session.collect()?;
                under_way -= 1;
            }
            self.rows.clear();
            self.rows.push(part.len() as i32 - 1);
            self.submit(session, part, whole && number == last)?;
            under_way += 1;
        }
        (0..under_way).try_for_each(|_| session.collect().map(drop))?;
        Ok(session.answers().rows().next_back().filter(|_| !tokens.is_empty()))
    }

    /// Adds tokens and hands the logits behind each, with its index among them, to `visit`.
    pub fn extend_all(
        &mut self,
        session: &mut Session,
        tokens: &[i32],
        mut visit: impl FnMut(usize, &[f32]),
    ) -> Result<(), RunError> {
        let most = session.max("n").min(session.max("m"));
        let width = session.vocabulary().max(1);
        for (at, part) in tokens.chunks(most).enumerate() {
            self.rows.clear();
            self.rows.extend(0..part.len() as i32);
            let logits = self.step(session, part)?.logits();
            logits.chunks_exact(width).enumerate().for_each(|(i, row)| visit(at * most + i, row));
        }
        Ok(())
    }

    fn step<'s>(&mut self, session: &'s mut Session, tokens: &[i32]) -> Result<&'s Answers, RunError> {
        self.submit(session, tokens, true)?;
        session.collect()
    }

    fn submit(&mut self, session: &mut Session, tokens: &[i32], whole: bool) -> Result<(), RunError> {
        let start = self.cached.len() as i32;
        self.positions.clear();
        self.positions.extend((start..).take(tokens.len()));
        self.slots.clear();
        self.slots.resize(tokens.len(), self.slot as i32);
        let batch = Batch { tokens, positions: &self.positions, slots: &self.slots, rows: &self.rows, whole };
        session.submit(&batch)?;
        self.cached.extend_from_slice(tokens);
        Ok(())
    }
}
