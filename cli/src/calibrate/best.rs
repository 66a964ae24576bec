//! The best of several tries: what a machine can do when nothing disturbs it.
use std::time::{Duration, Instant};

/// How something is measured.
#[derive(Clone, Copy)]
pub(super) struct Tries {
    /// How often.
    pub(super) count: usize,
    /// How long a try takes at least.
    pub(super) each: Duration,
    /// After how long there are no more tries: on a busy machine each takes long, and more would not help.
    pub(super) patience: Duration,
}

impl Tries {
    /// What many predictions rest on.
    pub(super) const CAREFUL: Tries =
        Tries { count: 5, each: Duration::from_millis(8), patience: Duration::from_millis(150) };
    /// Where there is much to measure.
    pub(super) const QUICK: Tries =
        Tries { count: 4, each: Duration::from_millis(2), patience: Duration::from_millis(60) };

    /// The most that is done in a second, of what `run` says it does in so many rounds.
    pub(super) fn best(self, run: &mut dyn FnMut(u64) -> anyhow::Result<u64>) -> anyhow::Result<u64> {
        let mut rounds = 1;
        let mut most = 0f64;
        let mut tries = 0;
        let begin = Instant::now();
        while tries < self.count && (tries == 0 || begin.elapsed() < self.patience) {
            let start = Instant::now();
            let done = run(rounds)?;
            let time = start.elapsed();
            if time < self.each {
                rounds *= if time * 8 < self.each { 8 } else { 2 };
                continue;
            }
            most = most.max(done as f64 / time.as_secs_f64());
            tries += 1;
        }
        Ok((most as u64).max(1))
    }

    /// The fewest nanoseconds that one round takes.
    pub(super) fn least_ns(self, run: &mut dyn FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
        // In thousandths, for rounds can be as short as a few nanoseconds.
        let rounds = self.best(&mut |rounds| {
            (0..rounds).try_for_each(|_| run())?;
            Ok(rounds * 1000)
        })?;
        Ok(1e12 / rounds as f64)
    }
}
