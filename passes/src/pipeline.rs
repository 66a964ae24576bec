//! The list of passes, the one order in which they run, and the driver around each.
use crate::schedule::{self, Request};
use crate::{
    Change, Cx, PassError, PlanStage, Stage, fuse, layout, memory, partition, quantise, raise, simplify,
};
use ir::Graph;
use ir::plan::Plan;
use ir::verify::{explain, verify};
use std::time::Instant;

/// One pass.
pub struct Pass {
    /// Its name: in this list, on the command line, of its folder of golden files.
    pub name: &'static str,
    run: fn(&Cx, &mut Graph) -> Result<Change, PassError>,
}

/// Every pass, in the order in which a compile runs them.
pub const PASSES: &[Pass] = &[
    Pass { name: "constants", run: simplify::constants::run },
    Pass { name: "identities", run: simplify::identities::run },
    Pass { name: "duplicates", run: simplify::duplicates::run },
    Pass { name: "rms_norm", run: raise::rms_norm::run },
    Pass { name: "softmax", run: raise::softmax::run },
    Pass { name: "silu", run: raise::silu::run },
    Pass { name: "gelu", run: raise::gelu::run },
    Pass { name: "attention", run: raise::attention::run },
    Pass { name: "unused", run: simplify::unused::run },
    Pass { name: "partition", run: partition::run },
    Pass { name: "activations", run: quantise::activations::run },
    Pass { name: "siblings", run: fuse::siblings::run },
    Pass { name: "chains", run: fuse::chains::run },
    Pass { name: "epilogues", run: fuse::epilogues::run },
    Pass { name: "layout", run: layout::run },
];

/// The passes that make the plan of the last graph, in order.
pub const PLAN_PASSES: &[&str] = &["schedule", "memory"];

/// Makes the plan of a graph that has been through all passes; says what the process takes beside it.
pub fn plan(
    cx: &Cx,
    g: &Graph,
    request: Request,
    process_bytes: u64,
) -> Result<(Plan, Vec<PlanStage>), PassError> {
    let start = Instant::now();
    let mut plan = schedule::run(cx, g, request)?;
    let mut stages = vec![PlanStage { pass: PLAN_PASSES[0], time: start.elapsed(), plan: plan.clone() }];
    let start = Instant::now();
    memory::run(cx, &mut plan, process_bytes)?;
    stages.push(PlanStage { pass: PLAN_PASSES[1], time: start.elapsed(), plan: plan.clone() });
    Ok((plan, stages))
}

/// Runs every pass in order; keeps the graph after each that changed it.
pub fn run_all(cx: &Cx, g: &mut Graph) -> Result<Vec<Stage>, PassError> {
    PASSES.iter().map(|pass| drive(cx, pass, g)).collect()
}

/// Runs the pass of that name.
pub fn run_one(cx: &Cx, name: &str, g: &mut Graph) -> Result<Stage, PassError> {
    let unknown = || PassError::Unknown {
        found: name.to_owned(),
        expected: PASSES.iter().map(|pass| pass.name).collect(),
    };
    drive(cx, PASSES.iter().find(|pass| pass.name == name).ok_or_else(unknown)?, g)
}

/// Runs one pass, takes its time, and holds it to a sound graph.
fn drive(cx: &Cx, pass: &Pass, g: &mut Graph) -> Result<Stage, PassError> {
    let start = Instant::now();
    let change = (pass.run)(cx, g)?;
    let problems = verify(g);
    if !problems.is_empty() {
        return Err(PassError::Broke { pass: pass.name, graph: explain(g, &problems) });
    }
    let graph = (change == Change::Some).then(|| g.clone());
    Ok(Stage { pass: pass.name, time: start.elapsed(), graph })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::{TensorType, text};

    fn graph() -> Graph {
        let text = "graph g {\n x = input(): f32[4]\n %0 = add(x, x): f32[4]\n return %0\n}";
        text::read(text).expect("the text is one of a graph").graph
    }

    #[test]
    fn a_pass_that_breaks_the_graph_is_named() {
        let run = |_: &Cx, g: &mut Graph| {
            let lie = g.add_unchecked(g[g.outputs[0]].op.clone(), TensorType::f32(&[5]), &[]);
            g.outputs.push(lie);
            Ok(Change::Some)
        };
        let fault = drive(&Cx::default(), &Pass { name: "liar", run }, &mut graph()).unwrap_err();
        expect_test::expect![[r#"
            the pass liar broke the graph, a fault of heddle's:
              %1 = add(): f32[5]
              // ^ error: expects 2 inputs, got 0"#]]
        .assert_eq(&fault.to_string());
    }

    #[test]
    fn an_unknown_pass_is_refused_with_those_there_are() {
        let fault = run_one(&Cx::default(), "unusd", &mut graph()).unwrap_err().to_string();
        assert!(
            fault.starts_with("there is no pass \"unusd\", expected one of ") && fault.contains("unused"),
            "{fault}"
        );
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = PASSES.iter().map(|pass| pass.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PASSES.len());
    }
}
