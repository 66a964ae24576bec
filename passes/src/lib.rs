//! Passes over graphs: one file, one function, one line in [`pipeline`].
//!
//! A pass preserves what the graph means, and the driver checks the graph after each. The last two make the
//! plan: [`schedule`] its steps, `memory` its offsets and the proof. [`cost`] says how long a plan takes.
pub mod cost;
mod fuse;
mod layout;
mod memory;
pub mod partition;
mod pattern;
pub mod pipeline;
mod quantise;
mod raise;
pub mod schedule;
mod simplify;
pub mod simulate;
pub mod trace;

pub use pipeline::{PASSES, PLAN_PASSES, Pass, plan, run_all, run_one};
pub use trace::{PlanStage, Stage};

use ir::plan::{Activations, Plan};
use ir::{Op, OpError, TensorType};
use partition::Cut;

/// What passes may know beside the graph.
pub struct Cx {
    /// How activations enter products with quantised weights.
    pub activations: Activations,
    /// The devices, by number, whose products take f32 alone.
    pub exact: Vec<u32>,
    /// What the backend says of itself.
    pub target: Target,
    /// Which devices compute what.
    pub cut: Cut,
}

impl Default for Cx {
    /// Exact activations, and a backend that takes every weight as the file has it.
    fn default() -> Cx {
        let (activations, exact) = (Activations::F32, vec![]);
        Cx { activations, exact, target: Target::default(), cut: Cut::default() }
    }
}

/// What a backend tells the passes; each answer can be a reason why there is none.
pub struct Target {
    /// The layout of a weight of that type under the operators that use it.
    pub layout: fn(&TensorType, &[&Op]) -> Result<String, String>,
    /// The bytes of a weight of that type in that layout.
    pub packed_bytes: fn(&TensorType, &str) -> Result<u64, String>,
    /// The memory that each of the plan's kernels needs beside its arguments.
    pub scratch: fn(&Plan) -> Result<Vec<Scratch>, String>,
}

impl Default for Target {
    fn default() -> Target {
        Target {
            layout: |_, _| Ok(PLAIN.to_owned()),
            packed_bytes: |ty, _| plain_bytes(ty),
            scratch: |plan| Ok(vec![Scratch::default(); plan.kernels.len()]),
        }
    }
}

/// Bytes that a kernel needs beside its arguments.
#[derive(Clone, Copy, Default)]
pub struct Scratch {
    /// Of each worker's own.
    pub own: u64,
    /// For all workers of a device together.
    pub shared: u64,
}

/// The layout in which a weight lies as its file has it.
pub const PLAIN: &str = "plain";

/// The bytes of a weight that lies as its file has it.
pub fn plain_bytes(ty: &TensorType) -> Result<u64, String> {
    ty.bytes(|_| None).ok_or_else(|| format!("the size of {ty} cannot be known"))
}

/// Whether a pass did anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The graph is as it was.
    None,
    /// The graph is another one.
    Some,
}

impl Change {
    /// `Some` where `changed`.
    pub fn when(changed: bool) -> Change {
        if changed { Change::Some } else { Change::None }
    }
}

/// The first lines of an explained graph that have faults beneath them, with these.
fn faulted(graph: &str) -> String {
    const SHOWN: usize = 8;
    let is_fault = |line: &str| line.trim_start().starts_with("// ^ ");
    let (mut shown, mut own): (Vec<&str>, &str) = (vec![], "");
    for line in graph.lines() {
        if !is_fault(line) {
            own = line;
            continue;
        }
        shown.extend(Some(own).filter(|own| !own.is_empty()));
        shown.push(line);
        own = "";
    }
    shown.truncate(SHOWN);
    shown.join("\n")
}

/// Why a pass could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// A pass made a graph that does not verify: a bug of ours.
    #[error("the pass {pass} broke the graph, a fault of heddle's:\n{}", faulted(graph))]
    Broke {
        /// Which.
        pass: &'static str,
        /// The graph with its faults beneath their lines.
        graph: String,
    },
    /// There is no such pass.
    #[error("there is no pass {found:?}, expected one of {}", .expected.join(", "))]
    Unknown {
        /// The name that was asked for.
        found: String,
        /// The names there are.
        expected: Vec<&'static str>,
    },
    /// An operator refused what a pass gave it: a bug of ours.
    #[error("an operator refused what a pass built: {0}")]
    Refused(#[from] OpError),
    /// The model cannot be cut as it was asked for.
    #[error("{node}: {reason}")]
    Cut {
        /// At which node.
        node: String,
        /// Why, and what can be.
        reason: String,
    },
    /// A hint that cannot be honoured.
    #[error(transparent)]
    Hint(#[from] partition::HintError),
    /// The backend has no code for the plan.
    #[error("the backend refuses the plan: {0}")]
    Backend(String),
    /// A graph that cannot be made into steps.
    #[error("{node} cannot be scheduled: {reason}")]
    Unschedulable {
        /// Which value.
        node: String,
        /// Why.
        reason: String,
    },
}

/// Runs one pass on a graph's text and compares the text after.
#[cfg(test)]
fn check(pass: &str, before: &str, after: expect_test::Expect) {
    let mut g = ir::text::read(before).expect("the text is one of a graph").graph;
    let problems = ir::verify::verify(&g);
    assert!(problems.is_empty(), "the graph before is broken:\n{}", ir::verify::explain(&g, &problems));
    run_one(&Cx::default(), pass, &mut g).unwrap_or_else(|e| panic!("{e}"));
    after.assert_eq(&g.to_string());
}
