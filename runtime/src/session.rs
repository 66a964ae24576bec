//! A session: the threads of a plan, fed and read by the host.
use crate::clock::Clock;
use crate::error::RunError;
use crate::pages::Pages;
use crate::sync::{Arc, Shared};
use crate::vigil::Vigil;
use crate::watch::Watch;
use crate::worker::{Weights, Worker};
use crate::{Executable, Reader, Writer, edge};
use ir::plan::{End, Plan};
use std::collections::HashMap;
use std::thread::JoinHandle;
use std::time::Duration;

/// The tokens of one step, of any number of sequences.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Token ids.
    pub tokens: &'a [i32],
    /// The position of each in its sequence.
    pub positions: &'a [i32],
    /// The sequence slot of each.
    pub slots: &'a [i32],
    /// Which of them logits are asked for.
    pub rows: &'a [i32],
}

/// A plan that runs.
pub struct Session {
    plan: Plan,
    pages: Pages,
    feeds: Vec<(String, Writer)>,
    result: Reader,
    logits: Vec<f32>,
    vocabulary: usize,
    threads: Vec<JoinHandle<()>>,
    watch: Arc<Watch>,
    vigil: Vigil,
    /// One for each thread of the plan, if its steps are timed.
    clocks: Vec<Shared<Clock>>,
}

impl Session {
    /// Starts the plan's device threads. `code` has an executable for each kernel in order of id, `weights` the
    /// packed weights. The plan must have passed [`Plan::verify`]; it is checked again.
    pub fn start(
        plan: &Plan,
        code: &[Shared<dyn Executable>],
        weights: Weights,
    ) -> Result<Session, RunError> {
        Session::begin(plan, code, weights, false)
    }

    /// Like [`Session::start`], and the device threads time their kernels for [`Session::take_times`].
    pub fn start_timed(
        plan: &Plan,
        code: &[Shared<dyn Executable>],
        weights: Weights,
    ) -> Result<Session, RunError> {
        Session::begin(plan, code, weights, true)
    }

    fn begin(
        plan: &Plan,
        code: &[Shared<dyn Executable>],
        weights: Weights,
        is_timed: bool,
    ) -> Result<Session, RunError> {
        if let Err(faults) = plan.verify() {
            return Err(RunError::Unsound(faults[0].to_string()));
        }
        let mismatch =
            |what, found: usize, expected| Err(RunError::Mismatch { what, found: found as u64, expected });
        if code.len() != plan.kernels.len() {
            return mismatch("kernels", code.len(), plan.kernels.len() as u64);
        }
        let mapped: &[u8] = (*weights).as_ref();
        if (mapped.len() as u64) < plan.model.packed_bytes {
            return mismatch("bytes of packed weights", mapped.len(), plan.model.packed_bytes);
        }
        let mut ends = Ends::default();
        let mut monitors = vec![];
        for e in &plan.edges {
            let (writer, reader) = edge(e);
            monitors.push(writer.monitor());
            ends.writers.entry(e.from).or_default().insert(e.id.0, writer);
            ends.readers.entry(e.to).or_default().insert(e.id.0, reader);
        }
        let (mut workers, mut clocks) = (vec![], vec![]);
        let watch = Arc::new(Watch::new(Shared::new(plan.clone()), monitors));
        for (seat, thread) in plan.threads.iter().enumerate() {
            let end = End::Device(thread.device);
            let (readers, writers) = (ends.readers.remove(&end), ends.writers.remove(&end));
            let clock = is_timed.then(|| Shared::new(Clock::new(thread.steps.len())));
            clocks.extend(clock.clone());
            workers.push(Worker::new(
                plan,
                (watch.clone(), seat),
                code,
                &weights,
                readers.unwrap_or_default(),
                writers.unwrap_or_default(),
                clock,
            )?);
        }
        let mut feeds: Vec<_> = ends.writers.remove(&End::Host).unwrap_or_default().into_iter().collect();
        feeds.sort_by_key(|f| f.0);
        let feeds = feeds.into_iter().map(|(id, w)| (plan.edges[id as usize].name.clone(), w)).collect();
        let results = ends.readers.remove(&End::Host).unwrap_or_default();
        let logits = results.into_iter().find(|(id, _)| plan.edges[*id as usize].name == "logits");
        let (id, result) =
            logits.ok_or_else(|| RunError::Unsound("no edge brings logits to the host".into()))?;
        let ty = &plan.edges[id as usize].ty;
        let vocabulary = ty.shape.last().and_then(ir::Dim::known).unwrap_or(0) as usize;
        let (o, row) = (&plan.options, plan.pages_per_sequence());
        let pages = Pages::new(row * o.max_batch, o.page as usize, o.max_batch as usize, row as usize);
        let room = (plan.edges[id as usize].bytes / 4) as usize;
        let threads = spawn(plan, workers, &watch)?;
        Ok(Session {
            plan: plan.clone(),
            pages,
            feeds,
            result,
            logits: Vec::with_capacity(room),
            vocabulary,
            threads,
            watch,
            vigil: Vigil::new(plan),
            clocks,
        })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How many logits a row has.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The logits of the last step.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// The greatest value of a symbol of the plan, at least 1.
    pub fn max(&self, symbol: &str) -> usize {
        self.plan.symbols.iter().find(|s| s.name == symbol).map_or(1, |s| s.max.max(1) as usize)
    }

    /// The pages of the KV cache, to free or cut back sequences.
    pub fn pages(&mut self) -> &mut Pages {
        &mut self.pages
    }

    /// How long the kernel of each step took, by thread and step of the plan, since this was last asked; to be
    /// asked between steps. A time runs on the device's own thread, from the kernel's start until the whole team
    /// is done; messages have none. Empty where the session was not started as timed.
    pub fn take_times(&self) -> Vec<Vec<Duration>> {
        self.clocks.iter().map(|clock| clock.take()).collect()
    }

    /// The run seen from outside, for as long as anybody likes to look: counters of its edges, steps of its devices.
    pub fn watch(&self) -> Arc<Watch> {
        self.watch.clone()
    }

    /// Runs one step: f32 logits, a row of [`Session::vocabulary`] for each of the batch's rows.
    ///
    /// Pages are reserved for the batch's positions. A batch that the plan has no room for is refused and
    /// changes nothing. A device that fails or is stuck ends the run: this step and every later one gives the
    /// same [`RunError::Ended`].
    pub fn step(&mut self, batch: &Batch<'_>) -> Result<&[f32], RunError> {
        self.check(batch)?;
        if let Some(ended) = self.watch.ended() {
            return Err(ended);
        }
        for (&slot, &position) in batch.slots.iter().zip(batch.positions) {
            self.pages.reserve(slot as usize, position as usize + 1)?;
        }
        for (name, writer) in &mut self.feeds {
            let values = match name.as_str() {
                "tokens" => batch.tokens,
                "positions" => batch.positions,
                "slots" => batch.slots,
                "rows" => batch.rows,
                "pages" => self.pages.table(),
                other => return Err(RunError::Unsound(format!("nobody feeds {other}"))),
            };
            self.vigil.send(&self.watch, writer, |slot| {
                let bytes = values.iter().flat_map(|v| v.to_le_bytes());
                slot.iter_mut().zip(bytes).map(|(to, from)| *to = from).count()
            })?;
        }
        let (logits, expected) = (&mut self.logits, batch.rows.len() * self.vocabulary);
        self.vigil.recv(&self.watch, &mut self.result, |message| {
            logits.clear();
            logits.extend(message.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)));
        })?;
        match self.logits.len() {
            found if found == expected => Ok(&self.logits),
            found => {
                Err(RunError::Mismatch { what: "logits", found: found as u64, expected: expected as u64 })
            }
        }
    }

    fn check(&self, batch: &Batch<'_>) -> Result<(), RunError> {
        let o = &self.plan.options;
        let wrong = |what, found: i64, expected: String| Err(RunError::Batch { what, found, expected });
        let max = |name: &str| self.max(name) as i64;
        let (n, m) = (batch.tokens.len() as i64, batch.rows.len() as i64);
        if n < 1 || n > max("n") {
            return wrong("tokens in a step", n, format!("1 to {}", max("n")));
        }
        if m < 1 || m > max("m") {
            return wrong("rows of logits in a step", m, format!("1 to {}", max("m")));
        }
        for (what, values) in [("positions", batch.positions), ("slots", batch.slots)] {
            if values.len() as i64 != n {
                return wrong(what, values.len() as i64, format!("one for each of {n} tokens"));
            }
        }
        let limits = [
            ("a token", batch.tokens, self.vocabulary as i64),
            ("a position", batch.positions, i64::from(o.context)),
            ("a slot", batch.slots, i64::from(o.max_batch)),
            ("a row", batch.rows, n),
        ];
        for (what, values, limit) in limits {
            if let Some(&found) = values.iter().find(|v| !(0..limit).contains(&i64::from(**v))) {
                return wrong(what, found.into(), format!("0 to {}", limit - 1));
            }
        }
        Ok(())
    }
}

impl Drop for Session {
    /// Lets the device threads go, and waits until they have: they end before their next step. A thread that takes
    /// no step for the longest deadline of the plan, or was found stuck before, is left behind with its memory.
    fn drop(&mut self) {
        self.watch.close();
        self.vigil.see_off(&self.watch);
        for (seat, thread) in self.threads.drain(..).enumerate() {
            if self.watch.has_left(seat) {
                let _ = thread.join();
            }
        }
    }
}

/// Starts the device threads: all, or none that stays.
fn spawn(plan: &Plan, workers: Vec<Worker>, watch: &Watch) -> Result<Vec<JoinHandle<()>>, RunError> {
    let start = |(worker, thread): (Worker, &ir::plan::Thread)| {
        let device = &plan.devices[thread.device.0 as usize].name;
        let spawned = std::thread::Builder::new().name(device.clone()).spawn(move || worker.run());
        spawned.map_err(|e| RunError::Threads { device: device.clone(), reason: e.to_string() })
    };
    let threads: Result<_, _> = workers.into_iter().zip(&plan.threads).map(start).collect();
    threads.inspect_err(|_| watch.close())
}

#[derive(Default)]
struct Ends {
    writers: HashMap<End, HashMap<u32, Writer>>,
    readers: HashMap<End, HashMap<u32, Reader>>,
}
