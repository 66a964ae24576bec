//! Tries: the best of several is what a machine can do when nothing disturbs it, the one in the middle what to expect.
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
    /// Where there is much to measure, several times.
    pub(super) const QUICK: Tries =
        Tries { count: 1, each: Duration::from_micros(1500), patience: Duration::from_millis(60) };

    /// The most that is done in a second, of what `run` says it does in so many rounds.
    pub(super) fn best(self, run: &mut dyn FnMut(u64) -> anyhow::Result<u64>) -> anyhow::Result<u64> {
        let rates = self.rates(run)?;
        Ok((rates.last().copied().unwrap_or_default() as u64).max(1))
    }

    /// The same, in the middle of the tries.
    pub(super) fn middle(self, run: &mut dyn FnMut(u64) -> anyhow::Result<u64>) -> anyhow::Result<f64> {
        let rates = self.rates(run)?;
        Ok(rates[rates.len() / 2])
    }

    /// The nanoseconds that one round takes, in the middle of the tries.
    pub(super) fn middle_ns(self, run: &mut dyn FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
        let rate = self.middle(&mut |rounds| {
            (0..rounds).try_for_each(|_| run())?;
            Ok(rounds)
        })?;
        Ok(1e9 / rate)
    }

    /// How much is done in a second in each try, in order; at least one.
    fn rates(self, run: &mut dyn FnMut(u64) -> anyhow::Result<u64>) -> anyhow::Result<Vec<f64>> {
        let mut rounds = 1;
        let mut rates = vec![];
        let begin = Instant::now();
        while rates.len() < self.count && (rates.is_empty() || begin.elapsed() < self.patience) {
            let start = Instant::now();
            let done = run(rounds)?;
            let time = start.elapsed();
            if time < self.each {
                rounds *= if time * 8 < self.each { 8 } else { 2 };
                continue;
            }
            rates.push(done as f64 / time.as_secs_f64());
        }
        rates.sort_by(f64::total_cmp);
        Ok(rates)
    }
}
