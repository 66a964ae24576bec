//! From a command's model argument to something that runs: the bundle, found or compiled, and its session.
//!
//! A plain model is compiled into the cache, once for each path and set of options: `bundles/MODEL/OPTIONS`.
//! Beside a bundle stands by which build it was made (`.key`), for another build makes it anew, and a lock
//! (`.lock`), shared by those who open the bundle and held alone by the one who makes it.
use crate::cache::Cache;
use crate::choices::{Compilation, Steps};
use crate::{interrupt, output, progress};
use anyhow::{Context, bail};
use compiler::import::Checkpoint;
use compiler::tokenizer::Tokenizer;
use compiler::{Bundle, Compiled, codegen, compile};
use ir::plan::{Phase, Plan};
use runtime::Session;
use sha2::{Digest, Sha256};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// A model that runs.
pub(crate) struct Loaded {
    pub(crate) session: Session,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) checkpoint: Checkpoint,
    /// The hash of the plan that runs.
    pub(crate) hash: String,
    /// Whether a person changed the plan since it was compiled.
    pub(crate) is_edited: bool,
}

/// The model that a command names, running.
pub(crate) fn model(name: Option<&str>, compilation: &Compilation, steps: Steps) -> anyhow::Result<Loaded> {
    start(bundle(name, compilation, steps)?)
}

/// The bundle that a command's argument means: itself, or one that is compiled from the model into the cache.
pub(crate) fn bundle(name: Option<&str>, compilation: &Compilation, steps: Steps) -> anyhow::Result<Bundle> {
    let cache = Cache::from_env()?;
    let path = cache.resolve(name)?;
    if !Bundle::is_at(&path) {
        return cached(&cache, &path, compilation, steps);
    }
    if *compilation != Compilation::default() {
        let path = path.display();
        bail!("{path} is compiled already: leave out the options of compilation, or give the model instead");
    }
    Ok(Bundle::open(&path)?)
}

/// Starts a bundle's plan. The tokeniser is built meanwhile.
pub(crate) fn start(bundle: Bundle) -> anyhow::Result<Loaded> {
    // What compiling took is no part of what running takes.
    runtime::memory::give_back();
    runtime::memory::reset_peak();
    bundle.make_resident();
    let Bundle { plan, checkpoint, weights, is_edited, .. } = bundle;
    let (session, tokenizer) = std::thread::scope(|scope| {
        let tokenizer = scope.spawn(|| checkpoint.tokenizer());
        let session = codegen::lower(&plan)
            .map_err(anyhow::Error::from)
            .and_then(|code| Ok(Session::start(&plan, &code, Arc::new(weights))?));
        (session, tokenizer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    Ok(Loaded { session: session?, tokenizer: tokenizer?, hash: plan.hash(), checkpoint, is_edited })
}

fn cached(cache: &Cache, path: &Path, compilation: &Compilation, steps: Steps) -> anyhow::Result<Bundle> {
    let path = path.canonicalize().with_context(|| format!("cannot open {}", path.display()))?;
    let folder = bundles_of(cache, &path);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create the folder {}", folder.display()))?;
    let name = short_hash(&format!("{compilation:?} {steps:?} {}", compilation.team()));
    let (dir, key) = (folder.join(&name), folder.join(format!("{name}.key")));
    let lock_path = folder.join(format!("{name}.lock"));
    let fault = || format!("cannot lock {}", lock_path.display());
    let lock = File::create(&lock_path).with_context(fault)?;
    match lock.try_lock_shared() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("waiting for another process that is compiling {}", path.display());
            lock.lock_shared().with_context(fault)?;
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(fault),
    }
    if let Some(bundle) = kept(&dir, &key) {
        return Ok(bundle);
    }
    lock.unlock().and_then(|()| lock.lock()).with_context(fault)?;
    // Another process may have compiled it between the two locks.
    if let Some(bundle) = kept(&dir, &key) {
        return Ok(bundle);
    }
    let _ = fs::remove_file(&key);
    make(&path, compilation, steps, &dir)?;
    fs::write(&key, build()).with_context(|| format!("cannot write {}", key.display()))?;
    Ok(Bundle::open(&dir)?)
}

/// The bundle in the cache, if it was made by this build from the model as it is, and nobody changed it.
fn kept(dir: &Path, key: &Path) -> Option<Bundle> {
    if fs::read_to_string(key).ok()? != build() {
        return None;
    }
    Bundle::open(dir).ok().filter(|bundle| !bundle.is_edited)
}

/// Compiles a model and writes its bundle, with a progress bar.
pub(crate) fn make(
    path: &Path,
    compilation: &Compilation,
    steps: Steps,
    dir: &Path,
) -> anyhow::Result<Compiled> {
    let checkpoint = Checkpoint::open(path)?;
    let options = compilation.options(checkpoint.config.context_length, steps);
    let compiled = compile(&checkpoint, options, compilation.team())?;
    let partial = Bundle::partial(dir);
    let _tidy = interrupt::on_interrupt(move || drop(fs::remove_dir_all(partial)));
    let what = format!("packing the weights of {}", compiled.plan.model.file);
    let bar = progress::bytes(&what, Some(compiled.plan.model.packed_bytes));
    Bundle::write(dir, &compiled, &checkpoint, &|bytes| bar.inc(bytes))?;
    bar.finish_and_clear();
    Ok(compiled)
}

/// The folder of the bundles that were compiled from the model at this absolute path.
pub(crate) fn bundles_of(cache: &Cache, path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    cache.root().join("bundles").join(format!("{stem}-{}", short_hash(&path.display().to_string())))
}

fn short_hash(text: &str) -> String {
    Sha256::digest(text)[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What tells one build of heddle from another.
fn build() -> String {
    let binary = std::env::current_exe().and_then(fs::metadata);
    let stamp = binary.ok().map(|binary| {
        let changed = binary.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        (binary.len(), changed.map(|time| time.as_nanos()))
    });
    format!("heddle {}, plan version {}, {stamp:?}", env!("CARGO_PKG_VERSION"), ir::plan::VERSION)
}

/// The most bytes that a plan takes, over all devices, in any phase.
pub(crate) fn predicted_peak(plan: &Plan) -> u64 {
    let of = |phase| plan.memory.iter().filter(|proof| proof.phase == phase).map(|proof| proof.total).sum();
    [Phase::Load, Phase::Prefill, Phase::Decode].into_iter().map(of).max().unwrap_or(0)
}

/// What was decided, in two lines.
pub(crate) fn decisions(plan: &Plan, hash: &str, is_edited: bool) -> String {
    let device = |d: &ir::plan::Device| format!("{} with {} threads", d.name, d.threads);
    let devices: Vec<String> = plan.devices.iter().map(device).collect();
    let o = &plan.options;
    let activations = match o.activations {
        ir::plan::Activations::F32 => "f32",
        ir::plan::Activations::Int8 => "int8",
    };
    let largest = |of: fn(&ir::plan::MemoryProof) -> u64| plan.memory.iter().map(of).max().unwrap_or(0);
    format!(
        "{} on {}: {activations} activations, context {}, plan {}{}\nmemory: {} at most, of which {} weights, {} KV cache",
        plan.model.file,
        devices.join(", "),
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
