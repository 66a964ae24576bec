//! `heddle view`: hands a plan or a graph to the viewer, a program of its own.
use crate::cache::{Cache, Place};
use crate::choices::{Batched, Compilation, Steps};
use crate::{chosen, interrupt, load, output, spill};
use anyhow::{Context, bail};
use clap::Args;
use compiler::import::Checkpoint;
use compiler::{Bundle, Draft};
use std::env::consts::EXE_SUFFIX;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Look at a plan or a graph, at what each pass did, at a run; in a window, or as one page of HTML
#[derive(Args)]
#[command(after_help = "\
Examples:
  heddle view smollm2.heddle
  heddle view smollm2 --partition pipeline:2
  heddle view smollm2.heddle --html smollm2.html
  heddle view smollm2.heddle --trace trace.json --numerics numerics.json
  heddle view before.heddle --compare after.heddle
  heddle view --watch /tmp/heddle.sock

A trace comes of `heddle trace smollm2.heddle -o trace.json`, numbers of `heddle verify smollm2.heddle --numerics
--prompt … --json`, a socket of `heddle run smollm2.heddle --watch-socket /tmp/heddle.sock`.
The window is the program heddle-view, which stands beside heddle or in PATH; `cargo install --path viewer`
puts it there.")]
pub struct Options {
    /// A bundle, a plan, or a graph's text; or a model, which is compiled but not packed
    #[arg(required_unless_present = "watch", value_name = "DIR-OR-FILE")]
    what: Option<String>,
    /// Write one page that needs no server there, instead of opening a window
    #[arg(long, value_name = "OUT", conflicts_with = "watch")]
    html: Option<PathBuf>,
    /// What was measured, as `heddle trace` wrote it
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// How the plan's numbers compare with the model's, as `heddle verify --numerics --json` wrote it
    #[arg(long, value_name = "FILE")]
    numerics: Option<PathBuf>,
    /// What to compare it with, of the same kind
    #[arg(long, value_name = "OTHER")]
    compare: Option<PathBuf>,
    /// A run to attach to, by its --watch-socket
    #[arg(long, value_name = "SOCKET")]
    watch: Option<PathBuf>,
    #[command(flatten)]
    compilation: Batched,
}

/// The viewer's program.
const VIEWER: &str = "heddle-view";

pub fn run(options: Options) -> anyhow::Result<()> {
    let compilation = options.compilation.compilation();
    let shown = match options.what.as_deref() {
        Some(what) => Some(shown(what, &compilation)?),
        None if compilation != Compilation::default() => {
            bail!("--watch shows what runs as it was compiled: leave out the options of compilation")
        }
        None => None,
    };
    let said = [
        ("--html", &options.html),
        ("--trace", &options.trace),
        ("--numerics", &options.numerics),
        ("--compare", &options.compare),
        ("--watch", &options.watch),
    ];
    // A path may begin with a dash.
    let said = said.into_iter().filter_map(|(name, path)| {
        let mut said = OsString::from(name);
        said.push("=");
        said.push(path.as_ref()?);
        Some(said)
    });
    let shown = shown.into_iter().flat_map(|path| ["--".into(), path.into_os_string()]);
    let program = std::env::current_exe().context("cannot find the program that runs")?;
    let beside = program.with_file_name(format!("{VIEWER}{EXE_SUFFIX}"));
    let viewer = if beside.is_file() { beside.as_path() } else { Path::new(VIEWER) };
    let status = Command::new(viewer).args(said).args(shown).status();
    let status = match status {
        Err(error) if error.kind() == ErrorKind::NotFound && viewer != beside => bail!(
            "found no viewer: {} is not there, nor is {VIEWER} in PATH; `cargo install --path viewer` puts it there",
            beside.display()
        ),
        status => status.with_context(|| format!("cannot start {}", viewer.display()))?,
    };
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(output::Told(u8::try_from(code).unwrap_or(1)).into()),
        None => bail!("{VIEWER} was killed: {status}"),
    }
}

/// What the viewer is to open: what is named, or what is compiled from it.
fn shown(what: &str, compilation: &Compilation) -> anyhow::Result<PathBuf> {
    let path = Path::new(what);
    if Bundle::is_at(path) || path.is_file() && !is_model(path) {
        if *compilation != Compilation::default() {
            bail!(
                "{what} is compiled already: leave out the options of compilation, or give the model instead"
            );
        }
        return Ok(path.to_owned());
    }
    let cache = Cache::from_env()?;
    let path = cache.resolve(Some(what))?;
    compiled(&cache, &path, compilation)
}

/// Whether a file is a model's; what it is else, the viewer finds out.
fn is_model(path: &Path) -> bool {
    let mut magic = [0; 4];
    path.extension().is_some_and(|end| end == "json" || end == "gguf")
        || File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"GGUF"
}

/// The bundle of a model in the cache: one that runs if it is there, else one without weights, which is made.
fn compiled(cache: &Cache, path: &Path, compilation: &Compilation) -> anyhow::Result<PathBuf> {
    let path = path.canonicalize().with_context(|| format!("cannot open {}", path.display()))?;
    let (key, gpus) = load::key(compilation, Steps::GENERATION)?;
    let (name, outline) = (path.display().to_string(), format!("{key} outline"));
    let suits =
        |place: &Place| place.kept_outline().is_some_and(|kept| load::suits(&kept.plan, compilation, &gpus));
    for key in [&key, &outline] {
        let place = cache.place(&path, key);
        let _lock = place.lock_shared(&name)?;
        if suits(&place) {
            return Ok(place.dir);
        }
    }
    let place = cache.place(&path, &outline);
    let _lock = place.lock_alone(&name)?;
    // Another command may have made it while this one waited.
    if suits(&place) {
        return Ok(place.dir);
    }
    cache.drop_bundles(Some(&path));
    let checkpoint = Checkpoint::open(&path)?;
    place.make(|| {
        let draft = Draft::begin(&place.dir)?;
        let partial = draft.partial().to_owned();
        let _tidy = interrupt::on_interrupt(move || drop(fs::remove_dir_all(partial)));
        let compiled = compilation.compile(&checkpoint, Steps::GENERATION)?;
        chosen::say(&compiled.plan)?;
        spill::say(&compiled.plan);
        Ok(draft.finish_outline(&compiled, &checkpoint, compilation.own_topology())?)
    })?;
    Ok(place.dir)
}
