//! What two plans take: predicted times, bytes between devices, memory of each device.
use super::edges::per_token;
use crate::cache::Cache;
use crate::{calibrate, output};
use compiler::Bundle;
use ir::plan::{Device, Plan};
use ir::topology::Topology;
use passes::simulate::Load;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What times are predicted by, or why there are none.
pub(crate) struct Times {
    topology: Result<Topology, String>,
    path: Option<PathBuf>,
}

impl Times {
    /// By a file that somebody names, else by the one that a bundle was compiled for, else by what this machine was
    /// measured to do; it is not measured for this.
    pub(crate) fn of(path: Option<&Path>, bundles: &[&Path]) -> anyhow::Result<Times> {
        let kept = || bundles.iter().find_map(|bundle| Bundle::topology_path(bundle));
        if let Some(path) = path.map(Path::to_owned).or_else(kept) {
            return Ok(Times { topology: Ok(calibrate::read_written(&path)?), path: Some(path) });
        }
        let kept = calibrate::read(&calibrate::place(&Cache::from_env()?));
        let topology = kept.map_err(|error| output::explain(&error)).and_then(|topology| match topology {
            Some(topology) => calibrate::stale(&topology).map_or(Ok(topology), Err),
            None => Err("this machine was never measured, which `heddle devices --calibrate` does".into()),
        });
        Ok(Times { topology, path: None })
    }

    /// Milliseconds until a prompt is read, and of a token behind it.
    fn predict(&self, plan: &Plan, prompt: u32) -> Result<[f64; 2], String> {
        let topology = calibrate::for_plan(self.topology.clone()?, self.path.as_deref(), plan);
        let topology = topology.map_err(|error| output::explain(&error))?;
        let predicted = Load { sequences: 1, prompt }.predict(plan, &topology).map_err(|e| e.to_string())?;
        Ok([predicted.prefill_ns, predicted.token_ns].map(|ns| ns / 1e6))
    }
}

/// What a plan takes.
#[derive(Serialize)]
struct Costs {
    /// Of the whole prompt.
    prefill_ms: Option<f64>,
    /// Of a token behind it.
    decode_ms: Option<f64>,
    /// What crosses edges between devices for a token.
    edge_bytes: u64,
    devices: Vec<Memory>,
}

/// The most that a device takes.
#[derive(Serialize)]
struct Memory {
    name: String,
    peak_bytes: u64,
}

/// What two plans take, one beside the other.
#[derive(Serialize)]
pub(crate) struct Change {
    /// Tokens of the prompt that times are about.
    prompt_tokens: u32,
    before: Costs,
    after: Costs,
    /// Why there are no times.
    #[serde(skip_serializing_if = "Option::is_none")]
    untimed: Option<String>,
}

/// The longest prompt that times are about.
const PROMPT: u32 = 512;

/// The prompt that times are about where there is room for so many tokens.
pub(crate) fn prompt_in(context: u32) -> u32 {
    PROMPT.min(context / 2).max(1)
}

impl Change {
    /// Of two plans, which must have passed [`Plan::verify`].
    pub(crate) fn between(a: &Plan, b: &Plan, times: &Times) -> Change {
        let prompt_tokens = prompt_in(a.options.context.min(b.options.context));
        let (before, no_before) = Costs::of(a, prompt_tokens, times);
        let (after, no_after) = Costs::of(b, prompt_tokens, times);
        Change { prompt_tokens, before, after, untimed: no_before.or(no_after) }
    }

    /// Says why there are no times.
    pub(crate) fn explain(&self) {
        if let Some(reason) = &self.untimed {
            note!("no times are predicted: {reason}");
        }
    }

    /// What differs, as a table; none where nothing does.
    pub(crate) fn table(&self) -> Option<String> {
        let Change { prompt_tokens, before, after, .. } = self;
        let ms = |ms: f64| format!("{ms:.3} ms");
        let whole = |bytes: f64| output::bytes(bytes as u64);
        let mut rows = vec![
            row(format!("prefill of {prompt_tokens} tokens"), before.prefill_ms, after.prefill_ms, ms),
            row("decode of a token".to_owned(), before.decode_ms, after.decode_ms, ms),
            row(
                "between devices, a token".to_owned(),
                Some(before.edge_bytes as f64),
                Some(after.edge_bytes as f64),
                |bytes| format!("{bytes} bytes"),
            ),
        ];
        let mut names: Vec<&String> =
            before.devices.iter().chain(&after.devices).map(|memory| &memory.name).collect();
        names.sort_unstable();
        names.dedup();
        rows.extend(names.into_iter().map(|name| {
            let of = |costs: &Costs| {
                Some(costs.devices.iter().find(|memory| memory.name == *name)?.peak_bytes as f64)
            };
            row(format!("memory of {name}"), of(before), of(after), whole)
        }));
        let rows: Vec<Vec<String>> = rows.into_iter().flatten().collect();
        (!rows.is_empty()).then(|| output::table(&["", " BEFORE", " AFTER", " BY"], &rows))
    }
}

/// What something was, is, and by how much that is more; none where it is as it was.
fn row(
    what: String,
    was: Option<f64>,
    is: Option<f64>,
    written: impl Fn(f64) -> String,
) -> Option<Vec<String>> {
    let by = match (was, is) {
        (Some(was), Some(is)) if was > 0.0 => format!("{:+.1} %", (is / was - 1.0) * 100.0),
        _ => String::new(),
    };
    let cell = |value: Option<f64>| value.map_or("-".to_owned(), &written);
    (was != is).then(|| vec![what, cell(was), cell(is), by])
}

impl Costs {
    fn of(plan: &Plan, prompt: u32, times: &Times) -> (Costs, Option<String>) {
        let (predicted, fault) = match times.predict(plan, prompt) {
            Ok(ms) => (Some(ms), None),
            Err(fault) => (None, Some(fault)),
        };
        let peak = |device: &Device| {
            let own = plan.memory.iter().filter(|proof| proof.device == device.id);
            Memory { name: device.name.clone(), peak_bytes: own.map(|proof| proof.total).max().unwrap_or(0) }
        };
        let costs = Costs {
            prefill_ms: predicted.map(|[prefill, _]| prefill),
            decode_ms: predicted.map(|[_, decode]| decode),
            edge_bytes: per_token(plan).1,
            devices: plan.devices.iter().map(peak).collect(),
        };
        (costs, fault)
    }
}
