//! What the passes did, one stage each: for `explain`, and for whoever looks at a bundle.
use ir::Graph;
use ir::plan::Plan;
use std::time::Duration;

/// What one pass did.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Which pass.
    pub pass: &'static str,
    /// How long it took, its check included.
    pub time: Duration,
    /// The graph behind it, if it changed the graph.
    pub graph: Option<Graph>,
}

/// What one of the passes did that make the plan.
#[derive(Clone, Debug)]
pub struct PlanStage {
    /// Which pass.
    pub pass: &'static str,
    /// How long it took.
    pub time: Duration,
    /// The plan behind it.
    pub plan: Plan,
}
