//! Why a file cannot be shown.
use ir::plan::PlanError;
use ir::text::ReadError;
use std::io;
use std::path::PathBuf;

/// Why a file cannot be shown. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is larger than anything that is read.
    #[error("{} has {bytes} bytes, expected at most {most}", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// What it holds.
        bytes: u64,
        /// The most that is read.
        most: u64,
    },
    /// It is no text.
    #[error("{} is no text: expected UTF-8", path.display())]
    Text {
        /// The file.
        path: PathBuf,
    },
    /// It is none of the files that are shown.
    #[error("{} is {found}, expected a bundle's folder, a plan or a graph's text", path.display())]
    Foreign {
        /// The file or folder.
        path: PathBuf,
        /// What it looks like.
        found: String,
    },
    /// It is no plan.
    #[error("{}: {source}", path.display())]
    Plan {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: PlanError,
    },
    /// It is no graph. A graph with a circle has none either: a value stands above those that use it.
    #[error("{}: {source}", path.display())]
    Graph {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: ReadError,
    },
    /// It is not the JSON that was expected.
    #[error("{} is no {expected}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What was expected: `trace of heddle trace`.
        expected: &'static str,
        /// Why it is not.
        source: serde_json::Error,
    },
    /// It is about something else than what is shown.
    #[error("{}: {reason}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
}
