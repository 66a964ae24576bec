//! Files are opened on a thread of their own, so that the window stays alive.
use crate::document::{Document, DocumentError};
use eframe::egui;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;

/// What is to be opened.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// A bundle, a plan or a graph.
    pub file: Option<PathBuf>,
    /// What was measured of it.
    pub trace: Option<PathBuf>,
    /// How its numbers compare with the model's.
    pub numerics: Option<PathBuf>,
    /// What it is compared with.
    pub compare: Option<PathBuf>,
    /// The socket of a run that is watched.
    pub watch: Option<PathBuf>,
}

/// What was opened.
pub(super) struct Opened {
    pub(super) document: Document,
    pub(super) other: Option<Document>,
    /// Why some of what lies beside it could not be read.
    pub(super) faults: Vec<DocumentError>,
}

/// Files that are being read.
pub(super) struct Opening {
    pub(super) what: String,
    receiver: Receiver<Result<Opened, DocumentError>>,
}

impl Opening {
    /// Opens the files of a request.
    pub(super) fn begin(context: &egui::Context, request: Request) -> Opening {
        let what = request.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
        Opening::by(context, what, move || open(&request))
    }

    /// Opens something.
    pub(super) fn by(
        context: &egui::Context,
        what: String,
        open: impl FnOnce() -> Result<Opened, DocumentError> + Send + 'static,
    ) -> Opening {
        let (sender, receiver) = channel();
        let context = context.clone();
        thread::spawn(move || {
            // Nobody waits any more where the window was closed.
            drop(sender.send(open()));
            context.request_repaint();
        });
        Opening { what, receiver }
    }

    /// What came of it, once that is known.
    pub(super) fn done(&self) -> Option<Result<Opened, DocumentError>> {
        match self.receiver.try_recv() {
            Ok(result) => Some(result),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                let reason = "reading it failed, which it never should; please report it".to_owned();
                Some(Err(DocumentError::Other { path: self.what.clone().into(), reason }))
            }
        }
    }
}

fn open(request: &Request) -> Result<Opened, DocumentError> {
    let file = request.file.clone().unwrap_or_default();
    let mut document = Document::open(&file)?;
    let mut faults = vec![];
    let mut add = |done: Result<(), DocumentError>| faults.extend(done.err());
    if let Some(trace) = &request.trace {
        add(document.add_trace(trace));
    }
    if let Some(numerics) = &request.numerics {
        add(document.add_numbers(numerics));
    }
    let other = match request.compare.as_deref().map(Document::open) {
        Some(Err(fault)) => {
            faults.push(fault);
            None
        }
        opened => opened.and_then(Result::ok),
    };
    Ok(Opened { document, other, faults })
}
