//! Model files: what they say of themselves, and their tensors.
//!
//! Tensors go by the names that GGUF gives them (`blk.0.attn_q.weight`), whatever the format calls them.
mod config;
pub mod gguf;
mod outline;
mod safetensors;

pub use config::{Activation, Config, Experts, Pairing, Rope, RopeScaling, Window};

use crate::ImportError;
use crate::tokenizer::Tokenizer;
use gguf::Gguf;
use ir::DType;
use outline::Outline;
use safetensors::Folder;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A tensor as it lies in a file.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    pub dtype: DType,
    /// Outermost axis first.
    pub shape: Vec<u64>,
    /// One, or one for each index of the first axis: formats that have experts' weights apart.
    spans: Vec<Span>,
}

impl TensorInfo {
    /// How many bytes it takes in its file.
    pub fn byte_len(&self) -> u64 {
        self.spans.iter().map(|span| span.range.len() as u64).sum()
    }

    /// Where in its file it begins.
    pub fn offset(&self) -> u64 {
        self.spans.first().map_or(0, |span| span.range.start as u64)
    }
}

/// Where bytes of a tensor lie: in which of the checkpoint's files, and where in it.
#[derive(Clone, Debug)]
struct Span {
    file: usize,
    range: Range<usize>,
}

/// How a checkpoint is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    Gguf,
    Safetensors,
    /// No weights, only what the model is: a `config.json`.
    Config,
}

/// A model as found on disk: its config, its tensors, and how to talk to it.
#[derive(Debug)]
pub struct Checkpoint {
    /// The file or folder it was opened from.
    pub source: PathBuf,
    pub format: FileFormat,
    pub config: Config,
    pub tensors: BTreeMap<String, TensorInfo>,
    /// The chat template as the file has it, in Jinja.
    pub chat_template: Option<String>,
    storage: Storage,
}

#[derive(Debug)]
enum Storage {
    Gguf(Gguf),
    Folder(Folder),
    Outline(Outline),
}

impl Checkpoint {
    /// Opens a GGUF file, a folder as Hugging Face publishes them, or the `config.json` of one: then there are no
    /// weights, and plans of the model can be made but not run. Maps the files; reads no weight.
    pub fn open(path: &Path) -> Result<Self, ImportError> {
        if path.is_dir() {
            Self::from_folder(Folder::open(path)?)
        } else if Outline::is_at(path) {
            Self::from_outline(Outline::open(path)?)
        } else {
            Self::from_gguf(Gguf::open(path)?)
        }
    }

    /// What an open GGUF file says of its model.
    pub fn from_gguf(gguf: Gguf) -> Result<Self, ImportError> {
        Ok(Self {
            source: gguf.path().into(),
            format: FileFormat::Gguf,
            config: Config::from_gguf(&gguf)?,
            tensors: gguf.tensors().clone(),
            chat_template: gguf.string("tokenizer.chat_template")?.map(str::to_owned),
            storage: Storage::Gguf(gguf),
        })
    }

    fn from_folder(folder: Folder) -> Result<Self, ImportError> {
        let (config, tensors) = folder.read()?;
        Ok(Self {
            source: folder.path().into(),
            format: FileFormat::Safetensors,
            config,
            tensors,
            chat_template: folder.chat_template()?,
            storage: Storage::Folder(folder),
        })
    }

    fn from_outline(outline: Outline) -> Result<Self, ImportError> {
        Ok(Self {
            source: outline.path().into(),
            format: FileFormat::Config,
            config: outline.config()?,
            tensors: BTreeMap::new(),
            chat_template: None,
            storage: Storage::Outline(outline),
        })
    }

    /// Whether the weights are there, and not only what shapes they have.
    pub fn has_weights(&self) -> bool {
        !matches!(self.storage, Storage::Outline(_))
    }

    /// The files that the model consists of, those of its weights first.
    pub fn files(&self) -> Vec<PathBuf> {
        match &self.storage {
            Storage::Gguf(gguf) => vec![gguf.path().into()],
            Storage::Folder(folder) => folder.files(),
            Storage::Outline(outline) => vec![outline.path().into()],
        }
    }

    /// The bytes of a tensor, in one piece. They need not be aligned to its elements.
    pub fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, ImportError> {
        let pieces = self.pieces(name)?;
        Ok(match pieces[..] {
            [whole] => whole.into(),
            _ => pieces.concat().into(),
        })
    }

    /// The bytes of a tensor as they lie in the maps: in one piece, or in one for each index of its first axis.
    pub fn pieces(&self, name: &str) -> Result<Vec<&[u8]>, ImportError> {
        let piece = |Span { file, range }: &Span| match &self.storage {
            Storage::Gguf(gguf) => &gguf.map()[range.clone()],
            Storage::Folder(folder) => &folder.map(*file)[range.clone()],
            // Has no tensors, so none with a span.
            Storage::Outline(_) => &[][..],
        };
        Ok(self.tensor(name)?.spans.iter().map(piece).collect())
    }

    /// A tensor that must be there.
    pub fn tensor(&self, name: &str) -> Result<&TensorInfo, ImportError> {
        self.tensors.get(name).ok_or_else(|| match self.has_weights() {
            true => ImportError::MissingTensor { path: self.source.clone(), tensor: name.into() },
            false => self.no_weights("no weights"),
        })
    }

    fn no_weights(&self, found: &'static str) -> ImportError {
        ImportError::ConfigAlone { path: self.source.clone(), found }
    }

    /// The dtype of a tensor that must be there, of real numbers and this shape.
    pub fn weight(&self, name: &str, shape: &[u64]) -> Result<DType, ImportError> {
        if let Storage::Outline(outline) = &self.storage {
            return Ok(outline.dtype(shape));
        }
        let info = self.tensor(name)?;
        if info.shape == shape && info.dtype.is_real() {
            return Ok(info.dtype);
        }
        Err(ImportError::Tensor {
            path: self.source.clone(),
            tensor: name.into(),
            found: format!("shape {:?} in {}", info.shape, info.dtype),
            expected: format!("shape {shape:?} in a format of real numbers"),
        })
    }

    /// A tensor's elements on the host.
    pub fn host_tensor(&self, name: &str) -> Result<ir::Tensor, ImportError> {
        let info = self.tensor(name)?;
        let tensor = ir::Tensor::from_bytes(info.dtype, &info.shape, self.bytes(name)?);
        tensor.ok_or_else(|| ImportError::Tensor {
            path: self.source.clone(),
            tensor: name.into(),
            found: format!("{} bytes", info.byte_len()),
            expected: format!("as many as shape {:?} in {} takes", info.shape, info.dtype),
        })
    }

    /// The model's tokeniser, built anew.
    pub fn tokenizer(&self) -> Result<Tokenizer, ImportError> {
        match &self.storage {
            Storage::Gguf(gguf) => Tokenizer::from_gguf(gguf),
            Storage::Folder(folder) => folder.tokenizer(),
            Storage::Outline(_) => Err(self.no_weights("no tokeniser")),
        }
    }

    /// The keys of a GGUF file with their values in short, or the config of a folder; for people to read.
    pub fn metadata(&self) -> Vec<(String, String)> {
        match &self.storage {
            Storage::Gguf(gguf) => gguf.keys().map(|(key, value)| (key.to_owned(), value)).collect(),
            Storage::Folder(folder) => folder.keys(),
            Storage::Outline(outline) => outline.keys(),
        }
    }
}
