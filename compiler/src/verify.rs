//! What can be wrong with a bundle's plan beyond what the plan itself shows: weights that the backend reads
//! otherwise or that the model does not have, kernels that there is no code for. Faults name their line.
use crate::codegen;
use crate::error::{CompileError, LowerError};
use crate::models::{self, StepGraph};
use crate::{Bundle, compile};
use ir::plan::{Fault, Plan, Section, Where};
use ir::{Op, TensorType};
use runtime::device::Executable;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// A plan with all the faults that were found in it.
pub(crate) fn unsound(path: &Path, text: &str, faults: &[Fault]) -> CompileError {
    CompileError::Unsound { path: path.to_owned(), faults: explain(text, faults) }
}

/// Faults with the lines that they are about.
pub(crate) fn explain(text: &str, faults: &[Fault]) -> String {
    faults.iter().map(|f| f.explain(text)).collect::<Vec<_>>().join("\n")
}

/// What the plan and the backend say of a plan.
pub(crate) fn plan(plan: &Plan) -> Result<(), Vec<Fault>> {
    let mut faults = plan.verify().err().unwrap_or_default();
    faults.extend(codegen::verify_weights(plan));
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

impl Bundle {
    /// The code of the plan's kernels, in order of id.
    pub fn lower(&self) -> Result<Vec<Arc<dyn Executable>>, CompileError> {
        codegen::lower(&self.plan).map_err(|error| match error {
            LowerError::Kernel { id, reason, .. } => {
                let at = Where { section: Section::Kernels, index: id.0 as usize };
                unsound(&self.plan_path(), &self.text, &[Fault { at, message: reason }])
            }
            other => other.into(),
        })
    }

    /// Holds names and types of the plan's weights to those that the model has, or that are made from it.
    pub fn verify_names(&self) -> Result<(), CompileError> {
        let plan = &self.plan;
        compile::check_context(&self.checkpoint, &plan.options)?;
        let StepGraph { graph, .. } = models::step_graph(&self.checkpoint, &plan.options)?;
        let known: HashMap<&str, &TensorType> = graph
            .nodes()
            .filter_map(|n| match &graph[n].op {
                Op::Weight(weight) => Some((weight.name.as_str(), &weight.ty)),
                _ => None,
            })
            .collect();
        let mut faults = vec![];
        for (index, w) in plan.weights.iter().enumerate() {
            let whole = w.part.map_or(Ok(w.ty.clone()), |part| part.whole(&w.ty));
            let message = match known.get(w.name.as_str()) {
                Some(ty) if whole.as_ref() == Ok(*ty) => continue,
                Some(ty) => match w.part {
                    Some(part) => format!("{} is {} as {part:?}, the model has {ty}", w.name, w.ty),
                    None => format!("{} is {}, the model has {ty}", w.name, w.ty),
                },
                None => format!("the model has no weight {:?}", w.name),
            };
            faults.push(Fault { at: Where { section: Section::Weights, index }, message });
        }
        if faults.is_empty() { Ok(()) } else { Err(unsound(&self.plan_path(), &self.text, &faults)) }
    }
}
