//! What plans would take that differ in one decision: each is compiled, not packed, and predicted beside the plan.
use super::others::Other;
use crate::diff::{per_token, traffic};
use crate::progress;
use compiler::{CompileError, Compiled, Outline, Source, compile_from};
use ir::plan::{self, EdgeId, Plan};
use ir::topology::Topology;
use serde::Serialize;
use std::sync::Mutex;

/// What was not taken.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Instead {
    /// What it is.
    pub(super) what: String,
    /// What it would have taken, in nanoseconds; none where it cannot be.
    pub(super) predicted_ns: Option<u64>,
    /// Messages between devices for a token, beyond those of the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) more_messages: Option<i64>,
    /// The bytes in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) more_bytes: Option<i64>,
    /// Why it cannot be.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) reason: String,
    /// The hints that make it so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) hints: Vec<String>,
}

impl From<&plan::Instead> for Instead {
    fn from(kept: &plan::Instead) -> Instead {
        let plan::Instead { what, predicted_ns, reason, .. } = kept.clone();
        Instead { what, predicted_ns, reason, ..Instead::default() }
    }
}

/// What a plan takes, in nanoseconds, or why that cannot be said.
pub(super) type Predict<'a> = &'a (dyn Fn(&Plan) -> Result<f64, String> + Sync);

/// A plan and the model that it was made of, from which others can be made.
pub(super) struct RunnersUp<'a> {
    outline: &'a Outline,
    /// The plan, made again.
    pub(super) compiled: Compiled,
    /// What its shares are by.
    topology: Option<Topology>,
}

impl<'a> RunnersUp<'a> {
    /// Makes a bundle's plan again, with shares by one of these; says why that cannot be.
    pub(super) fn of(
        outline: &'a Outline,
        shares_by: Vec<Option<Topology>>,
    ) -> Result<RunnersUp<'a>, String> {
        let plan = &outline.plan;
        if outline.is_edited {
            return Err(
                "plan.ron was edited, and others can only be made of a plan as it was compiled".into()
            );
        }
        let source = Source::of_plan(&outline.checkpoint, plan);
        for topology in shares_by {
            let made = compile_from(&source, plan.options.clone(), &plan.devices, topology.as_ref());
            // What was decided by cost is written behind all that a compile makes.
            let is_it = |made: &Compiled| Plan { why: plan.why.clone(), ..made.plan.clone() } == *plan;
            if let Some(compiled) = made.ok().filter(is_it) {
                return Ok(RunnersUp { outline, compiled, topology });
            }
        }
        Err("this version of heddle, or the machine as it was measured since, makes another plan of the model: \
             compile it again"
            .into())
    }

    /// What each of them takes, the best first; those that come to the same plan are left out.
    pub(super) fn compare(&self, others: Vec<Other>, predict: Predict<'_>) -> Vec<Instead> {
        let bar = progress::count("alternatives", others.len() as u64);
        let waiting = Mutex::new(others.into_iter());
        let found = Mutex::new(vec![]);
        let work = || {
            while let Some(other) = waiting.lock().ok().and_then(|mut waiting| waiting.next()) {
                let instead = self.instead(other, predict);
                bar.inc(1);
                if let Ok(mut found) = found.lock() {
                    found.extend(instead);
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
        bar.finish_and_clear();
        let mut found = found.into_inner().unwrap_or_default();
        found.sort_by_cached_key(|other: &Instead| {
            (other.predicted_ns.is_none(), other.predicted_ns, other.what.clone())
        });
        found
    }

    /// What one of them takes; none where it changes nothing.
    fn instead(&self, other: Other, predict: Predict<'_>) -> Option<Instead> {
        let Other { what, options, devices, hints, about } = other;
        let hints = hints.iter().map(ToString::to_string).collect();
        let source = Source::of_plan(&self.outline.checkpoint, &self.outline.plan);
        let (own, made) =
            (&self.outline.plan, compile_from(&source, options, &devices, self.topology.as_ref()));
        let predicted = made.map_err(|error| explain(&error)).and_then(|made| {
            let is_same = made.plan.threads == own.threads
                && made.plan.kernels == own.kernels
                && made.plan.edges == own.edges;
            match is_same || about.is_some_and(|edge| has_the_same(own, edge, &made.plan)) {
                true => Ok(None),
                false => Ok(Some((predict(&made.plan)?, per_token(&made.plan)))),
            }
        });
        match predicted {
            Err(reason) => Some(Instead { what, reason, hints, ..Instead::default() }),
            Ok(predicted) => predicted.map(|(ns, is)| {
                let was = per_token(own);
                Instead {
                    what,
                    predicted_ns: Some(ns as u64),
                    more_messages: Some(is.0 as i64 - was.0 as i64),
                    more_bytes: Some(is.1 as i64 - was.1 as i64),
                    reason: String::new(),
                    hints,
                }
            }),
        }
    }
}

/// Of a hint that cannot be honoured, why; its number says nothing to who did not write it.
fn explain(error: &CompileError) -> String {
    error.hint().map_or_else(|| error.to_string(), |fault| fault.reason.clone())
}

/// Whether another plan has the same messages over an edge.
fn has_the_same(plan: &Plan, edge: EdgeId, other: &Plan) -> bool {
    let own = traffic(plan, &plan.edges[edge.0 as usize]);
    other.edges.iter().any(|edge| traffic(other, edge) == own)
}
