//! What this machine reads of memory while a benchmark runs: the bound of decode, measured in turn with it.
//!
//! What memory gives changes from one minute to the next where a host has other guests, so a share of what was
//! measured at another time says little.
use crate::answer::per_second;
use crate::calibrate::ASK_AHEAD_BYTES;
use crate::devices;
use anyhow::bail;
use ir::plan::Plan;
use ir::work::StepSize;
use kernels::calibrate::Memory;
use kernels::simd::Isa;
use runtime::Team;
use serde::Serialize;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// How long decode runs, and then plain reading, before it is the other's turn.
pub(super) const TURN: Duration = Duration::from_millis(60);

/// Memory as large as a plan's weights, and as many threads as it has, which only read.
pub(super) struct Reading {
    memory: Memory,
    team: Team,
    /// How far ahead bytes are asked for: what was fastest at first.
    ahead: usize,
}

/// A turn of decode, and one of plain reading behind it; bytes a second.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    decode: f64,
    plain: f64,
}

/// Medians over all turns.
#[derive(Serialize)]
pub(super) struct Bound {
    turns: usize,
    decode_bytes_per_second: f64,
    plain_bytes_per_second: f64,
    /// The median of each turn's share, not the share of the medians.
    share: f64,
}

impl Reading {
    /// Only for plans whose devices are all processors, which work on one step at a time.
    pub(super) fn new(plan: &Plan) -> anyhow::Result<Reading> {
        if let Some(device) = plan.devices.iter().find(|device| !device.kind.is_cpu()) {
            bail!(
                "--reading measures this machine's memory, and {} has its own: take processors only",
                device.name
            );
        }
        let partition = plan.options.partition;
        if partition.data > 1 || partition.pipeline > 1 {
            bail!(
                "--reading stops decode after each token, and replicas and stages work on several at once: take one device, or tensor:N"
            );
        }
        let weights = plan.weights.iter().fold(0, |sum: u64, weight| sum.saturating_add(weight.bytes));
        let bytes = weights.max(1 << 20);
        if devices::usable_memory().is_some_and(|free| bytes > free) {
            bail!("--reading takes as much memory as the weights once more, and so much is not free");
        }
        let threads = plan.devices.iter().map(|device| device.threads as usize).sum();
        let (memory, team) = (Memory::new(bytes as usize)?, Team::new(threads)?);
        let mut reading = Reading { memory, team, ahead: 0 };
        let mut best = 0.0;
        for ahead in ASK_AHEAD_BYTES {
            let before = std::mem::replace(&mut reading.ahead, ahead);
            let mut tries = (0..3).map(|_| reading.turn()).collect::<anyhow::Result<Vec<_>>>()?;
            tries.sort_by(f64::total_cmp);
            match tries[1] > best {
                true => best = tries[1],
                false => reading.ahead = before,
            }
        }
        Ok(reading)
    }

    /// Reads for a turn; bytes a second.
    fn turn(&mut self) -> anyhow::Result<f64> {
        let (threads, isa, start) = (self.team.threads(), Isa::detect(), Instant::now());
        let (memory, ahead) = (&self.memory, self.ahead);
        // A page each at the least, and no more than a late worker may lose.
        let unit = (memory.bytes() / threads / 8).clamp(4096, 1 << 20);
        let units = memory.bytes() / unit;
        let mut sweeps = 0;
        while sweeps == 0 || start.elapsed() < TURN {
            self.team.run(units, |units, _| {
                black_box(memory.read(isa, units.start * unit..units.end * unit, ahead));
            })?;
            sweeps += 1;
        }
        Ok(per_second(units * unit * sweeps, start.elapsed()))
    }

    /// Reads for a turn behind steps of decode that took so long.
    pub(super) fn behind(&mut self, plan: &Plan, steps: &[StepSize], wall: Duration) -> anyhow::Result<Turn> {
        let bytes = passes::cost::memory_bytes(plan, steps)?;
        Ok(Turn { decode: per_second(bytes as usize, wall), plain: self.turn()? })
    }
}

impl Bound {
    pub(super) fn of(turns: &[Turn]) -> Bound {
        let median = |of: fn(&Turn) -> f64| {
            let mut all: Vec<f64> = turns.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or_default()
        };
        Bound {
            turns: turns.len(),
            decode_bytes_per_second: median(|turn| turn.decode),
            plain_bytes_per_second: median(|turn| turn.plain),
            share: median(|turn| turn.decode / turn.plain),
        }
    }

    pub(super) fn line(&self) -> String {
        format!(
            "writing them moves {:.1} GB/s of weights and cache; the same threads, in turn with that, read memory at {:.1}: {:.0}%, the median of {} turns\n",
            self.decode_bytes_per_second / 1e9,
            self.plain_bytes_per_second / 1e9,
            self.share * 100.0,
            self.turns,
        )
    }
}
