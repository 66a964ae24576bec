//! The record of a kept model: what it is, where it came from, and how to tell that it is whole.
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

const RECORD: &str = "model.json";

/// A model in the cache. It is one file, or a folder of files as Hugging Face publishes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What commands call it.
    pub name: String,
    /// Where it came from.
    pub source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    pub files: Vec<KeptFile>,
}

/// One file of a model, by its path in the model's folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    pub path: String,
    pub bytes: u64,
    pub sha256: String,
}

impl KeptFile {
    /// Describes `folder/path` by reading all of it.
    pub(crate) fn read(folder: &Path, path: &str) -> anyhow::Result<KeptFile> {
        let (bytes, sha256) = sha256_of(&folder.join(path))?;
        Ok(KeptFile { path: path.to_string(), bytes, sha256 })
    }
}

impl Kept {
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// One hash for the whole model: its file's, or that of the list of its files' hashes.
    pub fn sha256(&self) -> String {
        if let [file] = &self.files[..] {
            return file.sha256.clone();
        }
        let mut hash = Sha256::new();
        for file in &self.files {
            hash.update(format!("{}  {}\n", file.sha256, file.path));
        }
        hex(&hash.finalize())
    }

    /// What an importer opens: the single file, or the folder.
    pub(crate) fn path_in(&self, folder: &Path) -> PathBuf {
        match &self.files[..] {
            [file] => folder.join(&file.path),
            _ => folder.to_path_buf(),
        }
    }

    /// Whether every file is there at its full length: cheap enough for every start.
    pub(crate) fn is_complete(&self, folder: &Path) -> bool {
        self.files.iter().all(|file| {
            fs::metadata(folder.join(&file.path))
                .is_ok_and(|found| found.is_file() && found.len() == file.bytes)
        })
    }

    /// Whether every file still has the hash it was kept with.
    pub(crate) fn check(&self, folder: &Path) -> anyhow::Result<()> {
        for file in &self.files {
            let found = KeptFile::read(folder, &file.path)?;
            if found != *file {
                bail!("{} has sha256 {}, expected {}", file.path, found.sha256, file.sha256);
            }
        }
        Ok(())
    }

    pub(crate) fn read(folder: &Path) -> anyhow::Result<Option<Kept>> {
        let path = folder.join(RECORD);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let kept: Kept = serde_json::from_str(&text).with_context(|| {
            let name = folder.file_name().unwrap_or_default().display();
            format!("{} is damaged (`heddle rm {name}` removes the model)", path.display())
        })?;
        Ok(Some(kept))
    }

    /// Whether a folder holds a record, damaged or not.
    pub(crate) fn is_at(folder: &Path) -> bool {
        folder.join(RECORD).exists()
    }

    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let path = folder.join(RECORD);
        let text = serde_json::to_string_pretty(self)?;
        File::create(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Length and sha256 of a file.
pub(crate) fn sha256_of(path: &Path) -> anyhow::Result<(u64, String)> {
    let read = || -> std::io::Result<(u64, String)> {
        let mut file = File::open(path)?;
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok((bytes, hex(&hash.finalize()))),
                n => {
                    hash.update(&buffer[..n]);
                    bytes += n as u64;
                }
            }
        }
    };
    read().with_context(|| format!("cannot read {}", path.display()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
