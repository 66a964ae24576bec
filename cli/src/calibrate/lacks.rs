//! Whether a topology has what a plan needs; what a file lacks is said with its line.
use super::for_devices;
use anyhow::anyhow;
use ir::plan::Plan;
use ir::topology::Topology;
use passes::cost::{CostError, CostModel};
use std::fs;
use std::path::Path;

/// The topology with the plan's devices, joined as its edges need it; `path` is the file that it was read from.
pub(crate) fn for_plan(topology: Topology, path: Option<&Path>, plan: &Plan) -> anyhow::Result<Topology> {
    let topology = for_devices(topology, &plan.devices)?;
    let Err(fault) = CostModel::new(plan, &topology).map(|_| ()) else { return Ok(topology) };
    let Some(path) = path else { return Err(fault.into()) };
    let list = match fault {
        CostError::Device { .. } => "devices",
        _ => "links",
    };
    let text = fs::read_to_string(path).unwrap_or_default();
    let at = text.lines().position(|line| line.trim_start().starts_with(list));
    let line = at.map_or(String::new(), |at| format!("line {}: ", at + 1));
    Err(anyhow!("{}: {line}{fault}", path.display()))
}
