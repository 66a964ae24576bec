//! What can be wrong with a model as it is found on disk.
use std::path::PathBuf;

/// Why a checkpoint was refused: the file, the key or tensor, what was found and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("cannot read {}: {cause}", path.display())]
    Io { path: PathBuf, cause: std::io::Error },
    #[error(
        "{} is no model: found {found}, expected a GGUF file, a folder with config.json and safetensors, or a config.json alone",
        path.display()
    )]
    NotAModel { path: PathBuf, found: String },
    #[error("{}: GGUF version {found}, expected 2 or 3", path.display())]
    Version { path: PathBuf, found: u32 },
    #[error(
        "{} is a config alone and has {found}: give the folder that it lies in, with the weights; \
         plans of a config can be made and simulated, not run",
        path.display()
    )]
    ConfigAlone { path: PathBuf, found: &'static str },
    #[error(
        "{}: the file ends inside {what}: {needed} bytes wanted at offset {offset}, the file has {size}",
        path.display()
    )]
    Truncated { path: PathBuf, what: String, needed: u64, offset: u64, size: u64 },
    #[error("{}: found {found} {what}, expected at most {limit}", path.display())]
    TooMany { path: PathBuf, what: &'static str, found: u64, limit: u64 },
    #[error("{}: big-endian GGUF version {version}, expected a little-endian file", path.display())]
    BigEndian { path: PathBuf, version: u32 },
    #[error("{}: {what} is not UTF-8", path.display())]
    NotUtf8 { path: PathBuf, what: String },
    #[error("{}: {cause}", path.display())]
    Json { path: PathBuf, cause: serde_json::Error },
    #[error("{}: {reason}", path.display())]
    Safetensors { path: PathBuf, reason: String },
    #[error("{}: key `{}` is missing", path.display(), key.escape_debug())]
    MissingKey { path: PathBuf, key: String },
    #[error("{}: key `{}` stands twice", path.display(), key.escape_debug())]
    DuplicateKey { path: PathBuf, key: String },
    #[error("{}: key `{}` is {found}, expected {expected}", path.display(), key.escape_debug())]
    Key { path: PathBuf, key: String, found: String, expected: String },
    #[error("{}: tensor `{}` is missing", path.display(), tensor.escape_debug())]
    MissingTensor { path: PathBuf, tensor: String },
    #[error("{}: tensor `{}` stands twice", path.display(), tensor.escape_debug())]
    DuplicateTensor { path: PathBuf, tensor: String },
    #[error(
        "{}: tensor `{}` has {found}, expected {expected}", path.display(), tensor.escape_debug()
    )]
    Tensor { path: PathBuf, tensor: String, found: String, expected: String },
    #[error("{}: architecture {found:?} is unknown; known are {known}", path.display())]
    UnknownArchitecture { path: PathBuf, found: String, known: String },
    #[error("{}: {cause}", path.display())]
    Tokenizer { path: PathBuf, cause: crate::tokenizer::TokenizerError },
}

/// Why a kernel of a plan cannot be made into code.
#[derive(Debug, thiserror::Error)]
pub enum LowerError {
    #[error("{id} {name}: {reason}")]
    Kernel { id: ir::plan::KernelId, name: String, reason: String },
    #[error("cranelift: {0}")]
    Cranelift(String),
    #[error("{device}: {reason}")]
    Device { device: String, reason: String },
}

impl CompileError {
    /// The hint that could not be honoured, if that is why.
    pub fn hint(&self) -> Option<&passes::partition::HintError> {
        match self {
            CompileError::Pass(passes::PassError::Hint(fault)) => Some(fault),
            CompileError::Cut(passes::partition::CutError::Hint(fault)) => Some(fault),
            CompileError::Build(crate::models::BuildError::Hint(fault)) => Some(fault),
            _ => None,
        }
    }
}

/// Why a model was not compiled, or its bundle not written or opened.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Build(#[from] crate::models::BuildError),
    #[error(transparent)]
    Pass(#[from] passes::PassError),
    #[error(transparent)]
    Cut(#[from] passes::partition::CutError),
    #[error(transparent)]
    Cost(#[from] passes::cost::CostError),
    #[error("no device to compile for")]
    NoDevice,
    #[error("weight {name:?}: {reason}")]
    Weight { name: String, reason: String },
    #[error(transparent)]
    Lower(#[from] LowerError),
    #[error("{}: {cause}", path.display())]
    Io { path: PathBuf, cause: std::io::Error },
    #[error("{}: {cause}", path.display())]
    Plan { path: PathBuf, cause: ir::plan::PlanError },
    #[error("{} is refused:\n{faults}", path.display())]
    Unsound { path: PathBuf, faults: String },
    #[error("the passes made a plan that is unsound, a fault of heddle's:\n{plan}")]
    Broke { plan: String },
    #[error(
        "{} has a plan and no weights, for it was compiled from a config alone or for devices that there is no code \
         for, such as {device}: it can be looked at, compared and simulated, not run; to run it compile the model with its \
         weights for this machine",
        path.display()
    )]
    Outline { path: PathBuf, device: String },
    #[error("{}: {reason}", path.display())]
    NotABundle { path: PathBuf, reason: String },
    #[error(
        "{} is not the file that was compiled: its sha256 is {found}, expected {expected}; compile it again",
        path.display()
    )]
    ModelChanged { path: PathBuf, found: String, expected: String },
    #[error("{}: its model is neither at {} nor at {}", bundle.display(), path.display(), beside.display())]
    ModelMissing { bundle: PathBuf, path: PathBuf, beside: PathBuf },
    #[error(transparent)]
    Interpret(#[from] ir::interpret::InterpretError),
    #[error(transparent)]
    Run(#[from] runtime::RunError),
    #[error("{}: {reason}", bundle.display())]
    Numerics { bundle: PathBuf, reason: String },
    #[error("a context of {asked} tokens was asked for, the model takes at most {limit}")]
    Context { asked: u32, limit: u64 },
    #[error(
        "the plan takes {needed} bytes of {device} at {phase}, {} over the budget of {budget} (weights {weights}, \
         KV cache for {context} tokens {states}){}",
        needed - budget, advice.as_ref().map_or(String::new(), |advice| format!("; {advice}"))
    )]
    Budget {
        device: String,
        phase: ir::plan::Phase,
        needed: u64,
        budget: u64,
        weights: u64,
        states: u64,
        context: u32,
        /// What would fit; `None` where nobody looked.
        advice: Option<String>,
    },
}
