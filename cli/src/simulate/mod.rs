//! `heddle simulate`: what a plan should reach, by the cost model, without running it.
mod timeline;

use crate::cache::Cache;
use crate::choices::{Batched, Steps};
use crate::diff::{Read, read};
use crate::inspect::peak_bytes;
use crate::{calibrate, chosen, output};
use anyhow::bail;
use clap::Args;
use compiler::Bundle;
use compiler::import::Checkpoint;
use ir::plan::{Edge, End, Plan};
use ir::topology::Topology;
use passes::simulate::{Load, Predicted, Simulated};
use serde::Serialize;
use std::path::{Path, PathBuf};
use timeline::Timeline;

/// Predict latency, throughput, utilisation and traffic of a plan, on this machine or on one that a file describes
#[derive(Args)]
#[command(after_help = "\
Examples:
  heddle simulate smollm2.heddle
  heddle simulate smollm2 --partition tensor:2
  heddle simulate smollm2 --partition pipeline:2 --batch 8 --max-batch 8
  heddle simulate plan.ron --topology machine.ron --json
  heddle simulate smollm2.heddle --prompt-tokens 64 --json --spans > spans.json
  heddle simulate examples/models/llama-3-70b.json --devices examples/topologies/8xh100-nvswitch.ron \\
      --partition tensor:8 --batch 64

--spans adds to the JSON, in nanoseconds from when the prompt is fed:
  rounds    of the prefill, and one of decode behind them: round, is_decode, start_ns, end_ns
  spans     every step of every thread in them: thread, step (indices into the plan's), round, start_ns, ns;
            of Recv and Send ns is how long the thread waits
  messages  edge, round, sent_ns, arrived_ns")]
pub struct Options {
    /// A bundle or a plan; or a model, which is compiled but not packed [default: smollm2]
    plan: Option<String>,
    /// The machine's topology [default: what --devices names or the bundle was compiled for, else this machine as it
    /// was measured, which is done first if it never was]
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// Sequences at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,
    /// Tokens of each sequence's prompt
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    prompt_tokens: u32,
    /// Print one line of JSON instead of tables
    #[arg(long)]
    json: bool,
    /// Add to the JSON when each step and each message should be, of a prefill and of a decode step
    #[arg(long, requires = "json")]
    spans: bool,
    #[command(flatten)]
    compilation: Batched,
}

/// What was predicted.
#[derive(Serialize)]
struct Report {
    plan_hash: String,
    batch: u32,
    prompt_tokens: u32,
    prefill: Reached,
    decode: Reached,
    devices: Vec<OfDevice>,
    edges: Vec<OfEdge>,
    /// Where it is asked for.
    #[serde(flatten)]
    timeline: Option<Timeline>,
}

#[derive(Serialize)]
struct Reached {
    /// Of the whole prompt, or of one token of each sequence: until its logits are there.
    latency_ms: f64,
    /// Of all sequences.
    tokens_per_second: f64,
}

#[derive(Serialize)]
struct OfDevice {
    name: String,
    /// What part of the time kernels run, in prefill and decode.
    prefill_busy: f64,
    decode_busy: f64,
    /// The most that the plan takes there.
    peak_bytes: u64,
}

/// A message edge between two devices, in decode.
#[derive(Serialize)]
struct OfEdge {
    id: u32,
    name: String,
    from: String,
    to: String,
    /// Of one token of each sequence.
    messages: f64,
    bytes: f64,
    waited_us: f64,
}

/// How many edges a table has at most, those that carry most.
const EDGES_SHOWN: usize = 16;
/// Tokens of an answer that there is room for, where nobody says how much room there is.
const ANSWER: u32 = 128;

pub fn run(options: Options) -> anyhow::Result<()> {
    let plan = plan(&options)?;
    let own = options.compilation.compilation();
    let topology = match (&options.topology, own.own_topology(), options.plan.as_deref().map(Path::new)) {
        (None, Some(topology), _) => topology.clone(),
        (asked, _, path) => calibrate::asked_or_own(asked.as_deref(), path, &plan.devices)?,
    };
    let topology = calibrate::for_plan(topology, options.topology.as_deref(), &plan)?;
    let o = &plan.options;
    if options.batch > o.max_batch {
        bail!("the plan has room for {} sequences, not for {}: see --max-batch", o.max_batch, options.batch);
    }
    if options.prompt_tokens >= o.context {
        bail!("a prompt of {} tokens leaves no room in a context of {}", options.prompt_tokens, o.context);
    }
    let load = Load { sequences: options.batch, prompt: options.prompt_tokens };
    let predicted = load.predict(&plan, &topology)?;
    let mut report = report(&plan, load, &predicted);
    report.timeline = options.spans.then(|| Timeline::of(&predicted));
    match options.json {
        true => output::write_json(&report),
        false => output::write(&format!("plan {}, {}", report.plan_hash, report.text())),
    }
}

/// What `heddle simulate` says of a plan behind its hash.
pub fn summary(plan: &Plan, topology: &Topology, batch: u32, prompt_tokens: u32) -> anyhow::Result<String> {
    let load = Load { sequences: batch, prompt: prompt_tokens };
    Ok(report(plan, load, &load.predict(plan, topology)?).text())
}

/// The plan that is meant: as it lies there, or as it would be compiled.
fn plan(options: &Options) -> anyhow::Result<Plan> {
    let name = options.plan.as_deref();
    if let Some(path) = name.map(Path::new).filter(|path| Bundle::is_at(path) || is_plan(path)) {
        let Read::Plan(plan) = read(path)? else { bail!("{} is a graph, expected a plan", path.display()) };
        let text = plan.to_text();
        return match plan.verify() {
            Ok(()) => Ok(*plan),
            Err(faults) => bail!("{} is refused: {}", path.display(), faults[0].explain(&text)),
        };
    }
    let path = Cache::from_env()?.resolve(name)?;
    let checkpoint = Checkpoint::open(&path)?;
    let mut compilation = options.compilation.compilation();
    compilation.make_room(options.batch, options.prompt_tokens + ANSWER);
    let plan = compilation.compile(&checkpoint, Steps::GENERATION)?.plan;
    chosen::say(&plan)?;
    Ok(plan)
}

fn is_plan(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "ron") && path.is_file()
}

fn report(plan: &Plan, load: Load, predicted: &Predicted) -> Report {
    let Load { sequences: batch, prompt: prompt_tokens } = load;
    let Predicted { prefill_ns, token_ns, prefill, decode, tokens: rounds } = predicted;
    let rounds = f64::from(*rounds);
    let tokens = f64::from(batch);
    let name = |end: End| match end {
        End::Host => "host".to_owned(),
        End::Device(id) => plan.devices[id.0 as usize].name.clone(),
    };
    let between = |edge: &&Edge| edge.from != End::Host && edge.to != End::Host;
    let of_edge = |edge: &Edge| {
        let used = &decode.edges[edge.id.0 as usize];
        OfEdge {
            id: edge.id.0,
            name: edge.name.clone(),
            from: name(edge.from),
            to: name(edge.to),
            messages: used.messages as f64 / rounds,
            bytes: used.bytes as f64 / rounds,
            waited_us: used.waited_ns / rounds / 1e3,
        }
    };
    Report {
        plan_hash: plan.hash(),
        batch,
        prompt_tokens,
        prefill: Reached {
            latency_ms: prefill_ns / 1e6,
            tokens_per_second: tokens * f64::from(prompt_tokens) / prefill_ns * 1e9,
        },
        decode: Reached { latency_ms: token_ns / 1e6, tokens_per_second: tokens / token_ns * 1e9 },
        devices: (0..plan.threads.len()).map(|at| of_device(plan, at, prefill, decode)).collect(),
        edges: plan.edges.iter().filter(between).map(of_edge).collect(),
        timeline: None,
    }
}

fn of_device(plan: &Plan, at: usize, prefill: &Simulated, decode: &Simulated) -> OfDevice {
    let device = plan.threads[at].device;
    let busy = |run: &Simulated| run.threads[at].busy_ns / run.end_ns().max(1.0);
    OfDevice {
        name: plan.devices[device.0 as usize].name.clone(),
        prefill_busy: busy(prefill),
        decode_busy: busy(decode),
        peak_bytes: peak_bytes(plan, device),
    }
}

impl Report {
    fn text(&self) -> String {
        let Report { prefill, decode, batch, prompt_tokens, .. } = self;
        let of = |name: &str, reached: &Reached| {
            format!("{name} {:.3} ms, {:.1} tokens a second\n", reached.latency_ms, reached.tokens_per_second)
        };
        let mut text = format!("predicted for {batch} sequences of {prompt_tokens} tokens\n");
        text += &(of("prefill", prefill) + &of("decode ", decode) + "\n" + &self.device_table());
        if !self.edges.is_empty() {
            text += &format!("\n{}", self.edge_table());
        }
        text
    }

    fn device_table(&self) -> String {
        let percent = |part: f64| format!("{:.0} %", part * 100.0);
        let row = |d: &OfDevice| {
            vec![d.name.clone(), percent(d.prefill_busy), percent(d.decode_busy), output::bytes(d.peak_bytes)]
        };
        let rows: Vec<_> = self.devices.iter().map(row).collect();
        output::table(&["DEVICE", " BUSY IN PREFILL", " IN DECODE", " MEMORY"], &rows)
    }

    fn edge_table(&self) -> String {
        let row = |e: &&OfEdge| {
            vec![
                format!("{} {}", e.id, e.name),
                e.from.clone(),
                e.to.clone(),
                format!("{:.0}", e.messages),
                output::bytes(e.bytes as u64),
                format!("{:.1} us", e.waited_us),
            ]
        };
        let mut edges: Vec<&OfEdge> = self.edges.iter().collect();
        edges.sort_by(|a, b| b.bytes.total_cmp(&a.bytes).then(a.id.cmp(&b.id)));
        let (shown, others) = edges.split_at(edges.len().min(EDGES_SHOWN));
        let rows: Vec<_> = shown.iter().map(row).collect();
        let headings = ["EDGE", "FROM", "TO", " MESSAGES A TOKEN", " BYTES", " READER WAITS"];
        let mut text = output::table(&headings, &rows);
        if !others.is_empty() {
            let bytes: f64 = others.iter().map(|edge| edge.bytes).sum();
            let bytes = output::bytes(bytes as u64);
            text += &format!("and {} more, {bytes} a token: see --json\n", others.len());
        }
        text
    }
}
