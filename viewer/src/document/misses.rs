//! Where predictions miss most.
use super::lanes::{Lane, SpanKind};
use super::plan::StepAt;
use std::collections::HashMap;

/// What a step should take and what it takes, on average over its rounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Miss {
    /// The step.
    pub at: StepAt,
    /// What it is.
    pub kind: SpanKind,
    /// What it is called.
    pub name: String,
    /// Whether the rounds are decode steps, else they are prefill.
    pub is_decode: bool,
    /// Over how many rounds.
    pub rounds: u32,
    /// Microseconds that it was to take.
    pub predicted_us: f64,
    /// Microseconds that it took.
    pub measured_us: f64,
}

impl Miss {
    /// By how many microseconds it took longer than predicted.
    pub fn by_us(&self) -> f64 {
        self.measured_us - self.predicted_us
    }

    /// How many times as long it took; none where it was predicted to take nothing.
    pub fn ratio(&self) -> Option<f64> {
        (self.predicted_us > 0.0).then(|| self.measured_us / self.predicted_us)
    }
}

/// Every step of lanes that was measured and predicted, the greatest miss first.
pub(super) fn of(lanes: &[Lane]) -> Vec<Miss> {
    let mut sums: HashMap<(StepAt, bool), Miss> = HashMap::new();
    for lane in lanes {
        let Some(thread) = lane.thread else { continue };
        for span in lane.spans.iter() {
            let (Some(step), Some(predicted_us)) = (span.step, span.predicted_us) else { continue };
            let at = StepAt { thread, step };
            let sum = sums.entry((at, span.is_decode)).or_insert_with(|| Miss {
                at,
                kind: span.kind,
                name: span.name.clone(),
                is_decode: span.is_decode,
                rounds: 0,
                predicted_us: 0.0,
                measured_us: 0.0,
            });
            sum.rounds += 1;
            sum.predicted_us += predicted_us;
            sum.measured_us += span.us;
        }
    }
    let mut misses: Vec<Miss> = sums
        .into_values()
        .map(|sum| {
            let rounds = f64::from(sum.rounds);
            Miss { predicted_us: sum.predicted_us / rounds, measured_us: sum.measured_us / rounds, ..sum }
        })
        .collect();
    misses.sort_by(|a, b| {
        b.by_us().abs().total_cmp(&a.by_us().abs()).then((a.at, a.is_decode).cmp(&(b.at, b.is_decode)))
    });
    misses
}
