//! What there is to show: the graphs of a pipeline of passes, the plan that came of them, and what was measured.
//!
//! A [`Document`] is opened from a bundle's folder, a `plan.ron` or a graph's text; traces and numbers are laid
//! beside it. Nothing here knows of windows, and nothing in a file makes it panic.
mod compare;
mod details;
mod error;
mod flow;
mod lanes;
mod load;
mod matching;
mod misses;
mod names;
mod numbers;
mod plan;
mod ports;
mod search;
mod shapes;
mod tracks;
mod tree;

pub use compare::{Comparison, Difference, PlanDifference, compare};
pub use details::{Details, Fact};
pub use error::DocumentError;
pub use flow::{Flow, Node, NodeIx, Role};
pub use lanes::{Arrow, Lane, Lanes, Span, SpanKind};
pub use matching::{Change, Fate, Matching, Provenance};
pub use misses::Miss;
pub use numbers::{Numbers, Offender, WorstOf};
pub use plan::{BufferLife, DeviceMemory, Message, PlanView, StepAt, end_name};
pub use ports::Ports;
pub use search::{Hit, Query};
pub use shapes::Shape;
pub use tracks::{Stretch, Track};
pub use tree::{Child, Group, GroupIx, Run, Tree};

pub(crate) use names::without_layer;
pub(crate) use plan::cut_names;
pub(crate) use shapes::BADGES;

use ir::plan::Hint;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What there is to show.
#[derive(Debug)]
pub struct Document {
    /// What was opened.
    pub path: PathBuf,
    /// The model's name, or the graph's, or the file's.
    pub name: String,
    /// The graphs in the order of the passes that left them; the last is what runs. At least one.
    pub passes: Vec<Pass>,
    /// The plan, where there is one. It is about the last pass.
    pub plan: Option<PlanView>,
    /// What was measured and predicted of a run, by [`Document::add_trace`].
    pub trace: Option<Lanes>,
    /// What is predicted, by [`Document::set_spans`].
    pub spans: Option<Lanes>,
    /// How the plan's numbers compare with the model's, by [`Document::add_numbers`].
    pub numbers: Option<Numbers>,
    /// What a person said: the hints of the plan.
    pub hints: Vec<Hint>,
    /// What is odd about the files but keeps nobody from looking at them, each a sentence that names its file.
    pub remarks: Vec<String>,
}

/// The graph that a pass left.
#[derive(Debug)]
pub struct Pass {
    /// The pass: `import`, `chains`; of a plan without graphs `plan`.
    pub name: String,
    /// Its number in the pipeline.
    pub number: u32,
    /// The graph.
    pub flow: Flow,
    /// Its groups.
    pub tree: Tree,
    /// What it did to the graph before it; none for the first.
    pub change: Option<Change>,
    provenance: OnceLock<Provenance>,
}

impl Pass {
    /// A graph with its groups.
    pub fn new(name: &str, number: u32, flow: Flow) -> Pass {
        let tree = Tree::of(&flow);
        let provenance = OnceLock::new();
        Pass { name: name.to_owned(), number, flow, tree, change: None, provenance }
    }

    /// Which of its nodes stand for what, found when somebody asks first.
    pub fn provenance(&self) -> &Provenance {
        self.provenance.get_or_init(|| Provenance::of(&self.flow))
    }
}

impl Document {
    /// Opens a bundle's folder, a plan or a graph's text.
    pub fn open(path: &Path) -> Result<Document, DocumentError> {
        load::open(path)
    }

    /// Opens the text of a plan; `path` is what it is called.
    pub fn of_plan_text(path: &Path, text: &str) -> Result<Document, DocumentError> {
        load::of_plan(path, text, vec![], vec![])
    }

    /// Lays the trace of a run beside the plan: JSON of `heddle trace`. One of another plan gets a remark.
    pub fn add_trace(&mut self, path: &Path) -> Result<(), DocumentError> {
        let trace = lanes::of_trace(path, &load::text(path)?)?;
        let own = self.plan.as_ref().map(|view| view.hash.as_str());
        if let Some(own) = own.filter(|own| !trace.plan_hash.is_empty() && *own != trace.plan_hash) {
            let found = &trace.plan_hash;
            self.remarks.push(format!("{} is of the plan {found}, not of {own}", path.display()));
        }
        self.trace = Some(trace);
        Ok(())
    }

    /// Lays what is predicted beside the plan: JSON of `heddle simulate --json --spans`; `path` is what the text is
    /// called. There must be a plan.
    pub fn set_spans(&mut self, path: &Path, text: &str) -> Result<(), DocumentError> {
        let reason = || "there is no plan that it could be about".to_owned();
        let view = self.plan.as_ref();
        let view = view.ok_or_else(|| DocumentError::Other { path: path.to_owned(), reason: reason() })?;
        self.spans = Some(lanes::of_spans(path, text, view)?);
        Ok(())
    }

    /// Lays numbers beside the plan: JSON of `heddle verify --numerics --json`.
    pub fn add_numbers(&mut self, path: &Path) -> Result<(), DocumentError> {
        let text = load::text(path)?;
        self.set_numbers(path, &text)
    }

    /// The same, of a text that came from elsewhere; `path` is what it is called.
    pub fn set_numbers(&mut self, path: &Path, text: &str) -> Result<(), DocumentError> {
        self.numbers = Some(numbers::read(path, text)?);
        Ok(())
    }

    /// The graph that runs.
    ///
    /// # Panics
    /// Never: a document has at least one pass.
    pub fn last(&self) -> &Pass {
        self.passes.last().expect("a document has a pass")
    }

    /// The name of a device: of the plan, else `device 0`.
    pub fn device(&self, number: u32) -> String {
        let named = self.plan.as_ref().and_then(|plan| plan.plan.devices.get(number as usize));
        named.map_or_else(|| format!("device {number}"), |device| device.name.clone())
    }
}
