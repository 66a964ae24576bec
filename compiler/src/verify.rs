//! What can be wrong with a bundle's plan beyond what the plan itself shows: weights that the backend reads
//! otherwise or that the model does not have, kernels that there is no code for. Faults name their line.
use crate::codegen;
use crate::error::{CompileError, LowerError};
use crate::models::{self, StepGraph};
use crate::{Outline, compile};
use gpu::Kept;
use ir::plan::{Fault, Hint, Plan, Section, Weight, Where};
use ir::{DType, Op, TensorType};
use runtime::Engine;
use runtime::device::Executable;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// The folder of a bundle for machine code that was made on the machine that runs it.
const KERNELS: &str = "kernels";

/// A plan with all the faults that were found in it.
pub(crate) fn unsound(path: &Path, text: &str, faults: &[Fault]) -> CompileError {
    CompileError::Unsound { path: path.to_owned(), faults: explain(text, faults) }
}

/// Faults with the lines that they are about.
pub(crate) fn explain(text: &str, faults: &[Fault]) -> String {
    // One line too many or too few makes a fault of every line behind it.
    const SHOWN: usize = 20;
    let mut lines: Vec<String> = faults.iter().take(SHOWN).map(|f| f.explain(text)).collect();
    if let Some(more) = faults.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        lines.push(format!("and {more} more"));
    }
    lines.join("\n")
}

/// What the plan and the backend say of a plan.
pub(crate) fn plan(plan: &Plan) -> Result<(), Vec<Fault>> {
    let mut faults = plan.verify().err().unwrap_or_default();
    faults.extend(codegen::verify_devices(plan));
    faults.extend(codegen::verify_weights(plan));
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// What an edited plan says of weights that is not how they were packed for the plan that was compiled, into `dir`.
pub(crate) fn packed(plan: &Plan, original: &Plan, dir: &Path) -> Vec<Fault> {
    let mut faults: Vec<Fault> = unheard(plan, original, dir).into_iter().collect();
    let mut by_name: HashMap<&str, Vec<&Weight>> = HashMap::new();
    original.weights.iter().for_each(|w| by_name.entry(&w.name).or_default().push(w));
    for (index, w) in plan.weights.iter().enumerate() {
        let of_name = by_name.get(w.name.as_str()).map(Vec::as_slice).unwrap_or_default();
        let lies_as = |own: &&Weight| {
            (&own.ty, own.part, &own.layout, own.offset) == (&w.ty, w.part, &w.layout, w.offset)
        };
        if of_name.iter().any(lies_as) {
            continue;
        }
        let message = match of_name.iter().find(|own| own.part == w.part) {
            Some(own) if own.ty.dtype != w.ty.dtype => format!(
                "{} is {}, and was packed as {}: a format changes where weights are packed, as by {}",
                w.name,
                w.ty,
                own.ty,
                edit(dir, &w.name, w.ty.dtype)
            ),
            Some(own) => format!(
                "{} is {} in layout {} at {}, and was packed as {} in layout {} at {}",
                w.name, w.ty, w.layout, w.offset, own.ty, own.layout, own.offset
            ),
            None if of_name.is_empty() => format!("the model has no weight {:?}", w.name),
            None => format!("{} is {:?}, and no such part of it was packed", w.name, w.part),
        };
        faults.push(Fault { at: Where { section: Section::Weights, index }, message });
    }
    faults
}

/// Formats that a person wrote among the options of a plan that was compiled already.
fn unheard(plan: &Plan, original: &Plan, dir: &Path) -> Option<Fault> {
    let formats = |plan: &Plan| -> Vec<Hint> {
        plan.options.hints.iter().filter(|hint| matches!(hint, Hint::Format { .. })).cloned().collect()
    };
    let (asked, acted) = (formats(plan), formats(original));
    let edit = match asked.iter().find(|hint| !acted.contains(hint)) {
        Some(Hint::Format { weights, format }) => edit(dir, weights.text(), *format),
        _ => "heddle edit".to_owned(),
    };
    let message = format!("hints of formats act where weights are packed: say it with {edit}");
    let at = Where { section: Section::Options, index: 0 };
    (asked != acted).then_some(Fault { at, message })
}

/// What changes the format of weights of a bundle.
fn edit(dir: &Path, weights: &str, format: DType) -> String {
    format!("heddle edit {} --format '{weights}={format}'", dir.display())
}

impl Outline {
    /// The code of the plan's kernels, in order of id, for processors alone.
    pub fn lower(&self) -> Result<Vec<Arc<dyn Executable>>, CompileError> {
        codegen::lower(&self.plan).map_err(|error| self.refused(error))
    }

    /// What drives each of the plan's threads; what takes long to compile is kept in the bundle.
    pub fn engines(&self) -> Result<Vec<Engine>, CompileError> {
        codegen::engines(&self.plan, &Kept::at(self.dir.join(KERNELS))).map_err(|error| self.refused(error))
    }

    /// Whether there is code for all kernels where they run; no device need be there.
    pub fn check_code(&self) -> Result<(), CompileError> {
        codegen::check(&self.plan).map_err(|error| self.refused(error))
    }

    fn refused(&self, error: LowerError) -> CompileError {
        match error {
            LowerError::Kernel { id, reason, .. } => {
                let at = Where { section: Section::Kernels, index: id.0 as usize };
                unsound(&self.plan_path(), &self.text, &[Fault { at, message: reason }])
            }
            other => other.into(),
        }
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
