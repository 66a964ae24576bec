//! From a command's model argument to something that runs: the bundle, found or compiled, and its session.
use crate::cache::Cache;
use crate::choices::{Compilation, Steps};
use crate::devices::Candidate;
use crate::prompt::Prompter;
use crate::watch::Tally;
use crate::{chosen, devices, interrupt, output, progress, spill};
use anyhow::{Context, bail};
use compiler::import::Checkpoint;
use compiler::tokenizer::Tokenizer;
use compiler::{Bundle, Compiled, Draft, Outline};
use ir::plan::{Phase, Plan};
use ir::topology::Topology;
use runtime::{Session, Times};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// A model that runs.
pub(crate) struct Loaded {
    pub(crate) session: Session,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) checkpoint: Checkpoint,
    /// The hash of the plan that runs.
    pub(crate) hash: String,
    /// Whether a person changed the plan since it was compiled.
    pub(crate) is_edited: bool,
    /// The bundle's folder.
    pub(crate) dir: PathBuf,
    /// What was read and written with it.
    pub(crate) tally: Arc<Tally>,
}

/// What a command asks of a model before time is spent on it.
pub(crate) type Check<'a> = &'a dyn Fn(&Checkpoint) -> anyhow::Result<()>;

/// The model that a command names, running. One that has to be compiled is held to `check` before.
pub(crate) fn model(
    name: Option<&str>,
    compilation: &Compilation,
    steps: Steps,
    check: Check<'_>,
) -> anyhow::Result<Loaded> {
    model_as(name, compilation, steps, check, &|_| Times::None)
}

/// Like [`model`], and says of the plan which times are kept.
pub(crate) fn model_as(
    name: Option<&str>,
    compilation: &Compilation,
    steps: Steps,
    check: Check<'_>,
    times: &dyn Fn(&Plan) -> Times,
) -> anyhow::Result<Loaded> {
    let bundle = bundle(name, compilation, steps, check)?;
    let times = times(&bundle.plan);
    start(bundle, times)
}

/// The bundle that a command's argument means: itself, or one that is compiled from the model into the cache.
fn bundle(
    name: Option<&str>,
    compilation: &Compilation,
    steps: Steps,
    check: Check<'_>,
) -> anyhow::Result<Bundle> {
    let cache = Cache::from_env()?;
    let path = cache.resolve(name)?;
    if !Bundle::is_at(&path) {
        return cached(&cache, &path, compilation, steps, check);
    }
    if *compilation != Compilation::default() {
        let path = path.display();
        bail!("{path} is compiled already: leave out the options of compilation, or give the model instead");
    }
    Ok(Bundle::open(&path)?)
}

/// Starts a bundle's plan. The tokeniser is built meanwhile.
fn start(bundle: Bundle, times: Times) -> anyhow::Result<Loaded> {
    check_memory(on_host(&bundle.plan), devices::usable_memory())?;
    // What opening took is no part of what running takes.
    runtime::memory::give_back();
    runtime::memory::reset_peak();
    bundle.make_resident();
    let (session, tokenizer) = std::thread::scope(|scope| {
        let tokenizer = scope.spawn(|| bundle.checkpoint.tokenizer());
        let session = bundle
            .engines()
            .map_err(anyhow::Error::from)
            .and_then(|engines| Ok(Session::start_on(&bundle.plan, engines, bundle.weights.clone(), times)?));
        (session, tokenizer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    if bundle.plan.devices.iter().any(|device| !device.kind.is_cpu()) {
        // While weights go to another memory their file's pages are mapped, too: what the system may take back at any
        // time is no part of what running takes.
        bundle.let_go();
        runtime::memory::give_back();
        runtime::memory::reset_peak();
    }
    let Outline { plan, checkpoint, is_edited, dir, .. } = bundle.into_outline();
    let (session, tokenizer, hash, tally) = (session?, tokenizer?, plan.hash(), Arc::default());
    Ok(Loaded { session, tokenizer, checkpoint, hash, is_edited, dir, tally })
}

fn cached(
    cache: &Cache,
    path: &Path,
    compilation: &Compilation,
    steps: Steps,
    check: Check<'_>,
) -> anyhow::Result<Bundle> {
    let path = path.canonicalize().with_context(|| format!("cannot open {}", path.display()))?;
    let name = path.display().to_string();
    let (key, gpus) = key(compilation, steps)?;
    let place = cache.place(&path, &key);
    let kept = || place.kept().filter(|bundle| suits(&bundle.plan, compilation, &gpus));
    let lock = place.lock_shared(&name)?;
    if let Some(bundle) = kept() {
        return said(bundle);
    }
    drop(lock);
    let _lock = place.lock_alone(&name)?;
    // Another process may have compiled it between the two locks.
    if let Some(bundle) = kept() {
        return said(bundle);
    }
    cache.drop_bundles(Some(&path));
    check(&Checkpoint::open(&path)?)?;
    place.make(|| compile_apart(&path, compilation, steps, &place.dir))?;
    said(Bundle::open(&place.dir)?)
}

/// What tells a model's bundles in the cache from one another, and the GPUs that it may be for where nobody says it.
pub(crate) fn key(compilation: &Compilation, steps: Steps) -> anyhow::Result<(String, Vec<Candidate>)> {
    let gpus = if compilation.is_open() { devices::candidates()? } else { vec![] };
    let mut key = format!("{compilation:?} {steps:?} {}", compilation.team());
    gpus.iter().for_each(|gpu| key += &format!(" {} {}", gpu.device.name, gpu.model));
    if !gpus.is_empty() {
        // What is predicted to be fastest depends on what was measured.
        key += &format!(" {:?}", devices::calibration());
    }
    Ok((key, gpus))
}

/// Whether a plan that was kept is what would be made now.
pub(crate) fn suits(plan: &Plan, compilation: &Compilation, gpus: &[Candidate]) -> bool {
    chosen::is_still_best(plan, gpus) && compilation.still_suits(plan)
}

/// The bundle, of which is told on what it runs where nobody said it, or where not all of it could be there.
fn said(bundle: Bundle) -> anyhow::Result<Bundle> {
    chosen::say(&bundle.plan)?;
    spill::say(&bundle.plan);
    Ok(bundle)
}

/// Compiles in a process of its own, so that what compiling takes is no part of what running takes.
fn compile_apart(path: &Path, compilation: &Compilation, steps: Steps, dir: &Path) -> anyhow::Result<()> {
    let heddle = std::env::current_exe().context("cannot find the program that runs")?;
    let mut child = Command::new(&heddle)
        .args(["compile", "--raw", "--for-parent"])
        .args(compilation.arguments(steps))
        .args([Path::new("--output"), dir, Path::new("--"), path])
        // Held until the child has ended: when this process goes, it ends too.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", heddle.display()))?;
    let lifeline = child.stdin.take();
    let status = child.wait().context("cannot wait for the compile")?;
    drop(lifeline);
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(output::Told(u8::try_from(code).unwrap_or(1)).into()),
        None => bail!("the process that compiled {} was killed: {status}", path.display()),
    }
}

/// Compiles a model and writes its bundle, with a progress bar. What can be refused is refused first, a chat
/// template too unless prompts are to be `raw`, and devices that are not here, of a topology's file where it `runs` now.
pub(crate) fn make(
    path: &Path,
    compilation: &Compilation,
    steps: Steps,
    dir: &Path,
    (raw, runs): (bool, bool),
) -> anyhow::Result<Compiled> {
    compilation.check_devices(runs)?;
    let checkpoint = Checkpoint::open(path)?;
    let draft = Draft::begin(dir)?;
    let partial = draft.partial().to_owned();
    let _tidy = interrupt::on_interrupt(move || drop(fs::remove_dir_all(partial)));
    if checkpoint.has_weights() {
        checkpoint.tokenizer()?;
        Prompter::new(&checkpoint, raw)?;
    }
    let compiled = compilation.compile(&checkpoint, steps)?;
    write(draft, &compiled, &checkpoint, compilation.own_topology())?;
    Ok(compiled)
}

/// Writes a bundle, with a progress bar; without weights where it cannot run.
pub(crate) fn write(
    draft: Draft,
    compiled: &Compiled,
    checkpoint: &Checkpoint,
    topology: Option<&Topology>,
) -> anyhow::Result<()> {
    if !compiled.is_runnable(checkpoint) {
        return Ok(draft.finish_outline(compiled, checkpoint, topology)?);
    }
    let what = format!("packing the weights of {}", output::plain(&compiled.plan.model.file));
    let bar = progress::bytes(&what, Some(compiled.plan.model.packed_bytes));
    draft.finish(compiled, checkpoint, topology, &|bytes| bar.inc(bytes))?;
    bar.finish_and_clear();
    Ok(())
}

/// Refuses what would not fit, before any of it is taken.
fn check_memory(needed: u64, usable: Option<u64>) -> anyhow::Result<()> {
    match usable.filter(|usable| *usable < needed) {
        None => Ok(()),
        Some(usable) => bail!(
            "the plan takes {} at most, and {} are free: compile with a smaller --context or --max-batch, or with --memory {usable}, which says what context would fit",
            output::bytes(needed),
            output::bytes(usable),
        ),
    }
}

/// The most bytes that a plan takes of the host's memory.
fn on_host(plan: &Plan) -> u64 {
    let of = |phase| {
        let own = plan.memory.iter().filter(|proof| proof.phase == phase);
        own.map(|proof| plan.on_host(proof)).fold(0, u64::saturating_add)
    };
    [Phase::Load, Phase::Prefill, Phase::Decode].into_iter().map(of).max().unwrap_or(0)
}

/// The most bytes that a plan takes, over all devices, in any phase.
pub(crate) fn predicted_peak(plan: &Plan) -> u64 {
    let of = |phase| plan.memory.iter().filter(|proof| proof.phase == phase).map(|proof| proof.total).sum();
    [Phase::Load, Phase::Prefill, Phase::Decode].into_iter().map(of).max().unwrap_or(0)
}

/// What was decided, in two lines.
pub(crate) fn decisions(plan: &Plan, hash: &str, is_edited: bool) -> String {
    let o = &plan.options;
    let activations = match o.activations {
        ir::plan::Activations::F32 => "f32",
        ir::plan::Activations::Int8 => "int8",
    };
    let largest = |of: fn(&ir::plan::MemoryProof) -> u64| plan.memory.iter().map(of).max().unwrap_or(0);
    format!(
        "{} on {}: {activations} activations, context {}, plan {}{}\nmemory: {} at most, of which {} weights, {} KV cache",
        output::plain(&plan.model.file),
        output::devices(&plan.devices),
        o.context,
        &hash[..12.min(hash.len())],
        if is_edited { " (edited)" } else { "" },
        output::bytes(predicted_peak(plan)),
        output::bytes(largest(|proof| proof.weights)),
        output::bytes(largest(|proof| proof.states)),
    )
}

/// The folder that `compile` writes to, as the user named it.
pub(crate) fn model_path(name: &str) -> anyhow::Result<PathBuf> {
    let path = Cache::from_env()?.resolve(Some(name))?;
    if Bundle::is_at(&path) {
        bail!("{} is a bundle, expected a model", path.display());
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_that_does_not_fit_is_refused_before_it_starts() {
        assert!(check_memory(10, None).is_ok() && check_memory(10, Some(10)).is_ok());
        let refused = check_memory(3_000_000_000, Some(2_000_000_000)).unwrap_err().to_string();
        assert!(refused.contains("3.00 GB") && refused.contains("--memory 2000000000"), "{refused}");
    }
}
