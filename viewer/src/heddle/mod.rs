//! Asks the program `heddle` what the viewer cannot know by itself: what needs the passes, the cost model or the runtime.
//!
//! Every question is a [`Job`] on a thread of its own, which can be given up at any time. Nothing here knows of windows.
mod answers;
mod job;

pub use answers::{Change, Costs, DeviceBytes, Instead, Moved, Reformatted, Verdict, Why};
pub use job::Job;

use crate::document::Numbers;
use crate::scratch::Scratch;
use crate::wake::Wake;
use ir::plan::Hint;
use std::env::consts::EXE_SUFFIX;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

/// The program `heddle`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heddle {
    program: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HeddleError {
    /// There is no program to ask.
    #[error(
        "found no heddle: {} is not there, nor is heddle in PATH; build it with `cargo build --release`, or say where it \
         is in HEDDLE", beside.display()
    )]
    Missing {
        /// Where it should have been.
        beside: PathBuf,
    },
    /// It cannot be started.
    #[error("cannot start {}: {cause}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// It refused, in its own words.
    #[error("{said}")]
    Refused {
        /// What it said, without the word `error`.
        said: String,
    },
    /// It ended without a word.
    #[error("heddle {command} ended without an answer: {status}")]
    Ended {
        /// What it was asked to do.
        command: String,
        /// How it ended.
        status: String,
    },
    /// Its answer makes no sense.
    #[error("cannot read what heddle {command} answers: {reason}; both programs must be of one build")]
    Answer {
        /// What it was asked to do.
        command: String,
        /// What is wrong.
        reason: String,
    },
    /// There is no room for what it is to read.
    #[error("cannot write a file of hints for heddle: {cause}")]
    Hints {
        /// Why not.
        cause: io::Error,
    },
    /// Nobody wants to know any more.
    #[error("given up")]
    Cancelled,
}

impl Heddle {
    /// The program that `HEDDLE` names, else the one beside this program, else the one in `PATH`.
    pub fn find() -> Result<Heddle, HeddleError> {
        let named = std::env::var_os("HEDDLE").filter(|name| !name.is_empty());
        let own = std::env::current_exe().unwrap_or_default();
        Heddle::among(named, &own, std::env::var_os("PATH").as_deref())
    }

    fn among(named: Option<OsString>, own: &Path, path: Option<&OsStr>) -> Result<Heddle, HeddleError> {
        if let Some(named) = named {
            return Ok(Heddle::at(named));
        }
        let name = format!("heddle{EXE_SUFFIX}");
        let beside = own.with_file_name(&name);
        let in_path = path.into_iter().flat_map(std::env::split_paths).map(|folder| folder.join(&name));
        let mut places = std::iter::once(beside.clone()).chain(in_path);
        places.find(|place| place.is_file()).map(Heddle::at).ok_or(HeddleError::Missing { beside })
    }

    /// The program at a path.
    pub fn at(program: impl Into<PathBuf>) -> Heddle {
        Heddle { program: program.into() }
    }

    /// Where it is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// What was decided about a node, an edge or a device of a plan, what it costs, and what else there was.
    pub fn why(&self, plan: &Path, what: Option<&str>, wake: Wake) -> Job<Vec<Why>> {
        let what = what.map(OsString::from);
        self.ask("why", ["--json".into(), "--".into(), plan.into()].into_iter().chain(what), wake)
    }

    /// What a bundle would be with these hints instead of its own: whether they can be, and what they cost. Nothing is
    /// packed, and nothing is written.
    pub fn what_if(&self, bundle: &Path, hints: &[Hint], wake: Wake) -> Job<Verdict> {
        self.edit_with(bundle, hints, &["--dry-run"], wake, |change| match change {
            Ok(change) => Ok(Verdict::Sound(Box::new(change))),
            Err(HeddleError::Refused { said }) => Ok(Verdict::Refused { reason: said }),
            Err(error) => Err(error),
        })
    }

    /// Compiles a bundle in its place with these hints instead of its own.
    pub fn edit(&self, bundle: &Path, hints: &[Hint], wake: Wake) -> Job<Change> {
        self.edit_with(bundle, hints, &[], wake, |change| change)
    }

    /// Asks for an edit by which a bundle has these hints and no others. They go by a file, for there may be more than
    /// a command line holds.
    fn edit_with<T: Send + 'static>(
        &self,
        bundle: &Path,
        hints: &[Hint],
        more: &[&str],
        wake: Wake,
        read: impl FnOnce(Result<Change, HeddleError>) -> Result<T, HeddleError> + Send + 'static,
    ) -> Job<T> {
        let written = Scratch::new().and_then(|folder| {
            let path = folder.path().join("hints.ron");
            std::fs::write(&path, written(hints)).map(|()| (folder, path))
        });
        let (folder, path) = match written {
            Ok(written) => written,
            Err(cause) => return Job::failed(HeddleError::Hints { cause }),
        };
        let mut file = OsString::from("--hints=");
        file.push(path);
        let own = ["--json".into(), "--forget".into(), file].into_iter().chain(more.iter().map(Into::into));
        let args = own.chain(["--".into(), bundle.into()]);
        let job = Job::start(self, "edit", args, wake, |command, ended| read(answers::json(command, &ended)));
        job.with_folder(folder)
    }

    /// Runs a bundle on a text beside the reference interpreter.
    pub fn numerics(&self, bundle: &Path, prompt: &str, wake: Wake) -> Job<Numbers> {
        let mut said = OsString::from("--prompt=");
        said.push(prompt);
        self.ask("verify", ["--numerics".into(), "--json".into(), said, "--".into(), bundle.into()], wake)
    }

    /// When each step and message of a plan should be, of a prompt of so many tokens: JSON for
    /// [`Document::set_spans`](crate::document::Document::set_spans).
    pub fn spans(&self, plan: &Path, prompt_tokens: u32, wake: Wake) -> Job<String> {
        let prompt = format!("--prompt-tokens={prompt_tokens}").into();
        self.tell("simulate", ["--json".into(), "--spans".into(), prompt, "--".into(), plan.into()], wake)
    }

    /// Runs a bundle on a text, and writes when each device did what to `trace`.
    pub fn trace(&self, bundle: &Path, prompt: &str, trace: &Path, wake: Wake) -> Job<String> {
        let (mut said, mut output) = (OsString::from("--prompt="), OsString::from("--output="));
        said.push(prompt);
        output.push(trace);
        self.tell("trace", [said, output, "--".into(), bundle.into()], wake)
    }

    /// Asks for JSON.
    fn ask<T: serde::de::DeserializeOwned + Send + 'static>(
        &self,
        command: &'static str,
        args: impl IntoIterator<Item = OsString>,
        wake: Wake,
    ) -> Job<T> {
        Job::start(self, command, args, wake, |command, ended| answers::json(command, &ended))
    }

    /// Asks for text.
    fn tell(
        &self,
        command: &'static str,
        args: impl IntoIterator<Item = OsString>,
        wake: Wake,
    ) -> Job<String> {
        Job::start(self, command, args, wake, |command, ended| answers::text(command, &ended))
    }
}

/// Hints as the text of a file.
pub fn written(hints: &[Hint]) -> String {
    let lines: Vec<String> = hints.iter().map(|hint| format!("    {hint},\n")).collect();
    format!("(hints: [\n{}])\n", lines.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heddle_is_the_one_that_is_named_else_beside_else_in_the_path() {
        let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let [own, empty, path] = folders.each_ref().map(|folder| folder.path());
        let viewer = own.join("heddle-view");
        let paths = std::env::join_paths([empty, path]).unwrap();
        let found = |named: Option<&str>| Heddle::among(named.map(OsString::from), &viewer, Some(&paths));
        assert_eq!(found(Some("elsewhere")).unwrap().program(), Path::new("elsewhere"));
        let missing = found(None).unwrap_err().to_string();
        assert!(missing.contains(&own.join("heddle").display().to_string()), "{missing}");
        std::fs::write(path.join("heddle"), "").unwrap();
        assert_eq!(found(None).unwrap().program(), path.join("heddle"));
        std::fs::write(own.join("heddle"), "").unwrap();
        assert_eq!(found(None).unwrap().program(), own.join("heddle"));
    }
}
