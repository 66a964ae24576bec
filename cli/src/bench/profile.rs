//! Where a benchmark's time goes: a row for each kernel, with what it does beside what this machine could do.
use super::drive::Measured;
use crate::output;
use ir::plan::{KernelId, Plan, Step};
use ir::topology::Topology;
use ir::work::Operations;
use passes::cost::{Cost, CostModel};
use serde::Serialize;
use std::time::Duration;

/// Of prompts, and of answers.
#[derive(Serialize)]
pub(super) struct Profile {
    prefill: Phase,
    decode: Phase,
}

/// Sums over all steps of one repetition, that in the middle of all; times in nanoseconds.
#[derive(Serialize)]
struct Phase {
    steps: usize,
    wall_ns: u64,
    kernels_ns: u64,
    /// Choosing tokens, on the host.
    sampling_ns: u64,
    /// Edges, waking, and whatever else is outside kernels and not sampling.
    waiting_ns: u64,
    /// What the cost model expects of all kernels.
    predicted_ns: u64,
    /// What it expects of messages from and to the host, and of waking it.
    predicted_waiting_ns: u64,
    /// The slowest first.
    kernels: Vec<Row>,
}

/// A kernel, wherever the plan runs it.
#[derive(Serialize)]
struct Row {
    id: KernelId,
    name: String,
    /// Paths of the nodes, with a star for numbers that differ.
    nodes: Vec<String>,
    /// How often it ran.
    runs: u64,
    time_ns: u64,
    /// What it must move, and compute.
    bytes: u64,
    operations: Operations,
    /// What moving and computing take at least, the longer of both.
    bound_ns: u64,
    /// What the bound comes from.
    limit: &'static str,
    /// The bound, and what launching costs.
    predicted_ns: u64,
    /// What part of the time the bound is: 1 where nothing can be faster.
    ceiling: f64,
}

impl Profile {
    pub(super) fn new(
        plan: &Plan,
        topology: &Topology,
        prefill: &Measured,
        decode: &Measured,
    ) -> anyhow::Result<Profile> {
        let model = CostModel::new(plan, topology)?;
        Ok(Profile { prefill: phase(plan, &model, prefill)?, decode: phase(plan, &model, decode)? })
    }

    pub(super) fn write(&self) -> anyhow::Result<()> {
        self.prefill.write("prefill")?;
        self.decode.write("decode")
    }
}

fn phase(plan: &Plan, model: &CostModel, measured: &Measured) -> anyhow::Result<Phase> {
    let mut costs = vec![Cost::default(); plan.kernels.len()];
    let mut rows: Vec<Row> = plan.kernels.iter().map(|kernel| Row::new(kernel.id, &kernel.name)).collect();
    for (at, thread) in plan.threads.iter().enumerate() {
        let times = measured.times.get(at);
        for (at, step) in thread.steps.iter().enumerate() {
            let Step::Run { kernel, node, .. } = step else { continue };
            let time = times.and_then(|times| times.get(at)).copied().unwrap_or_default();
            rows[kernel.0 as usize].add(node, measured.steps.len() as u64, time);
        }
        for size in &measured.steps {
            for (step, cost) in thread.steps.iter().zip(model.steps(thread, size)?) {
                if let Step::Run { kernel, .. } = step {
                    costs[kernel.0 as usize] += cost;
                }
            }
        }
    }
    let mut host_ns = 0.0;
    for size in &measured.steps {
        host_ns += model.host_ns(size)?;
    }
    rows.iter_mut().zip(&costs).for_each(|(row, cost)| row.compare(cost));
    rows.retain(|row| row.runs > 0);
    rows.sort_by_key(|row| std::cmp::Reverse(row.time_ns));
    let wall_ns = measured.wall.as_nanos() as u64;
    let sampling_ns = measured.sampling.as_nanos() as u64;
    let kernels_ns = rows.iter().map(|row| row.time_ns).sum();
    Ok(Phase {
        steps: measured.steps.len(),
        wall_ns,
        kernels_ns,
        sampling_ns,
        // While kernels run the host waits for them.
        waiting_ns: wall_ns.saturating_sub(kernels_ns + sampling_ns),
        predicted_ns: rows.iter().map(|row| row.predicted_ns).sum(),
        predicted_waiting_ns: host_ns.round() as u64,
        kernels: rows,
    })
}

impl Row {
    fn new(id: KernelId, name: &str) -> Row {
        Row {
            id,
            name: name.to_owned(),
            nodes: vec![],
            runs: 0,
            time_ns: 0,
            bytes: 0,
            operations: Operations::default(),
            bound_ns: 0,
            limit: "",
            predicted_ns: 0,
            ceiling: 0.0,
        }
    }

    /// One of the plan's steps that run it.
    fn add(&mut self, node: &str, runs: u64, time: Duration) {
        self.runs += runs;
        self.time_ns += time.as_nanos() as u64;
        if !self.nodes.iter_mut().any(|pattern| widen(pattern, node)) {
            self.nodes.push(node.to_owned());
        }
    }

    fn compare(&mut self, cost: &Cost) {
        self.bytes = cost.bytes;
        self.operations = cost.operations;
        self.bound_ns = cost.bound_ns.round() as u64;
        self.predicted_ns = cost.predicted_ns().round() as u64;
        self.limit = cost.limit().name();
        self.ceiling = self.bound_ns as f64 / self.time_ns.max(1) as f64;
    }

    fn cells(&self, phase: &Phase) -> Vec<String> {
        let steps = phase.steps.max(1) as f64;
        let per_ns = |much: u64| format!("{:.1}", much as f64 / self.time_ns.max(1) as f64);
        vec![
            format!("{} {}", self.id.0, self.name),
            format!("{}", self.runs / phase.steps.max(1) as u64),
            micro(self.time_ns, steps),
            percent(self.time_ns as f64 / phase.wall_ns.max(1) as f64),
            format!("{:.3}", self.bytes as f64 / steps / 1e6),
            per_ns(self.bytes),
            format!("{:.3}", self.operations.total() as f64 / steps / 1e6),
            per_ns(self.operations.total()),
            percent(self.ceiling),
            self.limit.to_owned(),
            micro(self.predicted_ns, steps),
            shortened(&self.nodes),
        ]
    }
}

impl Phase {
    /// A table of means over the steps.
    fn write(&self, what: &str) -> anyhow::Result<()> {
        let steps = self.steps.max(1) as f64;
        let plural = if self.steps == 1 { "" } else { "s, each" };
        output::write(&format!("\n{what}: {} step{plural} {} µs\n", self.steps, micro(self.wall_ns, steps)))?;
        let headings = [
            "KERNEL",
            " RUNS",
            " µs",
            " SHARE",
            " MB",
            " GB/s",
            " MOP",
            " GOP/s",
            " CEILING",
            "LIMIT",
            " PREDICTED µs",
            "NODES",
        ];
        let mut rows: Vec<Vec<String>> = self.kernels.iter().map(|row| row.cells(self)).collect();
        rows.push(self.all_kernels().cells(self));
        if let Some([name, .., limit, _, nodes]) = rows.last_mut().map(Vec::as_mut_slice) {
            (*name, *limit, *nodes) = ("all kernels".into(), String::new(), String::new());
        }
        let waiting = micro(self.predicted_waiting_ns, steps);
        for (name, ns, predicted) in [
            ("edges, waking, waiting", self.waiting_ns, waiting),
            ("sampling", self.sampling_ns, String::new()),
        ] {
            let share = percent(ns as f64 / self.wall_ns.max(1) as f64);
            let mut cells = vec![name.to_owned(), String::new(), micro(ns, steps), share];
            cells.resize(headings.len() - 2, String::new());
            cells.extend([predicted, String::new()]);
            rows.push(cells);
        }
        output::write_table(&headings, &rows)
    }

    fn all_kernels(&self) -> Row {
        let mut all = Row::new(KernelId(0), "");
        for row in &self.kernels {
            all.runs += row.runs;
            all.time_ns += row.time_ns;
            all.bytes += row.bytes;
            all.operations += row.operations;
            all.bound_ns += row.bound_ns;
            all.predicted_ns += row.predicted_ns;
        }
        all.ceiling = all.bound_ns as f64 / all.time_ns.max(1) as f64;
        all
    }
}

/// Microseconds a step.
fn micro(ns: u64, steps: f64) -> String {
    format!("{:.1}", ns as f64 / steps / 1e3)
}

fn percent(part: f64) -> String {
    format!("{:.1}%", part * 100.0)
}

/// Puts stars into a pattern so that it matches a path as well; not where more than numbers differ.
fn widen(pattern: &mut String, path: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut wide = vec![];
    let (mut old, mut new) = (pattern.split('.'), path.split('.'));
    loop {
        match (old.next(), new.next()) {
            (None, None) => break,
            (Some(a), Some(b)) if a == b => wide.push(a),
            (Some(a), Some(b)) if (a == "*" || is_number(a)) && is_number(b) => wide.push("*"),
            _ => return false,
        }
    }
    *pattern = wide.join(".");
    true
}

/// The first few.
fn shortened(nodes: &[String]) -> String {
    const MOST: usize = 3;
    let shown = nodes.iter().take(MOST).map(String::as_str).collect::<Vec<_>>().join(", ");
    match nodes.len().checked_sub(MOST) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_all_layers_are_one_pattern() {
        let mut row = Row::new(KernelId(0), "k");
        for node in ["blk.0.attn_norm", "blk.0.ffn_norm", "blk.1.attn_norm", "blk.12.attn_norm", "norm"] {
            row.add(node, 2, Duration::from_nanos(5));
        }
        assert_eq!(row.nodes, ["blk.*.attn_norm", "blk.0.ffn_norm", "norm"]);
        assert_eq!((row.runs, row.time_ns), (10, 25));
        row.add("last", 2, Duration::ZERO);
        assert_eq!(shortened(&row.nodes), "blk.*.attn_norm, blk.0.ffn_norm, norm and 1 more");
    }
}
