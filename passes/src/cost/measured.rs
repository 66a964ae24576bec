//! What of a kernel was measured under a name of its own, and how long it then takes.
use ir::ops::{KvAppend, Linear};
use ir::plan::Kernel;
use ir::topology::{Rate, Team};
use ir::work::{Operations, StepSize, Work};
use ir::{DType, Op, TensorType};

/// A kernel's work, by what was measured of it.
pub(super) struct Demand {
    /// What products and attention do.
    parts: Vec<Part>,
    /// What bodies do, those behind products too.
    rest: Operations,
    /// Rows that bodies work on.
    rows: u64,
}

/// What a rate of a topology stands for.
struct Part {
    /// The rate's name.
    kernel: String,
    rows: u64,
    operations: Operations,
    /// How much of it the rate counts: all operations, where it does not count something else.
    much: u64,
    /// Queries that attention begins and ends.
    queries: u64,
    /// Of attention, the length of a head's vector.
    width: Option<u64>,
}

impl Part {
    /// What was measured: of attention with heads most like these.
    fn rate<'a>(&self, team: &'a Team) -> Option<&'a Rate> {
        let width = self.width.unwrap_or_default().max(1) as f64;
        let of_width = |rate: &'a Rate| {
            let own: u64 = rate.kernel.strip_prefix(&self.kernel)?.strip_prefix(" of ")?.parse().ok()?;
            Some((rate, (own.max(1) as f64 / width).ln().abs()))
        };
        let alike = team.rates.iter().filter_map(of_width).min_by(|a, b| a.1.total_cmp(&b.1));
        alike.map(|(rate, _)| rate).or_else(|| team.rate(&self.kernel))
    }
}

impl Demand {
    pub(super) fn of(kernel: &Kernel, op: &Op, work: &Work, size: &StepSize) -> Demand {
        let extent = |ty: &TensorType| size.symbols.extents(ty).and_then(|extents| extents.first().copied());
        let result = match op {
            Op::KvAppend(_) => kernel.inputs.get(1),
            _ => Some(&kernel.output),
        };
        let rows = result.and_then(extent).unwrap_or(1).max(1);
        let (parts, rest) = match op {
            Op::PagedAttention(_) => (attention(kernel, work, size), Operations::default()),
            Op::KvAppend(op) => (vec![appending(kernel, op, work, rows)], Operations::default()),
            _ => {
                let own = match op {
                    Op::Linear(_) => kernel.inputs.len(),
                    Op::Fused(fused) => match &fused.anchor {
                        Some(anchor) if matches!(anchor.op, Op::Linear(_)) => anchor.inputs,
                        _ => 0,
                    },
                    _ => 0,
                };
                let parts: Vec<Part> = (1..own)
                    .filter_map(|at| product(kernel, at, size))
                    .filter(|part| part.rows > 0)
                    .collect();
                let products = parts.iter().fold(Operations::default(), |sum, part| sum + part.operations);
                (parts, work.operations.without(products))
            }
        };
        Demand { parts, rest, rows }
    }

    /// Whether a team of cores starts for it: one row of what bodies do is the work of one thread.
    pub(super) fn starts_team(&self) -> bool {
        self.rows > 1 || self.parts.iter().any(|part| part.operations.total() > 0)
    }

    /// Nanoseconds that are expected where `moving_ns` go into memory; none where nothing of it was measured.
    pub(super) fn expected_ns(&self, team: &Team, moving_ns: f64) -> Option<f64> {
        if team.rates.is_empty() {
            return None;
        }
        let (mut near, mut exposed, mut beside) = (0.0, 0.0, self.rest_ns(team));
        for part in &self.parts {
            let Some(rate) = part.rate(team) else {
                near += at_peak(team, part.operations);
                continue;
            };
            let (part_near, part_exposed) = rate.computing_ns(part.rows, part.much);
            near += part_near;
            exposed += part_exposed + rate.start_ns as f64;
            if rate.queries_per_second > 0 {
                beside += part.queries as f64 * 1e9 / rate.queries_per_second as f64;
            }
        }
        Some(match self.parts.is_empty() {
            true => moving_ns.max(beside),
            false => near.max(moving_ns + exposed) + beside,
        })
    }

    fn rest_ns(&self, team: &Team) -> f64 {
        match team.rate("bodies") {
            None => at_peak(team, self.rest),
            Some(rate) => {
                let others = Operations { f32: 0, ..self.rest };
                // Rows are what threads share.
                let threads = f64::from(team.threads);
                let at_work = threads.min(self.rows as f64);
                rate.computing_ns(self.rows, self.rest.f32).0 + at_peak(team, others) * threads / at_work
            }
        }
    }
}

fn at_peak(team: &Team, operations: Operations) -> f64 {
    super::computing_ns(team, operations).iter().map(|(_, ns)| ns).sum()
}

/// The part of a product that has the weight in input `at`.
fn product(kernel: &Kernel, at: usize, size: &StepSize) -> Option<Part> {
    let [x, weight] = [kernel.inputs.first()?, kernel.inputs.get(at)?];
    let layout = kernel.layouts.get(at)?;
    let work = Op::from(Linear {}).work(&[x.clone(), weight.clone()], size)?;
    let rows = *size.symbols.extents(x)?.first()?;
    let kernel = format!("{layout} {}", x.dtype);
    Some(Part {
        kernel,
        rows,
        operations: work.operations,
        much: work.operations.total(),
        queries: 0,
        width: None,
    })
}

/// All of attention, of sequences with equally many new tokens each.
fn attention(kernel: &Kernel, work: &Work, size: &StepSize) -> Vec<Part> {
    let extents = kernel.inputs.first().and_then(|queries| size.symbols.extents(queries));
    let (n, heads) = match extents.as_deref() {
        Some([n, heads, ..]) => (*n, *heads),
        _ => (1, 1),
    };
    let dtype = kernel.inputs.get(1).map_or(DType::F32, |keys| keys.dtype);
    vec![Part {
        kernel: format!("paged_attention {dtype}"),
        rows: n.div_ceil(size.sequences.len().max(1) as u64),
        operations: work.operations,
        much: work.operations.total(),
        queries: n.saturating_mul(heads),
        width: extents.as_deref().and_then(|extents| extents.get(2).copied()),
    }]
}

/// What is written into a cache, counted in values.
fn appending(kernel: &Kernel, op: &KvAppend, work: &Work, rows: u64) -> Part {
    let dtype = kernel.inputs.first().map_or(DType::F32, |cache| cache.dtype);
    let kernel = format!("kv_append {dtype}{}", if op.transposed { " transposed" } else { "" });
    let much = work.writes / dtype.bytes(1).unwrap_or(1).max(1);
    Part { kernel, rows, operations: work.operations, much, queries: 0, width: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::topology::RateAt;

    #[test]
    fn attention_is_expected_as_with_the_heads_most_like_its_own() {
        let rate = |kernel: &str, ns: u64| Rate {
            kernel: kernel.into(),
            at: vec![RateAt { rows: 1, operations_per_second: 1_000_000_000 / ns, exposed_percent: 0 }],
            start_ns: 0,
            queries_per_second: 0,
        };
        let other = rate("paged_attention f32 of 128", 5);
        let rates = vec![other, rate("paged_attention f16 of 64", 1), rate("paged_attention f16 of 256", 2)];
        let mut team =
            Team { threads: 1, launch_ns: 0, operations: Operations::default(), reads: vec![], rates };
        let expected = |team: &Team, width| {
            let operations = Operations { f32: 100, ..Operations::default() };
            let kernel = "paged_attention f16".into();
            let part = Part { kernel, rows: 1, operations, much: 100, queries: 0, width: Some(width) };
            Demand { parts: vec![part], rest: Operations::default(), rows: 1 }.expected_ns(team, 0.0)
        };
        assert_eq!(
            [1, 64, 100, 192, 512].map(|width| expected(&team, width).unwrap()),
            [100.0, 100.0, 100.0, 200.0, 200.0]
        );
        team.rates = vec![rate("paged_attention f16", 4)];
        assert_eq!(expected(&team, 64), Some(400.0));
    }
}
