//! Drives a session as a benchmark does: prompts of several sequences, then a token of each in every step.
use super::reading::{Reading, TURN, Turn};
use crate::answer::per_second;
use ir::Symbols;
use ir::work::StepSize;
use runtime::{Batch, Sampler, SamplerOptions, Session};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A session, and the sequences in it, which are all of one length.
pub(super) struct Driver {
    pub(super) session: Session,
    sequences: usize,
    /// Tokens that are cached before anything is measured; none: the answer follows the prompt.
    depth: Option<usize>,
    /// Tokens that each sequence has cached.
    cached: usize,
    /// What to go on with, a token a sequence.
    next: Vec<i32>,
    sampler: Sampler,
    lines: Lines,
    /// What reads memory in turn with answers.
    pub(super) reading: Option<Reading>,
}

/// A step's tokens, as [`Batch`] has them.
#[derive(Default)]
struct Lines {
    tokens: Vec<i32>,
    positions: Vec<i32>,
    slots: Vec<i32>,
    rows: Vec<i32>,
}

/// What prompts or answers took.
#[derive(Default)]
pub(super) struct Measured {
    pub(super) wall: Duration,
    /// Of it, choosing tokens on the host.
    pub(super) sampling: Duration,
    /// Tokens of all sequences.
    pub(super) tokens: usize,
    /// The steps.
    pub(super) steps: Vec<StepSize>,
    /// What each step of each of the plan's threads took, over all steps; empty where nobody asked.
    pub(super) times: Vec<Vec<Duration>>,
    /// Answers beside plain reading, a turn each; empty where nobody asked.
    pub(super) turns: Vec<Turn>,
}

impl Measured {
    pub(super) fn tokens_per_second(&self) -> f64 {
        per_second(self.tokens, self.wall)
    }

    fn add(&mut self, mut other: Measured) {
        self.wall += other.wall;
        self.sampling += other.sampling;
        self.tokens += other.tokens;
        self.steps.append(&mut other.steps);
        self.turns.append(&mut other.turns);
        match self.times.is_empty() {
            true => self.times = other.times,
            false => {
                let sums = self.times.iter_mut().flatten();
                sums.zip(other.times.iter().flatten()).for_each(|(sum, time)| *sum += *time);
            }
        }
    }
}

impl Driver {
    /// Caches what is not measured.
    pub(super) fn new(session: Session, batch: u32, depth: Option<u32>) -> anyhow::Result<Driver> {
        let sequences = batch as usize;
        let mut driver = Driver {
            session,
            sequences,
            depth: depth.map(|depth| depth as usize),
            cached: 0,
            next: vec![0; sequences],
            sampler: Sampler::new(SamplerOptions::greedy()),
            lines: Lines::default(),
            reading: None,
        };
        if let Some(depth) = depth {
            driver.read(depth as usize)?;
        }
        Ok(driver)
    }

    /// A prompt and an answer for each sequence, and what each of the two took.
    pub(super) fn round(&mut self, prompt: u32, answer: u32) -> anyhow::Result<(Measured, Measured)> {
        let depth = self.depth.unwrap_or(0);
        self.cut(depth);
        self.session.take_times();
        let prefill = self.read(prompt as usize)?;
        if self.depth.is_some() {
            self.cut(depth);
        }
        let decode = match self.reading.take() {
            None => self.write(answer as usize)?,
            Some(mut reading) => {
                let decode = self.write_in_turns(answer as usize, &mut reading);
                self.reading = Some(reading);
                decode?
            }
        };
        Ok((prefill, decode))
    }

    /// The same as `write`, with plain reading between turns of it, which does not count.
    fn write_in_turns(&mut self, tokens: usize, reading: &mut Reading) -> anyhow::Result<Measured> {
        let mut all = Measured::default();
        while all.tokens < tokens * self.sequences {
            let before = all.steps.len();
            let wall = all.wall;
            while all.tokens < tokens * self.sequences && all.wall - wall < TURN {
                all.add(self.write(1)?);
            }
            let turn = reading.behind(self.session.plan(), &all.steps[before..], all.wall - wall)?;
            all.turns.push(turn);
        }
        Ok(all)
    }

    fn cut(&mut self, tokens: usize) {
        self.cached = tokens;
        (0..self.sequences).for_each(|slot| self.session.truncate(slot, tokens));
    }

    /// So many more tokens for each sequence, in steps as large as the plan has room for, with what is known
    /// behind the last of each.
    fn read(&mut self, tokens: usize) -> anyhow::Result<Measured> {
        let (from, most, vocabulary) = (self.cached, self.session.max("n"), self.session.vocabulary());
        let mut measured = Measured { tokens: tokens * self.sequences, ..Measured::default() };
        let start = Instant::now();
        let all = (0..self.sequences).flat_map(|slot| (from..from + tokens).map(move |at| (slot, at)));
        let mut all = all.peekable();
        // The sequences that end in each of the steps under way.
        let mut under_way: VecDeque<Vec<usize>> = VecDeque::new();
        while all.peek().is_some() {
            self.lines.clear();
            let mut ending = vec![];
            for (slot, at) in all.by_ref().take(most) {
                if at + 1 == from + tokens {
                    self.lines.rows.push(self.lines.tokens.len() as i32);
                    ending.push(slot);
                }
                // From all over the vocabulary, the same each time and others for each sequence.
                let token = (at + 1 + slot * 31) * 7919 % vocabulary;
                self.lines.push(token as i32, at, slot);
            }
            if ending.is_empty() {
                // A step gives an answer; nobody looks at this one.
                self.lines.rows.push(self.lines.tokens.len() as i32 - 1);
            }
            if under_way.len() == self.session.steps_at_once() {
                let slots = under_way.pop_front().unwrap_or_default();
                self.choose(&slots, &mut measured)?;
            }
            self.submit(&mut measured)?;
            under_way.push_back(ending);
        }
        for slots in under_way {
            self.choose(&slots, &mut measured)?;
        }
        self.cached = from + tokens;
        self.finish(start, measured)
    }

    /// A token of each sequence, so many times: in steps of all of them, or where the plan has several steps under
    /// way at once, in as many groups, each of which goes on as soon as its tokens are chosen.
    fn write(&mut self, tokens: usize) -> anyhow::Result<Measured> {
        // Of each replica's sequences some in every group.
        let data = self.session.plan().options.partition.data.max(1) as usize;
        let groups = self.session.steps_at_once().min(self.sequences.div_ceil(data)).max(1);
        let group =
            |at: usize| (0..self.sequences).filter(|slot| slot / data % groups == at).collect::<Vec<_>>();
        let groups: Vec<Vec<usize>> = (0..groups).map(group).collect();
        let mut measured = Measured { tokens: tokens * self.sequences, ..Measured::default() };
        let start = Instant::now();
        for round in 0..tokens {
            for slots in &groups {
                if round > 0 {
                    self.choose(slots, &mut measured)?;
                }
                self.lines.clear();
                for (row, &slot) in slots.iter().enumerate() {
                    self.lines.push(self.next[slot], self.cached + round, slot);
                    self.lines.rows.push(row as i32);
                }
                self.submit(&mut measured)?;
            }
        }
        for slots in groups.iter().filter(|_| tokens > 0) {
            self.choose(slots, &mut measured)?;
        }
        self.cached += tokens;
        self.finish(start, measured)
    }

    fn submit(&mut self, measured: &mut Measured) -> anyhow::Result<()> {
        let Lines { tokens, positions, slots, rows } = &self.lines;
        let whole = self.sampler.needs_whole(self.session.candidates());
        self.session.submit(&Batch { tokens, positions, slots, rows, whole })?;
        measured.steps.push(self.lines.size(whole));
        Ok(())
    }

    /// Takes the answers of the oldest step under way, and chooses a token for the sequences in `slots`.
    fn choose(&mut self, slots: &[usize], measured: &mut Measured) -> anyhow::Result<()> {
        let answers = self.session.collect()?;
        let start = Instant::now();
        for (slot, row) in slots.iter().zip(answers.rows()) {
            self.next[*slot] = self.sampler.sample(row)? as i32;
        }
        measured.sampling += start.elapsed();
        Ok(())
    }

    fn finish(&self, start: Instant, measured: Measured) -> anyhow::Result<Measured> {
        Ok(Measured { wall: start.elapsed(), times: self.session.take_times(), ..measured })
    }
}

impl Lines {
    fn clear(&mut self) {
        let lines = [&mut self.tokens, &mut self.positions, &mut self.slots, &mut self.rows];
        lines.into_iter().for_each(Vec::clear);
    }

    fn push(&mut self, token: i32, position: usize, slot: usize) {
        self.tokens.push(token);
        self.positions.push(position as i32);
        self.slots.push(slot as i32);
    }

    /// The step's size; a sequence's tokens stand together, in order.
    fn size(&self, whole: bool) -> StepSize {
        let (n, m) = (self.tokens.len() as i64, self.rows.len() as i64);
        let symbols = Symbols::of_step(n, m, if whole { m } else { 0 });
        let mut size = StepSize { symbols, sequences: vec![] };
        for (at, position) in self.positions.iter().map(|p| *p as u64).enumerate() {
            match size.sequences.last_mut() {
                Some(last) if self.slots[at] == self.slots[at - 1] => last.end = position + 1,
                _ => size.sequences.push(position..position + 1),
            }
        }
        size
    }
}
