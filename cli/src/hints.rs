//! `--hints`: what a person says of a plan, in a file; what cannot be honoured is refused by its lines.
use crate::output;
use anyhow::anyhow;
use compiler::CompileError;
use ir::plan::Hint;
use std::path::{Path, PathBuf};

/// Hints, and where they stand.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hints {
    path: PathBuf,
    lines: Vec<usize>,
    hints: Vec<Hint>,
}

impl Hints {
    /// Reads a file.
    pub(crate) fn read(path: &str) -> Result<Hints, String> {
        let text = output::read_text(Path::new(path)).map_err(|error| format!("cannot read it: {error}"))?;
        let read = Hint::read(&text).map_err(|fault| format!("{path}: {fault}"))?;
        let (lines, hints) = read.into_iter().unzip();
        Ok(Hints { path: path.into(), lines, hints })
    }

    pub(crate) fn list(&self) -> Vec<Hint> {
        self.hints.clone()
    }

    /// The command line that says the same.
    pub(crate) fn argument(&self) -> String {
        self.path.display().to_string()
    }

    /// Why a model was not compiled, with the lines of hints that could not be honoured.
    pub(crate) fn explain(&self, error: CompileError) -> anyhow::Error {
        match error.hint() {
            Some(fault) => anyhow!("{}: {}", self.path.display(), fault.explain(&self.lines)),
            None => error.into(),
        }
    }
}
