//! From files to a document.
use super::names::cut;
use super::{Document, DocumentError, Flow, Matching, Pass, PlanView};
use ir::plan::Plan;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread;

/// Longer files are not read: no graph, plan or trace that a person looks at is.
const BYTES_MAX: u64 = 1 << 30;

/// Most graphs of a bundle that are read.
const PASSES_MAX: usize = 256;

pub(super) fn open(path: &Path) -> Result<Document, DocumentError> {
    let about = fs::metadata(path).map_err(|source| DocumentError::Read { path: path.to_owned(), source })?;
    if about.is_dir() { bundle(path) } else { file(path) }
}

/// A file's text, if it is no longer than anything that is looked at.
pub(super) fn text(path: &Path) -> Result<String, DocumentError> {
    let fault = |source| DocumentError::Read { path: path.to_owned(), source };
    let opened = File::open(path).map_err(fault)?;
    let bytes = opened.metadata().map_err(fault)?.len();
    if bytes > BYTES_MAX {
        return Err(DocumentError::Size { path: path.to_owned(), bytes, most: BYTES_MAX });
    }
    let mut text = vec![];
    // What is no file of a length can go on for ever.
    opened.take(BYTES_MAX).read_to_end(&mut text).map_err(fault)?;
    String::from_utf8(text).map_err(|_| DocumentError::Text { path: path.to_owned() })
}

fn foreign(path: &Path, found: &str) -> DocumentError {
    DocumentError::Foreign { path: path.to_owned(), found: found.to_owned() }
}

fn file(path: &Path) -> Result<Document, DocumentError> {
    let text = text(path).map_err(|fault| match fault {
        DocumentError::Text { .. } => foreign(path, "no text"),
        other => other,
    })?;
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("//"));
    match first {
        Some(line) if line.starts_with('(') => of_plan(path, &text, vec![], vec![]),
        Some(line) if line.starts_with("graph ") => {
            let flow = graph(path, &text)?;
            let name = flow.name.clone();
            Ok(document(path, name, vec![Pass::new(&stem(path), 0, flow)], None))
        }
        Some(_) => Err(foreign(path, "neither a plan nor a graph")),
        None => Err(foreign(path, "empty")),
    }
}

fn bundle(path: &Path) -> Result<Document, DocumentError> {
    let plan = path.join("plan.ron");
    if !plan.is_file() {
        return Err(foreign(path, "a folder without plan.ron"));
    }
    let files = graph_files(&path.join("graphs"))?;
    let mut remarks = vec![];
    if files.is_empty() {
        remarks.push(format!("{} has no graphs: the plan's own steps are shown", path.display()));
    }
    let passes = read_passes(&files)?;
    of_plan(&plan, &text(&plan)?, passes, remarks)
        .map(|document| Document { path: path.to_owned(), ..document })
}

/// The graphs of a bundle: the number and name of the pass, and the file; in order.
fn graph_files(folder: &Path) -> Result<Vec<(u32, String, PathBuf)>, DocumentError> {
    if !folder.is_dir() {
        return Ok(vec![]);
    }
    let fault = |source| DocumentError::Read { path: folder.to_owned(), source };
    let mut files = vec![];
    for entry in fs::read_dir(folder).map_err(fault)? {
        let path = entry.map_err(fault)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some((number, pass)) = name.strip_suffix(".ir").and_then(|stem| stem.split_once('-')) else {
            continue;
        };
        // What is no file may never end.
        if let (Ok(number), true) = (number.parse(), path.is_file()) {
            files.push((number, pass.to_owned(), path));
        }
    }
    files.sort();
    if files.len() > PASSES_MAX {
        let reason = format!("{} graphs, expected at most {PASSES_MAX}", files.len());
        return Err(DocumentError::Other { path: folder.to_owned(), reason });
    }
    Ok(files)
}

/// Reads graphs, as many at once as there are processors.
fn read_passes(files: &[(u32, String, PathBuf)]) -> Result<Vec<Pass>, DocumentError> {
    let read = |(number, name, path): &(u32, String, PathBuf)| {
        Ok(Pass::new(name, *number, graph(path, &text(path)?)?))
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let each = files.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let parts: Vec<_> = files
            .chunks(each)
            .map(|files| scope.spawn(move || files.iter().map(read).collect::<Result<Vec<_>, _>>()))
            .collect();
        let mut passes = vec![];
        for part in parts {
            passes.extend(part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(passes)
    })
}

fn graph(path: &Path, text: &str) -> Result<Flow, DocumentError> {
    let read = ir::text::read(text);
    let read = read.map_err(|source| DocumentError::Graph { path: path.to_owned(), source })?;
    Ok(Flow::of_graph(&read.graph))
}

/// A plan with the graphs that it came of; without any its steps are the graph.
pub(super) fn of_plan(
    path: &Path,
    text: &str,
    mut passes: Vec<Pass>,
    mut remarks: Vec<String>,
) -> Result<Document, DocumentError> {
    let plan = Plan::from_text(text);
    let mut plan = plan.map_err(|source| DocumentError::Plan { path: path.to_owned(), source })?;
    super::cut_names(&mut plan);
    if let Err(faults) = plan.verify() {
        let first = faults.first().map(|fault| fault.explain(text)).unwrap_or_default();
        remarks.push(format!("{} would be refused, {} faults: {first}", path.display(), faults.len()));
    }
    if passes.is_empty() {
        let flow = super::plan::flow_of(&plan)
            .map_err(|reason| DocumentError::Other { path: path.to_owned(), reason })?;
        passes.push(Pass::new("plan", 0, flow));
    }
    let view = PlanView::new(plan, &passes[passes.len() - 1].flow);
    let (name, hints) = (view.plan.model.name.clone(), view.plan.options.hints.clone());
    let document = document(path, name, passes, Some(view));
    Ok(Document { hints, remarks, ..document })
}

fn document(path: &Path, name: String, mut passes: Vec<Pass>, plan: Option<PlanView>) -> Document {
    for at in 1..passes.len() {
        let change = Matching::between(&passes[at - 1].flow, &passes[at].flow).change();
        passes[at].change = Some(change);
    }
    let name = if name.is_empty() { stem(path) } else { cut(name) };
    Document {
        path: path.to_owned(),
        name,
        passes,
        plan,
        trace: None,
        spans: None,
        numbers: None,
        hints: vec![],
        remarks: vec![],
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}
